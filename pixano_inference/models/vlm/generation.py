"""What happens at every generated token: sampling with a generator per request, limits, cancellation, streaming."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation import BaseStreamer


class RowSampler(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Draws the next token of each row of a batch at the row's own temperature, with a random generator of its own.

    Requests of different temperatures share one batch that way, and no request moves the random state of another:
    the token is drawn here, and greedy search then finds nothing else to choose.

    Args:
        temperatures: One per row; 0 leaves the row greedy.
        top_k: Of the checkpoint's own defaults; null keeps all tokens.
        top_p: Of the checkpoint's own defaults; null keeps all tokens.
    """

    def __init__(self, temperatures: Sequence[float], top_k: int | None, top_p: float | None) -> None:
        limits: list[Any] = [TopKLogitsWarper(top_k)] if top_k else []
        if top_p is not None and top_p < 1:
            limits.append(TopPLogitsWarper(top_p))
        self._rows: dict[int, tuple[LogitsProcessorList, torch.Generator]] = {}
        for row, temperature in enumerate(temperatures):
            if temperature > 0:
                generator = torch.Generator()
                generator.seed()
                self._rows[row] = LogitsProcessorList([TemperatureLogitsWarper(temperature), *limits]), generator

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return ``scores`` [rows, vocabulary] with one finite entry per sampled row."""
        for row, (warpers, generator) in self._rows.items():
            warped = warpers(input_ids[row : row + 1], scores[row : row + 1].float())
            drawn = torch.multinomial(torch.softmax(warped, dim=-1)[0].cpu(), 1, generator=generator).item()
            scores[row] = -torch.inf
            scores[row, int(drawn)] = 0.0
        return scores


class RowLimits(StoppingCriteria):  # type: ignore[misc]  # as above
    """Ends each row of a batch after its own number of new tokens.

    Args:
        prompt_length: Tokens of the padded prompt.
        limits: ``max_new_tokens`` per row.
    """

    def __init__(self, prompt_length: int, limits: Sequence[int]) -> None:
        self._ends = torch.tensor(limits) + prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return which rows are done, bool [rows]."""
        return (input_ids.shape[1] >= self._ends).to(input_ids.device)


class EveryToken(StoppingCriteria):  # type: ignore[misc]  # as above
    """Calls ``check`` after each token; what it raises ends the generation."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """Return that no row is done."""
        self._check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class TextPieces(BaseStreamer):  # type: ignore[misc]  # as above
    """Puts the text of a growing answer on a queue, piece by piece.

    The pieces join to exactly the text that is decoded from all tokens at once: white space at the ends is left out,
    and a character whose bytes are not all there yet is held back.

    Args:
        decode: From the token ids of an answer to its text.
        pieces: Where the pieces go.
    """

    def __init__(self, decode: Callable[[list[int]], str], pieces: queue.SimpleQueue[Any]) -> None:
        self._decode = decode
        self._pieces = pieces
        self._tokens: list[int] = []
        self._sent = ""
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        """Take the next token; the first call brings the prompt."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self._tokens += value.flatten().tolist()
        text = self._decode(self._tokens)
        # A decoder may yet change its mind about an unfinished character.
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._send(text)

    def end(self) -> None:
        """Send what was held back."""
        self._send(self._decode(self._tokens))

    def _send(self, text: str) -> None:
        if text.startswith(self._sent) and len(text) > len(self._sent):
            self._pieces.put(text[len(self._sent) :])
            self._sent = text
