"""Follow the thing under a click through a folder of frames.

python clients/python/follow.py frames/ 320 240 --output tracked/
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from example import arguments, model_for

from pixano_inference.client import PixanoInferenceClient, draw_tracks, tracking_request
from pixano_inference.schemas import FrameMasks, TrackingOutput


async def main() -> None:
    """Print each frame as soon as it is there."""
    parser = arguments(__doc__)
    parser.add_argument("frames", type=Path, help="folder of images, in the order of their names")
    parser.add_argument("x", type=int, help="pixels from the left, on the first frame")
    parser.add_argument("y", type=int, help="pixels from the top")
    parser.add_argument("--output", type=Path, help="folder for the frames with the mask drawn over them")
    options = parser.parse_args()
    frames: list[FrameMasks] = []
    async with PixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:
        model = options.model or model_for(client, "tracking")
        request = tracking_request(model, options.frames, objects_ids=[1], points=[[options.x, options.y]])
        async with client.stream_tracking(request) as stream:
            async for frame in stream:
                frames.append(frame)
                print(f"frame {frame.frame_index}: {frame.masks[0].area()} pixels ({frame.frames_done} done)")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(draw_tracks(options.frames, TrackingOutput.from_frames(frames))):
            picture.save(options.output / f"{index:05}.png")


if __name__ == "__main__":
    asyncio.run(main())
