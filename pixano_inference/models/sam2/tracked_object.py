"""One object followed through a video, in a session whose size does not grow with the video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from pixano_inference.schemas import Keyframe, TrackingInput

from .preprocessing import ImageSize
from .prompts import FOREGROUND, Prompt, make_prompt


@dataclass(frozen=True)
class ObjectPrompt:
    """What tells an object apart on its prompted frame, in pixels of the frame.

    Attributes:
        object_id: The caller's id.
        frame_index: The prompted frame.
        points: x and y of the clicks.
        labels: 1 or 0 per click.
        box: x1, y1, x2, y2, or null.
        mask: uint8 [height, width], instead of clicks and box, or null.
    """

    object_id: int
    frame_index: int
    points: list[list[float]]
    labels: list[int]
    box: list[float] | None = None
    mask: Any = None

    @classmethod
    def of_keyframe(cls, object_id: int, keyframe: Keyframe) -> ObjectPrompt:
        """Read a structured prompt."""
        points, box = keyframe.points or [], keyframe.box
        return cls(
            object_id,
            keyframe.frame_index,
            [[point.x, point.y] for point in points],
            [point.label for point in points],
            [box.x, box.y, box.x + box.width, box.y + box.height] if box is not None else None,
            keyframe.mask.to_mask() if keyframe.mask is not None else None,
        )

    def scaled(self, size: ImageSize, side: int) -> Prompt:
        """Return clicks and box in the coordinates of the model's square input."""
        return make_prompt(self.points, self.labels, self.box, size, side)

    def scaled_mask(self, side: int) -> torch.Tensor:
        """Return the mask as float32 [1, 1, side, side] with values 0 and 1."""
        mask = torch.from_numpy(self.mask).float()[None, None]
        resized = functional.interpolate(mask, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return (resized >= 0.5).float()


def object_prompts(request: TrackingInput) -> list[ObjectPrompt]:
    """Return one prompt per object of a request."""
    if request.keyframes is not None:
        pairs = zip(request.objects_ids, request.keyframes, strict=True)
        return [ObjectPrompt.of_keyframe(object_id, keyframe) for object_id, keyframe in pairs]
    prompts: list[ObjectPrompt] = []
    for row, (object_id, frame_index) in enumerate(zip(request.objects_ids, request.frame_indexes, strict=True)):
        points = [[float(x), float(y)] for x, y in request.points[row]] if request.points is not None else []
        labels = list(request.labels[row]) if request.labels is not None else [FOREGROUND] * len(points)
        box = [float(v) for v in request.boxes[row]] if request.boxes is not None else None
        prompts.append(ObjectPrompt(object_id, frame_index, points, labels, box))
    return prompts


class TrackedObject:
    """An object's session with transformers' ``Sam2VideoModel``.

    Every object has a session of its own, since objects are prompted and followed on different frames; the features of
    the current frame are shared through one cache, so a frame is encoded once however many objects there are.

    Args:
        model: The loaded ``Sam2VideoModel``.
        prompt: The object's prompt.
        features: The ``Sam2VideoInferenceCache`` that the objects of a request share.
        device: Where the model computes.
    """

    def __init__(self, model: Any, prompt: ObjectPrompt, features: Any, device: torch.device) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.prompt = prompt
        self._model = model
        self._session: Any = Sam2VideoInferenceSession(
            inference_device=device, inference_state_device=device, video_storage_device=device, dtype=torch.float32
        )
        self._session.cache = features
        self._session.obj_id_to_idx(prompt.object_id)
        self._memory_span = int(model.num_maskmem)
        self._pointer_span = max(int(model.config.max_object_pointers_in_encoder), self._memory_span)

    def condition(self, pixels: torch.Tensor, size: ImageSize) -> torch.Tensor:
        """Answer the prompt on its own frame, which is to be followed from there; logits as :meth:`track`."""
        side, index = pixels.shape[-1], self.prompt.frame_index
        if self.prompt.mask is not None:
            self._session.add_mask_inputs(0, index, self.prompt.scaled_mask(side))
        else:
            scaled = self.prompt.scaled(size, side)
            coordinates, labels = torch.from_numpy(scaled.points), torch.from_numpy(scaled.labels)
            inputs = {"point_coords": coordinates[None, None], "point_labels": labels[None, None]}
            self._session.add_point_inputs(0, index, inputs)
        self._session.obj_with_new_inputs = [self.prompt.object_id]
        return self.track(pixels, index)

    def track(self, pixels: torch.Tensor, index: int, reverse: bool = False) -> torch.Tensor:
        """Find the object on a frame.

        Args:
            pixels: Normalised float32 [3, side, side] on the model's device.
            index: Index of the frame.
            reverse: Whether frames are visited last to first.

        Returns:
            Low-resolution mask logits, float32 [side / 4, side / 4] on the CPU; below zero everywhere where the object
            is hidden.
        """
        session = self._session
        output = self._model(inference_session=session, frame=pixels, frame_idx=index, reverse=reverse)
        session.processed_frames.clear()
        self._forget(index, reverse)
        logits: torch.Tensor = output.pred_masks.float().reshape(output.pred_masks.shape[-2:]).cpu()
        return logits

    def turn_round(self) -> None:
        """Forget what was tracked, but not the prompt, before following the object the other way."""
        self._session.output_dict_per_obj[0]["non_cond_frame_outputs"].clear()
        self._session.frames_tracked_per_obj[0].clear()

    def _forget(self, index: int, reverse: bool) -> None:
        """Drop what no later frame reads: full-size masks at once, memories and pointers once out of their reach."""
        outputs = self._session.output_dict_per_obj[0]
        for frames in outputs.values():
            if index in frames:
                frames[index].pop("high_res_masks", None)
        tracked = outputs["non_cond_frame_outputs"]
        step = -1 if reverse else 1
        for old in [at for at in tracked if (index - at) * step >= self._pointer_span]:
            del tracked[old]
        for at, output in tracked.items():
            if (index - at) * step >= self._memory_span:
                for name in ("maskmem_features", "maskmem_pos_enc", "pred_masks"):
                    output.pop(name, None)
        seen = self._session.frames_tracked_per_obj[0]
        for old in [at for at in seen if (index - at) * step >= self._pointer_span]:
            del seen[old]
