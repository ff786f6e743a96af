"""Drawn scenes of coloured, named shapes: what the demo detector and the demo VLM learn from and are measured on.

A scene is one to five shapes that do not overlap ("red circle", "blue star", ...) on a plain or lightly textured
ground.
Every pixel comes from the random generator that is passed in, so a seed names a scene for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "green": (40, 165, 65),
    "blue": (45, 85, 220),
    "yellow": (240, 220, 50),
    "purple": (140, 55, 175),
    "orange": (245, 135, 25),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross")
PAIRS: tuple[tuple[str, str], ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

# One pair of every colour, and at least one of every shape. A model that trains without these and finds them
# has learnt colour and shape apart.
HELD_OUT_PAIRS: tuple[tuple[str, str], ...] = (
    ("red", "star"),
    ("green", "square"),
    ("blue", "triangle"),
    ("yellow", "cross"),
    ("purple", "circle"),
    ("orange", "square"),
)
SEEN_PAIRS: tuple[tuple[str, str], ...] = tuple(pair for pair in PAIRS if pair not in HELD_OUT_PAIRS)

SCENE_SIZE = 192
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class NamedShape:
    """One drawn object.

    Attributes:
        colour: A key of `COLOURS`.
        shape: One of `SHAPES`.
        box: Tight box of the drawn outline, x1, y1, x2, y2 in pixels of the scene.
    """

    colour: str
    shape: str
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """What one would ask for, as in "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """A drawn image and what is in it.

    Attributes:
        image: uint8 RGB array [size, size, 3].
        objects: The shapes, in the order they were drawn.
    """

    image: npt.NDArray[np.uint8]
    objects: tuple[NamedShape, ...]


def draw_scene(
    rng: np.random.Generator,
    *,
    size: int = SCENE_SIZE,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    min_objects: int = 1,
    max_objects: int = 5,
    texture: bool = True,
) -> Scene:
    """Draw one scene.

    Args:
        rng: Source of every choice.
        size: Side of the square image, pixels.
        pairs: The (colour, shape) pairs that may appear; repeats within a scene are possible.
        min_objects: Least number of shapes.
        max_objects: Greatest number of shapes; fewer are drawn when the scene has no room left.
        texture: Whether some grounds carry a gradient or light noise.

    Returns:
        The image and its objects. Boxes do not overlap and lie within the image.
    """
    scale = size * _SUPERSAMPLING
    image = Image.fromarray(_ground(rng, size, texture)).resize((scale, scale), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    objects: list[NamedShape] = []
    wanted = int(rng.integers(min_objects, max_objects + 1))
    for _ in range(wanted * 12):
        if len(objects) == wanted:
            break
        colour, shape = pairs[int(rng.integers(len(pairs)))]
        radius = size * float(rng.uniform(0.10, 0.20))
        centre = rng.uniform(radius + 1, size - radius - 1, size=2)
        outline = centre + radius * _outline(shape, math.radians(float(rng.uniform(-20, 20))))
        low, high = outline.min(axis=0), outline.max(axis=0)
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        if any(_too_close(box, other.box, gap=size * 0.02) for other in objects):
            continue
        tint = np.clip(np.array(COLOURS[colour]) + rng.integers(-14, 15, size=3), 0, 255)
        draw.polygon([(float(x), float(y)) for x, y in outline * _SUPERSAMPLING], fill=tuple(int(v) for v in tint))
        objects.append(NamedShape(colour, shape, box))
    pixels = np.asarray(image.reduce(_SUPERSAMPLING))
    return Scene(_noisy(rng, pixels) if texture else pixels, tuple(objects))


def _outline(shape: str, angle: float) -> npt.NDArray[np.float64]:
    """Vertices [n, 2] of a shape of radius 1 around the origin, turned by `angle` radians."""
    if shape == "circle":
        turns, radii = np.linspace(0, 2 * np.pi, 64, endpoint=False), np.ones(64)
    elif shape == "square":
        turns, radii = np.pi / 4 + np.arange(4) * np.pi / 2, np.ones(4)
    elif shape == "triangle":
        turns, radii = -np.pi / 2 + np.arange(3) * 2 * np.pi / 3, np.ones(3)
    elif shape == "star":
        turns, radii = -np.pi / 2 + np.arange(10) * np.pi / 5, np.where(np.arange(10) % 2, 0.42, 1.0)
    else:
        # A plus: per arm two tips and the inner corner that follows them.
        half = 0.30
        tip = math.atan2(half, math.sqrt(1 - half * half))
        turns = np.concatenate([quarter * np.pi / 2 + np.array([-tip, tip, np.pi / 4]) for quarter in range(4)])
        radii = np.tile([1.0, 1.0, half * math.sqrt(2)], 4)
    return np.stack([radii * np.cos(turns + angle), radii * np.sin(turns + angle)], axis=1)


def _ground(rng: np.random.Generator, size: int, texture: bool) -> npt.NDArray[np.uint8]:
    """A greyish ground [size, size, 3], plain or gently graded: no colour that a shape could be mistaken for."""
    base = float(rng.uniform(10, 245)) + rng.uniform(-12, 12, size=3)
    ground = np.broadcast_to(base, (size, size, 3)).astype(np.float64)
    if texture and rng.random() < 0.5:
        angle = float(rng.uniform(0, 2 * np.pi))
        y, x = np.mgrid[0:size, 0:size] / size - 0.5
        ground = ground + (float(rng.uniform(10, 40)) * (np.cos(angle) * x + np.sin(angle) * y))[..., None]
    return np.clip(ground, 0, 255).astype(np.uint8)


def _noisy(rng: np.random.Generator, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grain over the whole picture, shapes included, on half of the scenes."""
    if rng.random() < 0.5:
        return pixels
    grain = rng.normal(0, float(rng.uniform(2, 8)), size=(*pixels.shape[:2], 1)).astype(np.float32)
    noisy: npt.NDArray[np.uint8] = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return noisy


def _too_close(a: tuple[float, ...], b: tuple[float, ...], gap: float) -> bool:
    return a[0] - gap < b[2] and b[0] - gap < a[2] and a[1] - gap < b[3] and b[1] - gap < a[3]
