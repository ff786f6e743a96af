from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from pixano_inference.errors import Canceled, InvalidInput
from pixano_inference.models.cancellation import cancel_signal
from pixano_inference.models.sam2 import video_model
from pixano_inference.schemas import CompressedRLE, ImageBytes, TrackingOutput, VideoBytes
from training.scenes import HELD_OUT_SEED, Clip, draw_clip, mask_box, random_click

from .conftest import DEMO, encode_video, follow, load_video_model, overlap, png

if TYPE_CHECKING:
    from pixano_inference.models.sam2.video_model import Sam2VideoModel

pytestmark = pytest.mark.model

TRACK_BAR = 0.80
"""Mean J over 30 frames from one click; the README beside the checkpoint states 0.844 over 20 clips."""
FRAMES = 6


@pytest.fixture(scope="module")
def clip() -> Clip:
    return next(c for seed in range(50) if len((c := draw_clip(HELD_OUT_SEED + seed, FRAMES)).objects) >= 2)


@pytest.fixture(scope="module")
def frames(clip: Clip) -> list[ImageBytes]:
    return [png(frame) for frame in clip.frames]


def click(clip: Clip, label: int, frame: int = 0) -> list[list[int]]:
    return [list(random_click(np.random.default_rng(label), clip.labels[frame] == label))]


def by_frame(output: TrackingOutput) -> dict[int, list[int]]:
    """The objects of each frame."""
    found: dict[int, list[int]] = {}
    for object_id, index in zip(output.objects_ids, output.frame_indexes, strict=True):
        found.setdefault(index, []).append(object_id)
    return found


def test_objects_are_followed_from_one_click(sam2_video: Sam2VideoModel) -> None:
    found: list[float] = []
    for seed in range(HELD_OUT_SEED + 100, HELD_OUT_SEED + 102):
        clip = draw_clip(seed, 30)
        output = sam2_video.predict(
            follow(
                [png(frame) for frame in clip.frames],
                objects_ids=list(clip.objects),
                frame_indexes=[0] * len(clip.objects),
                points=[click(clip, label) for label in clip.objects],
            )
        )
        assert len(output.masks) == 30 * len(clip.objects)
        for object_id, index, mask in zip(output.objects_ids, output.frame_indexes, output.masks, strict=True):
            if index:
                found.append(overlap(mask, clip.labels[index] == object_id))
    assert np.mean(found) >= TRACK_BAR


def test_every_object_is_on_every_frame_also_before_its_prompt(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]
) -> None:
    first, second = clip.objects[:2]
    request = follow(
        frames,
        objects_ids=[first, second],
        frame_indexes=[1, 3],
        points=[click(clip, first, 1), click(clip, second, 3)],
    )
    streamed = list(sam2_video.predict_stream(request))
    assert [frame.frame_index for frame in streamed] == [3, 4, 5, 2, 1, 0]
    assert [(frame.frames_done, frame.frames_total) for frame in streamed] == [
        (n, FRAMES) for n in range(1, FRAMES + 1)
    ]
    assert all(frame.objects_ids == [first, second] for frame in streamed)
    output = sam2_video.predict(request)
    assert by_frame(output) == {index: [first, second] for index in range(FRAMES)}
    assert output.frame_indexes == sorted(output.frame_indexes)


def test_objects_do_not_change_each_other(sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]) -> None:
    first, second = clip.objects[:2]
    together = sam2_video.predict(
        follow(frames, objects_ids=[7, 9], frame_indexes=[0, 0], points=[click(clip, first), click(clip, second)])
    )
    alone = sam2_video.predict(follow(frames, objects_ids=[9], frame_indexes=[0], points=[click(clip, second)]))
    masks = [mask for object_id, mask in zip(together.objects_ids, together.masks, strict=True) if object_id == 9]
    assert masks == alone.masks


