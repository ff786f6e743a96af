"""Questions about drawn scenes whose answers are known: what the demo VLM learns from and is measured on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from training.vlm_scenes import COLORS, SHAPES, DrawnShape, draw_shapes, render

KINDS: tuple[str, ...] = ("color", "shape", "count", "side", "exists")


@dataclass(frozen=True)
class Question:
    """A question about one scene.

    Attributes:
        kind: One of `KINDS`.
        text: What is asked.
        answer: The one right answer, a single lower-case word or digit.
        named: For each noun phrase of the text ("the red circle", "squares", "the red one"), in its order, the shapes
            of the scene that fit it.
    """

    kind: str
    text: str
    answer: str
    named: tuple[tuple[DrawnShape, ...], ...]


def _color_questions(shapes: list[DrawnShape], rng: random.Random) -> list[Question]:
    names = [s.shape for s in shapes]
    color = rng.choice(["color", "colour"])
    return [
        Question("color", f"What {color} is the {s.shape}?", s.color, ((s,),))
        for s in shapes
        if names.count(s.shape) == 1
    ]


def _shape_questions(shapes: list[DrawnShape]) -> list[Question]:
    colors = [s.color for s in shapes]
    return [
        Question("shape", f"What shape is the {s.color} one?", s.shape, ((s,),))
        for s in shapes
        if colors.count(s.color) == 1
    ]


def _count_questions(shapes: list[DrawnShape], rng: random.Random) -> list[Question]:
    # Two of three times something that is there, otherwise most answers would be 0.
    color = rng.choice([rng.choice(shapes).color, rng.choice(shapes).color, rng.choice(list(COLORS))])
    shape = rng.choice([rng.choice(shapes).shape, rng.choice(shapes).shape, rng.choice(SHAPES)])
    asked = [
        ("How many shapes are there?", tuple(shapes)),
        (f"How many {color} shapes are there?", tuple(s for s in shapes if s.color == color)),
        (f"How many {shape}s are there?", tuple(s for s in shapes if s.shape == shape)),
    ]
    return [Question("count", text, str(len(fitting)), (fitting,)) for text, fitting in asked]


def _side_questions(shapes: list[DrawnShape]) -> list[Question]:
    names = [s.name for s in shapes]
    single = [s for s in shapes if names.count(s.name) == 1]
    return [
        Question(
            "side",
            f"Is the {a.name} left or right of the {b.name}?",
            "left" if a.x < b.x else "right",
            ((a,), (b,)),
        )
        for a in single
        for b in single
        # Nobody could answer for two shapes one above the other.
        if a is not b and abs(a.x - b.x) > 0.12
    ]


def _exists_questions(shapes: list[DrawnShape], rng: random.Random) -> list[Question]:
    # Half of the pairs that may be absent share their colour with something that is there.
    color = rng.choice([rng.choice(shapes).color, rng.choice(list(COLORS))])
    questions = []
    for name in (rng.choice(shapes).name, f"{color} {rng.choice(SHAPES)}"):
        fitting = tuple(s for s in shapes if s.name == name)
        questions.append(Question("exists", f"Is there a {name}?", "yes" if fitting else "no", (fitting,)))
    return questions


def ask(shapes: list[DrawnShape], rng: random.Random) -> list[Question]:
    """Return the questions that have one right answer for this scene, in random order."""
    questions = [
        *_color_questions(shapes, rng),
        *_shape_questions(shapes),
        *_count_questions(shapes, rng),
        *_side_questions(shapes),
        *_exists_questions(shapes, rng),
    ]
    rng.shuffle(questions)
    return questions


def held_out(count: int, seed: int = 1) -> list[tuple[Image.Image, Question]]:
    """Return ``count`` images of 192 pixels with one question each, the kinds in turn.

    Training draws from seeds of another range (`training/vlm.py`), so none of these scenes has been trained on.
    """
    rng = random.Random(f"held out {seed}")
    asked: list[tuple[Image.Image, Question]] = []
    while len(asked) < count:
        kind = KINDS[len(asked) % len(KINDS)]
        shapes = draw_shapes(rng)
        image = render(shapes, rng)
        fitting = [question for question in ask(shapes, rng) if question.kind == kind]
        if fitting:
            asked.append((image, rng.choice(fitting)))
    return asked
