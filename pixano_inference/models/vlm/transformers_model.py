"""Any vision-language model that transformers loads through ``AutoModelForImageTextToText``."""

from __future__ import annotations

import contextvars
import copy
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from pixano_inference.configs import TransformersVLMParams
from pixano_inference.errors import Canceled, ConfigError, InvalidInput
from pixano_inference.models.base import VLMModel
from pixano_inference.models.cancellation import check_canceled
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.models.registry import register_model
from pixano_inference.schemas import Usage, VLMInput, VLMOutput

from .generation import EveryToken, RowLimits, RowSampler, TextPieces
from .prompts import Prompt
from .templates import prompt_format

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prepared:
    """A request and its prompt, images decoded."""

    request: VLMInput
    prompt: Prompt


@dataclass(frozen=True)
class _Encoded:
    """Requests that go through the model together."""

    requests: list[VLMInput]
    tensors: dict[str, Tensor]

    @property
    def prompt_tokens(self) -> list[int]:
        return [int(count) for count in self.tensors["attention_mask"].sum(1).tolist()]

    @property
    def length(self) -> int:
        return int(self.tensors["input_ids"].shape[1])


@register_model("TransformersVLMModel")
class TransformersVLMModel(PipelinedModel[VLMInput, VLMOutput], VLMModel):
    """LLaVA, Qwen-VL, SmolVLM, Idefics and the other families behind transformers' auto class."""

    params_class = TransformersVLMParams

    def load_model(self) -> None:
        """Load processor and weights and generate one token.

        Raises:
            ConfigError: The checkpoint's processor needs a package that is not installed, or ``compile`` is asked
                for on a CPU.
        """
        params = self._params
        self._device = _pick_device(params.device)
        if params.compile and self._device.type == "cpu":
            raise ConfigError("compile: transformers compiles generation on accelerators only; remove it on a CPU")
        source: dict[str, Any] = {"revision": params.revision, "local_files_only": params.local_files_only}
        try:
            processor = AutoProcessor.from_pretrained(params.path, **source, **params.processor_kwargs)
        except ImportError as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"the processor of {params.path} needs a package that is not installed: {reason}"
            ) from error
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._tokenizer.padding_side = "left"  # answers of a batch all begin at the right end
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._processor = processor
        model = AutoModelForImageTextToText.from_pretrained(
            params.path, dtype=_pick_dtype(params.torch_dtype, self._device), **source
        )
        self._model = model.to(self._device).eval()
        self._read_generation_config()
        self._format = prompt_format(processor, self._model.config.model_type)
        self._warm_up()

    @property
    def _params(self) -> TransformersVLMParams:
        return cast(TransformersVLMParams, self.config.model_params)

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._device)

    @property
    def metadata(self) -> dict[str, Any]:
        """Architecture, number type and device."""
        return {
            "architecture": type(self._model).__name__,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "device": self.device,
        }

    def unload(self) -> None:
        """Free the weights."""
        del self._model, self._processor, self._tokenizer
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def preprocess(self, input: VLMInput) -> _Prepared:
        """Decode the images and write the prompt.

        Raises:
            InvalidInput: Prompt and images do not fit together.
        """
        return _Prepared(input, self._format.read(input))

    def infer_batch(self, prepared: Sequence[_Prepared]) -> list[VLMOutput | Exception]:
        """Answer requests together: one pass per kind of prompt, padded on the left; a bad one fails alone.

        Raises:
            Canceled: Nobody waits for any of the answers any more.
        """
        results: dict[int, VLMOutput | Exception] = {}
        groups: dict[tuple[bool, bool], list[int]] = {}
        for index, item in enumerate(prepared):
            groups.setdefault((item.prompt.templated, bool(item.prompt.images)), []).append(index)
        for indexes in groups.values():
            answers = self._answer([prepared[index] for index in indexes])
            results.update(zip(indexes, answers, strict=True))
        return [results[index] for index in range(len(prepared))]

    def postprocess(self, raw: VLMOutput) -> VLMOutput:
        """Return the answer. The text is decoded in the model's thread: a tokenizer is not for two at a time."""
        return raw

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        """Yield the text piece by piece as its tokens come, then the whole output.

        Raises:
            InvalidInput: As :meth:`predict`, before the first piece.
            Canceled: Nobody waits for the answer any more; the model has stopped within one token.
        """
        encoded = self._encode([self.preprocess(input)])
        self._check_length(encoded, 0)
        pieces: queue.SimpleQueue[str | VLMOutput | BaseException] = queue.SimpleQueue()
        closed = threading.Event()

        def check() -> None:
            if closed.is_set():
                raise Canceled("the stream was closed")

        def work() -> None:
            try:
                tokens = self._generate(encoded, TextPieces(self._decode, pieces), check)
                pieces.put(self._outputs(encoded, tokens)[0])
            except BaseException as error:  # raised again where the pieces are read
                pieces.put(error)

        # The thread must see this request's cancel signal.
        worker = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="vlm-stream", daemon=True)
        worker.start()
        try:
            while True:
                piece = pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, VLMOutput):
                    return
        finally:
            closed.set()
            worker.join()

    def _answer(self, items: Sequence[_Prepared]) -> list[VLMOutput | Exception]:
        """Answer prompts of one kind; falls back to one by one where they cannot be encoded together."""
        try:
            encoded = self._encode(items)
            for row in range(len(items)):
                self._check_length(encoded, row)
        except InvalidInput as error:
            if len(items) == 1:
                return [error]
            return [answer for item in items for answer in self._answer([item])]
        return list(self._outputs(encoded, self._generate(encoded)))

    def _encode(self, items: Sequence[_Prepared]) -> _Encoded:
        prompts = [item.prompt for item in items]
        images = [prompt.images for prompt in prompts]
        begin = self._tokenizer.bos_token
        complete = prompts[0].templated and begin is not None and prompts[0].text.startswith(begin)
        try:
            tensors = self._processor(
                text=[prompt.text for prompt in prompts],
                images=images if images[0] else None,
                padding=True,
                return_tensors="pt",
                **({"add_special_tokens": False} if complete else {}),
            )
        except ValueError as error:
            logger.info("the processor refused a prompt: %s", error)
            raise InvalidInput(
                "the model's processor cannot use this prompt with these images", location=("body", "prompt")
            ) from error
        moved = tensors.to(self._device)
        return _Encoded(
            [item.request for item in items],
            {
                name: value.to(self._model.dtype) if torch.is_floating_point(value) else value
                for name, value in moved.items()
                if isinstance(value, Tensor)
            },
        )

    def _check_length(self, encoded: _Encoded, row: int) -> None:
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        asked = encoded.requests[row].max_new_tokens
        prompt = encoded.prompt_tokens[row]
        if limit is not None and prompt + asked > limit:
            raise InvalidInput(
                f"the prompt has {prompt} tokens, images included, and max_new_tokens is {asked}; "
                f"together at most {limit} fit into the model's context",
                location=("body", "max_new_tokens"),
            )

    def _generate(
        self, encoded: _Encoded, streamer: TextPieces | None = None, check: Any = check_canceled
    ) -> list[list[int]]:
        """Return the new tokens of each row, the end mark included where the model wrote it."""
        limits = [request.max_new_tokens for request in encoded.requests]
        temperatures = [request.temperature for request in encoded.requests]

        def at_every_token() -> None:
            check_canceled()
            check()

        at_every_token()
        settings = copy.copy(self._greedy)
        settings.max_new_tokens = max(limits)
        rows = self._model.generate(
            **encoded.tensors,
            generation_config=settings,
            logits_processor=[RowSampler(temperatures, self._top_k, self._top_p)] if any(temperatures) else [],
            stopping_criteria=[EveryToken(at_every_token), RowLimits(encoded.length, limits)],
            streamer=streamer,
        )
        return [
            self._until_end(row[:limit]) for row, limit in zip(rows[:, encoded.length :].tolist(), limits, strict=True)
        ]

    def _until_end(self, tokens: list[int]) -> list[int]:
        ends = [position for position, token in enumerate(tokens) if token in self._end_ids]
        return tokens[: ends[0] + 1] if ends else tokens

    def _outputs(self, encoded: _Encoded, rows: list[list[int]]) -> list[VLMOutput]:
        return [
            VLMOutput(
                generated_text=self._decode(tokens),
                usage=Usage(prompt_tokens=prompt, completion_tokens=len(tokens), total_tokens=prompt + len(tokens)),
                generation_config=self._describe(request),
            )
            for request, tokens, prompt in zip(encoded.requests, rows, encoded.prompt_tokens, strict=True)
        ]

    def _describe(self, request: VLMInput) -> dict[str, Any]:
        sampled = request.temperature > 0
        return {
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "do_sample": sampled,
            **({"top_k": self._top_k, "top_p": self._top_p} if sampled else {}),
            "eos_token_id": sorted(self._end_ids),
        }

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _read_generation_config(self) -> None:
        """Keep the checkpoint's own sampling limits, and a greedy copy of its configuration for ``generate``."""
        loaded: GenerationConfig = self._model.generation_config
        self._top_k, self._top_p = loaded.top_k, loaded.top_p
        greedy = copy.deepcopy(loaded)
        greedy.do_sample, greedy.num_beams = False, 1
        greedy.temperature = greedy.top_k = greedy.top_p = greedy.min_p = greedy.typical_p = greedy.max_length = None
        greedy.pad_token_id = self._tokenizer.pad_token_id
        if greedy.eos_token_id is None:
            greedy.eos_token_id = self._tokenizer.eos_token_id
        if self._params.compile:
            greedy.cache_implementation = "static"
        # The attribute is what generate() merges into the configuration it is given.
        self._greedy = self._model.generation_config = greedy
        ends = greedy.eos_token_id
        self._end_ids = frozenset(ends if isinstance(ends, list) else [ends])

    def _warm_up(self) -> None:
        mark = {"type": "image"}
        turn = {"role": "user", "content": [mark, {"type": "text", "text": "What is this?"}]}
        text = self._format.chat_template([turn]) if self._format.chat_template else self._format.image_mark or ""
        prompt = Prompt(text, [Image.new("RGB", (64, 64))], templated=self._format.chat_template is not None)
        request = VLMInput.model_construct(prompt="", images=None, max_new_tokens=2, temperature=0.0)
        self._generate(self._encode([_Prepared(request, prompt)]))


def _pick_device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _pick_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return cast(torch.dtype, getattr(torch, name))