@pytest.mark.parametrize(
    ("interval", "order"),
    [
        ({"start_frame": 1, "end_frame": 3}, [1, 2, 3]),
        ({"start_frame": 1, "end_frame": 4, "direction": "backward"}, [4, 3, 2, 1]),
    ],
    ids=["forward", "backward"],
)
def test_an_interval_bounds_what_is_followed(
    sam2_video: Sam2VideoModel,
    clip: Clip,
    frames: list[ImageBytes],
    interval: dict[str, object],
    order: list[int],
) -> None:
    label = clip.objects[0]
    start = order[0]
    streamed = list(
        sam2_video.predict_stream(
            follow(
                frames,
                objects_ids=[label],
                frame_indexes=[start],
                points=[click(clip, label, start)],
                interval=interval,
            )
        )
    )
    assert [frame.frame_index for frame in streamed] == order


def test_without_propagation_only_prompted_frames_are_answered(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]
) -> None:
    first, second = clip.objects[:2]
    output = sam2_video.predict(
        follow(
            frames,
            objects_ids=[first, second],
            frame_indexes=[0, 2],
            points=[click(clip, first), click(clip, second, 2)],
            propagate=False,
        )
    )
    assert by_frame(output) == {0: [first], 2: [second]}
    assert overlap(output.masks[0], clip.labels[0] == first) > 0.5


def test_boxes_keyframes_and_flat_prompts_say_the_same(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]
) -> None:
    label = clip.objects[0]
    x1, y1, x2, y2 = mask_box(clip.labels[0] == label)
    [[x, y]] = click(clip, label)
    common = {"objects_ids": [1], "frame_indexes": [0], "propagate": False}
    flat = sam2_video.predict(follow(frames, boxes=[[x1, y1, x2, y2]], points=[[[x, y]]], **common))
    box = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    keyframe = {"frame_index": 0, "points": [{"x": x, "y": y, "label": 1}], "box": box}
    structured = sam2_video.predict(follow(frames, keyframes=[keyframe], **common))
    assert flat.masks == structured.masks
    assert overlap(flat.masks[0], clip.labels[0] == label) > 0.5


def test_a_mask_is_taken_as_it_is_and_followed(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]
) -> None:
    label = clip.objects[0]
    truth = clip.labels[0] == label
    keyframe = {"frame_index": 0, "mask": CompressedRLE.from_mask(truth)}
    output = sam2_video.predict(follow(frames[:3], objects_ids=[1], frame_indexes=[0], keyframes=[keyframe]))
    assert overlap(output.masks[0], truth) > 0.9
    assert len(output.masks) == 3


def test_a_video_file_is_followed_like_its_frames(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes]
) -> None:
    label = clip.objects[0]
    prompt = {"objects_ids": [1], "frame_indexes": [0], "points": [click(clip, label)]}
    from_frames = sam2_video.predict(follow(frames, **prompt))
    request = follow(frames, **prompt).model_copy(update={"video": VideoBytes(encode_video(clip.frames))})
    from_file = sam2_video.predict(request)
    assert from_file.frame_indexes == list(range(FRAMES))
    # the codec changes colours a little
    assert overlap(from_frames.masks[0], from_file.masks[0]) > 0.9
    with pytest.raises(InvalidInput, match=f"the video has {FRAMES} frames"):
        sam2_video.predict(request.model_copy(update={"frame_indexes": [FRAMES]}))


def test_a_broken_frame_is_named(sam2_video: Sam2VideoModel, frames: list[ImageBytes]) -> None:
    spoiled = [frames[0], ImageBytes(b"no image")]
    with pytest.raises(InvalidInput, match="frame 1: the image cannot be decoded"):
        sam2_video.predict(follow(spoiled, objects_ids=[1], frame_indexes=[0], points=[[[9, 9]]]))


