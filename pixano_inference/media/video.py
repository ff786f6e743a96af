"""Decoding video files frame by frame, with memory that does not grow with their length."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from PIL import Image

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import InvalidInput, TooLarge

from .images import check_size

KEPT_FRAMES = 32
"""Decoded frames that are kept; going backwards, a file is decoded in runs of this many."""
MAX_FRAMES = 20_000
MAX_SECONDS = 3600.0

CONTAINERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "mxf", "nut", "dv", "ivf", "gif", "apng",
    "h264", "hevc", "obu", "m4v", "mpegvideo", "mjpeg", "yuv4mpegpipe", "png_pipe", "jpeg_pipe", "webp_pipe",
)  # fmt: skip
"""Formats that are read, as FFmpeg names them (``mov`` is MP4, ``matroska`` WebM): their files hold all of a video.

Among the others are texts that name files, hosts or ports to read from (concat, HLS, DASH, SDP): a "video" of a hundred
bytes would open the server's files, or sockets to wait at.
"""
_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}

_DAMAGED = "the video cannot be decoded: its format is not supported, or its data is damaged or cut short"


class VideoFile:
    """The frames of an encoded video by index, in the order in which they are shown.

    Reading in order decodes each frame once. Reading backwards decodes in runs from the key frame before, and keeps the
    run. Rotation metadata is not applied: pixels are used as stored.

    Args:
        data: The encoded file, in one of :data:`CONTAINERS` (MP4, WebM, MKV, AVI, ...).
        max_frames: Most frames.
        max_seconds: Longest duration.
        max_pixels: Largest width × height of a frame; null: what the server's settings say.

    Raises:
        InvalidInput: The bytes are no video that can be decoded.
        TooLarge: It is longer, or has more or larger frames, than allowed; nothing was decoded.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        max_frames: int = MAX_FRAMES,
        max_seconds: float = MAX_SECONDS,
        max_pixels: int | None = None,
    ) -> None:
        import av

        self._max_pixels = server_settings().max_image_pixels if max_pixels is None else max_pixels
        self._errors: tuple[type[Exception], ...] = (av.FFmpegError, ValueError, IndexError)
        try:
            self._container: Any = av.open(io.BytesIO(data), options=_OPTIONS)
            self._stream: Any = self._container.streams.video[0]
            self._stream.thread_type = "NONE"
            # a later frame may be larger than the first: the decoder is to refuse it before it takes the memory
            self._stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
            self.width, self.height = int(self._stream.width), int(self._stream.height)
            self._times = self._presentation_times(max_frames)
        except self._errors:
            raise InvalidInput(_DAMAGED, code="video_data") from None
        check_size(self.width, self.height, self._max_pixels, None)
        if self._times and (self._times[-1] - self._times[0]) * self._stream.time_base > max_seconds:
            raise TooLarge(f"the video is longer than the allowed {max_seconds:g} seconds")
        if not self._times:
            raise InvalidInput("the video has no frames", code="video_data")
        self._kept: OrderedDict[int, Image.Image] = OrderedDict()
        self._decoder: Iterator[Any] | None = None
        self._next = 0

    def __len__(self) -> int:
        return len(self._times)

    def _presentation_times(self, max_frames: int) -> list[int]:
        # Counting packets costs no decoding, and the number of frames in a header is often missing or wrong.
        times: list[int] = []
        for packet in self._container.demux(self._stream):
            if packet.pts is not None and packet.size:
                times.append(packet.pts)
                if len(times) > max_frames:
                    raise TooLarge(f"the video has more than {max_frames} frames")
        return sorted(set(times))

    def frame(self, index: int) -> Image.Image:
        """Return one frame, RGB.

        Raises:
            InvalidInput: The index is out of range, or the frame cannot be decoded.
        """
        if not 0 <= index < len(self):
            raise InvalidInput(f"frame index {index} is out of range: the video has {len(self)} frames")
        if index not in self._kept:
            self._decode_to(index)
        return self._kept[index]

    def _decode_to(self, index: int) -> None:
        backwards = index < self._next
        if self._decoder is None or backwards or index > self._next + KEPT_FRAMES:
            # backwards: start the run early enough that it ends with the frame that is asked for
            self._seek(max(0, index - KEPT_FRAMES + 1) if backwards and self._decoder is not None else index)
        try:
            while self._next <= index:
                self._keep_next()
        except StopIteration:
            raise InvalidInput(_DAMAGED, code="video_data") from None
        except self._errors:
            raise InvalidInput(_DAMAGED, code="video_data") from None
        if index not in self._kept:
            raise InvalidInput(f"frame {index} of the video cannot be decoded", code="video_data")

    def _seek(self, index: int) -> None:
        try:
            self._container.seek(self._times[index], stream=self._stream, backward=True)
        except self._errors:
            raise InvalidInput(_DAMAGED, code="video_data") from None
        self._decoder = self._container.decode(self._stream)
        self._next = 0

    def _keep_next(self) -> None:
        if self._decoder is None:
            raise ValueError("no run has begun")
        decoded = next(self._decoder)
        if decoded.pts is None:
            return
        check_size(decoded.width, decoded.height, self._max_pixels, None)
        at = min(bisect_left(self._times, decoded.pts), len(self._times) - 1)
        self._next = at + 1
        self._kept[at] = decoded.to_image()
        self._kept.move_to_end(at)
        while len(self._kept) > KEPT_FRAMES:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """Free the decoder."""
        self._kept.clear()
        self._container.close()
