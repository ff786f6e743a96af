"""Tracking: objects prompted on a frame in, their masks on the other frames out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from .base import FiniteFloat, Schema
from .media_bytes import MediaString
from .rle import CompressedRLE
from .segmentation import Box, Label, LabelPrompts, PointPrompts, check_prompts

FrameIndex = Annotated[int, Field(ge=0, lt=2**31)]
ObjectId = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class KeyframePoint(Schema):
    """A click: x and y in pixels; label 1 foreground, 0 background."""

    x: FiniteFloat
    y: FiniteFloat
    label: Label = 1


class KeyframeBox(Schema):
    """A box: its top left corner and its size, in pixels."""

    x: FiniteFloat
    y: FiniteFloat
    width: Positive
    height: Positive


class Keyframe(Schema):
    """The prompt of one object: points and/or a box, or a mask."""

    frame_index: FrameIndex
    points: Annotated[list[KeyframePoint], Field(min_length=1)] | None = None
    box: KeyframeBox | None = None
    mask: CompressedRLE | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        drawn = self.points is not None or self.box is not None
        if drawn == (self.mask is not None):
            raise ValueError("a keyframe has points and/or a box, or a mask, and not both kinds")
        return self


class TrackingInterval(Schema):
    """The window of propagation, both ends included; the ends of a backward one may come in either order."""

    start_frame: FrameIndex
    end_frame: FrameIndex
    direction: Literal["forward", "backward"] = "forward"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start_frame > self.end_frame:
            if self.direction == "forward":
                raise ValueError(f"start_frame {self.start_frame} is after end_frame {self.end_frame}")
            self.__dict__.update(start_frame=self.end_frame, end_frame=self.start_frame)
        return self


class TrackingInput(Schema):
    """What a tracking model receives.

    Attributes:
        video: Frames in order, or one video (file or folder of frames); bytes in a model.
        objects_ids: One unique id per object to follow.
        frame_indexes: The prompted frame of each object. With keyframes it may be left out.
        points: int [objects][points][2], x and y in pixels.
        labels: int [objects][points], 1 foreground and 0 background; null means all foreground.
        boxes: int [objects][4], x1 y1 x2 y2 in pixels.
        keyframes: One structured prompt per object, instead of points, labels and boxes.
        propagate: Follow the objects beyond their prompted frames; null means what the model's config says.
        interval: The window of propagation; null means the whole video, in both directions.
    """

    video: Annotated[list[MediaString], Field(min_length=1)] | MediaString
    objects_ids: Annotated[list[ObjectId], Field(min_length=1)]
    frame_indexes: list[FrameIndex]
    points: PointPrompts | None = None
    labels: LabelPrompts | None = None
    boxes: list[Box] | None = None
    keyframes: list[Keyframe] | None = None
    propagate: bool | None = None
    interval: TrackingInterval | None = None

    @model_validator(mode="before")
    @classmethod
    def _frames_of_keyframes(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("frame_indexes") is None and isinstance(data.get("keyframes"), list):
            frames = [
                item.get("frame_index") if isinstance(item, dict) else getattr(item, "frame_index", None)
                for item in data["keyframes"]
            ]
            return {**data, "frame_indexes": frames} if None not in frames else data
        return data

    @model_validator(mode="after")
    def _one_prompt_per_object(self) -> Self:
        count = len(self.objects_ids)
        if len(set(self.objects_ids)) != count:
            raise ValueError("objects_ids holds an id twice")
        if len(self.frame_indexes) != count:
            raise ValueError(f"frame_indexes has {len(self.frame_indexes)} entries for {count} objects_ids")
        if self.keyframes is not None:
            if any(prompts is not None for prompts in (self.points, self.labels, self.boxes)):
                raise ValueError("give keyframes, or points, labels and boxes, and not both kinds")
            if len(self.keyframes) != count:
                raise ValueError(f"keyframes has {len(self.keyframes)} entries for {count} objects_ids")
            if [keyframe.frame_index for keyframe in self.keyframes] != self.frame_indexes:
                raise ValueError("frame_indexes disagrees with the frame_index of the keyframes")
        elif self.points is None and self.boxes is None:
            raise ValueError("every object needs a prompt: give points, boxes or keyframes")
        elif (prompts := check_prompts(self.points, self.labels, self.boxes, of="objects")) != count:
            raise ValueError(f"points and boxes hold prompts of {prompts} objects, objects_ids has {count}")
        if isinstance(self.video, list):
            for index in self.frame_indexes:
                if index >= len(self.video):
                    raise ValueError(f"frame index {index} is out of range: the video has {len(self.video)} frames")
            if self.interval is not None and self.interval.end_frame >= len(self.video):
                raise ValueError(
                    f"end_frame {self.interval.end_frame} is out of range: the video has {len(self.video)} frames"
                )
        return self


class TrackingRequest(TrackingInput):
    """Body of ``POST /inference/tracking/``; ``model`` names a deployed model."""

    model: str


class FrameMasks(Schema):
    """The masks of one frame, as a tracking model streams them.

    Attributes:
        frame_index: Index in the video.
        objects_ids: The objects of this frame.
        masks: One mask per object, of the size of the frame.
        frames_done: How many frames have been answered, this one included.
        frames_total: How many will be, as far as is known; null where the video does not tell.
    """

    frame_index: int
    objects_ids: list[int]
    masks: list[CompressedRLE]
    frames_done: int = 0
    frames_total: int | None = None


class TrackingOutput(Schema):
    """What a tracking model answers: three parallel lists, one entry per object and frame."""

    objects_ids: list[int]
    frame_indexes: list[int]
    masks: list[CompressedRLE]

    @classmethod
    def from_frames(cls, frames: list[FrameMasks]) -> TrackingOutput:
        """Put streamed frames together."""
        return cls.model_construct(
            {"objects_ids", "frame_indexes", "masks"},
            objects_ids=[object_id for frame in frames for object_id in frame.objects_ids],
            frame_indexes=[frame.frame_index for frame in frames for _ in frame.objects_ids],
            masks=[mask for frame in frames for mask in frame.masks],
        )
