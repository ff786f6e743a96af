"""Videos of jobs on their way into a runner."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pixano_inference.protocol.messages import ProtocolError, encode, from_plain, to_plain
from pixano_inference.protocol.streams import pack
from pixano_inference.runner.spooled_video import SpooledImage, read_messages
from pixano_inference.schemas import ImageBytes, TrackingInput, VideoBytes

FIELDS = {"objects_ids": [4], "frame_indexes": [0], "boxes": [[1, 2, 3, 4]]}
FRAMES = [ImageBytes(os.urandom(1000 + number)) for number in range(40)]


async def read(body: bytes) -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 777):
            yield body[start : start + 777]

    return await read_messages(chunks())


def head(frames: int | None) -> bytes:
    return pack({"timeout_s": 7.5, "input": FIELDS, "frames": frames})


async def test_frames_are_read_from_disk_one_by_one() -> None:
    received = await read(head(40) + b"".join(pack(to_plain(frame)) for frame in FRAMES))
    assert received["timeout_s"] == 7.5
    tracked = from_plain(TrackingInput, received["input"])
    assert tracked.boxes == [[1, 2, 3, 4]]
    assert all(isinstance(frame, SpooledImage) for frame in tracked.video)
    assert list(tracked.video) == FRAMES, "they have the same names"
    assert [frame.data for frame in tracked.video if isinstance(frame, ImageBytes)] == [frame.data for frame in FRAMES]


async def test_the_file_is_closed_with_its_last_frame() -> None:
    before = len(os.listdir("/proc/self/fd"))
    received = await read(head(1) + pack(to_plain(FRAMES[0])))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del received
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_video_file_stays_one() -> None:
    received = await read(head(None) + pack(to_plain(VideoBytes(b"an mp4"))))
    tracked = from_plain(TrackingInput, received["input"])
    assert isinstance(tracked.video, VideoBytes)
    assert tracked.video.data == b"an mp4"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 100,
        encode({"timeout_s": 1.0, "input": FIELDS}),
        pack({"timeout_s": 1.0}),
        head(2) + pack(to_plain(FRAMES[0])),
        head(1) + pack(to_plain(FRAMES[0]))[:-1],
        head(1) + pack({"media": "image", "digest": "0"}),
        head(None),
    ],
    ids=["nothing", "noise", "one message", "no input", "a frame too few", "cut short", "no data", "no video"],
)
async def test_what_is_no_such_body_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        await read(body)
