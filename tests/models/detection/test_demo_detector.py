"""The bundled detector finds what it is asked for in scenes it has never seen, through the server's own model class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixano_inference.schemas import DetectionInput, DetectionOutput
from training.detector_evaluation import NAMES, held_out_scenes, mean_average_precision

from .conftest import as_bytes, load

pytestmark = pytest.mark.model

WEIGHTS = Path(__file__).parents[3] / "models/demo/grounding-shapes"
SCENES = 120
# What the weights reach on these scenes, less a hair for other processors' rounding. See the README beside the weights.
LEAST_MAP50 = 0.978
LEAST_MAP50_OF_UNSEEN_PAIRS = 0.93


@pytest.fixture(scope="module")
def model() -> Any:
    from pixano_inference.models.detection.zero_shot import GroundingDINOModel

    return load(GroundingDINOModel, WEIGHTS)


def ask(image: Any, **fields: Any) -> DetectionInput:
    return DetectionInput(image=as_bytes(Image.fromarray(image)), **{"classes": NAMES, "box_threshold": 0.01, **fields})


def rows(output: DetectionOutput) -> list[tuple[str, float, list[float]]]:
    return [
        (name, score, list(map(float, box)))
        for name, score, box in zip(output.classes, output.scores, output.boxes, strict=True)
    ]


@pytest.fixture(scope="module")
def figures(model: Any) -> dict[str, float]:
    scenes = held_out_scenes(SCENES)
    outputs: list[DetectionOutput] = []
    for start in range(0, SCENES, 15):
        outputs += model.predict_batch([ask(scene.image) for scene in scenes[start : start + 15]])
    return mean_average_precision(scenes, [rows(output) for output in outputs])


def test_mean_average_precision_is_as_stated(figures: dict[str, float]) -> None:
    assert figures["map50"] >= LEAST_MAP50


def test_pairs_never_trained_together_are_found_as_stated(figures: dict[str, float]) -> None:
    assert figures["map50_unseen_pairs"] >= LEAST_MAP50_OF_UNSEEN_PAIRS


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "channels swapped": lambda image: np.ascontiguousarray(image[..., ::-1]),
    "x and y swapped": lambda image: np.ascontiguousarray(image.transpose(1, 0, 2)),
    "shifted by a quarter": lambda image: np.roll(image, image.shape[1] // 4, axis=1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_figure_notices(mistake: str, model: Any) -> None:
    scenes = held_out_scenes(24)
    outputs = model.predict_batch([ask(MISTAKES[mistake](scene.image)) for scene in scenes])
    figures = mean_average_precision(scenes, [rows(output) for output in outputs])
    assert figures["map50"] < LEAST_MAP50 / 2


def test_answers_are_those_of_transformers(model: Any) -> None:
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(WEIGHTS)
    plain = AutoModelForZeroShotObjectDetection.from_pretrained(WEIGHTS).eval()
    image = held_out_scenes(3)[2].image
    texts = [[f"a photo of a {name}" for name in NAMES]]
    with torch.inference_mode():
        outputs = plain(**processor(images=Image.fromarray(image), text=texts, return_tensors="pt"))
    (found,) = processor.post_process_grounded_object_detection(
        outputs, threshold=0.1, target_sizes=[image.shape[:2]], text_labels=texts
    )
    order = found["scores"].argsort(descending=True)
    output = model.predict(ask(image, box_threshold=0.1))
    assert output.scores == pytest.approx(found["scores"][order].tolist(), abs=1e-5)
    assert output.boxes == found["boxes"][order].clamp(0, image.shape[0]).round().int().tolist()
    assert output.classes == [found["text_labels"][place].removeprefix("a photo of a ") for place in order.tolist()]


def test_class_lists_of_different_lengths_share_a_batch(model: Any) -> None:
    scenes = held_out_scenes(4)
    lists = [NAMES, ["red circle"], ["Blue Star", "green cross", "cat"], "orange triangle. purple star"]
    items = [ask(scene.image, classes=classes) for scene, classes in zip(scenes, lists, strict=True)]
    for batched, single in zip(model.predict_batch(items), [model.predict(item) for item in items], strict=True):
        assert batched.classes == single.classes
        assert batched.scores == pytest.approx(single.scores, abs=1e-4)
        for left, right in zip(batched.boxes, single.boxes, strict=True):
            assert left == pytest.approx(right, abs=1)


def test_a_picture_that_is_not_square_gets_boxes_in_its_own_pixels(model: Any) -> None:
    scene = held_out_scenes(1)[0]
    image = np.asarray(Image.fromarray(scene.image).resize((400, 330)))
    output = model.predict(ask(image, box_threshold=0.3))
    assert len(output.boxes) >= 1
    expected = [[x1 * 400 / 192, y1 * 330 / 192, x2 * 400 / 192, y2 * 330 / 192] for x1, y1, x2, y2 in
                (shape.box for shape in scene.objects)]  # fmt: skip
    best = output.boxes[0]
    assert min(max(abs(a - b) for a, b in zip(best, box, strict=True)) for box in expected) < 20


def test_words_outside_the_vocabulary_find_nothing(model: Any) -> None:
    outputs = model.predict_batch([ask(s.image, classes=["cat", "dog"], box_threshold=0.4) for s in held_out_scenes(9)])
    assert sum(len(output.boxes) for output in outputs) == 0
