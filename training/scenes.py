"""Drawn scenes: coloured shapes on textured grounds, still or moving, with the exact visible mask of every shape.

Everything is a function of a `numpy.random.Generator`, so a seed names a scene for good: training uses low seeds, the
held-out scenes of the tests start at `HELD_OUT_SEED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

HELD_OUT_SEED = 1_000_000_000
"""First seed of the held-out scenes; no training run draws a scene at or above it."""

KINDS = ("circle", "ellipse", "square", "rectangle", "triangle", "diamond", "pentagon", "hexagon", "star", "cross")
GROUNDS = ("flat", "gradient", "stripes", "checks", "blobs", "speckle")
MIN_RADIUS, MAX_RADIUS = 14.0, 62.0
"""Half the extent of a shape, in pixels of a 256 pixel scene."""

Image8 = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Shape:
    """One shape: where it is (pixels, x to the right, y down), its half extents, its turn (radians) and its paint."""

    kind: str
    x: float
    y: float
    rx: float
    ry: float
    turn: float
    color: tuple[float, float, float]
    shade: tuple[float, float]
    grain: float


@dataclass(frozen=True)
class Scene:
    """A drawn image and what is on it.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        labels: uint8 [height, width]; 0 is the ground, k the k-th shape where it is visible.
        objects: the labels of the shapes that can be asked for (large enough a part of them is visible).
    """

    image: Image8
    labels: Image8
    objects: tuple[int, ...]

    def mask(self, label: int) -> npt.NDArray[np.bool_]:
        """The visible mask of one shape, bool [height, width]."""
        visible: npt.NDArray[np.bool_] = self.labels == label
        return visible


@dataclass(frozen=True)
class Clip:
    """A drawn video.

    Attributes:
        frames: uint8 [frames, height, width, 3], RGB.
        labels: uint8 [frames, height, width], as in `Scene.labels`.
        objects: the labels of the shapes that are clearly visible on the first frame.
    """

    frames: Image8
    labels: Image8
    objects: tuple[int, ...]


def _outline(kind: str) -> npt.NDArray[np.float64]:
    """Corners of a shape of half extent 1 around the origin, [corners, 2] as x, y."""
    if kind in ("circle", "ellipse"):
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    if kind in ("square", "rectangle"):
        return np.array([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]])
    if kind == "cross":
        a = 0.36
        half = [[-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a], [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a]]
        return np.array([*half, [-a, -a]], dtype=np.float64)
    corners = {"triangle": 3, "diamond": 4, "pentagon": 5, "hexagon": 6, "star": 10}[kind]
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) - np.pi / 2
    radius = np.where(np.arange(corners) % 2 == 0, 1.0, 0.5) if kind == "star" else np.ones(corners)
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1)


def shape_mask(shape: Shape, size: int) -> npt.NDArray[np.bool_]:
    """The whole extent of a shape, hidden parts included, bool [size, size]."""
    corners = _outline(shape.kind) * (shape.rx, shape.ry)
    cos, sin = np.cos(shape.turn), np.sin(shape.turn)
    corners = corners @ np.array([[cos, sin], [-sin, cos]]) + (shape.x, shape.y)
    canvas = Image.new("L", (size, size), 0)
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    mask: npt.NDArray[np.bool_] = np.asarray(canvas) > 0
    return mask


def _smooth_noise(rng: Rng, size: int, cells: int) -> Floats:
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32) - np.float32(0.5)


def draw_ground(rng: Rng, size: int) -> Floats:
    """A textured ground, float32 [size, size, 3] in 0..255."""
    kind = GROUNDS[rng.integers(len(GROUNDS))]
    first = rng.uniform(20, 235, 3)
    second = np.clip(first + rng.uniform(-60, 60, 3), 0, 255)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = xs * np.float32(np.cos(angle)) + ys * np.float32(np.sin(angle))
    if kind == "gradient":
        mix = (along - along.min()) / (along.max() - along.min())
    elif kind == "stripes":
        mix = (np.sin(along * np.float32(2 * np.pi / rng.uniform(8, 40))) > 0).astype(np.float32)
    elif kind == "checks":
        step = int(rng.integers(8, 33))
        mix = ((xs // step + ys // step) % 2).astype(np.float32)
    elif kind == "blobs":
        mix = np.clip(_smooth_noise(rng, size, int(rng.integers(4, 14))) * 1.5 + 0.5, 0, 1)
    elif kind == "speckle":
        mix = rng.random((size, size), dtype=np.float32)
    else:
        mix = np.zeros((size, size), np.float32)
    ground: Floats = (first + (second - first) * mix[..., None]).astype(np.float32)
    return ground


def _pick_color(rng: Rng, taken: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float, float]:
    """A colour apart from those taken, so that every shape can be told from what is around it."""
    best, best_gap = rng.uniform(0, 255, 3), -1.0
    for _ in range(12):
        color = rng.uniform(10, 245, 3)
        gap = min((float(np.abs(color - other).max()) for other in taken), default=255.0)
        if gap > best_gap:
            best, best_gap = color, gap
        if gap > 80:
            break
    return float(best[0]), float(best[1]), float(best[2])


def _random_shape(rng: Rng, size: int, taken: Sequence[npt.NDArray[np.float32]]) -> Shape:
    kind = KINDS[rng.integers(len(KINDS))]
    unit = size / 256
    radius = float(np.exp(rng.uniform(np.log(MIN_RADIUS), np.log(MAX_RADIUS)))) * unit
    squeeze = float(rng.uniform(0.5, 1.0)) if kind in ("ellipse", "rectangle") else float(rng.uniform(0.85, 1.0))
    if kind in ("circle", "square"):
        squeeze = 1.0
    rx, ry = (radius, radius * squeeze) if rng.random() < 0.5 else (radius * squeeze, radius)
    margin = 0.6 * radius
    return Shape(
        kind=kind,
        x=float(rng.uniform(margin, size - margin)),
        y=float(rng.uniform(margin, size - margin)),
        rx=max(rx, MIN_RADIUS * unit),
        ry=max(ry, MIN_RADIUS * unit),
        turn=float(rng.uniform(0, 2 * np.pi)) if rng.random() < 0.7 else 0.0,
        color=_pick_color(rng, taken),
        shade=(float(rng.normal(0, 0.25)), float(rng.normal(0, 0.25))) if rng.random() < 0.4 else (0.0, 0.0),
        grain=float(rng.uniform(0, 14)) if rng.random() < 0.5 else 0.0,
    )


def _paint(rng: Rng, ground: Floats, shapes: Sequence[Shape], size: int) -> tuple[Floats, Image8, list[int]]:
    """Draw the shapes back to front; returns the picture, the label map and every shape's whole area."""
    picture, labels, areas = ground.copy(), np.zeros((size, size), np.uint8), []
    for label, shape in enumerate(shapes, start=1):
        mask = shape_mask(shape, size)
        areas.append(int(mask.sum()))
        ys, xs = np.nonzero(mask)
        offset = shape.shade[0] * (xs - shape.x) + shape.shade[1] * (ys - shape.y)
        paint = np.asarray(shape.color, np.float32) + offset[:, None].astype(np.float32)
        if shape.grain:
            paint += rng.normal(0, shape.grain, (len(xs), 1)).astype(np.float32)
        picture[ys, xs] = paint
        labels[ys, xs] = label
    return picture, labels, areas


