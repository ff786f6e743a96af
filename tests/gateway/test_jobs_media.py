"""Media of jobs on their way to a runner, and masks on their way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pixano_inference.gateway.jobs.masks import pack_frames, unpack_output
from pixano_inference.gateway.jobs.spool import Spool, pack_request, request_body
from pixano_inference.protocol.messages import encode, from_plain, to_plain
from pixano_inference.runner.spooled_video import read_messages
from pixano_inference.schemas import CompressedRLE, FrameMasks, ImageBytes, TrackingInput, TrackingOutput, VideoBytes


def received(path: Path, request: bytes) -> dict[str, Any]:
    data = path.read_bytes()

    async def media() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    return asyncio.run(read_messages(aiter(request_body(request, media, 12.5)())))


def test_spooled_frames_reach_the_runner_as_they_were(tmp_path: Path) -> None:
    frames = [ImageBytes(f"frame {number}".encode()) for number in range(1500)]
    tracked = TrackingInput(video=list(frames), objects_ids=[4], frame_indexes=[0], boxes=[[1, 2, 3, 4]])
    plain = to_plain(tracked)
    with Spool(tmp_path) as spool:
        names = [spool.add_frame(frame) for frame in frames]
        fields = {name: value for name, value in plain.items() if name != "video"}
        message = received(spool.close(), pack_request(fields, spool.count))
    assert names == [str.__str__(frame) for frame in frames]
    assert not any(isinstance(name, ImageBytes) for name in names)
    assert message["timeout_s"] == 12.5
    again = from_plain(TrackingInput, message["input"])
    assert [frame.data for frame in again.video if isinstance(frame, ImageBytes)] == [frame.data for frame in frames]


def test_one_video_stays_one_video(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(VideoBytes(b"an mp4"))
        message = received(spool.close(), pack_request({"objects_ids": [1]}, None))
    video = message["input"]["video"]
    assert (video["media"], video["data"]) == ("video", b"an mp4")


def test_a_spool_that_no_store_took_is_removed(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(ImageBytes(b"x"))
        assert list(tmp_path.iterdir()) == [spool.path]
    assert list(tmp_path.iterdir()) == []


def test_masks_come_back_as_they_were(tmp_path: Path) -> None:
    mask = CompressedRLE(size=[3, 4], counts=[2, 5, 5])
    frames = [FrameMasks(frame_index=index, objects_ids=[7, 9], masks=[mask, mask]) for index in range(130)]
    plain = [to_plain(frame) for frame in frames]
    output = unpack_output([pack_frames(plain[:64]), pack_frames(plain[64:])])
    assert TrackingOutput(**output) == TrackingOutput.from_frames(frames)
    assert len(pack_frames(plain)) < len(encode({"frames": plain})) / 10
