"""Images and videos as people hold them become what a request carries, pixel for pixel."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixano_inference.client import image_to_data_uri
from pixano_inference.client.media import bytes_of_data_uri, data_uri, image_from, video_from
from pixano_inference.schemas import ImageBytes, MediaBytes, VideoBytes

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(4, 5, 3)


def encoded(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


def pixels_of(uri: str) -> Any:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        return np.asarray(image)


def test_every_form_of_an_image_keeps_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded())
    for form in (path, str(path), encoded(), bytearray(encoded()), Image.fromarray(PIXELS), PIXELS):
        np.testing.assert_array_equal(pixels_of(image_to_data_uri(form)), PIXELS)  # type: ignore[arg-type]  # bytearray


def test_grey_and_alpha_are_kept() -> None:
    grey, alpha = PIXELS[..., 0], np.dstack([PIXELS, PIXELS[..., :1]])
    np.testing.assert_array_equal(pixels_of(image_to_data_uri(grey)), grey)
    np.testing.assert_array_equal(pixels_of(image_to_data_uri(alpha)), alpha)


@pytest.mark.parametrize("text", ["data:image/png;base64,AAAA", "http://h/a.png", "https://h/a.png", "sha256:00"])
def test_what_names_an_image_is_passed_on(text: str) -> None:
    assert image_to_data_uri(text) == text


@pytest.mark.parametrize(
    "array", [PIXELS.astype(float), PIXELS[0, 0], np.dstack([PIXELS, PIXELS]), PIXELS[None], PIXELS.astype(np.int64)]
)
def test_arrays_that_are_no_image_are_refused(array: Any) -> None:
    with pytest.raises(ValueError, match="an image array has"):
        image_to_data_uri(array)


def test_a_file_that_is_not_there_is_an_error_here(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        image_to_data_uri(tmp_path / "none.png")


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")])
def test_the_media_type_is_the_contents(kind: str, media_type: str) -> None:
    assert image_to_data_uri(encoded(kind)).startswith(f"data:{media_type};base64,")


def test_what_is_no_image_is_left_to_the_server() -> None:
    assert image_to_data_uri(b"text").startswith("data:image/octet-stream;base64,")


def test_data_uris_become_bytes_and_back() -> None:
    held = bytes_of_data_uri(image_to_data_uri(PIXELS))
    assert isinstance(held, ImageBytes)
    assert data_uri(held) == image_to_data_uri(PIXELS)


@pytest.mark.parametrize(
    "text",
    ["a.png", "data:image/png,AAAA", "data:image/png;base64", "data:image/png;base64,A*", "data:video/mp4;base64,AAAA"],
)
def test_other_strings_hold_no_bytes(text: str) -> None:
    assert bytes_of_data_uri(text) is None


def test_a_folder_is_its_frames_in_order(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        (tmp_path / f"{index:03}.png").write_bytes(encoded() + bytes([index]))
    (tmp_path / "notes.txt").write_text("no frame")
    frames = video_from(tmp_path)
    assert isinstance(frames, list)
    assert [frame.data[-1] for frame in frames if isinstance(frame, MediaBytes)] == [0, 1, 2]


def test_a_folder_without_frames_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no image"):
        video_from(tmp_path)


def test_a_video_file_is_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"video")
    video = video_from(str(path))
    assert isinstance(video, VideoBytes)
    assert data_uri(video) == "data:video/mp4;base64,dmlkZW8="
    assert video_from(video) is video
    assert video_from("https://h/clip.mp4") == "https://h/clip.mp4"
    assert video_from([PIXELS, "https://h/1.png"]) == [image_from(PIXELS), "https://h/1.png"]
