"""Mean average precision of the demo detector on drawn scenes, by COCO's own evaluation code."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.named_shapes import HELD_OUT_PAIRS, PAIRS, Scene, draw_scene

NAMES = [f"{colour} {shape}" for colour, shape in PAIRS]
HELD_OUT_NAMES = {f"{colour} {shape}" for colour, shape in HELD_OUT_PAIRS}


def held_out_scenes(count: int, seed: int = 20_000) -> list[Scene]:
    """Scenes that no training run has seen; all 30 pairs appear, those never trained on included."""
    return [draw_scene(np.random.default_rng(seed + index)) for index in range(count)]


def mean_average_precision(
    scenes: list[Scene], detections: list[list[tuple[str, float, list[float]]]]
) -> dict[str, float]:
    """MAP at IoU 0.5 over all names, over the pairs trained on, and over those never trained on.

    Args:
        scenes: The scenes asked about.
        detections: Per scene, (name, score, box x1 y1 x2 y2 in pixels) of everything found.

    Returns:
        `map50`, `map50_seen_pairs`, `map50_unseen_pairs`.
    """
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": index} for index in range(len(scenes))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(NAMES)],
        "annotations": [],
    }
    for index, scene in enumerate(scenes):
        for shape in scene.objects:
            bbox = _xywh(list(shape.box))
            truth.dataset["annotations"].append(
                {
                    "id": len(truth.dataset["annotations"]) + 1,
                    "image_id": index,
                    "category_id": NAMES.index(shape.name),
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
    found: list[dict[str, Any]] = [
        {"image_id": index, "category_id": NAMES.index(name), "score": score, "bbox": _xywh(box)}
        for index, per_scene in enumerate(detections)
        for name, score, box in per_scene
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found) if found else COCO(), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU, recall, category, area, detections]: all areas, at most 100 detections per image.
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    unseen = np.array([name in HELD_OUT_NAMES for name in NAMES])
    return {
        "map50": _mean(precision),
        "map50_seen_pairs": _mean(precision[:, ~unseen]),
        "map50_unseen_pairs": _mean(precision[:, unseen]),
    }


@torch.no_grad()
def evaluate(model: Any, processor: Any, scenes: int, batch_size: int = 20) -> dict[str, float]:
    """Ask every held-out scene for all 30 names and measure, through the saved processor and its post-processing."""
    drawn = held_out_scenes(scenes)
    detections: list[list[tuple[str, float, list[float]]]] = []
    for start in range(0, scenes, batch_size):
        images = [scene.image for scene in drawn[start : start + batch_size]]
        inputs = processor(text=[NAMES] * len(images), images=images, return_tensors="pt")
        sizes = [image.shape[:2] for image in images]
        results = processor.post_process_grounded_object_detection(
            model(**inputs), threshold=0.01, target_sizes=sizes, text_labels=[NAMES] * len(images)
        )
        detections += [
            list(zip(r["text_labels"], r["scores"].tolist(), r["boxes"].tolist(), strict=True)) for r in results
        ]
    figures = {name: round(value, 4) for name, value in mean_average_precision(drawn, detections).items()}
    return {"held_out_scenes": scenes, **figures}


def _xywh(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _mean(precision: Any) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0
