"""Answers drawn over the image, for people to look at."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pixano_inference.schemas import CompressedRLE, DetectionOutput, MediaBytes, TrackingOutput

from .media import ImageLike, VideoLike, bytes_of_data_uri, image_from, video_from

Color = tuple[int, int, int]

_GOLDEN_RATIO = 0.618034


def color_of(index: int) -> Color:
    """Return an RGB colour for an index or object id; neighbours differ clearly."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN_RATIO) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(
    image: ImageLike,
    masks: Sequence[CompressedRLE],
    *,
    ids: Sequence[int] | None = None,
    opacity: float = 0.5,
) -> Image.Image:
    """Draw masks over an image.

    Args:
        image: A path, bytes, a Pillow image, an array or a data URI.
        masks: Masks of the size of the image; flatten ``data.masks`` of a segmentation first.
        ids: What chooses each mask's colour; left out, its place in the list.
        opacity: Of the inside, 0 to 1; the outline is always opaque.

    Returns:
        A new RGB image.

    Raises:
        ValueError: A mask has another size than the image.
    """
    pixels = np.array(_opened(image), dtype=np.float32)
    for place, rle in enumerate(masks):
        mask = rle.to_mask().astype(bool)
        if mask.shape != pixels.shape[:2]:
            raise ValueError(
                f"masks[{place}] is {mask.shape[1]} × {mask.shape[0]} pixels, "
                f"the image {pixels.shape[1]} × {pixels.shape[0]}"
            )
        color = np.array(color_of(ids[place] if ids is not None else place), dtype=np.float32)
        pixels[mask] = (1 - opacity) * pixels[mask] + opacity * color
        pixels[mask & ~_eroded(mask)] = color
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def _eroded(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    padded = np.pad(mask, 1)  # what lies outside the image counts as background, so that masks end at its edge
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def draw_boxes(image: ImageLike, detections: DetectionOutput) -> Image.Image:
    """Draw boxes with class names and scores, and masks where there are any; each class has its colour."""
    names = sorted(set(detections.classes))
    ids = [names.index(name) for name in detections.classes]
    picture = draw_masks(image, detections.masks or [], ids=ids)
    draw = ImageDraw.Draw(picture)
    width = max(2, max(picture.size) // 400)
    font = ImageFont.load_default(max(10, max(picture.size) // 50))
    for (x1, y1, x2, y2), score, name, color in zip(
        detections.boxes, detections.scores, detections.classes, map(color_of, ids), strict=True
    ):
        draw.rectangle((x1, y1, x2, y2), outline=color, width=width)
        text = f"{name} {score:.2f}"
        left, top, right, bottom = draw.textbbox((x1 + width, y1 + width), text, font=font)
        draw.rectangle((left - width, top - width, right + width, bottom + width), fill=color)
        draw.text((x1 + width, y1 + width), text, fill=(0, 0, 0), font=font)
    return picture


def draw_points(
    image: ImageLike, points: Sequence[Sequence[float]], labels: Sequence[int] | None = None
) -> Image.Image:
    """Draw clicks: green where the object is (label 1), red where it is not (label 0).

    Args:
        image: A path, bytes, a Pillow image, an array or a data URI.
        points: [points][2], x and y in pixels.
        labels: One per point; left out, all are 1.
    """
    picture = _opened(image).copy()
    draw = ImageDraw.Draw(picture)
    radius = max(3, max(picture.size) // 80)
    for (x, y), label in zip(points, labels if labels is not None else [1] * len(points), strict=True):
        circle = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(
            circle, fill=(0, 200, 0) if label else (220, 0, 0), outline=(255, 255, 255), width=max(1, radius // 4)
        )
    return picture


def draw_tracks(video: VideoLike, tracks: TrackingOutput, *, opacity: float = 0.5) -> Iterator[Image.Image]:
    """Yield the frames of a video with the masks drawn, each object in its colour throughout.

    Args:
        video: The frames: a list of them, or a folder. A video file must be taken apart first.
        tracks: What the tracking model answered.
        opacity: Of the inside of a mask, 0 to 1.

    Raises:
        ValueError: ``video`` is not a list of frames or a folder.
    """
    frames = video_from(video)
    if isinstance(frames, str):
        raise ValueError("draw_tracks needs a list of frames or a folder of images, not a video file")
    by_frame: dict[int, list[int]] = {}
    for place, index in enumerate(tracks.frame_indexes):
        by_frame.setdefault(index, []).append(place)
    for index, frame in enumerate(frames):
        places = by_frame.get(index, [])
        yield draw_masks(
            frame,
            [tracks.masks[place] for place in places],
            ids=[tracks.objects_ids[place] for place in places],
            opacity=opacity,
        )


def _opened(image: ImageLike) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    medium = image_from(image)
    if not isinstance(medium, MediaBytes):
        held = bytes_of_data_uri(medium)
        if held is None:
            raise ValueError(f"an image to draw on must be held here, not named as {Path(medium).name[:80]!r}")
        medium = held
    with Image.open(io.BytesIO(medium.data)) as opened:
        return opened.convert("RGB")