def _finish(rng: Rng, picture: Floats, noise: float, blur: float) -> Image8:
    if noise:
        picture = picture + rng.normal(0, noise, picture.shape[:2]).astype(np.float32)[..., None]
    image = np.clip(picture, 0, 255).astype(np.uint8)
    if blur:
        image = np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(blur)))
    return image


def _visible(labels: Image8, areas: Sequence[int], size: int) -> tuple[int, ...]:
    counts = np.bincount(labels.ravel(), minlength=len(areas) + 1)
    least = 350 * (size / 256) ** 2
    return tuple(k for k, area in enumerate(areas, 1) if counts[k] >= max(least, 0.5 * area))


def _random_shapes(rng: Rng, ground: Floats, size: int, count: int) -> list[Shape]:
    taken = [ground.reshape(-1, 3)[:: size * 37].mean(0)]
    shapes: list[Shape] = []
    for _ in range(count):
        shapes.append(_random_shape(rng, size, taken))
        taken.append(np.asarray(shapes[-1].color, np.float32))
    # Large shapes at the back: a small one in front of a large one is a question that a click can answer.
    return sorted(shapes, key=lambda s: -s.rx * s.ry * float(rng.uniform(0.5, 2.0)))


def draw_scene(seed: int, size: int = 256) -> Scene:
    """Draw one scene of 2 to 7 shapes.

    Args:
        seed: names the scene; the same seed gives the same scene.
        size: side of the square image, pixels.
    """
    rng = np.random.default_rng(seed)
    while True:
        ground = draw_ground(rng, size)
        shapes = _random_shapes(rng, ground, size, int(rng.integers(2, 8)))
        picture, labels, areas = _paint(rng, ground, shapes, size)
        objects = _visible(labels, areas, size)
        if objects:
            noise = float(rng.uniform(0, 12)) if rng.random() < 0.6 else 0.0
            blur = float(rng.uniform(0.3, 0.7)) if rng.random() < 0.3 else 0.0
            return Scene(_finish(rng, picture, noise, blur), labels, objects)


