"""Annotate many images at once: find things by name, then turn each box into a mask.

    python clients/python/annotate.py images/*.jpg --classes car person --output annotations.json

The output is COCO's format for instances. Images are sent once: the second request names them by their digest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from example import arguments, model_for

from pixano_inference.client import PixanoInferenceClient, detection_request, segmentation_request


async def annotate(client: PixanoInferenceClient, path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the annotations of one image."""
    detector = options.model or model_for(client, "detection")
    found = (await client.detection(detection_request(detector, path, options.classes))).data
    if not found.boxes:
        return []
    segmenter = options.segmentation_model or model_for(client, "segmentation")
    request = segmentation_request(segmenter, path, boxes=found.boxes, multimask_output=False)
    masks = (await client.segmentation(request)).data.masks
    return [
        {
            "category_id": options.classes.index(name) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
            "segmentation": candidates[0].model_dump(),
            "area": candidates[0].area(),
        }
        for (x1, y1, x2, y2), score, name, candidates in zip(
            found.boxes, found.scores, found.classes, masks, strict=True
        )
    ]


async def main() -> None:
    """Keep a few images in flight, so that the server can put them together into batches."""
    parser = arguments(__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--segmentation-model", help="by default the first that can do it")
    parser.add_argument("--output", type=Path, default=Path("annotations.json"))
    parser.add_argument("--at-once", type=int, default=8, help="images in flight")
    options = parser.parse_args()
    room = asyncio.Semaphore(options.at_once)
    async with PixanoInferenceClient.connect(options.url, api_key=options.api_key) as client:

        async def one(path: Path) -> list[dict[str, Any]]:
            async with room:
                return await annotate(client, path, options)

        results = await asyncio.gather(*map(one, options.images))
    images = [{"id": index, "file_name": path.name} for index, path in enumerate(options.images)]
    annotations = [{"image_id": index, **found} for index, result in enumerate(results) for found in result]
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(options.classes)]
    numbered = [{"id": index, "iscrowd": 0, **annotation} for index, annotation in enumerate(annotations)]
    options.output.write_text(json.dumps({"images": images, "annotations": numbered, "categories": categories}))
    print(f"{len(numbered)} annotations of {len(images)} images -> {options.output}")


if __name__ == "__main__":
    asyncio.run(main())
