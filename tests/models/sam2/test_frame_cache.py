"""Features of frames are kept from one request on a video to the next, within their bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pixano_inference.schemas import ImageBytes, TrackingInput, VideoBytes
from training.scenes import HELD_OUT_SEED, Clip, draw_clip, random_click

from .conftest import DEMO, encode_video, load_video_model, png

if TYPE_CHECKING:
    from pixano_inference.models.sam2.video_model import Sam2VideoModel

pytestmark = pytest.mark.model

FRAMES = 5
FRAME_BYTES = 4 * (16 * 64 * 64 + 32 * 32 * 32 + 128 * 16 * 16)
"""Of the demo checkpoint: three levels in float32."""


@pytest.fixture(scope="module")
def clip() -> Clip:
    return next(c for seed in range(50) if len((c := draw_clip(HELD_OUT_SEED + seed, FRAMES)).objects) >= 2)


@pytest.fixture
def model(sam2_video: Sam2VideoModel) -> Sam2VideoModel:
    sam2_video.free_memory()
    return sam2_video


def request(clip: Clip, label: int, video: Any, frame: int = 0) -> TrackingInput:
    x, y = random_click(np.random.default_rng(label), clip.labels[frame] == label)
    return TrackingInput(video=video, objects_ids=[label], frame_indexes=[frame], points=[[[x, y]]])


def counts(model: Sam2VideoModel) -> tuple[int, int]:
    """Hits and misses since the model was loaded."""
    statistics = model.metadata["embedding_cache"]
    return statistics["hits"], statistics["misses"]


@pytest.mark.parametrize("form", ["images", "file"])
def test_the_next_request_on_a_video_encodes_nothing(model: Sam2VideoModel, clip: Clip, form: str) -> None:
    frames = [png(frame) for frame in clip.frames]
    video = frames if form == "images" else VideoBytes(encode_video(clip.frames))
    one, other = clip.objects[:2]
    alone = model.predict(request(clip, one, video))
    model.free_memory()
    second_alone = model.predict(request(clip, other, video, frame=2))
    hits, misses = counts(model)
    again = model.predict(request(clip, one, video))
    assert counts(model) == (hits + FRAMES, misses)
    assert again == alone
    assert model.predict(request(clip, other, video, frame=2)) == second_alone


def test_a_frame_that_is_known_is_not_decoded(
    model: Sam2VideoModel, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [png(frame) for frame in clip.frames]
    first = model.predict(request(clip, clip.objects[0], frames))
    monkeypatch.setattr(
        "pixano_inference.models.sam2.frames.decode_for_model", lambda *_: pytest.fail("a frame was decoded")
    )
    assert model.predict(request(clip, clip.objects[0], frames)) == first


def test_another_video_is_another_video(model: Sam2VideoModel, clip: Clip) -> None:
    turned = [png(np.ascontiguousarray(frame[:, ::-1])) for frame in clip.frames]
    straight = [png(frame) for frame in clip.frames]
    label = clip.objects[0]
    expected = model.predict(request(clip, label, turned))
    model.free_memory()
    model.predict(request(clip, label, straight))
    assert model.predict(request(clip, label, turned)) == expected


def test_a_video_longer_than_the_cache_keeps_its_beginning(clip: Clip) -> None:
    model = load_video_model(DEMO / "sam2-video", embedding_cache_mb=(2.5 * FRAME_BYTES) / 2**20)
    frames: list[ImageBytes] = [png(frame) for frame in clip.frames]
    first = model.predict(request(clip, clip.objects[0], frames))
    assert counts(model) == (0, FRAMES)
    assert model.predict(request(clip, clip.objects[0], frames)) == first
    assert counts(model) == (2, 2 * FRAMES - 2)
    statistics = model.metadata["embedding_cache"]
    assert statistics["entries"] == 2
    assert statistics["used_bytes"] == 2 * FRAME_BYTES
    assert statistics["evictions"] == 0
