"""Click on a thing in an image and save its mask.

python clients/python/segment.py photo.jpg 320 240 --output mask.png
"""

from __future__ import annotations

import argparse

from example import arguments, model_for
from PIL import Image

from pixano_inference.client import SyncPixanoInferenceClient, draw_masks, draw_points, segmentation_request


def main() -> None:
    """Send one click, keep the mask that the model likes best."""
    parser = arguments(__doc__)
    parser.add_argument("image", help="path or URL")
    parser.add_argument("x", type=int, help="pixels from the left")
    parser.add_argument("y", type=int, help="pixels from the top")
    parser.add_argument("--background", type=int, nargs=2, action="append", default=[], metavar=("X", "Y"))
    parser.add_argument("--output", default="mask.png", help="the mask, white on black")
    parser.add_argument("--picture", help="the image with mask and clicks drawn over it")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Do what the command line says."""
    points = [[options.x, options.y], *options.background]
    labels = [1] + [0] * len(options.background)
    with SyncPixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:
        model = options.model or model_for(client, "segmentation")
        response = client.segmentation(segmentation_request(model, options.image, points=points, labels=labels))
    scores = response.data.scores.to_numpy()[0]
    best = response.data.masks[0][int(scores.argmax())]
    Image.fromarray(best.to_mask() * 255).save(options.output)
    if options.picture:
        draw_points(draw_masks(options.image, [best]), points, labels).save(options.picture)
    milliseconds = response.processing_time * 1000
    print(f"{best.area()} pixels, score {scores.max():.2f}, {milliseconds:.0f} ms -> {options.output}")


if __name__ == "__main__":
    main()
