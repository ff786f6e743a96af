"""Requests: what fits together is accepted as callers send it, what does not is refused with place and reason."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pixano_inference import schemas
from pixano_inference.schemas import (
    CompressedRLE,
    DetectionRequest,
    FrameMasks,
    ImageBytes,
    Keyframe,
    KeyframeBox,
    KeyframePoint,
    NDArrayFloat,
    SegmentationRequest,
    TrackingInterval,
    TrackingOutput,
    TrackingRequest,
    VideoBytes,
    VLMRequest,
    media_bytes,
)

IMAGE = "data:image/png;base64,AAAA"
FRAMES = [IMAGE] * 4
MASK = CompressedRLE.from_mask(np.eye(4))
ARRAY = NDArrayFloat.from_numpy(np.ones((1, 2)))


def segmentation(**fields: Any) -> SegmentationRequest:
    return SegmentationRequest.model_validate({"model": "m", "image": IMAGE, **fields})


def tracking(**fields: Any) -> TrackingRequest:
    given = {"model": "m", "video": FRAMES, "objects_ids": [1], "frame_indexes": [0], "points": [[[1, 2]]]}
    return TrackingRequest.model_validate({**given, **fields})


def test_every_exported_name_exists_once() -> None:
    assert sorted(set(schemas.__all__)) == sorted(schemas.__all__)
    for name in schemas.__all__:
        assert hasattr(schemas, name)


class TestSegmentation:
    def test_defaults_are_those_of_the_contract(self) -> None:
        request = segmentation()
        assert (request.multimask_output, request.num_multimask_outputs, request.reset_predictor) == (True, 3, True)
        assert (request.return_image_embedding, request.return_logits) == (False, False)
        for name in ("points", "labels", "boxes", "mask_input", "image_embedding", "high_resolution_features"):
            assert getattr(request, name) is None

    def test_numbers_may_come_as_text_or_with_a_point(self) -> None:
        request = segmentation(points=[[["12", 12.0]]], labels=[["1"]], boxes=[[0, "1", 2.0, 3]])
        assert request.points == [[[12, 12]]]
        assert request.labels == [[1]]
        assert request.boxes == [[0, 1, 2, 3]]

    def test_unknown_fields_are_ignored(self) -> None:
        assert not hasattr(segmentation(provider="later"), "provider")

    @given(
        st.lists(
            st.lists(st.tuples(st.integers(-10, 5000), st.integers(-10, 5000)), min_size=1, max_size=5), max_size=5
        )
    )
    def test_prompts_of_different_lengths_are_kept(self, prompts: list[list[tuple[int, int]]]) -> None:
        points = [[list(point) for point in prompt] for prompt in prompts]
        labels = [[index % 2 for index, _ in enumerate(prompt)] for prompt in prompts]
        request = segmentation(points=points, labels=labels)
        assert request.points == points
        assert request.labels == labels

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"labels": [[1]]}, "labels are given without points"),
            ({"points": [[[1, 2]]], "labels": [[1], [0]]}, "points has 1 prompts, labels has 2"),
            ({"points": [[[1, 2]]], "labels": [[1, 0]]}, r"points\[0\] has 1 points, labels\[0\] has 2"),
            ({"points": [[[1, 2]]], "boxes": [[0, 0, 1, 1], [0, 0, 1, 1]]}, "points has 1 prompts, boxes has 2"),
            ({"boxes": [[5, 0, 5, 1]]}, r"boxes\[0\]"),
            ({"boxes": [[0, 0, 1]]}, "boxes.0"),
            ({"points": [[[1, 2, 3]]]}, "points.0.0"),
            ({"points": [[]]}, "points.0"),
            ({"points": [[[1.5, 2]]]}, "points.0.0.0"),
            ({"points": [[[2**40, 2]]]}, "points.0.0.0"),
            ({"points": [[[1, 2]]], "labels": [[2]]}, "labels.0.0"),
            ({"image": ""}, "image"),
            ({"image": None}, "image"),
            ({"image_embedding": ARRAY}, "come together or not at all"),
            ({"high_resolution_features": [ARRAY]}, "come together or not at all"),
            ({"num_multimask_outputs": 0}, "num_multimask_outputs"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            segmentation(**fields)

    def test_lone_surrogates_are_refused(self) -> None:
        with pytest.raises(ValidationError):
            SegmentationRequest.model_validate_json('{"model": "\\ud800", "image": "x"}')


class TestDetection:
    @pytest.mark.parametrize("classes", [None, "cat", ["cat", "dog"]])
    def test_classes_are_a_list_a_name_or_nothing(self, classes: Any) -> None:
        request = DetectionRequest.model_validate({"model": "m", "image": IMAGE, "classes": classes})
        assert request.classes == classes
        assert request.box_threshold == request.text_threshold == 0.5

    @pytest.mark.parametrize(
        "fields",
        [
            {"classes": []},
            {"classes": [""]},
            {"classes": ""},
            {"classes": [1]},
            {"box_threshold": 1.5},
            {"box_threshold": -0.1},
            {"text_threshold": float("nan")},
        ],
    )
    def test_what_is_no_class_or_threshold_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            DetectionRequest.model_validate({"model": "m", "image": IMAGE, **fields})


class TestTracking:
    def test_flat_prompts(self) -> None:
        request = tracking(
            objects_ids=[1, 7], frame_indexes=["0", 3.0], boxes=[[0, 0, 2, 2], [1, 1, 3, 3]], points=None
        )
        assert request.frame_indexes == [0, 3]
        assert request.propagate is None

    def test_keyframes_tell_their_frames(self) -> None:
        keyframes = [
            Keyframe(frame_index=2, points=[KeyframePoint(x=1, y=2)], box=KeyframeBox(x=0, y=0, width=2, height=2)),
            Keyframe(frame_index=1, mask=MASK),
        ]
        fields = {"objects_ids": [1, 2], "points": None, "frame_indexes": None}
        assert tracking(keyframes=keyframes, **fields).frame_indexes == [2, 1]
        as_sent = [keyframe.model_dump() for keyframe in keyframes]
        assert tracking(keyframes=as_sent, **fields).frame_indexes == [2, 1]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"objects_ids": []}, "objects_ids"),
            ({"objects_ids": [1, 1], "frame_indexes": [0, 0]}, "an id twice"),
            ({"frame_indexes": [0, 1]}, "frame_indexes has 2 entries for 1"),
            ({"frame_indexes": [4]}, "out of range: the video has 4 frames"),
            ({"frame_indexes": [-1]}, "frame_indexes.0"),
            ({"points": None}, "every object needs a prompt"),
            ({"points": [[[1, 2]], [[1, 2]]]}, "prompts of 2 objects, objects_ids has 1"),
            ({"labels": [[1, 0]]}, r"labels\[0\] has 2 labels"),
            ({"keyframes": [{"frame_index": 0, "mask": MASK}]}, "not both kinds"),
            ({"points": None, "keyframes": []}, "keyframes has 0 entries"),
            ({"points": None, "keyframes": [{"frame_index": 1, "mask": MASK}]}, "disagrees"),
            ({"points": None, "keyframes": [{"frame_index": 0}]}, "points and/or a box, or a mask"),
            ({"interval": {"start_frame": 0, "end_frame": 4}}, "end_frame 4 is out of range"),
            ({"interval": {"start_frame": 2, "end_frame": 1}}, "start_frame 2 is after end_frame 1"),
            ({"interval": {"start_frame": 0, "end_frame": 1, "direction": "up"}}, "direction"),
            ({"video": []}, "video"),
            ({"video": ""}, "video"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            tracking(**fields)

    def test_a_keyframe_is_drawn_or_a_mask(self) -> None:
        with pytest.raises(ValidationError, match="not both kinds"):
            Keyframe(frame_index=0, points=[KeyframePoint(x=1, y=2)], mask=MASK)
        with pytest.raises(ValidationError):
            KeyframeBox(x=0, y=0, width=0, height=1)
        with pytest.raises(ValidationError):
            KeyframePoint.model_validate({"x": 0, "y": float("inf")})

    def test_a_backward_interval_may_begin_at_either_end(self) -> None:
        for start, end in ((3, 1), (1, 3)):
            interval = TrackingInterval(start_frame=start, end_frame=end, direction="backward")
            assert (interval.start_frame, interval.end_frame) == (1, 3)

    def test_frames_of_one_video_file_are_not_counted_here(self) -> None:
        assert tracking(video="clip.mp4", frame_indexes=[100]).frame_indexes == [100]

    def test_streamed_frames_add_up_to_the_output(self) -> None:
        frames = [
            FrameMasks(frame_index=index, objects_ids=[1, 2], masks=[MASK, MASK], frames_done=index + 1)
            for index in range(2)
        ]
        output = TrackingOutput.from_frames(frames)
        assert output.objects_ids == [1, 2, 1, 2]
        assert output.frame_indexes == [0, 0, 1, 1]
        assert TrackingOutput.model_validate_json(output.model_dump_json()) == output


class TestVLM:
    def test_a_question_about_images(self) -> None:
        request = VLMRequest.model_validate({"model": "m", "prompt": "?", "images": [IMAGE], "max_new_tokens": "8"})
        assert request.max_new_tokens == 8
        assert request.temperature == 1.0

    def test_a_conversation_with_images(self) -> None:
        content = [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "text", "text": "?"}]
        request = VLMRequest.model_validate(
            {"model": "m", "prompt": [{"role": "user", "content": content}], "max_new_tokens": 1}
        )
        assert isinstance(request.prompt, list)
        assert request.prompt[0].model_dump() == {"role": "user", "content": content}

    @pytest.mark.parametrize(
        "fields",
        [
            {"prompt": "?"},
            {"prompt": "?", "images": []},
            {"prompt": "", "images": [IMAGE]},
            {"prompt": [], "images": [IMAGE]},
            {"prompt": [{"role": "nobody", "content": "?"}]},
            {"prompt": [{"role": "user", "content": [{"type": "sound"}]}]},
            {"prompt": "?", "images": [IMAGE], "max_new_tokens": 0},
            {"prompt": "?", "images": [IMAGE], "max_new_tokens": None},
            {"prompt": "?", "images": [IMAGE], "temperature": -1},
            {"prompt": "?", "images": [IMAGE], "temperature": float("inf")},
        ],
    )
    def test_what_does_not_fit_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            VLMRequest.model_validate({"model": "m", "max_new_tokens": 4, **fields})


class TestMediaBytes:
    def test_bytes_travel_under_the_name_of_their_digest(self) -> None:
        medium = ImageBytes(b"abc")
        assert medium == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert medium.digest == medium.removeprefix("sha256:")
        assert "3 bytes" in repr(medium)

    def test_a_request_keeps_the_bytes(self) -> None:
        image, video = ImageBytes(b"abc"), VideoBytes(b"abc")
        assert media_bytes(segmentation(image=image).image).data == b"abc"
        assert tracking(video=[image] * 4).video[0] is image
        assert tracking(video=video).video is video
        copy = segmentation(image=image).model_copy(deep=True)
        assert media_bytes(copy.image).data == b"abc"

    def test_a_path_is_no_bytes(self) -> None:
        with pytest.raises(TypeError, match="not resolved to bytes"):
            media_bytes("cat.png")
