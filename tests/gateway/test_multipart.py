"""Uploads: bytes in, within bounds, and every broken body a clear 4xx."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import BadRequest, InvalidInput, PixanoError, TooLarge
from pixano_inference.gateway.multipart import parse_metadata, read_multipart
from pixano_inference.schemas import ImageBytes, SegmentationRequest, TrackingRequest
from tests.attacks import BROKEN_BODIES, CONTENT_TYPE, END, METADATA, NO_MULTIPART, NO_OBJECTS, WHOLE, part

SMALL = ServerSettings(max_body_mb=0.01, max_upload_mb=0.02, max_frames=3)


async def read(
    body: bytes,
    files: Literal["image", "frames"] = "image",
    *,
    server: ServerSettings = SMALL,
    content_type: str = CONTENT_TYPE,
    chunk: int = 7,
    declared: str | None = None,
) -> tuple[bytes, list[bytes]]:
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)]

    async def receive() -> Message:
        data = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": data, "more_body": bool(chunks)}

    headers = [(b"content-type", content_type.encode("latin-1"))]
    if declared is not None:
        headers.append((b"content-length", declared.encode()))
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)
    return await read_multipart(request, server, files=files)


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 100_000])
@pytest.mark.parametrize("filename", [None, "metadata.json", ""])
async def test_metadata_may_be_a_field_or_a_file(chunk: int, filename: str | None) -> None:
    image = bytes(range(256)) + b"\r\n--limi\r\n--\r"
    body = part("metadata", METADATA, filename=filename) + part("other", b"skipped") + part("image", image) + END
    assert await read(body, chunk=chunk) == (METADATA, [image])


async def test_parts_come_in_any_order_and_frames_in_theirs() -> None:
    frames = [b"one", b"", b"three"]
    body = part("frames", frames[0]) + part("metadata", METADATA) + part("frames", b"") + part("frames", b"three") + END
    assert await read(body, "frames") == (METADATA, frames)


async def test_thousands_of_frames_and_megabytes_of_metadata_are_legal() -> None:
    metadata = b'{"model": "' + b"m" * 3_000_000 + b'"}'
    body = part("metadata", metadata) + b"".join(part("frames", b"%d" % index) for index in range(2500)) + END
    got, frames = await read(body, "frames", server=ServerSettings(), chunk=65_536)
    assert got == metadata
    assert frames == [b"%d" % index for index in range(2500)]


@pytest.mark.parametrize("content_type", NO_MULTIPART)
async def test_a_content_type_that_is_none_is_a_bad_request(content_type: str) -> None:
    with pytest.raises(BadRequest):
        await read(WHOLE, content_type=content_type)


@pytest.mark.parametrize("body", BROKEN_BODIES, ids=range(len(BROKEN_BODIES)))
async def test_a_broken_body_is_a_bad_request(body: bytes) -> None:
    for chunk in (1, 50, 1_000_000):
        with pytest.raises((BadRequest, TooLarge)) as caught:
            await read(body, chunk=chunk, server=ServerSettings())
        assert caught.value.status == 400


async def test_a_missing_image_and_a_second_one_are_content_errors() -> None:
    with pytest.raises(InvalidInput) as caught:
        await read(part("metadata", METADATA) + END)
    assert caught.value.location == ("body", "image")
    with pytest.raises(InvalidInput, match="twice"):
        await read(part("metadata", METADATA) + part("image", b"x") * 2 + END)


async def test_bodies_parts_and_frames_are_bounded() -> None:
    body = part("metadata", METADATA) + part("image", b"x" * 11_000) + END
    with pytest.raises(TooLarge):
        await read(body)
    with pytest.raises(TooLarge):
        await read(b"", declared=str(10**12))
    assert len((await read(part("metadata", METADATA) + part("frames", b"x" * 11_000) + END, "frames"))[1]) == 1
    with pytest.raises(TooLarge, match="allowed 3 frames"):
        await read(part("metadata", METADATA) + part("frames", b"x") * 4 + END, "frames")
    with pytest.raises(TooLarge, match="metadata"):
        await read(part("metadata", b"x" * 11_000) + END, "frames")
    with pytest.raises(TooLarge, match="unknown names"):
        await read(part("x", b"") * 17 + END)


async def test_a_body_that_never_ends_is_cut_at_the_cap() -> None:
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1000
        return {"type": "http.request", "body": (part("image", b"") + b"x" * 1000)[:1000], "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", CONTENT_TYPE.encode())]}
    with pytest.raises(PixanoError):
        await read_multipart(Request(scope, receive), SMALL, files="image")
    assert taken < 20_000


@settings(max_examples=150)
@given(st.data())
def test_any_mutation_of_an_upload_is_an_upload_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip":
            body[position] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del body[position : position + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            body[position:position] = data.draw(st.binary(min_size=1, max_size=20))
        else:
            body += body[position:]
        if not body:
            break
    try:
        metadata, files = asyncio.run(read(bytes(body), chunk=data.draw(st.integers(1, 200))))
    except PixanoError as error:
        status = error.status
    else:
        status = 200 if isinstance(metadata, bytes) and files else 500
    assert status in (200, 400, 413, 422)


def test_metadata_and_media_make_a_request() -> None:
    image = ImageBytes(b"png")
    request = parse_metadata(
        b'{"model": "m", "points": [[["12", 12.0]]], "unknown": 1, "image": "http://elsewhere/"}',
        SegmentationRequest,
        {"image": image},
    )
    assert request.image is image
    assert request.points == [[[12, 12]]]


@pytest.mark.parametrize("metadata", NO_OBJECTS)
def test_metadata_that_is_no_json_object_is_a_bad_request(metadata: bytes) -> None:
    with pytest.raises(BadRequest, match="metadata") as caught:
        parse_metadata(metadata, SegmentationRequest, {"image": ImageBytes(b"x")})
    assert len(caught.value.message) < 100


@pytest.mark.parametrize(
    ("metadata", "location"),
    [
        (b"{}", ("body", "model")),
        (b'{"model": 1}', ("body", "model")),
        (b'{"model": "m", "points": [[[1, 2, 3]]]}', ("body", "points", 0, 0)),
        (b'{"model": "m", "points": [[[1.5, 2]]]}', ("body", "points", 0, 0, 0)),
        (b'{"model": "m", "labels": [[1]]}', ("body",)),
        (b'{"model": "m", "points": [[[1, 18446744073709551616]]]}', ("body", "points", 0, 0, 1)),
        (b'{"model": "m", "mask_input": {"values": [], "shape": [100000, 100000]}}', ("body", "mask_input")),
    ],
)
def test_metadata_that_does_not_fit_is_a_schema_error_without_the_input(
    metadata: bytes, location: tuple[Any, ...]
) -> None:
    with pytest.raises(RequestValidationError) as caught:
        parse_metadata(metadata, SegmentationRequest, {"image": ImageBytes(b"secret")})
    (error,) = caught.value.errors()
    assert error["loc"] == location
    assert set(error) == {"loc", "msg", "type"}


def test_a_mask_that_claims_to_be_huge_is_refused_without_being_made() -> None:
    for size in ("[100000, 100000]", "[-1, 5]", "[5]", "[18446744073709551616, 1]", "[true, true]"):
        keyframe = b'{"frame_index": 0, "mask": {"size": %s, "counts": "0"}}' % size.encode()
        metadata = b'{"model": "m", "objects_ids": [1], "frame_indexes": [0], "keyframes": [%s]}' % keyframe
        with pytest.raises(RequestValidationError):
            parse_metadata(metadata, TrackingRequest, {"video": [ImageBytes(b"x")]})
