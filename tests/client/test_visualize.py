"""What is drawn is where the answer says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pixano_inference.client import draw_boxes, draw_masks, draw_points, draw_tracks, image_to_data_uri
from pixano_inference.client.visualize import color_of
from pixano_inference.schemas import CompressedRLE, DetectionOutput, TrackingOutput

GREY = np.full((40, 60, 3), 100, dtype=np.uint8)
MASK = np.zeros((40, 60), dtype=bool)
MASK[10:20, 5:50] = True


def test_a_mask_is_tinted_inside_and_outlined_at_its_edge() -> None:
    drawn = np.asarray(draw_masks(GREY, [CompressedRLE.from_mask(MASK)], opacity=0.25))
    assert (drawn[~MASK] == 100).all()
    assert tuple(drawn[10, 5]) == color_of(0)
    inside = 0.75 * 100 + 0.25 * np.array(color_of(0))
    np.testing.assert_allclose(drawn[15, 30], inside, atol=1)
    assert (GREY == 100).all(), "the image that was given stays as it is"


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masks\[0\] is 3 × 2 pixels, the image 60 × 40"):
        draw_masks(GREY, [CompressedRLE.from_mask(np.ones((2, 3)))])


def test_boxes_have_the_colour_of_their_class() -> None:
    found = DetectionOutput(
        boxes=[[5, 5, 90, 90], [105, 5, 190, 90], [5, 105, 90, 190]], scores=[0.9, 0.8, 0.7], classes=["b", "a", "b"]
    )
    drawn = np.asarray(draw_boxes(Image.new("RGB", (200, 200)), found))
    corner = [tuple(drawn[y2, x2]) for _, _, x2, y2 in found.boxes]
    assert corner == [color_of(1), color_of(0), color_of(1)]


def test_points_are_green_or_red() -> None:
    drawn = np.asarray(draw_points(image_to_data_uri(GREY), [[10, 20], [40, 30]], [1, 0]))
    assert drawn[20, 10, 1] > drawn[20, 10, 0]
    assert drawn[30, 40, 0] > drawn[30, 40, 1]
    assert (drawn[0, 0] == 100).all()


def test_an_object_keeps_its_colour_through_the_video() -> None:
    mask = CompressedRLE.from_mask(MASK)
    tracks = TrackingOutput(objects_ids=[7, 3, 7], frame_indexes=[0, 0, 2], masks=[mask] * 3)
    frames = [np.asarray(frame) for frame in draw_tracks([GREY] * 3, tracks)]
    assert tuple(frames[2][10, 5]) == color_of(7)
    assert (frames[1] == GREY).all()
    assert tuple(frames[0][10, 5]) == color_of(3), "the one drawn last lies on top"


def test_what_is_not_here_cannot_be_drawn_on() -> None:
    with pytest.raises(ValueError, match="must be held here"):
        draw_masks("https://localhost/cat.png", [])
    with pytest.raises(ValueError, match="list of frames"):
        next(draw_tracks("https://localhost/cat.mp4", TrackingOutput(objects_ids=[], frame_indexes=[], masks=[])))


def test_neighbouring_colours_differ() -> None:
    colors = np.array([color_of(index) for index in range(8)], dtype=float)
    apart = np.linalg.norm(colors[1:] - colors[:-1], axis=1)
    assert apart.min() > 100
