"""Follow the thing under a click through a long video, as a job that one can come back to.

python clients/python/follow_job.py clip.mp4 320 240
"""

from __future__ import annotations

from example import arguments, model_for

from pixano_inference.client import SyncPixanoInferenceClient, tracking_request


def main() -> None:
    """Hand the job in, wait with a progress bar, and cancel it on Ctrl-C."""
    parser = arguments(__doc__)
    parser.add_argument("video", help="video file, or folder of images in the order of their names")
    parser.add_argument("x", type=int, help="pixels from the left, on the first frame")
    parser.add_argument("y", type=int, help="pixels from the top")
    options = parser.parse_args()
    with SyncPixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:
        model = options.model or model_for(client, "tracking")
        request = tracking_request(model, options.video, objects_ids=[1], points=[[options.x, options.y]])
        job = client.submit_tracking(request)
        try:
            job = client.wait_tracking(job.job_id, progress=True)
        except KeyboardInterrupt:
            client.cancel_tracking(job.job_id)
            raise
    masks = job.data.masks if job.data is not None else []
    areas = [mask.area() for mask in masks]
    print(f"{len(areas)} masks of {min(areas, default=0)} to {max(areas, default=0)} pixels")
    print(f"{job.processing_time:.1f} s")


if __name__ == "__main__":
    main()
