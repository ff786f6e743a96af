"""Many questions about one image in one sequence, for the second phase of the demo VLM's training."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from training.vlm_dense import SHAPE_WORDS, LabelledScene
from training.vlm_model import CELLS
from training.vlm_questions import Question, ask
from training.vlm_scenes import DrawnShape

# What one image is asked in one sequence: kind of question and room for it in tokens, answer included.
EASY = [("color", 9), ("color", 9), ("shape", 9), ("shape", 9), ("exists", 9), ("exists", 9), ("count", 9)]
ALL = [("color", 9), ("shape", 9), ("exists", 9), ("count", 9), ("count", 9), ("count", 9)] + [("side", 14)] * 4


class Layout:
    """Where the questions of one sequence lie: a shared image, then segments that cannot see each other."""

    def __init__(self, slots: list[tuple[str, int]]) -> None:
        """Compute positions [1, length] and the mask [1, 1, length, length] (True: may attend)."""
        self.slots = slots
        self.prefix = CELLS + 2
        segment = [0] * self.prefix
        position = list(range(self.prefix))
        self.starts = []
        for number, (_, room) in enumerate(slots):
            self.starts.append(len(segment))
            segment += [number + 1] * room
            position += list(range(self.prefix, self.prefix + room))
        owner, order = torch.tensor(segment), torch.arange(len(segment))
        same = (owner[:, None] == owner[None]) | (owner[None] == 0)
        self.mask = (same & (order[:, None] >= order[None]))[None, None]
        self.positions = torch.tensor(position)[None]


@dataclass
class Noun:
    """A place where a question names shapes.

    Attributes:
        row: Image of the batch.
        spot: Position of the noun's token.
        fitting: The shapes that it names.
        answer: Position from which the answer is predicted.
        first: Position of the first noun of the same question.
        last: Position of the last noun of the same question.
    """

    row: int
    spot: int
    fitting: tuple[DrawnShape, ...]
    answer: int
    first: int
    last: int


class QuestionBatch:
    """Questions about a batch of scenes, as one sequence per scene.

    Attributes:
        ids: Token ids [n, length].
        targets: The token to predict at each position, -100 where none is [n, length].
        nouns: Where questions name shapes.
    """

    def __init__(
        self, scenes: list[LabelledScene], layout: Layout, tokenizer: PreTrainedTokenizerFast, rng: random.Random
    ) -> None:
        """Ask every scene one question per slot of the layout."""
        size, length = len(scenes), layout.positions.shape[1]
        self.ids = torch.zeros(size, length, dtype=torch.long)
        self.targets = torch.full((size, length), -100)
        self.ids[:, 0] = tokenizer.bos_token_id
        self.ids[:, 1] = tokenizer.convert_tokens_to_ids("<|user|>")
        self.nouns: list[Noun] = []
        words = [*SHAPE_WORDS, *(f"{word}s" for word in SHAPE_WORDS), "shapes", "one"]
        self._noun_ids = {encode(tokenizer, word)[0] for word in words}
        for row, scene in enumerate(scenes):
            left = ask(scene.shapes, rng)
            for (kind, room), start in zip(layout.slots, layout.starts, strict=True):
                question = next((q for q in left if q.kind == kind), None)
                if question is not None:
                    left.remove(question)
                    self._write(row, start, room, question, tokenizer)

    def _write(self, row: int, start: int, room: int, question: Question, tokenizer: PreTrainedTokenizerFast) -> None:
        asked = [*encode(tokenizer, question.text), tokenizer.convert_tokens_to_ids("<|assistant|>")]
        answer = encode(tokenizer, question.answer)
        whole = asked + answer
        assert len(whole) <= room, (question, len(whole))
        self.ids[row, start : start + len(whole)] = torch.tensor(whole)
        shifted = [*answer, tokenizer.eos_token_id]
        first = start + len(asked) - 1
        self.targets[row, first : first + len(shifted)] = torch.tensor(shifted)
        spots = [start + i for i, token in enumerate(asked) if token in self._noun_ids]
        for spot, fitting in zip(spots, question.named, strict=True):
            self.nouns.append(Noun(row, spot, fitting, first, spots[0], spots[-1]))


_CODES: dict[str, list[int]] = {}


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the token ids of a text without special tokens."""
    if text not in _CODES:
        _CODES[text] = tokenizer.encode(text, add_special_tokens=False)
    return _CODES[text]
