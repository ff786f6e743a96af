"""Long videos on their way into a runner."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pixano_inference.protocol.messages import ProtocolError, decode, encode, from_plain, to_plain
from pixano_inference.runner.spooled_video import FROM_BYTES, SpooledImage, read_message
from pixano_inference.schemas import ImageBytes, TrackingInput, VideoBytes


async def in_chunks(body: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def message(video: Any) -> bytes:
    tracked = TrackingInput(video=video, objects_ids=[4], frame_indexes=[0], boxes=[[1, 2, 3, 4]])
    return encode({"timeout_s": 7.5, "input": to_plain(tracked)})


def frames(count: int, size: int) -> list[ImageBytes]:
    return [ImageBytes(os.urandom(size)) for _ in range(count)]


async def test_a_short_message_stays_in_memory() -> None:
    body = message(frames(3, 100))
    assert await read_message(in_chunks(body, 10)) == decode(body)


async def test_frames_of_a_long_message_are_read_from_disk_one_by_one() -> None:
    sent = frames(40, FROM_BYTES // 30)
    received = await read_message(in_chunks(message(sent)))
    assert received["timeout_s"] == 7.5
    tracked = from_plain(TrackingInput, received["input"])
    assert tracked.boxes == [[1, 2, 3, 4]]
    assert all(isinstance(frame, SpooledImage) for frame in tracked.video)
    assert list(tracked.video) == sent, "they have the same names"
    assert [frame.data for frame in tracked.video if isinstance(frame, ImageBytes)] == [frame.data for frame in sent]


async def test_one_long_video_file_stays_one() -> None:
    video = VideoBytes(os.urandom(FROM_BYTES + 1))
    received = await read_message(in_chunks(message(video)))
    assert received["input"]["video"]["data"] == video.data


async def test_frames_left_out_are_told_as_such() -> None:
    plain = decode(message(frames(40, FROM_BYTES // 30)))
    plain["input"]["video"][3]["data"] = None
    received = await read_message(in_chunks(encode(plain)))
    assert received == plain


@pytest.mark.parametrize("body", [b"\xc1" * (FROM_BYTES + 1), b"\x93" * (FROM_BYTES + 1), encode({"timeout_s": 1.0})])
async def test_what_is_no_message_is_refused(body: bytes) -> None:
    if len(body) < FROM_BYTES:
        body = message(frames(40, FROM_BYTES // 30))[:-5]
    with pytest.raises(ProtocolError):
        await read_message(in_chunks(body))
