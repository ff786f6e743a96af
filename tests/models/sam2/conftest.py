"""The demo SAM2, loaded once, and held-out drawn scenes to ask it about."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pixano_inference.configs import ModelConfig
from pixano_inference.schemas import CompressedRLE, ImageBytes, SegmentationInput, TrackingInput
from training.scenes import HELD_OUT_SEED, Scene, draw_scene, random_click

if TYPE_CHECKING:
    from pixano_inference.models.sam2.image_model import Sam2ImageModel
    from pixano_inference.models.sam2.video_model import Sam2VideoModel

DEMO = Path(__file__).parents[3] / "models" / "demo"


def png(pixels: npt.NDArray[np.uint8]) -> ImageBytes:
    """An image as the gateway hands it to a model, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return ImageBytes(buffer.getvalue())


def encode_video(frames: npt.NDArray[np.uint8]) -> bytes:
    """An MP4 file of frames [frames, 256, 256, 3]."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=25, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for pixels in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def ask(image: ImageBytes, **fields: Any) -> SegmentationInput:
    """A request about an image."""
    return SegmentationInput(image=image, **fields)


def follow(frames: list[ImageBytes], **fields: Any) -> TrackingInput:
    """A request about a video."""
    return TrackingInput(video=list(frames), **fields)


def overlap(one: CompressedRLE | npt.NDArray[Any], other: CompressedRLE | npt.NDArray[Any]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    a, b = (m.to_mask() > 0 if isinstance(m, CompressedRLE) else m > 0 for m in (one, other))
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def load_image_model(folder: Path, **params: Any) -> Sam2ImageModel:
    """Load as a runner does; on one thread, which is fastest for so small a model."""
    import torch

    from pixano_inference.models.sam2.image_model import Sam2ImageModel

    torch.set_num_threads(1)
    model = Sam2ImageModel(
        ModelConfig(
            name="sam2",
            model_class="Sam2ImageModel",
            model_params=Sam2ImageModel.params_class(path=str(folder), local_files_only=True, **params),
        )
    )
    model.load_model()
    return model


def load_video_model(folder: Path, **params: Any) -> Sam2VideoModel:
    """Load as a runner does."""
    import torch

    from pixano_inference.models.sam2.video_model import Sam2VideoModel

    torch.set_num_threads(1)
    model = Sam2VideoModel(
        ModelConfig(
            name="sam2-video",
            model_class="Sam2VideoModel",
            model_params=Sam2VideoModel.params_class(path=str(folder), local_files_only=True, **params),
        )
    )
    model.load_model()
    return model


@pytest.fixture(scope="session")
def sam2() -> Sam2ImageModel:
    """The demo image model."""
    return load_image_model(DEMO / "sam2-image")


@pytest.fixture(scope="session")
def sam2_video() -> Sam2VideoModel:
    """The demo video model."""
    return load_video_model(DEMO / "sam2-video")


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Held-out scenes."""
    return [draw_scene(HELD_OUT_SEED + index) for index in range(24)]


@pytest.fixture(scope="session")
def click() -> Callable[[Scene, int], list[int]]:
    """A click inside an object of a scene, the same at every call."""

    def choose(scene: Scene, label: int) -> list[int]:
        return list(random_click(np.random.default_rng(label), scene.mask(label)))

    return choose
