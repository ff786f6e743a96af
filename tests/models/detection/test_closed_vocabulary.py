"""Detectors with a vocabulary of their own answer as transformers itself does."""

from __future__ import annotations

from typing import Any

import pytest

from pixano_inference.errors import InvalidInput
from pixano_inference.schemas import DetectionInput

from .conftest import NAMES, as_bytes, load, picture

pytestmark = pytest.mark.model


def ask(width: int = 128, height: int = 96, seed: int = 0, **fields: Any) -> DetectionInput:
    return DetectionInput(image=as_bytes(picture(width, height, seed)), **{"box_threshold": 0.0, **fields})


@pytest.fixture(scope="module", params=["detr", "yolos"])
def model(request: pytest.FixtureRequest) -> Any:
    from pixano_inference.models.detection.closed_vocabulary import TransformersDetectionModel

    return load(TransformersDetectionModel, request.getfixturevalue(request.param))


def test_answers_are_those_of_transformers(model: Any) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    processor = AutoImageProcessor.from_pretrained(model.params.path)
    plain = AutoModelForObjectDetection.from_pretrained(model.params.path).eval()
    with torch.inference_mode():
        outputs = plain(**processor(picture(128, 96), return_tensors="pt"))
    (found,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(96, 128)])
    clipped = found["boxes"].clamp(min=0).minimum(torch.tensor([128, 96, 128, 96])).round().int().tolist()
    rows = zip(found["scores"].tolist(), clipped, found["labels"].tolist(), strict=True)
    expected = sorted((row for row in rows if row[1][0] < row[1][2] and row[1][1] < row[1][3]), reverse=True)

    output = model.predict(ask())
    assert len(expected) > 3
    assert output.boxes == [box for _, box, _ in expected]
    assert output.scores == pytest.approx([score for score, _, _ in expected], abs=1e-5)
    assert output.classes == [NAMES[label] for _, _, label in expected]


def test_a_batch_answers_as_each_alone(model: Any) -> None:
    items = [ask(seed=1), ask(160, 96, seed=2), ask(seed=3, box_threshold=0.4), ask(96, 160, seed=4)]
    for batched, single in zip(model.predict_batch(items), [model.predict(item) for item in items], strict=True):
        assert batched.scores == pytest.approx(single.scores, abs=1e-3)
        assert batched.classes == single.classes
        for left, right in zip(batched.boxes, single.boxes, strict=True):
            assert left == pytest.approx(right, abs=1)


def test_classes_filter_by_name_in_any_case(model: Any) -> None:
    everything = model.predict(ask())
    name = everything.classes[0]
    only = model.predict(ask(classes=name.upper()))
    assert only.boxes == [box for box, found in zip(everything.boxes, everything.classes, strict=True) if found == name]
    assert set(only.classes) == {name}


def test_an_unknown_class_is_refused_with_what_is_known(model: Any) -> None:
    with pytest.raises(InvalidInput, match="does not know 'unicorn'; it knows Car, bench, bicycle, person"):
        model.predict(ask(classes=["bench", "unicorn"]))


def test_an_image_that_cannot_be_decoded_fails_alone(model: Any) -> None:
    from pixano_inference.schemas import ImageBytes

    broken = DetectionInput(image=ImageBytes(b"no image"))
    good, bad = model.predict_batch([ask(), broken])
    assert good.boxes
    assert isinstance(bad, InvalidInput)
    assert "cannot be decoded" in str(bad)


def test_nobody_waiting_stops_the_work(model: Any) -> None:
    import threading

    from pixano_inference.errors import Canceled
    from pixano_inference.models import cancel_signal

    gone = threading.Event()
    gone.set()
    with cancel_signal(gone), pytest.raises(Canceled):
        model.predict(ask())
