from __future__ import annotations

import io
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pixano_inference.errors import InvalidInput, TooLarge
from pixano_inference.media.video import KEPT_FRAMES, VideoFile

FRAMES = 70


BITS = 8


def encode(frames: int = FRAMES, container: str = "mp4", codec: str = "mpeg4", pixel_format: str = "yuv420p") -> bytes:
    """A video whose frames spell their index as black and white blocks, with few key frames and with B-frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options={"g": "24", "bf": "2"} if codec == "mpeg4" else {})
        stream.width, stream.height, stream.pix_fmt = 16 * BITS, 32, pixel_format
        for index in range(frames):
            bits = [255 * (index >> bit & 1) for bit in range(BITS)]
            row = np.repeat(np.array(bits, np.uint8), 16)
            pixels = np.broadcast_to(row[None, :, None], (32, 16 * BITS, 3))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def seen(video: VideoFile, index: int) -> int:
    """The index that a frame spells."""
    row = np.asarray(video.frame(index).convert("L"))[16, 8::16]
    return sum(int(value > 127) << bit for bit, value in enumerate(row))


@pytest.fixture(scope="module")
def mp4() -> bytes:
    return encode()


def test_frames_are_counted_and_read_in_order(mp4: bytes) -> None:
    video = VideoFile(mp4)
    assert (len(video), video.width, video.height) == (FRAMES, 16 * BITS, 32)
    assert [seen(video, index) for index in range(FRAMES)] == list(range(FRAMES))


def test_frames_are_read_backwards_and_in_any_order(mp4: bytes) -> None:
    video = VideoFile(mp4)
    assert [seen(video, index) for index in reversed(range(FRAMES))] == list(reversed(range(FRAMES)))
    order = np.random.default_rng(0).permutation(FRAMES)[:20].tolist()
    assert [seen(video, index) for index in order] == order


def test_few_frames_are_kept(mp4: bytes) -> None:
    video = VideoFile(mp4)
    for index in range(FRAMES):
        video.frame(index)
    assert len(video._kept) == KEPT_FRAMES


@pytest.mark.parametrize("index", [-1, FRAMES])
def test_an_index_out_of_range_says_how_many_frames_there_are(mp4: bytes, index: int) -> None:
    with pytest.raises(InvalidInput, match=f"the video has {FRAMES} frames"):
        VideoFile(mp4).frame(index)


@pytest.mark.parametrize("data", [b"", b"no video", b"\x00" * 4096], ids=["empty", "text", "zeros"])
def test_what_is_no_video_is_refused_in_our_own_words(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="the video cannot be decoded"):
        VideoFile(data)


def test_other_containers_are_read() -> None:
    for container, codec, pixels in (("matroska", "mpeg4", "yuv420p"), ("avi", "mjpeg", "yuvj420p")):
        assert len(VideoFile(encode(5, container, codec, pixels))) == 5


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile inside.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ninside.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT9S"><Period><AdaptationSet><Representation id="1" bandwidth="9">'
        "<BaseURL>inside.mp4</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>",
    ],
    ids=["concat", "hls", "sdp", "dash"],
)
def test_a_text_that_names_files_or_addresses_is_no_video(
    mp4: bytes, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside.mp4").write_bytes(mp4)
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with pytest.raises(InvalidInput, match="its format is not supported"):
        VideoFile(text.encode())
    assert time.monotonic() - began < 10  # waiting at a port for what a session describes takes twenty seconds


def test_a_later_frame_may_not_be_larger_than_allowed_either() -> None:
    frames = []
    for size in ((64, 48), (64, 48), (2000, 1500)):
        buffer = io.BytesIO()
        Image.new("RGB", size, (9, 99, 9)).save(buffer, "JPEG")
        frames.append(buffer.getvalue())
    video = VideoFile(b"".join(frames), max_pixels=100_000)
    assert video.frame(1).size == (64, 48)
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        video.frame(2)


def test_a_truncated_video_fails_clearly_or_ends_early(mp4: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be decoded|no frames|out of range"):
        VideoFile(mp4[: len(mp4) // 2]).frame(FRAMES - 1)


def test_bounds_hold_before_anything_is_decoded(mp4: bytes) -> None:
    with pytest.raises(TooLarge, match="more than 10 frames"):
        VideoFile(mp4, max_frames=10)
    with pytest.raises(TooLarge, match="longer than the allowed"):
        VideoFile(mp4, max_seconds=0.5)
    with pytest.raises(TooLarge, match="128 × 32"):
        VideoFile(mp4, max_pixels=1000)
