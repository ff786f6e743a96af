"""Zero-shot detectors answer as transformers itself does, in the caller's words and pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pixano_inference.errors import ConfigError, InvalidInput
from pixano_inference.schemas import DetectionInput, DetectionOutput

from .conftest import CLASSES, as_bytes, load, picture

pytestmark = pytest.mark.model


def ask(width: int = 128, height: int = 96, seed: int = 0, **fields: Any) -> DetectionInput:
    fields = {"classes": CLASSES, "box_threshold": 0.0, "text_threshold": 0.0, **fields}
    return DetectionInput(image=as_bytes(picture(width, height, seed)), **fields)


@pytest.fixture(scope="module")
def model(grounding_dino: Path) -> Any:
    from pixano_inference.models.detection.zero_shot import GroundingDINOModel

    return load(GroundingDINOModel, grounding_dino)


def reference(model: Any, item: DetectionInput, threshold: float, text_threshold: float) -> list[tuple[Any, ...]]:
    """Box, score and phrase as transformers' documentation gets them, best score first."""
    import torch
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(model.params.path)
    plain = AutoModelForZeroShotObjectDetection.from_pretrained(model.params.path).eval()
    image = picture(128, 96)
    inputs = processor(images=image, text=[CLASSES], return_tensors="pt")
    with torch.inference_mode():
        outputs = plain(**inputs)
    (found,) = processor.post_process_grounded_object_detection(
        outputs, inputs.input_ids, threshold=threshold, text_threshold=text_threshold, target_sizes=[(96, 128)]
    )
    rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["text_labels"], strict=True)
    return sorted(rows, key=lambda row: -row[1])


def test_boxes_and_scores_are_those_of_transformers(model: Any) -> None:
    output = model.predict(ask())
    expected = reference(model, ask(), 0.0, 0.0)
    clipped = [
        [min(max(round(value), 0), bound) for value, bound in zip(box, (128, 96, 128, 96), strict=True)]
        for box, _, _ in expected
    ]
    visible = [place for place, box in enumerate(clipped) if box[0] < box[2] and box[1] < box[3]]
    assert len(visible) > 5
    assert output.boxes == [clipped[place] for place in visible]
    assert output.scores == pytest.approx([expected[place][1] for place in visible], abs=1e-5)
    assert set(output.classes) <= set(CLASSES)
    assert len(set(output.classes)) > 1


def test_both_thresholds_cut_where_they_say(model: Any) -> None:
    everything = model.predict(ask())
    middle = everything.scores[len(everything.scores) // 2]
    above = [score for score in everything.scores if score > middle]
    assert model.predict(ask(box_threshold=middle + 1e-6)).scores == pytest.approx(above)
    assert model.predict(ask(text_threshold=1.0)).boxes == []


def test_a_batch_answers_as_each_alone(model: Any) -> None:
    items = [
        ask(seed=1),
        ask(seed=2, classes=["star"]),
        ask(160, 96, seed=2),
        ask(seed=3, classes=["a cat", "green star", "red circle", "blue"], box_threshold=0.3),
    ]
    together, alone = model.predict_batch(items), [model.predict(item) for item in items]
    for batched, single in zip(together, alone, strict=True):
        assert_same(batched, single)


def assert_same(a: DetectionOutput, b: DetectionOutput) -> None:
    """Equal but for rounding: scores within 0.001, boxes within a pixel."""
    assert a.scores == pytest.approx(b.scores, abs=1e-3)
    assert a.classes == b.classes
    for left, right in zip(a.boxes, b.boxes, strict=True):
        assert left == pytest.approx(right, abs=1)


def test_one_bad_request_fails_alone(model: Any) -> None:
    good = ask()
    answers = model.predict_batch([good, ask(classes=None), ask(classes=" . "), good])
    assert [type(answer) for answer in answers] == [DetectionOutput, InvalidInput, InvalidInput, DetectionOutput]
    assert "must name at least one thing" in str(answers[1])
    assert answers[0] == answers[3]


def test_classes_come_back_as_the_caller_spells_them(model: Any) -> None:
    output = model.predict(ask(classes=["Red CIRCLE", " Star. ", "red circle"]))
    assert set(output.classes) <= {"Red CIRCLE", "Star."}
    assert model.predict(ask(classes="red circle. star.")).boxes == output.boxes


def test_more_text_than_the_model_reads_is_refused(model: Any) -> None:
    with pytest.raises(InvalidInput, match=r"all classes together make \d+ tokens of text; .* reads 32"):
        model.predict(ask(classes=[f"red circle {'a ' * count}" for count in range(1, 8)]))


def test_a_checkpoint_of_another_kind_is_refused(detr: Path) -> None:
    from pixano_inference.models.detection.zero_shot import GroundingDINOModel

    with pytest.raises(ConfigError, match="cannot be loaded as GroundingDINOModel"):
        load(GroundingDINOModel, detr)


def test_half_precision_weights_answer_about_the_same(model: Any, grounding_dino: Path) -> None:
    from pixano_inference.models.detection.zero_shot import GroundingDINOModel

    half = load(GroundingDINOModel, grounding_dino, torch_dtype="bfloat16")
    assert half.metadata == {"device": "cpu", "torch_dtype": "bfloat16"}
    assert half.predict(ask()).scores[0] == pytest.approx(model.predict(ask()).scores[0], abs=0.05)
