"""The drawn scenes of the demo VLM: one to four coloured shapes that do not overlap, on a plain ground.

Everything derives from a ``random.Random``: one seed, one scene.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (46, 160, 67),
    "blue": (45, 85, 215),
    "yellow": (240, 208, 40),
    "purple": (140, 60, 180),
    "orange": (245, 130, 30),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star")
MAX_SHAPES = 4


@dataclass(frozen=True)
class DrawnShape:
    """One shape of a scene; ``x``, ``y`` (centre) and ``radius`` are fractions of the image's side."""

    color: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def name(self) -> str:
        """Colour and shape, as questions name it: ``red circle``."""
        return f"{self.color} {self.shape}"


def draw_shapes(rng: random.Random) -> list[DrawnShape]:
    """Return 1 to `MAX_SHAPES` shapes that do not overlap."""
    wanted = rng.randint(1, MAX_SHAPES)
    # A scene with repeated colours and shapes makes counting questions worth asking.
    colors = rng.sample(list(COLORS), rng.randint(1, 4))
    shapes: list[DrawnShape] = []
    for _ in range(200):
        if len(shapes) == wanted:
            break
        radius = rng.uniform(0.12, 0.20)
        x, y = rng.uniform(radius, 1 - radius), rng.uniform(radius, 1 - radius)
        if all(math.hypot(x - s.x, y - s.y) > (radius + s.radius) * 1.02 for s in shapes):
            color = rng.choice(colors if rng.random() < 0.7 else list(COLORS))
            shapes.append(DrawnShape(color, rng.choice(SHAPES), x, y, radius, rng.uniform(-0.3, 0.3)))
    return shapes


def corners(shape: DrawnShape, side: int) -> list[tuple[float, float]]:
    """Return the outline of a shape other than a circle as (x, y) pixels of an image of this side."""
    if shape.shape == "square":
        turns = [(i / 4 + 1 / 8, 1.0) for i in range(4)]
    elif shape.shape == "triangle":
        turns = [(i / 3, 1.0) for i in range(3)]
    else:
        turns = [(i / 10, 1.0 if i % 2 == 0 else 0.42) for i in range(10)]
    outline = []
    for turn, reach in turns:
        angle = 2 * math.pi * turn + shape.angle - math.pi / 2
        outline.append(
            (
                (shape.x + shape.radius * reach * math.cos(angle)) * side,
                (shape.y + shape.radius * reach * math.sin(angle)) * side,
            )
        )
    return outline


def paint(canvas: ImageDraw.ImageDraw, shape: DrawnShape, side: int, fill: int | tuple[int, int, int]) -> None:
    """Paint one shape on a square canvas of ``side`` pixels."""
    if shape.shape == "circle":
        # A circle as wide as its radius says has more area than the others: shrink it, so that size is no clue.
        x, y, r = shape.x * side, shape.y * side, shape.radius * side * 0.88
        canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    else:
        canvas.polygon(corners(shape, side), fill=fill)


def render(shapes: list[DrawnShape], rng: random.Random, side: int = 192) -> Image.Image:
    """Draw the shapes on a plain light or dark ground; colours vary a little. Returns an RGB image, side x side."""
    level = rng.choice([rng.randint(200, 255), rng.randint(0, 60)])
    ground = tuple(max(0, min(255, level + rng.randint(-8, 8))) for _ in range(3))
    image = Image.new("RGB", (side, side), ground)
    canvas = ImageDraw.Draw(image)
    for shape in shapes:
        fill = COLORS[shape.color]
        varied = (_vary(fill[0], rng), _vary(fill[1], rng), _vary(fill[2], rng))
        paint(canvas, shape, side, varied)
    return image


def _vary(channel: int, rng: random.Random) -> int:
    return max(0, min(255, channel + rng.randint(-14, 14)))
