"""Real architectures with random weights, loaded through the ordinary path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pixano_inference.configs import ModelConfig, TransformersVLMParams
from pixano_inference.errors import Canceled, ConfigError, InvalidInput
from pixano_inference.models import cancel_signal
from pixano_inference.schemas import VLMInput, VLMOutput

from .conftest import FAMILIES, solid

if TYPE_CHECKING:
    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

pytestmark = pytest.mark.model

Load = Callable[[str], "TransformersVLMModel"]


def asked(
    text: str = "What colour?", color: str = "red", tokens: int = 12, temperature: float = 0.0, **size: int
) -> VLMInput:
    return VLMInput(prompt=text, images=[solid(color, **size)], max_new_tokens=tokens, temperature=temperature)


def chat(*parts: str | tuple[str, int, int], tokens: int = 8) -> VLMInput:
    content: list[dict[str, Any]] = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": solid(*part)}}
        for part in parts
    ]
    return VLMInput(prompt=[{"role": "user", "content": content}], max_new_tokens=tokens, temperature=0.0)


REQUESTS = [
    asked(),
    asked("And a longer question about another image?", "blue", tokens=5, width=90, height=30),
    chat(("green", 30, 30), "or", ("white", 20, 70), "?"),
    chat("No image at all."),
    asked("USER: <image>\nAs it was trained. ASSISTANT:"),
]


def plain_greedy(model: TransformersVLMModel, request: VLMInput) -> tuple[int, list[int]]:
    """Prompt tokens and answer of the slowest way there is: a full forward pass per token, without a cache."""
    import torch

    encoded = model._encode([model.preprocess(request)]).tensors
    length = encoded["input_ids"].shape[1]
    with torch.no_grad():
        for _ in range(request.max_new_tokens):
            token = model._model(**encoded, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
            encoded["input_ids"] = torch.cat([encoded["input_ids"], token], 1)
            encoded["attention_mask"] = torch.ones_like(encoded["input_ids"])
            if token.item() == model._tokenizer.eos_token_id:
                break
    return length, encoded["input_ids"][0, length:].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("request_", REQUESTS, ids=["question", "short", "two images", "no image", "formatted"])
def test_greedy_answers_and_usage_are_those_of_the_plain_loop(load: Load, family: str, request_: VLMInput) -> None:
    model = load(family)
    prompt_tokens, tokens = plain_greedy(model, request_)
    output = model.predict(request_)
    assert output.generated_text == model._tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert output.usage.prompt_tokens == prompt_tokens
    assert output.usage.completion_tokens == len(tokens)
    assert output.usage.total_tokens == prompt_tokens + len(tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_single_requests_do(load: Load, family: str) -> None:
    model = load(family)
    results = model.predict_batch(REQUESTS)
    assert results == [model.predict(request) for request in REQUESTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_image_matters(load: Load, family: str) -> None:
    model = load(family)
    answers = {model.predict(asked(color=color)).generated_text for color in ("red", "blue", "white", "black")}
    assert len(answers) > 1


def test_image_tokens_are_counted(load: Load) -> None:
    output = load("llava").predict(asked("What?"))
    # <s> <|user|>, 16 for the image, 5 bytes, <|assistant|>
    assert output.usage.prompt_tokens == 2 + 16 + 5 + 1


def test_a_bad_request_fails_alone_in_a_batch(load: Load) -> None:
    model = load("llava")
    good, refused, too_long = asked(), asked("<image><image>"), asked(tokens=4000)
    results = model.predict_batch([good, refused, too_long, good])
    assert results[0] == results[3] == model.predict(good)
    assert [type(result) for result in results[1:3]] == [InvalidInput, InvalidInput]
    assert "at most 512 fit" in str(results[2])


def test_a_batch_runs_as_one_pass_per_kind_of_prompt(load: Load) -> None:
    model = load("llava")
    rows: list[int] = []
    hook = model._model.lm_head.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    try:
        model.predict_batch([asked(tokens=3), asked(color="blue", tokens=3), asked(color="green", tokens=3)])
    finally:
        hook.remove()
    assert set(rows) == {3}
    assert len(rows) <= 3


@pytest.mark.parametrize("family", FAMILIES)
def test_streamed_pieces_join_to_the_answer(load: Load, family: str) -> None:
    model = load(family)
    request = asked(tokens=24)
    *pieces, output = model.predict_stream(request)
    assert output == model.predict(request)
    assert isinstance(output, VLMOutput)
    assert "".join(str(piece) for piece in pieces) == output.generated_text
    assert len(pieces) > 1


class AfterTokens:
    """A cancel signal that is set once it has been looked at ``count`` times."""

    def __init__(self, count: int) -> None:
        self.left = count

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_canceled_request_stops_within_one_token(load: Load, streamed: bool) -> None:
    model = load("llava")
    passes: list[int] = []
    hook = model._model.lm_head.register_forward_hook(lambda *_: passes.append(1))
    request = asked(tokens=200)
    request.prompt = "Say something long."
    try:
        with cancel_signal(AfterTokens(3)), pytest.raises(Canceled):
            _ = list(model.predict_stream(request)) if streamed else model.predict(request)
    finally:
        hook.remove()
    assert len(passes) <= 4


def test_a_closed_stream_stops_the_model(load: Load) -> None:
    stream = load("llava").predict_stream(asked(tokens=200))
    next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "vlm-stream"]


def test_sampling_varies_and_leaves_the_shared_random_state_alone(load: Load) -> None:
    import torch

    model = load("llava")
    before = torch.get_rng_state()
    texts = {model.predict(asked(temperature=1.5, tokens=24)).generated_text for _ in range(3)}
    assert len(texts) > 1
    assert torch.equal(before, torch.get_rng_state())


def test_sampled_and_greedy_requests_share_a_batch(load: Load) -> None:
    model = load("llava")
    greedy, sampled = asked(tokens=24), asked(temperature=1.5, tokens=24)
    results = model.predict_batch([sampled, greedy])
    assert results[1] == model.predict(greedy)
    assert isinstance(results[0], VLMOutput)
    assert results[0].generation_config["do_sample"] is True


def test_a_cold_sampled_answer_is_the_greedy_one(load: Load) -> None:
    model = load("llava")
    assert model.predict(asked(temperature=1e-4)).generated_text == model.predict(asked()).generated_text


def test_a_template_that_refuses_is_the_callers_error(checkpoint: Callable[[str], Path], load: Load) -> None:
    from pixano_inference.models.vlm.templates import prompt_format

    class Refusing:
        chat_template = "refuses"
        image_token = "<image>"

        def apply_chat_template(self, *_: Any, **__: Any) -> str:
            from jinja2 import TemplateError

            raise TemplateError("roles must alternate")

    with pytest.raises(InvalidInput, match="roles must alternate"):
        prompt_format(Refusing(), "llava").read(chat("Hello"))


def test_compiling_on_a_cpu_is_refused_with_the_reason(checkpoint: Callable[[str], Path]) -> None:
    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

    params = TransformersVLMParams(path=str(checkpoint("llava")), device="cpu", compile=True)
    model = TransformersVLMModel(ModelConfig(name="x", model_class="TransformersVLMModel", model_params=params))
    with pytest.raises(ConfigError, match="accelerators only"):
        model.load_model()


def test_metadata_tells_what_runs(load: Load) -> None:
    assert load("idefics3").metadata == {
        "architecture": "Idefics3ForConditionalGeneration",
        "dtype": "float32",
        "device": "cpu",
    }


def test_a_processor_without_its_package_stops_the_start_and_names_it(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Callable[[str], Path]
) -> None:
    from transformers import AutoProcessor

    from pixano_inference.models.vlm.transformers_model import TransformersVLMModel

    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("\nQwen2VLVideoProcessor requires the Torchvision library.\nSee elsewhere.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", missing)
    params = TransformersVLMParams(path=str(checkpoint("llava")), device="cpu")
    model = TransformersVLMModel(ModelConfig(name="x", model_class="TransformersVLMModel", model_params=params))
    with pytest.raises(ConfigError, match=r"not installed: Qwen2VLVideoProcessor requires the Torchvision library\.$"):
        model.load_model()
