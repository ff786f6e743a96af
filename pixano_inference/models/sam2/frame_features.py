"""Features of video frames, kept from one request on a video to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pixano_inference.models.embedding_cache import EmbeddingCache

from .frames import FrameSource
from .preprocessing import ImageSize, Normalization


@dataclass(frozen=True)
class EncodedFrame:
    """What the image encoder made of a frame.

    Attributes:
        levels: One tensor per level, as transformers' video sessions take them.
        positions: Position embeddings of the levels; all frames of a model share these tensors.
        size: The size in which the frame was sent.
    """

    levels: list[torch.Tensor]
    positions: list[torch.Tensor]
    size: ImageSize

    @property
    def size_bytes(self) -> int:
        """Memory that this frame alone takes."""
        return sum(level.numel() * level.element_size() for level in self.levels)


class FrameCache:
    """Encoded frames by digest, bounded in bytes: an :class:`EmbeddingCache` whose entries share their positions.

    Args:
        limit_bytes: Bound of what is kept.
        revision: Of the checkpoint.
    """

    def __init__(self, limit_bytes: int, revision: str) -> None:
        self.embeddings: EmbeddingCache[EncodedFrame] = EmbeddingCache(limit_bytes)
        self._revision = revision
        self._positions: list[torch.Tensor] = []

    def get(self, digest: str) -> EncodedFrame | None:
        """Return what is known of a frame."""
        return self.embeddings.get(f"{self._revision}:{digest}")

    def encoded(self, levels: list[torch.Tensor], positions: list[torch.Tensor], size: ImageSize) -> EncodedFrame:
        """Make an entry of what a session computed."""
        self._positions = self._positions or positions
        return EncodedFrame(levels, self._positions, size)

    def put(self, digest: str, frame: EncodedFrame) -> None:
        """Keep a frame."""
        self.embeddings.put(f"{self._revision}:{digest}", frame, frame.size_bytes)


def sessions_cache(device: torch.device) -> Any:
    """Make the cache that transformers' sessions share; it holds one frame."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceCache

    return Sam2VideoInferenceCache(inference_device=device, inference_state_device=device)


class CurrentFrame:
    """The frame that one request is at; the sessions of its objects read their features here.

    Transformers' sessions look into :attr:`sessions_cache` before they encode a frame. It holds the current frame
    alone: what an earlier request made of it, or what the first object's session makes, which is then kept. A request
    keeps no more than fits into the cache, so that a video longer than it keeps its beginning instead of pushing itself
    out.

    Args:
        source: The frames of the request.
        cache: What is kept from request to request.
        normalization: The checkpoint's normalisation.
        device: Where the model computes.
        side: Side of the model's square input in pixels.
    """

    def __init__(
        self, source: FrameSource, cache: FrameCache, normalization: Normalization, device: torch.device, side: int
    ) -> None:
        self.sessions_cache = sessions_cache(device)
        self._source, self._cache = source, cache
        self._normalization, self._device = normalization, device
        self._limit = cache.embeddings.statistics.limit_bytes
        self._kept: set[int] = set()
        self._kept_bytes = 0
        # stands for the pixels of a frame that is not encoded again; takes no memory
        self._no_pixels = torch.zeros(1, device=device).expand(3, side, side)
        self._is_new = False

    def enter(self, index: int) -> tuple[torch.Tensor, ImageSize]:
        """Go to a frame.

        Returns:
            Its pixels, normalised float32 [3, side, side], without content where its features are known; and its size.

        Raises:
            InvalidInput: The frame cannot be decoded.
        """
        self.sessions_cache.clear_all()
        known = self._cache.get(self._source.digest(index))
        self._is_new = known is None
        if known is None:
            pixels, size = self._source.pixels(index)
            return self._normalization.apply(pixels[None].to(self._device))[0], size
        self._count(index, known)
        features = {"vision_feats": known.levels, "vision_pos_embeds": known.positions}
        self.sessions_cache.cache_vision_features(index, features)
        return self._no_pixels, known.size

    def leave(self, index: int, size: ImageSize) -> None:
        """Keep what was computed of a frame of that size, before going to another one."""
        features = self.sessions_cache.get_vision_features(index)
        if not self._is_new or features is None:
            return
        self._cache.embeddings.missed()
        frame = self._cache.encoded(list(features["vision_feats"]), list(features["vision_pos_embeds"]), size)
        if self._kept_bytes + frame.size_bytes <= self._limit:
            self._count(index, frame)
            self._cache.put(self._source.digest(index), frame)

    def _count(self, index: int, frame: EncodedFrame) -> None:
        if index not in self._kept:
            self._kept.add(index)
            self._kept_bytes += frame.size_bytes
