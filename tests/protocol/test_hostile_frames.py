"""The binary protocol against bytes from a broken or hostile peer: an error of the protocol, never anything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pixano_inference.errors import PixanoError, from_wire, to_wire
from pixano_inference.protocol.messages import ProtocolError, decode, encode, from_plain, to_plain, with_arrays
from pixano_inference.protocol.streams import pack, unpack
from pixano_inference.schemas import (
    DetectionInput,
    ImageBytes,
    NDArrayFloat,
    SegmentationInput,
    TrackingInput,
    VLMInput,
)

INPUTS = [SegmentationInput, DetectionInput, TrackingInput, VLMInput]

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(st.text(max_size=8), plain_values, max_size=4)


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def unpacked(data: bytes, size: int, max_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [message async for message in unpack(chunks(data, size), max_bytes)]

    return asyncio.run(collect())


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(data), dict)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80\x80",  # two messages
        b"\x90",  # a list
        b"\x81\x01\x02",  # a key that is no text
        b"\x81\xa1a",  # cut short
        b"\xdf\xff\xff\xff\xff",  # a map that claims four billion entries
        b"\x81\xa1a\xdd\xff\xff\xff\xff",  # a list that does
        b"\x81\xa1a\xc6\xff\xff\xff\xff",  # bytes that claim four gigabytes
        b"\x81\xa1a\xdb\xff\xff\xff\xff",  # text that does
        b"\x81\xa1a" + b"\x91" * 100_000,  # nested without end
        b"\x81\xa1a\xa1\xff",  # text that is not UTF-8
        b"\x81\xa1a\xc7\x01\x01\x00",  # an extension type
        b"\x80\x04\x95" + b"\x00" * 30,  # how a pickle begins
    ],
    ids=range(14),
)
def test_lying_and_broken_messages_are_protocol_errors(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_a_stream_arrives_however_it_is_cut(sent: list[dict[str, Any]], size: int) -> None:
    data = b"".join(pack(message) for message in sent)
    assert msgspec.msgpack.encode(unpacked(data, size)) == msgspec.msgpack.encode(sent)


@given(st.lists(messages, min_size=1, max_size=3), st.integers(0, 10_000), st.binary(max_size=6), st.integers(1, 50))
def test_a_damaged_stream_is_messages_or_a_protocol_error(
    sent: list[dict[str, Any]], where: int, damage: bytes, size: int
) -> None:
    data = bytearray(b"".join(pack(message) for message in sent))
    where %= len(data) + 1
    data[where : where + len(damage)] = damage
    with contextlib.suppress(ProtocolError):
        assert all(isinstance(message, dict) for message in unpacked(bytes(data), size))


@given(messages, st.integers(1, 10_000))
def test_a_stream_that_ends_inside_a_message_is_a_protocol_error(message: dict[str, Any], cut: int) -> None:
    data = pack(message)
    with pytest.raises(ProtocolError, match="ends inside"):
        unpacked(data[: -(cut % (len(data) - 1) + 1)] or data[:1], 7)


def test_a_length_that_lies_is_refused_before_the_bytes_are_waited_for() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b"\xff\xff\xff\xff"
        while True:
            taken += 1
            yield b"x" * 1000

    async def collect() -> None:
        async for _ in unpack(endless(), 1 << 20):
            pass

    with pytest.raises(ProtocolError, match="over the limit"):
        asyncio.run(collect())
    assert taken <= 1


@given(st.sampled_from(INPUTS), plain_values)
def test_any_values_are_an_input_or_a_validation_error(schema: type[Any], plain: Any) -> None:
    with contextlib.suppress(ValidationError):
        from_plain(schema, plain)


@pytest.mark.parametrize(
    "array",
    [
        {"shape": [2], "values": b"\0" * 7},
        {"shape": [3], "values": b"\0" * 8},
        {"shape": [2**40, 2**40], "values": b""},
        {"shape": [-1], "values": b"\0" * 4},
        {"shape": [0], "values": b""},
        {"shape": [], "values": b""},
        {"shape": None, "values": b"\0" * 4},
        {"shape": [1], "values": np.float32("nan").tobytes()},
        {"shape": [1], "values": "text"},
        {"values": b"\0" * 4},
    ],
    ids=range(10),
)
def test_arrays_that_lie_about_their_shape_are_refused(array: dict[str, Any]) -> None:
    plain = {"image": {"media": "image", "digest": "0" * 64, "data": b"x"}, "mask_input": array}
    with pytest.raises(ValidationError):
        from_plain(SegmentationInput, plain)


def test_an_input_survives_the_way() -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    sent = SegmentationInput(
        image=ImageBytes(b"\x89PNG"), points=[[[1, 2]]], labels=[[0]], mask_input=NDArrayFloat.from_numpy(values)
    )
    got = from_plain(SegmentationInput, decode(encode(to_plain(sent))))
    assert isinstance(got.image, ImageBytes)
    assert got.image.data == b"\x89PNG"
    assert got.points == [[[1, 2]]]
    assert got.mask_input is not None
    np.testing.assert_array_equal(got.mask_input.to_numpy(), values)


@given(plain_values)
def test_answers_of_any_shape_can_be_written(plain: Any) -> None:
    # bytes that are not whole float32 values
    with contextlib.suppress(ValueError):
        with_arrays(plain)


@given(st.dictionaries(st.sampled_from(["type", "message", "code", "retry_after_s", "location", "x"]), plain_values))
def test_any_error_message_is_an_error(fields: dict[str, Any]) -> None:
    error = from_wire(fields)
    assert isinstance(error, PixanoError)
    assert isinstance(from_wire(to_wire(error)), type(error))
