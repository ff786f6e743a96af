"""Requests are read as they were sent, or refused in our words; what they claim costs nothing before it is checked."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from pydantic import ValidationError
from starlette.requests import Request

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, InvalidInput, PixanoError, TooLarge
from pixano_inference.oip.media import MediaReader
from pixano_inference.oip.request import InferRequest, json_length, read_infer_request
from pixano_inference.oip.signatures import SIGNATURES
from pixano_inference.oip.tensor import DTYPES
from pixano_inference.protocol.body import UnsupportedMediaType
from pixano_inference.schemas import CAPABILITIES, Capability

from .bodies import Value, binary_body, declared, json_body, png

SETTINGS = ServerSettings(max_prompts=8, max_points=8, max_array_values=4096, max_image_pixels=10_000)
SEGMENTATION = SIGNATURES[Capability.SEGMENTATION]
CLICK: dict[str, Value] = {"image": [png()], "points": np.array([[[20, 30]]], dtype=np.int32)}


def read(body: bytes, length: int | None = None, capability: Capability = Capability.SEGMENTATION) -> InferRequest:
    return read_infer_request(body, length, SIGNATURES[capability], SETTINGS)


def with_inputs(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": inputs, **fields}).encode()


INTEGERS = [name for name in DTYPES if "INT" in name]
FLOATS = [name for name in DTYPES if name.startswith("FP")]


@given(st.data())
def test_integers_of_any_width_come_as_they_were_sent(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(INTEGERS))
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(2)))
    sent = data.draw(numpy_st.arrays(DTYPES[datatype], shape))
    for request in (
        read(*binary_body({"points": sent})),
        read(json_body({"points": sent})),
        read(json_body({"points": sent}, nested=True)),
    ):
        np.testing.assert_array_equal(request.tensors["points"].array, sent)


@given(st.data())
def test_floats_of_any_width_become_float32(data: st.DataObject) -> None:
    dtype = np.dtype(DTYPES[data.draw(st.sampled_from(FLOATS))])
    shape = data.draw(st.tuples(st.integers(1, 8), st.just(1), st.integers(1, 4), st.integers(1, 4)))
    width = min(dtype.itemsize * 8, 32)
    sent = data.draw(numpy_st.arrays(dtype, shape, elements=st.floats(-1e4, 1e4, width=16 if width == 16 else 32)))
    for request in (read(*binary_body({"mask_input": sent})), read(json_body({"mask_input": sent}, nested=True))):
        got = request.tensors["mask_input"].array
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, sent.astype(np.float32))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_byte_strings_come_as_they_were_sent(elements: list[bytes]) -> None:
    assert read(*binary_body({"frames": elements}), Capability.TRACKING).tensors["frames"].elements == elements


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_texts_come_as_utf_8(texts: list[str]) -> None:
    body = json_body({"classes": [text.encode() for text in texts]})
    elements = read(body, capability=Capability.DETECTION).tensors["classes"].elements
    assert [element.decode() for element in elements] == texts


def test_sections_are_taken_in_the_order_of_their_inputs() -> None:
    boxes = np.array([[1, 2, 3, 4]], dtype=np.int64)
    request = read(*binary_body({"boxes": boxes, "image": [b"\x89 first"], "points": boxes.reshape(1, 2, 2)}))
    np.testing.assert_array_equal(request.tensors["boxes"].array, boxes)
    assert request.tensors["image"].elements == [b"\x89 first"]
    np.testing.assert_array_equal(request.tensors["points"].array, [[[1, 2], [3, 4]]])


def test_the_outputs_that_are_named_are_wanted_and_no_others() -> None:
    outputs = [{"name": "scores", "parameters": {"binary_data": False}}, {"name": "masks_rle"}]
    body, length = binary_body(CLICK, outputs=outputs, parameters={"binary_data_output": True}, id="a")
    request = read(body, length)
    assert dict(request.outputs) == {"scores": False, "masks_rle": True}
    assert request.id == "a"
    assert dict(read(*binary_body(CLICK)).outputs) == {"masks": False, "masks_rle": False, "scores": False}


HEADER = declared("points", CLICK["points"])
SECTION = {"parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("body", "length", "error", "words"),
    [
        (b"", None, BadRequest, "not valid JSON"),
        (b"{", None, BadRequest, "not valid JSON"),
        (b"[]", None, InvalidInput, "does not fit the protocol"),
        (b"{}", None, InvalidInput, "inputs"),
        (b'{"inputs": [NaN]}', None, BadRequest, "not valid JSON"),
        (b'{"inputs": [{"name": "\xff"}]}', None, BadRequest, "not valid JSON"),
        (b"{" + b'"inputs":[' * 100_000, None, PixanoError, ""),
        (b'{"inputs": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, BadRequest, "not valid JSON"),
        (with_inputs(), 10**6, BadRequest, "the body has"),
        (with_inputs({**HEADER, **SECTION}), None, BadRequest, "0 bytes of binary data are left"),
        (with_inputs(HEADER), None, InvalidInput, "give data, or binary_data_size"),
        (with_inputs({**HEADER, "data": [1, 2], **SECTION}), None, InvalidInput, "give data, or binary_data_size"),
        (with_inputs({**HEADER, "parameters": {"binary_data_size": -1}}), None, InvalidInput, "number of bytes"),
        (with_inputs({**HEADER, "parameters": {"binary_data_size": True}}), None, InvalidInput, "number of bytes"),
        (with_inputs({**HEADER, "parameters": [1]}), None, InvalidInput, "must be an object"),
        (with_inputs({**HEADER, "parameters": {"a": "x" * 70_000}}), None, TooLarge, "parameters take more"),
        (with_inputs({**HEADER, "name": "pionts", "data": [1, 2]}), None, InvalidInput, "known are image, pixels"),
        (with_inputs({**HEADER, "data": [1, 2]}, {**HEADER, "data": [1, 2]}), None, InvalidInput, "twice"),
        (with_inputs({**HEADER, "data": [1]}), None, InvalidInput, "does not hold what shape"),
        (with_inputs({**HEADER, "data": [[1, 2]]}), None, InvalidInput, "list of integers"),
        (with_inputs({**HEADER, "data": [1, 2.5]}), None, InvalidInput, "list of integers"),
        (with_inputs({**HEADER, "data": [1, True]}), None, InvalidInput, "list of integers"),
        (with_inputs({**HEADER, "data": [1, 2**31]}), None, InvalidInput, "out of the range of INT32"),
        (with_inputs({**HEADER, "data": [1, 10**30]}), None, InvalidInput, "out of the range of INT32"),
        (with_inputs({**HEADER, "data": {"a": 1, "b": 2}}), None, InvalidInput, "list of integers"),
        (with_inputs({**HEADER, "datatype": "FP32", "data": [1, 2]}), None, InvalidInput, "declared is INT32"),
        (with_inputs({**HEADER, "datatype": "int32", "data": [1, 2]}), None, InvalidInput, "declared is INT32"),
        (with_inputs({**HEADER, "shape": [1, 2], "data": [1, 2]}), None, InvalidInput, "does not fit [-1, -1, 2]"),
        (with_inputs({**HEADER, "shape": [1, 1, 3], "data": [1]}), None, InvalidInput, "does not fit [-1, -1, 2]"),
        (with_inputs({**HEADER, "shape": [0, 1, 2], "data": []}), None, InvalidInput, "any positive size"),
        (with_inputs({**HEADER, "shape": [-1, 1, 2], "data": []}), None, InvalidInput, "any positive size"),
        (with_inputs({**HEADER, "shape": [9, 1, 2], "data": []}), None, InvalidInput, "allowed are 8"),
        (with_inputs({**HEADER, "shape": [1, 2**62, 2], "data": []}), None, InvalidInput, "allowed are 8"),
        (with_inputs({**HEADER, "shape": [2**70, 1, 2], "data": []}), None, PixanoError, ""),
        (
            with_inputs({"name": "mask_input", "datatype": "FP32", "shape": [1, 1, 2**40, 2**40], "data": []}),
            None,
            TooLarge,
            "more than the allowed 4096 values",
        ),
        (
            with_inputs({"name": "pixels", "datatype": "UINT8", "shape": [2**40, 2**40, 3], "data": []}),
            None,
            TooLarge,
            "allowed are 10000",
        ),
        (
            with_inputs({"name": "pixels", "datatype": "INT64", "shape": [1, 1, 3], "data": [1, 2, 3]}),
            None,
            InvalidInput,
            "declared is UINT8",
        ),
        (with_inputs({"name": "image", "datatype": "BYTES", "shape": [1], "data": ["a", "b"]}), None, InvalidInput, ""),
        (with_inputs({"name": "image", "datatype": "BYTES", "shape": [1], "data": [1]}), None, InvalidInput, ""),
        (with_inputs(outputs=[{"name": "mask"}]), None, InvalidInput, "known are masks, masks_rle"),
        (with_inputs(outputs=[{"name": "masks"}, {"name": "masks"}]), None, InvalidInput, "twice"),
        (with_inputs(parameters={"binary_data_output": "yes"}), None, InvalidInput, "true or false"),
        (with_inputs(id="x" * 2000), None, InvalidInput, "longer than 1024"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, length: int | None, error: type[PixanoError], words: str) -> None:
    with pytest.raises(error) as raised:
        read(body, length)
    assert words in raised.value.message
    assert len(raised.value.message) < 500


@pytest.mark.parametrize(
    ("section", "error", "words"),
    [
        (b"", BadRequest, "ends before element 0"),
        (b"\x01\x00\x00", BadRequest, "ends before element 0"),
        (b"\xff\xff\xff\xffab", BadRequest, "claims 4294967295 bytes, 2 are left"),
        (b"\x01\x00\x00\x00ab", BadRequest, "1 bytes are left after 1 elements"),
    ],
)
def test_lengths_that_lie_are_refused(section: bytes, error: type[PixanoError], words: str) -> None:
    image = {"name": "image", "datatype": "BYTES", "shape": [1]}
    header = with_inputs({**image, "parameters": {"binary_data_size": len(section)}})
    with pytest.raises(error, match=words):
        read(header + section, len(header))


def test_sections_must_add_up() -> None:
    body, length = binary_body(CLICK)
    with pytest.raises(BadRequest, match="1 bytes of binary data belong to no input"):
        read(body + b"\0", length)
    with pytest.raises(BadRequest, match="7 bytes of binary data are left"):
        read(body[:-1], length)
    lying = json.loads(body[:length])
    lying["inputs"][1]["shape"] = [1, 2, 2]
    header = json.dumps(lying).encode()
    with pytest.raises(InvalidInput, match="takes 16 bytes, binary_data_size is 8"):
        read(header + body[length:], len(header))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_float32_cannot_hold_are_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match="NaN, infinite, or out of the range"):
        read(*binary_body({"mask_input": np.full((1, 1, 1, 1), value)}))


@given(st.data())
@settings(max_examples=200)
def test_any_mutation_of_a_request_is_a_request_or_a_refusal(data: st.DataObject) -> None:
    body, length = binary_body(CLICK, outputs=[{"name": "masks"}], parameters={"multimask_output": True})
    mutated = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutated)))
        cut = data.draw(st.integers(0, 8))
        mutated[position : position + cut] = data.draw(st.binary(max_size=8))
    claimed = data.draw(st.sampled_from([length, None, 0]) | st.integers(0, len(mutated) + 2))
    answered_or_refused(bytes(mutated), claimed, Capability.SEGMENTATION)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=200)
def test_any_json_is_a_request_or_a_refusal(data: st.DataObject) -> None:
    capability = data.draw(st.sampled_from(list(Capability)))
    signature = SIGNATURES[capability]
    names = [spec.name for spec in signature.inputs]

    def sent() -> dict[str, Any]:
        spec = data.draw(st.sampled_from(signature.inputs))
        shape = [data.draw(st.integers(1, 3)) if size == -1 else size for size in spec.shape]
        count = int(np.prod(shape))
        element = st.text(max_size=4) if spec.datatype == "BYTES" else st.integers(-2, 9) | st.floats(0, 1)
        likely = st.lists(element, min_size=count, max_size=count)
        return {
            "name": data.draw(st.just(spec.name) | st.sampled_from(names) | st.text(max_size=4)),
            "datatype": data.draw(st.just(spec.datatype) | st.sampled_from(["BYTES", *DTYPES, "?"])),
            "shape": data.draw(st.just(shape) | st.lists(st.integers(), max_size=5)),
            "data": data.draw(likely | VALUES),
            "parameters": data.draw(st.none() | st.dictionaries(st.just("binary_data_size") | st.text(), VALUES)),
        }

    request = {
        "id": data.draw(st.none() | st.text()),
        "inputs": [sent() for _ in range(data.draw(st.integers(0, 4)))],
        "parameters": data.draw(
            st.none() | st.dictionaries(st.sampled_from([*signature.parameters, "start_frame", "x"]), VALUES)
        ),
    }
    answered_or_refused(json.dumps(request).encode(), None, capability)


def answered_or_refused(body: bytes, length: int | None, capability: Capability) -> None:
    signature = SIGNATURES[capability]
    reader = MediaReader(SETTINGS.max_image_pixels, keeps_references=False)
    try:
        request = read_infer_request(body, length, signature, SETTINGS)
        CAPABILITIES[capability].input.model_validate(request.fields(signature, reader))
    except (PixanoError, ValidationError) as error:
        status = getattr(error, "status", 422)
    else:
        status = 200
    assert status in (200, 400, 413, 422)


@pytest.mark.parametrize(
    "hostile",
    [
        {**HEADER, "shape": [8, 8, 2], "data": "[" + "0," * 1_000_000 + "0]"},
        {**HEADER, "shape": [8, 8, 2], "data": "[" + "[]," * 1_000_000 + "[]]"},
        {**HEADER, "shape": [8, 8, 2], "data": "[" + "[" * 900 + "]" * 900 + "]"},
        {"name": "image", "datatype": "BYTES", "shape": [1], "data": "[" + '"",' * 700_000 + '""]'},
        {"name": "image", "datatype": "BYTES", "shape": [1], "data": "[" + '"\\\\",' * 400_000 + '""]'},
        {"name": "image", "datatype": "BYTES", "shape": [1], "data": '["' + '\\"' * 1_000_000 + '",""]'},
        {"name": "pixels", "datatype": "UINT8", "shape": [100, 100, 3], "data": "[" + "1," * 1_000_000 + "1]"},
    ],
    ids=lambda sent: f"{sent['name']} {sent['data'][:6]}",
)
def test_values_that_nobody_declared_cost_no_memory(hostile: dict[str, Any]) -> None:
    sent = json.dumps({**hostile, "data": "DATA"}).replace('"DATA"', hostile["data"])
    body = b'{"inputs": [' + sent.encode() + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(PixanoError):
            read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(body) + 100_000  # copies of the text, and no objects made of it


def request_of(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


def test_the_header_says_how_much_of_the_body_is_json() -> None:
    assert json_length(request_of()) is None
    assert json_length(request_of(content_type="application/json; charset=utf-8")) is None
    assert json_length(request_of(inference_header_content_length="12")) == 12
    both = request_of(content_type="application/octet-stream", inference_header_content_length="12")
    assert json_length(both) == 12
    for length in ("-1", "1.5", "twelve", "", "²", "9" * 30):
        with pytest.raises(BadRequest):
            json_length(request_of(inference_header_content_length=length))


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "application/vnd.bentoml+pickle", "text/plain", "multipart/form-data"]
)
def test_other_bodies_are_not_read(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        json_length(request_of(content_type=content_type))
