"""The built-in tracking model: SAM2 through videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from pixano_inference.configs import ModelConfig, Sam2VideoParams
from pixano_inference.errors import ConfigError
from pixano_inference.models.base import TrackingModel
from pixano_inference.models.cancellation import check_canceled
from pixano_inference.models.registry import register_model
from pixano_inference.models.torch_device import cache_limit_bytes
from pixano_inference.schemas import CompressedRLE, FrameMasks, TrackingInput, TrackingOutput

from .checkpoint import Precision, checkpoint_revision, is_meta_checkpoint, load_transformers
from .frame_features import CurrentFrame, FrameCache, sessions_cache
from .frames import frames_of
from .image_network import COMPILE_BACKEND
from .masks import full_size_mask
from .preprocessing import ImageSize, Normalization
from .tracked_object import ObjectPrompt, TrackedObject, object_prompts

logger = logging.getLogger(__name__)


@register_model("Sam2VideoModel")
class Sam2VideoModel(TrackingModel):
    """SAM2 through videos, with transformers' ``Sam2VideoModel`` (``facebook/sam2-hiera-*``, ``sam2.1-hiera-*``).

    Frames are decoded and encoded one by one as they are needed, and what the model's memory no longer reads is
    dropped: memory does not grow with the length of a video. Features of frames are kept in a bounded cache, so that
    the next request on the same video, one more object or a corrected prompt, encodes none of them again.
    """

    params_class = Sam2VideoParams

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        if not isinstance(config.model_params, Sam2VideoParams):
            raise ConfigError(f"model {config.name!r}: Sam2VideoModel takes Sam2VideoParams")
        self.params = config.model_params
        self._precision = Precision.of(self.params)
        self._model: Any = None
        self._normalization = Normalization()
        self.cache = FrameCache(0, self.params.path)

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._precision.device)

    @property
    def metadata(self) -> dict[str, Any]:
        """Device, number type and the counters of the cache of frames."""
        return {
            "device": self.device,
            "dtype": str(self._precision.dtype).removeprefix("torch."),
            "embedding_cache": asdict(self.cache.embeddings.statistics),
        }

    def load_model(self) -> None:
        """Load the checkpoint and follow an object through a few empty frames.

        Raises:
            ConfigError: The checkpoint cannot be loaded.
        """
        if is_meta_checkpoint(self.params.path):
            raise ConfigError(
                f"Sam2VideoModel reads Hugging Face checkpoints, not Meta's .pt files such as {self.params.path!r}: "
                "name the same checkpoint on the hub, for instance 'facebook/sam2.1-hiera-tiny'"
            )
        self._model, self._normalization = load_transformers("Sam2VideoModel", self.params, self._precision)
        if self._compiled:
            self._compile()
        # compiled memory attention sees its longest memory only after as many frames
        self._warm_up(self._model.num_maskmem + 2 if self._compiled else 2)
        limit = cache_limit_bytes(self.params.embedding_cache_mb, self._precision.device)
        self.cache = FrameCache(limit, checkpoint_revision(self._model, self.params.path))

    @property
    def _compiled(self) -> bool:
        return self.params.compile or self.params.vos_optimized

    def _compile(self) -> None:
        model = self._model
        logger.info("compiling the video model; the first time this takes minutes")
        model.vision_encoder.compile(backend=COMPILE_BACKEND, dynamic=False)
        # the second number of clicks that it sees makes a graph for all numbers
        model.mask_decoder.compile(backend=COMPILE_BACKEND)
        # the memory grows over the first frames: one graph for all its lengths
        model.memory_attention.compile(backend=COMPILE_BACKEND, dynamic=True)
        if self.params.vos_optimized:
            model.memory_encoder.compile(backend=COMPILE_BACKEND, dynamic=False)

    @property
    def side(self) -> int:
        """Side of the model's square input in pixels."""
        return int(self._model.image_size)

    @torch.inference_mode()
    def _warm_up(self, frames: int) -> None:
        size = ImageSize(self.side, self.side)
        pixels = torch.zeros(3, self.side, self.side, device=self._precision.device)
        middle = [self.side / 2, self.side / 2]
        for clicks in (1, 7) if self._compiled else (1,):
            prompt = ObjectPrompt(0, 0, [middle] * clicks, [1] * clicks)
            tracked = TrackedObject(self._model, prompt, sessions_cache(self._precision.device), self._precision.device)
            with self._precision.autocast():
                tracked.condition(pixels, size)
                for index in range(1, frames):
                    tracked.track(pixels, index)

    def predict(self, input: TrackingInput) -> TrackingOutput:
        """Follow the objects and answer all frames in order."""
        frames = sorted(self.predict_stream(input), key=lambda frame: frame.frame_index)
        return TrackingOutput.from_frames(frames)

    def predict_stream(self, input: TrackingInput) -> Iterator[FrameMasks]:
        """Yield each frame's masks once all its objects are found on it.

        Without an interval the frames from the last prompted one on come first, in order, then those before it, last
        to first.

        Raises:
            InvalidInput: A frame cannot be decoded, or an index is out of range.
        """
        source = frames_of(input, self.side)
        frame = CurrentFrame(source, self.cache, self._normalization, self._precision.device, self.side)
        run = _Tracking(self._model, self._precision, frame, len(source), input)
        propagate = self.params.propagate if input.propagate is None else input.propagate
        if not propagate:
            yield from run.prompted_frames()
        elif input.interval is not None:
            first, last = input.interval.start_frame, input.interval.end_frame
            yield from run.window(first, last, reverse=input.interval.direction == "backward")
        else:
            yield from run.whole_video()

    def free_memory(self) -> None:
        """Drop the cached frames and torch's unused blocks."""
        self.cache.embeddings.clear()
        if self._precision.device.type == "cuda":
            torch.cuda.empty_cache()

    def unload(self) -> None:
        """Free the model."""
        self._model = None
        self.free_memory()


