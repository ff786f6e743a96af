"""The frames of a tracking request, decoded when they are needed."""

from __future__ import annotations

from typing import Protocol

import torch

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import InvalidInput
from pixano_inference.media.video import VideoFile
from pixano_inference.schemas import TrackingInput
from pixano_inference.schemas.media_bytes import VideoBytes, media_bytes

from .preprocessing import ImageSize, decode_for_model, square_pixels


class FrameSource(Protocol):
    """Frames by index."""

    def __len__(self) -> int:
        """Number of frames."""

    def pixels(self, index: int) -> tuple[torch.Tensor, ImageSize]:
        """Return uint8 [3, side, side] and the size of the frame as it was sent."""

    def digest(self, index: int) -> str:
        """Return what names the content of a frame, from one request to another."""


class ImageFrames:
    """Frames sent as images, each decoded when it is asked for."""

    def __init__(self, images: list[str], side: int) -> None:
        self._images, self._side = images, side

    def __len__(self) -> int:
        return len(self._images)

    def pixels(self, index: int) -> tuple[torch.Tensor, ImageSize]:
        """See :class:`FrameSource`."""
        try:
            return decode_for_model(media_bytes(self._images[index]).data, self._side)
        except InvalidInput as error:
            raise InvalidInput(
                f"frame {index}: {error.message}", code=error.code, location=("body", "video", index)
            ) from None

    def digest(self, index: int) -> str:
        """See :class:`FrameSource`."""
        return media_bytes(self._images[index]).digest


class VideoFrames:
    """Frames of a video file, which is named by its digest."""

    def __init__(self, video: VideoFile, digest: str, side: int) -> None:
        self._video, self._digest, self._side = video, digest, side

    def __len__(self) -> int:
        return len(self._video)

    def pixels(self, index: int) -> tuple[torch.Tensor, ImageSize]:
        """See :class:`FrameSource`."""
        image = self._video.frame(index)
        return square_pixels(image, self._side), ImageSize(image.width, image.height)

    def digest(self, index: int) -> str:
        """See :class:`FrameSource`."""
        return f"{self._digest}/{index}"


def frames_of(request: TrackingInput, side: int) -> FrameSource:
    """Return the frames of a request for a model with square inputs of ``side`` pixels.

    Raises:
        InvalidInput: The video cannot be decoded, or a frame index of the request is out of its range.
    """
    video = request.video
    if isinstance(video, list):
        source: FrameSource = ImageFrames(list(video), side)
    elif isinstance(video, VideoBytes):
        limits = server_settings()
        source = VideoFrames(
            VideoFile(
                video.data,
                max_frames=limits.max_frames,
                max_seconds=limits.max_video_s,
                max_pixels=limits.max_image_pixels,
            ),
            video.digest,
            side,
        )
    else:
        source = ImageFrames([video], side)
    count = len(source)
    for index in request.frame_indexes:
        if index >= count:
            raise InvalidInput(f"frame index {index} is out of range: the video has {count} frames")
    if request.interval is not None and request.interval.end_frame >= count:
        raise InvalidInput(f"end_frame {request.interval.end_frame} is out of range: the video has {count} frames")
    return source
