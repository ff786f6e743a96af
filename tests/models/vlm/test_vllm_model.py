"""The adapter to vLLM, held against an engine of the same signatures: vLLM itself needs a GPU."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pixano_inference.configs import ModelConfig, VLLMVLMParams
from pixano_inference.errors import Canceled, ConfigError, InvalidInput
from pixano_inference.models import cancel_signal
from pixano_inference.schemas import VLMInput, VLMOutput

from .conftest import solid
from .test_transformers_model import AfterTokens

pytestmark = pytest.mark.model


@dataclass
class SamplingParams:
    max_tokens: int | None = 16
    temperature: float = 1.0


@dataclass
class EngineArgs:
    """Signature of ``vllm.AsyncEngineArgs`` as far as it is used."""

    model: str
    dtype: str = "auto"
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    limit_mm_per_prompt: dict[str, int] = field(default_factory=dict)


class CountingEngine:
    """Answers "1 2 3 ..." as vLLM streams: every result holds the whole text so far."""

    def __init__(self, arguments: EngineArgs) -> None:
        self.arguments = arguments
        self.running = self.most_running = self.aborted = 0
        self.prompts: list[dict[str, Any]] = []

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> CountingEngine:
        asyncio.get_running_loop()
        return cls(engine_args)

    async def generate(
        self, prompt: dict[str, Any], sampling_params: SamplingParams, request_id: str
    ) -> AsyncIterator[Any]:
        self.prompts.append(prompt)
        if len(prompt["prompt_token_ids"]) > 100:
            raise ValueError("the prompt is longer than the model's context")
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for count in range(1, (sampling_params.max_tokens or 16) + 1):
                await asyncio.sleep(0.001)
                text = " " + " ".join(str(number) for number in range(1, count + 1))
                output = SimpleNamespace(text=text, token_ids=list(range(count)))
                yield SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[output])
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    def shutdown(self) -> None:
        self.arguments.model = "gone"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, checkpoint: Callable[[str], Path]) -> Iterator[Any]:
    module = ModuleType("vllm")
    vars(module).update(SamplingParams=SamplingParams, AsyncEngineArgs=EngineArgs, AsyncLLMEngine=CountingEngine)
    monkeypatch.setitem(sys.modules, "vllm", module)
    from pixano_inference.models.vlm.vllm_model import VLLMVLMModel

    params = VLLMVLMParams(
        path=str(checkpoint("llava")), max_model_len=512, engine_kwargs={"limit_mm_per_prompt": {"image": 4}}
    )
    loaded = VLLMVLMModel(ModelConfig(name="v", model_class="VLLMVLMModel", model_params=params))
    loaded.load_model()
    yield loaded
    loaded.unload()
    assert loaded._engine.arguments.model == "gone"


def asked(text: str = "What?", tokens: int = 5) -> VLMInput:
    return VLMInput(prompt=text, images=[solid("red")], max_new_tokens=tokens, temperature=0.0)


def test_without_vllm_the_error_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    from pixano_inference.models.vlm.vllm_model import VLLMVLMModel

    params = VLLMVLMParams(path="anything")
    model = VLLMVLMModel(ModelConfig(name="v", model_class="VLLMVLMModel", model_params=params))
    with pytest.raises(ConfigError, match=r"pip install 'pixano-inference\[vllm\]'"):
        model.load_model()


def test_the_engine_gets_its_arguments_tokens_and_images(model: Any) -> None:
    output = model.predict(asked())
    assert (output.generated_text, output.usage.completion_tokens) == ("1 2 3 4 5", 5)
    assert model._engine.arguments == EngineArgs(
        model=model.config.model_params.path, max_model_len=512, limit_mm_per_prompt={"image": 4}
    )
    prompt = model._engine.prompts[0]
    # One mark per image: vLLM itself widens it. The template has written <s> already, and only once.
    assert prompt["prompt_token_ids"].count(3) == 1
    assert prompt["prompt_token_ids"].count(1) == 1
    assert [image.getpixel((0, 0)) for image in prompt["multi_modal_data"]["image"]] == [(255, 0, 0)]


def test_a_batch_runs_at_the_same_time_and_a_bad_request_fails_alone(model: Any) -> None:
    results = model.predict_batch([asked(tokens=20), asked("<image><image>"), asked("long " * 40), asked(tokens=30)])
    assert [type(result) for result in results] == [VLMOutput, InvalidInput, InvalidInput, VLMOutput]
    assert [results[0].usage.completion_tokens, results[3].usage.completion_tokens] == [20, 30]
    assert model._engine.most_running == 2


def test_streamed_pieces_join_to_the_answer(model: Any) -> None:
    *pieces, output = model.predict_stream(asked(tokens=12))
    assert "".join(pieces) == output.generated_text == " ".join(str(n) for n in range(1, 13))
    assert len(pieces) > 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_canceled_request_is_dropped_by_the_engine(model: Any, streamed: bool) -> None:
    with cancel_signal(AfterTokens(2)), pytest.raises(Canceled):
        _ = list(model.predict_stream(asked(tokens=10_000))) if streamed else model.predict(asked(tokens=10_000))
    deadline = time.monotonic() + 5
    while model._engine.running and time.monotonic() < deadline:
        time.sleep(0.005)
    assert (model._engine.running, model._engine.aborted) == (0, 1)
