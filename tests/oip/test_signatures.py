"""The metadata is true: what is declared is what is read, and what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from starlette.responses import Response

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput, ModelFailed, TooLarge
from pixano_inference.media.images import decode_image
from pixano_inference.oip import outputs
from pixano_inference.oip.answer import answer
from pixano_inference.oip.media import MediaReader
from pixano_inference.oip.metadata import InferAnswer, ModelMetadata, model_metadata
from pixano_inference.oip.request import InferRequest, read_infer_request
from pixano_inference.oip.signatures import SIGNATURES
from pixano_inference.oip.tensor import BYTES, DTYPES
from pixano_inference.protocol.messages import to_plain
from pixano_inference.schemas import (
    CAPABILITIES,
    Capability,
    CompressedRLE,
    DetectionOutput,
    ImageBytes,
    NDArrayFloat,
    Schema,
    SegmentationOutput,
    TrackingOutput,
    Usage,
    VLMOutput,
)

from .bodies import Value, binary_body, png

SETTINGS = ServerSettings()
READER = MediaReader(SETTINGS.max_image_pixels, keeps_references=False)
ROWS = np.eye(3, 5, dtype=np.uint8)
MASK = CompressedRLE.from_mask(ROWS)
SCORES = NDArrayFloat.from_numpy(np.array([[0.25, 0.5]]))

ANSWERS: dict[Capability, Schema] = {
    Capability.SEGMENTATION: SegmentationOutput(
        masks=[[MASK, CompressedRLE.from_mask(1 - ROWS)]],
        scores=SCORES,
        mask_logits=NDArrayFloat.from_numpy(np.arange(8).reshape(1, 2, 2, 2)),
    ),
    Capability.DETECTION: DetectionOutput(
        boxes=[[1, 2, 3, 4], [0, 0, 5, 5]], scores=[0.5, 0.25], classes=["é", "b"], masks=[MASK, MASK]
    ),
    Capability.TRACKING: TrackingOutput(objects_ids=[7, 7], frame_indexes=[0, 1], masks=[MASK, MASK]),
    Capability.VLM: VLMOutput(
        generated_text="two «circles»",
        usage=Usage(prompt_tokens=4, completion_tokens=2, total_tokens=6),
        generation_config={"temperature": 0.0},
    ),
}
EMPTY: dict[Capability, Schema] = {
    Capability.SEGMENTATION: ANSWERS[Capability.SEGMENTATION],
    Capability.DETECTION: DetectionOutput(boxes=[], scores=[], classes=[], masks=[]),
    Capability.TRACKING: TrackingOutput(objects_ids=[], frame_indexes=[], masks=[]),
    Capability.VLM: ANSWERS[Capability.VLM],
}
POINTS = np.array([[[1, 2]], [[3, 4]]], dtype=np.int32)
PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


def request_for(capability: Capability, values: Mapping[str, Value] | None = None, **fields: Any) -> InferRequest:
    body, length = binary_body(values or {}, **fields)
    return read_infer_request(body, length, SIGNATURES[capability], SETTINGS)


def fields_of(capability: Capability, values: Mapping[str, Value], **parameters: Any) -> Any:
    request = request_for(capability, values, parameters=parameters)
    return CAPABILITIES[capability].input.model_validate(request.fields(SIGNATURES[capability], READER))


async def answered(capability: Capability, output: Schema, *names: str, binary: bool = False) -> Response:
    request = request_for(
        capability, outputs=[{"name": name} for name in names], parameters={"binary_data_output": binary}
    )
    return await answer("m", request, SIGNATURES[capability], to_plain(output))


def values_of(response: Response) -> dict[str, Any]:
    """Read an answer as a client does: datatype and shape say how."""
    body = bytes(response.body)
    length = int(response.headers.get("inference-header-content-length", len(body)))
    header = InferAnswer.model_validate_json(body[:length])
    found: dict[str, Any] = {}
    for tensor in header.outputs:
        values: Any = tensor.data
        if values is None:
            assert tensor.parameters is not None
            size = tensor.parameters["binary_data_size"]
            section, length = body[length : length + size], length + size
            values = texts_of(section) if tensor.datatype == BYTES else np.frombuffer(section, DTYPES[tensor.datatype])
        found[tensor.name] = np.array(values, dtype=DTYPES.get(tensor.datatype, object)).reshape(tensor.shape)
    assert length == len(body)
    return found


def texts_of(section: bytes) -> list[str]:
    texts = []
    while section:
        end = 4 + int.from_bytes(section[:4], "little")
        texts.append(section[4:end].decode())
        section = section[end:]
    return texts


@pytest.mark.parametrize("capability", Capability)
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("outputs_of", [ANSWERS, EMPTY], ids=["full", "empty"])
async def test_every_declared_output_comes_with_its_datatype_and_shape(
    capability: Capability, binary: bool, outputs_of: dict[Capability, Schema]
) -> None:
    declared = ModelMetadata.model_validate(model_metadata("m", capability))
    names = [tensor.name for tensor in declared.outputs]
    response = await answered(capability, outputs_of[capability], *names, binary=binary)
    length = int(response.headers.get("inference-header-content-length", len(bytes(response.body))))
    header = InferAnswer.model_validate_json(bytes(response.body)[:length])
    assert [tensor.name for tensor in header.outputs] == names
    for told, given in zip(declared.outputs, header.outputs, strict=True):
        assert told.datatype == given.datatype
        assert len(told.shape) == len(given.shape)
        assert all(size in (-1, real) for size, real in zip(told.shape, given.shape, strict=True))
        assert (given.data is None) == binary
    assert values_of(response).keys() == set(names)


@pytest.mark.parametrize("binary", [False, True])
async def test_masks_scores_boxes_and_text_are_those_of_the_answer(binary: bool) -> None:
    masks = values_of(
        await answered(Capability.SEGMENTATION, ANSWERS[Capability.SEGMENTATION], "masks", "scores", binary=binary)
    )
    np.testing.assert_array_equal(masks["masks"], [[ROWS, 1 - ROWS]])
    np.testing.assert_array_equal(masks["scores"], [[0.25, 0.5]])
    boxes = values_of(await answered(Capability.DETECTION, ANSWERS[Capability.DETECTION], binary=binary))
    assert boxes["boxes"].tolist() == [[1, 2, 3, 4], [0, 0, 5, 5]]
    assert boxes["classes"].tolist() == ["é", "b"]
    assert CompressedRLE.model_validate(json.loads(boxes["masks_rle"][0])).counts == MASK.counts
    said = values_of(await answered(Capability.VLM, ANSWERS[Capability.VLM], binary=binary))
    assert said["text"].tolist() == ["two «circles»"]
    assert said["completion_tokens"].tolist() == [2]


async def test_the_order_of_the_request_is_that_of_the_answer_and_its_sections() -> None:
    response = await answered(
        Capability.DETECTION, ANSWERS[Capability.DETECTION], "classes", "boxes", "scores", binary=True
    )
    assert list(values_of(response)) == ["classes", "boxes", "scores"]


async def test_what_is_on_request_is_left_out_unless_it_is_named() -> None:
    assert "mask_logits" not in values_of(await answered(Capability.SEGMENTATION, ANSWERS[Capability.SEGMENTATION]))
    assert "masks" not in values_of(await answered(Capability.TRACKING, ANSWERS[Capability.TRACKING]))


async def test_a_detector_without_masks_gives_none() -> None:
    plain = DetectionOutput(boxes=[[0, 0, 1, 1]], scores=[1.0], classes=["a"])
    assert list(values_of(await answered(Capability.DETECTION, plain, "masks", "scores"))) == ["scores"]


async def test_masks_as_pixels_are_bounded_and_nothing_is_made_of_them_when_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outputs, "MAX_MASK_VALUES", 29)  # the two masks have 30
    output = ANSWERS[Capability.SEGMENTATION]
    with pytest.raises(TooLarge, match="ask for masks_rle"):
        await answered(Capability.SEGMENTATION, output)
    assert list(values_of(await answered(Capability.SEGMENTATION, output, "masks_rle"))) == ["masks_rle"]


@pytest.mark.parametrize("masks", [[[MASK], [MASK, MASK]], [[MASK, CompressedRLE.from_mask(ROWS.T)]]])
async def test_masks_that_make_no_tensor_are_the_models_failure(masks: list[list[CompressedRLE]]) -> None:
    with pytest.raises(ModelFailed):
        await answered(Capability.SEGMENTATION, SegmentationOutput(masks=masks, scores=SCORES), "masks")


def test_segmentation_prompts() -> None:
    parsed = fields_of(
        Capability.SEGMENTATION,
        {"image": [png()], "points": POINTS, "labels": np.array([[1], [0]], np.int8)},
        multimask_output=False,
        unknown=[{}],
    )
    assert parsed.points == POINTS.tolist()
    assert parsed.labels == [[1], [0]]
    assert parsed.multimask_output is False
    assert parsed.return_logits is False
    assert isinstance(parsed.image, ImageBytes)
    assert bytes(parsed.image.data) == png()


def test_prompts_of_different_lengths_are_filled_up_with_points_that_are_none() -> None:
    points = np.array([[[1, 2], [9, 9]], [[3, 4], [5, 6]]])
    parsed = fields_of(
        Capability.SEGMENTATION, {"image": [png()], "points": points, "labels": np.array([[1, -1], [1, 0]])}
    )
    assert parsed.points == [[[1, 2]], [[3, 4], [5, 6]]]
    assert parsed.labels == [[1], [1, 0]]


def test_logits_are_asked_for_by_naming_them() -> None:
    request = request_for(Capability.SEGMENTATION, {"image": [png()]}, outputs=[{"name": "mask_logits"}])
    assert request.fields(SIGNATURES[Capability.SEGMENTATION], READER)["return_logits"] is True


def test_detection_classes_and_thresholds() -> None:
    parsed = fields_of(
        Capability.DETECTION, {"pixels": PIXELS, "classes": ["café".encode(), b"dog"]}, box_threshold=0.25
    )
    assert parsed.classes == ["café", "dog"]
    assert parsed.box_threshold == 0.25


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        ({"frames": [png(), png(8, 8)]}, 2),
        ({"pixels": np.zeros((3, 4, 5, 3), np.uint8)}, 3),
    ],
)
def test_tracking_frames(values: dict[str, Value], frames: int) -> None:
    parsed = fields_of(
        Capability.TRACKING,
        {
            **values,
            "objects_ids": np.array([5, 6]),
            "frame_indexes": np.array([0, 1]),
            "boxes": np.array([[0, 0, 2, 2], [1, 1, 3, 3]]),
        },
        start_frame=0,
        end_frame=1,
    )
    assert len(parsed.video) == frames
    assert parsed.objects_ids == [5, 6]
    assert parsed.interval.end_frame == 1


def test_questions_and_conversations() -> None:
    asked = fields_of(Capability.VLM, {"prompt": ["où ?".encode()], "images": [png()]}, max_new_tokens=3)
    assert (asked.prompt, len(asked.images), asked.max_new_tokens) == ("où ?", 1, 3)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    with pytest.raises(InvalidInput, match="data URI is empty"):
        fields_of(Capability.VLM, {"messages": [json.dumps([{"role": "user", "content": [image]}]).encode()]})


@pytest.mark.parametrize(
    ("capability", "values", "words"),
    [
        (Capability.SEGMENTATION, {"points": POINTS}, "give image or pixels"),
        (Capability.SEGMENTATION, {"image": [png()], "pixels": PIXELS}, "give one of image or pixels"),
        (Capability.TRACKING, {"objects_ids": np.array([1])}, "give frames or video or pixels"),
        (Capability.VLM, {"images": [png()]}, "give prompt or messages"),
        (Capability.VLM, {"prompt": [b"\xff"], "pixels": PIXELS}, "not UTF-8"),
        (Capability.VLM, {"messages": [b"{"]}, "list of chat messages"),
        (Capability.VLM, {"messages": [b"{}"]}, "list of chat messages"),
        (Capability.DETECTION, {"image": [png()[:20]]}, "cannot be decoded"),
        (Capability.DETECTION, {"image": [b"\x89\x00"]}, "cannot be decoded"),
        (Capability.DETECTION, {"image": [b"http://127.0.0.1/a.png"]}, "opens no URL or path"),
        (Capability.DETECTION, {"image": [b"/etc/passwd"]}, "opens no URL or path"),
        (Capability.DETECTION, {"image": [b""]}, "opens no URL or path"),
    ],
)
def test_what_cannot_be_used_is_said(capability: Capability, values: dict[str, Value], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        fields_of(capability, values)


def test_equal_pixels_are_the_same_image_and_keep_their_colours() -> None:
    first, second = (READER.pixels(PIXELS, ("body",)) for _ in range(2))
    assert first.digest == second.digest

    np.testing.assert_array_equal(np.asarray(decode_image(first.data)), PIXELS)


def test_the_gateway_keeps_references_for_its_own_policy() -> None:
    reader = MediaReader(SETTINGS.max_image_pixels, keeps_references=True)
    for reference in ("http://host/a.png", "sha256:00", "photos/a.png", "data:image/png;base64,AAAA"):
        assert reader.image(reference.encode(), ()) == reference
        assert reader.video(reference.encode(), ()) == reference
    assert isinstance(reader.image(png(), ()), ImageBytes)


def test_every_list_of_byte_strings_has_a_limit() -> None:
    specs = [spec for signature in SIGNATURES.values() for spec in signature.inputs]
    settings_names = set(ServerSettings.model_fields)
    for spec in specs:
        assert {name for name in spec.limits if name is not None} <= settings_names
        if spec.datatype == BYTES and -1 in spec.shape:
            assert spec.limits[0] is not None, spec.name


@pytest.mark.parametrize("capability", Capability)
def test_parameters_are_fields_of_the_request(capability: Capability) -> None:
    signature, schema = SIGNATURES[capability], CAPABILITIES[capability].input
    assert {*signature.parameters, *(field for field, _ in signature.groups)} <= schema.model_fields.keys()
