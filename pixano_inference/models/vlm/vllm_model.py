"""Vision-language models on vLLM's asynchronous engine."""

from __future__ import annotations

import asyncio
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillRunning
from typing import Any, TypeVar, cast

from transformers import AutoConfig, AutoProcessor

from pixano_inference.configs import VLLMVLMParams
from pixano_inference.errors import ConfigError, InvalidInput
from pixano_inference.models.base import VLMModel
from pixano_inference.models.cancellation import check_canceled
from pixano_inference.models.registry import register_model
from pixano_inference.schemas import Usage, VLMInput, VLMOutput

from .prompts import Prompt
from .templates import prompt_format

INSTALL_LINE = "pip install 'pixano-inference[vllm]'"
CANCEL_POLL_S = 0.02

T = TypeVar("T")


@register_model("VLLMVLMModel")
class VLLMVLMModel(VLMModel):
    """Hands every request to vLLM's engine, which batches those that run at the same time token by token.

    The engine lives on an event loop in a thread of its own; requests that arrive together run together there.
    """

    params_class = VLLMVLMParams

    def load_model(self) -> None:
        """Start the engine.

        Raises:
            ConfigError: vLLM is not installed.
        """
        try:
            import vllm
        except ImportError as error:
            raise ConfigError(
                f"model class 'VLLMVLMModel' needs vLLM, which is not installed: {INSTALL_LINE}"
            ) from error
        params = cast(VLLMVLMParams, self.config.model_params)
        self._sampling_params = vllm.SamplingParams
        processor = AutoProcessor.from_pretrained(params.path)
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._format = prompt_format(processor, AutoConfig.from_pretrained(params.path).model_type)
        arguments: dict[str, Any] = {
            "model": params.path,
            "dtype": params.dtype,
            "gpu_memory_utilization": params.gpu_memory_utilization,
            **({"max_model_len": params.max_model_len} if params.max_model_len else {}),
            **params.engine_kwargs,
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-engine", daemon=True)
        self._thread.start()
        self._engine = self._wait(self._start(vllm, arguments))

    async def _start(self, vllm: Any, arguments: dict[str, Any]) -> Any:
        # The engine binds to the running loop.
        return vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(**arguments))

    @property
    def device(self) -> str:
        """Where the model computes: vLLM is used on a GPU."""
        return "cuda"

    @property
    def metadata(self) -> dict[str, Any]:
        """The engine's name."""
        return {"engine": "vllm"}

    def unload(self) -> None:
        """Stop the engine and its loop."""
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def predict(self, input: VLMInput) -> VLMOutput:
        """Answer one request.

        Raises:
            InvalidInput: Prompt and images do not fit together, or vLLM refuses them.
            Canceled: Nobody waits for the answer any more; the engine has dropped the request.
        """
        return self._wait(self._answer(input, self._format.read(input)))

    def predict_batch(self, inputs: Sequence[VLMInput]) -> list[VLMOutput | Exception]:
        """Answer requests together; a bad one fails alone."""
        return self._wait(self._answer_all(inputs))

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        """Yield the text piece by piece as its tokens come, then the whole output."""
        pieces: queue.SimpleQueue[str] = queue.SimpleQueue()
        future = self._submit(self._answer(input, self._format.read(input), pieces))
        try:
            while not (future.done() and pieces.empty()):
                check_canceled()
                try:
                    yield pieces.get(timeout=CANCEL_POLL_S)
                except queue.Empty:
                    continue
            yield future.result()
        finally:
            future.cancel()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._submit(work)
        try:
            while True:
                check_canceled()
                try:
                    return future.result(timeout=CANCEL_POLL_S)
                except StillRunning:
                    if future.done():  # the work's own timeout, not ours
                        raise
        finally:
            # Cancelling the task makes vLLM abort the request.
            future.cancel()

    async def _answer_all(self, inputs: Sequence[VLMInput]) -> list[VLMOutput | Exception]:
        answers = await asyncio.gather(*(self._answer(request, None) for request in inputs), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                raise answer
        return cast("list[VLMOutput | Exception]", answers)

    async def _answer(
        self, request: VLMInput, prompt: Prompt | None, pieces: queue.SimpleQueue[str] | None = None
    ) -> VLMOutput:
        prompt = prompt or self._format.read(request)
        settings = {"max_tokens": request.max_new_tokens, "temperature": request.temperature}
        results: AsyncIterator[Any] = self._engine.generate(
            self._engine_prompt(prompt), self._sampling_params(**settings), request_id=uuid.uuid4().hex
        )
        text, result = "", None
        try:
            async for result in results:
                whole = result.outputs[0].text.strip()
                if pieces is not None and whole.startswith(text) and len(whole) > len(text):
                    pieces.put(whole[len(text) :])
                    text = whole
        except ValueError as error:
            # vLLM says so when a prompt does not fit the context or its images.
            raise InvalidInput("vLLM cannot use this prompt with these images", location=("body", "prompt")) from error
        if result is None:
            raise RuntimeError("vLLM ended a request without a result")
        asked, answered = len(result.prompt_token_ids), len(result.outputs[0].token_ids)
        return VLMOutput(
            generated_text=result.outputs[0].text.strip(),
            usage=Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered),
            generation_config={"max_new_tokens": request.max_new_tokens, "temperature": request.temperature},
        )

    def _engine_prompt(self, prompt: Prompt) -> dict[str, Any]:
        begin = self._tokenizer.bos_token
        complete = begin is not None and prompt.text.startswith(begin)
        tokens = self._tokenizer.encode(prompt.text, add_special_tokens=not complete)
        images = {"multi_modal_data": {"image": prompt.images}} if prompt.images else {}
        return {"prompt_token_ids": tokens, **images}
