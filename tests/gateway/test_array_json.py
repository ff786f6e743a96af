"""Long arrays in JSON are read in pieces, and come out as the numbers that were sent, or not at all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request

from pixano_inference.gateway import array_json
from pixano_inference.gateway.array_json import load_json
from pixano_inference.gateway.body import read_schema
from pixano_inference.schemas import NDArrayFloat, SegmentationRequest

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = st.lists(st.one_of(FLOATS, st.integers(-1000, 1000)), min_size=1, max_size=60)
ODDITIES = st.one_of(
    st.lists(
        st.one_of(FLOATS, st.none(), st.text(max_size=3), st.booleans(), st.lists(FLOATS, max_size=3)), max_size=9
    ),
    st.text(max_size=20),
    st.just('"values": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]'),
    st.just([1e300, 1.0, 2.0]),
    st.just([10**30, 1]),
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["values", "shape", "image", "x"]),
    st.one_of(ARRAYS, ODDITIES, st.fixed_dictionaries({"values": st.one_of(ARRAYS, ODDITIES), "shape": ARRAYS})),
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Any:
    """Arrays of a few bytes are long, and pieces are shorter still, so that every seam is met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_json, "LARGE", 1)
        patch.setattr(array_json, "_LONG", 8)
        patch.setattr(array_json, "_PIECE", 16)
        yield


def same(got: Any, sent: Any) -> bool:
    if isinstance(got, bytes):
        return got == np.array(sent, dtype="<f4").tobytes()
    if isinstance(got, dict):
        return got.keys() == sent.keys() and all(same(got[key], sent[key]) for key in got)
    return bool(got == sent)


@given(DOCUMENTS, st.sampled_from([None, 1]), st.booleans())
def test_every_document_is_read_as_the_parser_reads_it(document: Any, indent: int | None, ascii_only: bool) -> None:
    sent = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert same(load_json(sent), orjson.loads(sent))


@given(DOCUMENTS, st.integers(0, 400), st.sampled_from(list(b',[]{}":0e-. \\n')))
def test_broken_documents_are_refused_as_the_parser_refuses_them(document: Any, place: int, byte: int) -> None:
    sent = bytearray(json.dumps(document).encode())
    sent[place % len(sent)] = byte
    try:
        expected = orjson.loads(bytes(sent))
    except orjson.JSONDecodeError as error:
        with pytest.raises(orjson.JSONDecodeError, match=rf"column {error.colno} "):
            load_json(bytes(sent))
    else:
        assert same(load_json(bytes(sent)), expected)


def test_a_long_array_is_cut_out() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype("<f4")
    sent = orjson.dumps({"a": {"shape": [1000], "values": values}}, option=orjson.OPT_SERIALIZE_NUMPY)
    assert load_json(sent) == {"a": {"shape": [1000], "values": values.tobytes()}}


def request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def embeddings(values: list[Any], shape: list[Any]) -> bytes:
    array = {"shape": shape, "values": values}
    fields = {"model": "m", "image": "data:", "image_embedding": array, "high_resolution_features": [array]}
    return json.dumps(fields | {"padding": " " * array_json.LARGE}).encode()


async def test_a_request_with_long_arrays_is_what_pydantic_makes_of_it() -> None:
    body = embeddings([0.1, 2, -3.5] * 100, [3, 100])
    got = await read_schema(request(body), SegmentationRequest, 10**9)
    assert isinstance(got.image_embedding, NDArrayFloat)
    assert got.image_embedding == SegmentationRequest.model_validate_json(body).image_embedding


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([0.1] * 100, [99]),
        ([0.1] * 100, [-100]),
        ([0.1] * 100 + [float("nan")], [101]),
        ([0.1] * 100 + [1e39], [101]),
        ([0.1] * 100 + ["x"], [101]),
        ([0.1] * 100 + [[1]], [101]),
    ],
)
async def test_what_is_wrong_with_it_is_said_in_the_same_words(values: list[Any], shape: list[Any]) -> None:
    body = embeddings(values, shape)
    with pytest.raises(ValidationError) as expected:
        SegmentationRequest.model_validate_json(body)
    with pytest.raises(ValidationError) as got:
        await read_schema(request(body), SegmentationRequest, 10**9)
    assert got.value.errors(include_input=False, include_context=False) == expected.value.errors(
        include_input=False, include_context=False
    )
