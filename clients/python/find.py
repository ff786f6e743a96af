"""Find things in an image by name.

python clients/python/find.py street.jpg car "traffic light" --output found.png
"""

from __future__ import annotations

from example import arguments, model_for

from pixano_inference.client import SyncPixanoInferenceClient, detection_request, draw_boxes


def main() -> None:
    """Ask for the classes, print the boxes."""
    parser = arguments(__doc__)
    parser.add_argument("image", help="path or URL")
    parser.add_argument("classes", nargs="*", help="names; none for a model with classes of its own")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score, 0 to 1")
    parser.add_argument("--output", help="the image with the boxes drawn over it")
    options = parser.parse_args()
    with SyncPixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:
        model = options.model or model_for(client, "detection")
        request = detection_request(
            model,
            options.image,
            options.classes or None,
            box_threshold=options.threshold,
            text_threshold=options.threshold,
        )
        found = client.detection(request).data
    for (x1, y1, x2, y2), score, name in zip(found.boxes, found.scores, found.classes, strict=True):
        print(f"{score:.2f}  {name:20}  x {x1}-{x2}, y {y1}-{y2}")
    print(f"{len(found.boxes)} found")
    if options.output:
        draw_boxes(options.image, found).save(options.output)


if __name__ == "__main__":
    main()
