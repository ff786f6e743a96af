"""The bundled demo checkpoint answers questions about scenes it has never seen, and really looks at them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageOps

from pixano_inference.configs import ModelConfig, TransformersVLMParams
from pixano_inference.schemas import VLMInput, VLMOutput
from pixano_inference.schemas.media_bytes import ImageBytes
from training.vlm_questions import KINDS, Question, held_out

if TYPE_CHECKING:
    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

pytestmark = pytest.mark.model

CHECKPOINT = Path(__file__).parents[3] / "models" / "demo" / "vlm"
QUESTIONS = 200
ACCURACY = 0.90
ACCURACY_OF_A_KIND = 0.75

Asked = list[tuple[Image.Image, Question]]


@pytest.fixture(scope="module")
def model() -> TransformersVLMModel:
    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

    params = TransformersVLMParams(path=str(CHECKPOINT), local_files_only=True, device="cpu")
    loaded = TransformersVLMModel(ModelConfig(name="demo", model_class="TransformersVLMModel", model_params=params))
    loaded.load_model()
    return loaded


@pytest.fixture(scope="module")
def asked() -> Asked:
    return held_out(QUESTIONS)


def right(
    model: TransformersVLMModel, asked: Asked, change: Callable[[Image.Image], Image.Image] = lambda image: image
) -> dict[str, list[bool]]:
    """Which greedy answers are right, per kind of question."""
    requests = []
    for image, question in asked:
        buffer = io.BytesIO()
        change(image).save(buffer, "PNG")
        sent = [ImageBytes(buffer.getvalue())]
        requests.append(VLMInput(prompt=question.text, images=sent, max_new_tokens=4, temperature=0.0))
    outputs = [
        output for start in range(0, len(asked), 40) for output in model.predict_batch(requests[start : start + 40])
    ]
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for (_, question), output in zip(asked, outputs, strict=True):
        assert isinstance(output, VLMOutput)
        hits[question.kind].append(output.generated_text == question.answer)
    return hits


def share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def test_held_out_questions_are_answered(model: TransformersVLMModel, asked: Asked) -> None:
    hits = right(model, asked)
    shares = {kind: share(hits[kind]) for kind in KINDS}
    assert share([hit for kind in KINDS for hit in hits[kind]]) >= ACCURACY, shares
    assert min(shares.values()) >= ACCURACY_OF_A_KIND, shares


def test_swapped_channels_cost_the_colours(model: TransformersVLMModel, asked: Asked) -> None:
    colours = [pair for pair in asked if pair[1].kind == "color"]
    swapped = right(model, colours, lambda image: Image.merge("RGB", image.split()[::-1]))
    assert share(swapped["color"]) < 0.6


def test_a_mirrored_image_turns_left_into_right(model: TransformersVLMModel, asked: Asked) -> None:
    sides = [pair for pair in asked if pair[1].kind == "side"]
    assert share(right(model, sides, ImageOps.mirror)["side"]) < 0.3


def test_an_empty_image_leaves_only_guesses(model: TransformersVLMModel, asked: Asked) -> None:
    hits = right(model, asked, lambda image: Image.new("RGB", image.size, "white"))
    assert share([*hits["color"], *hits["shape"]]) < 0.4