def draw_clip(seed: int, frames: int = 30, size: int = 256, hide: bool = True) -> Clip:
    """Draw one video of 2 to 4 moving shapes that bounce off the borders, overlap and now and then hide each other.

    Args:
        seed: names the clip.
        frames: number of frames.
        size: side of the square frames, pixels.
        hide: put a tall bar in front of the scene in some clips, behind which shapes vanish for a few frames.
    """
    rng = np.random.default_rng([seed, 1])
    while True:
        ground = draw_ground(rng, size)
        count = int(rng.integers(2, 5))
        shapes = [
            replace(s, rx=max(s.rx, 16 * size / 256), ry=max(s.ry, 16 * size / 256))
            for s in _random_shapes(rng, ground, size, count)
        ]
        speed = rng.normal(0, 2.6 * size / 256, (count, 2))
        spin = rng.normal(0, 0.03, count)
        bar: list[Shape] = []
        if hide and rng.random() < 0.5:
            paint = _pick_color(rng, [np.asarray(s.color, np.float32) for s in shapes])
            place = float(rng.uniform(0.25, 0.75)) * size
            narrow = float(rng.uniform(0.03, 0.07)) * size
            bar = [Shape("rectangle", place, size / 2, narrow, size * 0.6, 0.0, paint, (0.0, 0.0), 0.0)]
        noise = float(rng.uniform(0, 10)) if rng.random() < 0.6 else 0.0
        pictures, maps = [], []
        objects: tuple[int, ...] = ()
        for t in range(frames):
            picture, labels, areas = _paint(rng, ground, [*shapes, *bar], size)
            if t == 0:
                objects = tuple(k for k in _visible(labels, areas, size) if k <= count)
            pictures.append(_finish(rng, picture, noise, 0.0))
            maps.append(labels)
            shapes = [_move(s, speed[k], float(spin[k]), size) for k, s in enumerate(shapes)]
        if objects:
            return Clip(np.stack(pictures), np.stack(maps), objects)


def _move(shape: Shape, speed: npt.NDArray[Any], spin: float, size: int) -> Shape:
    """One step; bounces by turning `speed` round in place where the centre would leave the picture."""
    for axis, at in enumerate((shape.x, shape.y)):
        if not 0.08 * size < at + speed[axis] < 0.92 * size:
            speed[axis] = -speed[axis]
    return replace(shape, x=shape.x + speed[0], y=shape.y + speed[1], turn=shape.turn + spin)


def random_click(rng: Rng, mask: npt.NDArray[np.bool_], inset: int = 3) -> tuple[int, int]:
    """A random pixel (x, y) of the mask, at least `inset` pixels from its border where it has such pixels."""
    inner = mask
    for _ in range(inset):
        padded = np.pad(inner, 1)
        smaller = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inner
        if not smaller.any():
            break
        inner = smaller
    ys, xs = np.nonzero(inner)
    pick = int(rng.integers(len(xs)))
    return int(xs[pick]), int(ys[pick])


def mask_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box x1, y1, x2, y2 (last pixels included) around a mask that is not empty."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())