class _Tracking:
    """One request in progress."""

    def __init__(
        self, model: Any, precision: Precision, frame: CurrentFrame, total: int, request: TrackingInput
    ) -> None:
        self._precision, self._frame, self._total = precision, frame, total
        self._objects = [
            TrackedObject(model, prompt, frame.sessions_cache, precision.device) for prompt in object_prompts(request)
        ]
        self._prompted: dict[int, CompressedRLE] = {}
        self._done = 0

    @property
    def _prompted_indexes(self) -> list[int]:
        return sorted({tracked.prompt.frame_index for tracked in self._objects})

    @torch.inference_mode()
    def _condition(self) -> None:
        """Answer every prompt on its own frame."""
        for index in self._prompted_indexes:
            check_canceled()
            pixels, size = self._frame.enter(index)
            with self._precision.autocast():
                for tracked in self._objects:
                    if tracked.prompt.frame_index == index:
                        logits = tracked.condition(pixels, size)
                        self._prompted[tracked.prompt.object_id] = full_size_mask(logits, size)
            self._frame.leave(index, size)

    @torch.inference_mode()
    def _track(self, index: int, objects: list[TrackedObject], reverse: bool) -> list[tuple[int, CompressedRLE]]:
        """Find objects on a frame: ids and masks, in the order of the request."""
        check_canceled()
        moving = [tracked for tracked in objects if tracked.prompt.frame_index != index]
        found: dict[int, CompressedRLE] = {}
        if moving:
            pixels, size = self._frame.enter(index)
            with self._precision.autocast():
                for tracked in moving:
                    logits = tracked.track(pixels, index, reverse)
                    found[tracked.prompt.object_id] = full_size_mask(logits, size)
            self._frame.leave(index, size)
        ids = [tracked.prompt.object_id for tracked in objects]
        return [(object_id, found.get(object_id) or self._prompted[object_id]) for object_id in ids]

    def _answer(self, index: int, masks: list[tuple[int, CompressedRLE]], total: int) -> FrameMasks:
        self._done += 1
        return FrameMasks(
            frame_index=index,
            objects_ids=[object_id for object_id, _ in masks],
            masks=[mask for _, mask in masks],
            frames_done=self._done,
            frames_total=total,
        )

    def prompted_frames(self) -> Iterator[FrameMasks]:
        """Answer the prompted frames alone, each with the objects prompted on it."""
        self._condition()
        indexes = self._prompted_indexes
        for index in indexes:
            ids = [t.prompt.object_id for t in self._objects if t.prompt.frame_index == index]
            yield self._answer(index, [(object_id, self._prompted[object_id]) for object_id in ids], len(indexes))

    def window(self, first: int, last: int, reverse: bool) -> Iterator[FrameMasks]:
        """Answer the frames first to last, both included, every object on each, in the direction asked for."""
        self._condition()
        order = range(last, first - 1, -1) if reverse else range(first, last + 1)
        for index in order:
            yield self._answer(index, self._track(index, self._objects, reverse), len(order))

    def whole_video(self) -> Iterator[FrameMasks]:
        """Follow every object from its prompted frame to both ends of the video."""
        self._condition()
        total, indexes = self._total, self._prompted_indexes
        held: dict[int, list[tuple[int, CompressedRLE]]] = {}
        for index in range(indexes[0], total):
            masks = self._track(index, [t for t in self._objects if t.prompt.frame_index <= index], reverse=False)
            if index >= indexes[-1]:
                yield self._answer(index, masks, total)
            else:
                held[index] = masks
        for tracked in self._objects:
            tracked.turn_round()
        order = {tracked.prompt.object_id: row for row, tracked in enumerate(self._objects)}
        for index in range(indexes[-1] - 1, -1, -1):
            before = [t for t in self._objects if t.prompt.frame_index > index]
            masks = held.pop(index, []) + self._track(index, before, reverse=True)
            yield self._answer(index, sorted(masks, key=lambda found: order[found[0]]), total)