def test_work_stops_within_one_frame(sam2_video: Sam2VideoModel, frames: list[ImageBytes]) -> None:
    class Signal:
        canceled = False

        def is_set(self) -> bool:
            return self.canceled

    signal = Signal()
    stream = sam2_video.predict_stream(follow(frames, objects_ids=[1], frame_indexes=[0], points=[[[9, 9]]]))
    with cancel_signal(signal):
        next(stream)
        next(stream)
        signal.canceled = True
        with pytest.raises(Canceled):
            next(stream)


def test_nothing_grows_with_the_length_of_the_video(sam2_video: Sam2VideoModel, frames: list[ImageBytes]) -> None:
    from pixano_inference.models.sam2.frame_features import sessions_cache
    from pixano_inference.models.sam2.preprocessing import ImageSize
    from pixano_inference.models.sam2.tracked_object import ObjectPrompt, TrackedObject

    features = sessions_cache(torch.device("cpu"))
    tracked = TrackedObject(sam2_video._model, ObjectPrompt(0, 0, [[99.0, 99.0]], [1]), features, torch.device("cpu"))
    pixels = torch.zeros(3, 256, 256)

    def held() -> int:
        """Bytes of the tensors that a session holds."""
        outputs = tracked._session.output_dict_per_obj[0]
        each = [v for frames in outputs.values() for output in frames.values() for v in output.values()]
        return sum(t.untyped_storage().nbytes() for t in each if isinstance(t, torch.Tensor))

    with torch.inference_mode():
        tracked.condition(pixels, ImageSize(256, 256))
        sizes = []
        for index in range(1, 41):
            features.clear_all()
            tracked.track(pixels, index)
            sizes.append(held())
    assert sizes[39] == sizes[20]
    assert len(tracked._session.frames_tracked_per_obj[0]) <= 16
    assert not tracked._session.processed_frames


def test_half_precision_follows_the_same_objects(sam2_video: Sam2VideoModel) -> None:
    half = load_video_model(DEMO / "sam2-video", torch_dtype="bfloat16")
    overlaps = []
    for seed in range(3):
        clip = draw_clip(HELD_OUT_SEED + seed, 3)
        for label in [k for k in clip.objects[:2] if (clip.labels[0] == k).any()]:
            request = follow(
                [png(frame) for frame in clip.frames],
                objects_ids=[1],
                frame_indexes=[0],
                points=[click(clip, label)],
            )
            full, rounded = sam2_video.predict(request), half.predict(request)
            overlaps += [overlap(a, b) for a, b in zip(full.masks, rounded.masks, strict=True)]
    # where two candidates of a click score alike, rounding may choose the other one: the median says nothing of those
    assert np.median(overlaps) >= 0.995
    assert len(overlaps) >= 12


def test_an_optimized_model_answers_alike_and_compiles_nothing_once_it_is_warm(
    sam2_video: Sam2VideoModel, clip: Clip, frames: list[ImageBytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # graphs are captured and guarded as ever; code generation takes minutes and is left out
    monkeypatch.setattr(video_model, "COMPILE_BACKEND", "eager")
    optimized = load_video_model(DEMO / "sam2-video", compile=True, vos_optimized=True)
    before = counters["stats"]["unique_graphs"]
    first, second = clip.objects[:2]
    x, y = click(clip, first)[0]
    prompts: list[dict[str, object]] = [
        {"objects_ids": [first], "frame_indexes": [0], "points": [[[x, y]]]},
        {"objects_ids": [first], "frame_indexes": [2], "points": [[[x, y], [x + 1, y], [2, 2]]], "labels": [[1, 1, 0]]},
        {"objects_ids": [first], "frame_indexes": [0], "boxes": [list(mask_box(clip.labels[0] == first))]},
        {"objects_ids": [first, second], "frame_indexes": [0, 1], "points": [[[x, y]], click(clip, second, 1)]},
    ]
    for prompt in prompts:
        request = follow(frames, **prompt)
        for one, other in zip(sam2_video.predict(request).masks, optimized.predict(request).masks, strict=True):
            assert overlap(one, other) >= 0.995
    assert counters["stats"]["unique_graphs"] == before > 0, "a request compiled again"
