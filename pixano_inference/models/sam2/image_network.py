"""SAM2's image encoder and mask decoder, called on many images and many prompts at once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pixano_inference.models.cancellation import check_canceled

from .checkpoint import Precision
from .preprocessing import ImageSize, Normalization
from .prompts import FOREGROUND, Prompt, group_by_shape, make_prompt

logger = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8, 16, 32)
"""Sizes that compiled passes are padded to, in images or prompts; the last is the most in one pass."""
WARM_BUCKETS = 4
"""How many of :data:`BUCKETS` a compiled model is warmed up for; larger passes are split."""
DECODE_BYTES = 2**30
"""About how much memory one pass of the mask decoder may take."""
COMPILE_BACKEND = "inductor"


@dataclass(frozen=True)
class Features:
    """What the mask decoder reads of one image.

    Attributes:
        fine: [channels / 8, 4 g, 4 g], where g is the side of the embedding.
        middle: [channels / 4, 2 g, 2 g].
        embedding: [channels, g, g], the image embedding.
    """

    fine: torch.Tensor
    middle: torch.Tensor
    embedding: torch.Tensor

    @property
    def size_bytes(self) -> int:
        """Memory that the three tensors take."""
        return sum(t.numel() * t.element_size() for t in (self.fine, self.middle, self.embedding))


@dataclass(frozen=True)
class DecodedPrompt:
    """Candidates of one prompt: logits float32 [masks, 4 g, 4 g] and their predicted IoU float32 [masks]."""

    logits: torch.Tensor
    scores: torch.Tensor


class ImageNetwork(ABC):
    """A SAM2 implementation; a subclass says how one pass of its encoder and of its decoder is made.

    Args:
        side: Side of the square input in pixels.
        channels: Channels of the image embedding.
        normalization: The checkpoint's normalisation.
        precision: Device and number type.
        compiled: Passes are padded to :data:`BUCKETS`, so that nothing compiles again.
    """

    def __init__(
        self, side: int, channels: int, normalization: Normalization, precision: Precision, compiled: bool
    ) -> None:
        self.side = side
        self.compiled = compiled
        self._normalization, self._precision = normalization, precision
        grid = side // 16
        self.mask_side = 4 * grid
        self.embedding_shapes = (
            (channels // 8, 4 * grid, 4 * grid),
            (channels // 4, 2 * grid, 2 * grid),
            (channels, grid, grid),
        )
        row_bytes = 4 * channels * grid * grid * 24  # features, keys of the attentions and upscaled maps of one prompt
        usable = BUCKETS[:WARM_BUCKETS] if compiled else BUCKETS
        self._most_rows = max(b for b in usable if b == 1 or b * row_bytes <= DECODE_BYTES)
        self._most_images = usable[-1]

    @abstractmethod
    def _encode_pass(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Encode normalised float32 [images, 3, side, side] into the three levels, fine first, leading axis images."""

    @abstractmethod
    def _decode_pass(
        self,
        levels: list[torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
        multimask: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode one prompt per row of the levels: logits [rows, masks, side, side] and scores [rows, masks].

        ``points`` is float32 [rows, points, 2], ``labels`` int32 [rows, points], ``masks`` [rows, 1, side, side].
        """

    def _bucket(self, count: int) -> int:
        return next(b for b in BUCKETS if b >= count) if self.compiled else count

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> list[Features]:
        """Encode uint8 [images, 3, side, side], as many as fit in one pass."""
        found: list[Features] = []
        for start in range(0, len(pixels), self._most_images):
            part = pixels[start : start + self._most_images]
            padded = torch.cat([part, part[:1].expand(self._bucket(len(part)) - len(part), -1, -1, -1)])
            normalized = self._normalization.apply(padded.to(self._precision.device))
            with self._precision.autocast():
                fine, middle, embedding = self._encode_pass(normalized)
            # clones, so that an entry of the cache does not keep its whole batch alive
            found += [
                Features(fine[row].clone(), middle[row].clone(), embedding[row].clone()) for row in range(len(part))
            ]
            check_canceled()
        return found

    @torch.inference_mode()
    def decode(self, features: Sequence[Features], prompts: Sequence[Prompt], multimask: bool) -> list[DecodedPrompt]:
        """Decode prompts, each on the features of its own image, in as few passes as their shapes allow."""
        answers: dict[int, DecodedPrompt] = {}
        for rows in group_by_shape(prompts).values():
            for start in range(0, len(rows), self._most_rows):
                part = rows[start : start + self._most_rows]
                logits, scores = self._decode_rows([features[r] for r in part], [prompts[r] for r in part], multimask)
                answers.update({r: DecodedPrompt(logits[i], scores[i]) for i, r in enumerate(part)})
                check_canceled()
        return [answers[row] for row in range(len(prompts))]

    def _decode_rows(
        self, features: list[Features], prompts: list[Prompt], multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count, device = len(prompts), self._precision.device
        fill = self._bucket(count) - count
        features, prompts = features + features[:1] * fill, prompts + prompts[:1] * fill
        levels = [
            # a caller's own embeddings come from the CPU
            torch.stack([getattr(f, name).to(device) for f in features])
            for name in ("fine", "middle", "embedding")
        ]
        masks = [p.mask for p in prompts if p.mask is not None]
        with self._precision.autocast():
            logits, scores = self._decode_pass(
                levels,
                torch.stack([torch.from_numpy(p.points) for p in prompts]).to(device),
                torch.stack([torch.from_numpy(p.labels) for p in prompts]).to(device),
                torch.stack(masks).to(device) if masks else None,
                multimask,
            )
        # the clamp is the original predictor's, so that logits sent back stay in the range a model was trained on
        return logits[:count].float().clamp(-32, 32).cpu(), scores[:count].float().cpu()

    def warm_up(self) -> None:
        """Run every shape once that requests have, so that none of them waits for a compilation."""
        square = ImageSize(self.side, self.side)
        pixels = torch.zeros((1, 3, self.side, self.side), dtype=torch.uint8)
        [features] = self.encode(pixels)
        click = make_prompt([[self.side / 2, self.side / 2]], [FOREGROUND], None, square, self.side)
        if not self.compiled:
            self.decode([features], [click], multimask=True)
            return
        # The number of points is free in the second graph. One click makes as many tokens as the decoder has heads,
        # which the compiler takes for the same size, so the most usual prompt gets a graph of its own.
        clicks = make_prompt([[1.0, 1.0]] * 7, [FOREGROUND] * 7, None, square, self.side)
        logger.info("compiling image encoder and mask decoder; the first time this takes minutes")
        for bucket in (b for b in BUCKETS if b <= self._most_rows):
            self.encode(pixels.expand(bucket, -1, -1, -1))
            for prompt in (click, clicks):
                for multimask in (True, False):
                    self.decode([features] * bucket, [prompt] * bucket, multimask)


class TransformersImageNetwork(ImageNetwork):
    """:class:`ImageNetwork` on transformers' ``Sam2Model``.

    Args:
        model: The loaded model, in eval mode on its device.
        normalization: The checkpoint's normalisation.
        precision: Device and number type.
        compiled: Compile image encoder and mask decoder.
    """

    def __init__(self, model: Any, normalization: Normalization, precision: Precision, compiled: bool = False) -> None:
        side = int(model.prompt_encoder.input_image_size)
        super().__init__(side, int(model.hidden_dim), normalization, precision, compiled)
        self._model = model
        with torch.inference_mode():
            self._positions = model.get_image_wide_positional_embeddings()
        if compiled:
            model.vision_encoder.compile(backend=COMPILE_BACKEND, dynamic=False)
            model.mask_decoder.compile(backend=COMPILE_BACKEND, dynamic=False)

    def _encode_pass(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        levels: list[torch.Tensor] = self._model.get_image_embeddings(pixels)
        return levels

    def _decode_pass(
        self,
        levels: list[torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
        multimask: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse, dense = self._model.prompt_encoder(
            input_points=points[:, None], input_labels=labels[:, None], input_boxes=None, input_masks=masks
        )
        if self.compiled:
            # corrections add clicks one by one: one graph for all their numbers
            torch._dynamo.maybe_mark_dynamic(sparse, 2)
        logits, scores, _, _ = self._model.mask_decoder(
            image_embeddings=levels[2],
            image_positional_embeddings=self._positions.expand(len(points), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense.contiguous(),
            multimask_output=multimask,
            high_resolution_features=levels[:2],
        )
        return logits[:, 0], scores[:, 0]
