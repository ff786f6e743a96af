"""Every kind of image file is decoded to the pixels that were sent, or refused in words of ours."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput, TooLarge
from pixano_inference.media import images
from pixano_inference.media.image_header import check_image_header
from pixano_inference.media.images import decode_image, decode_scaled

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 40, 30
_GREY = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
GREY: Pixels = _GREY.astype(np.uint8)
COLOURS: Pixels = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Pixels:
    image = decode_image(data)
    assert image.mode == "RGB"
    assert check_image_header(data) == image.size
    return np.asarray(image)


def in_three(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=-1)


def palette() -> bytes:
    return encoded(Image.fromarray(in_three(GREY)).quantize(256, dither=Image.Dither.NONE), "PNG")


def animation() -> bytes:
    later = Image.new("RGB", (WIDTH, HEIGHT), (200, 0, 0))
    return encoded(Image.fromarray(COLOURS), "WEBP", lossless=True, save_all=True, append_images=[later, later])


def alpha() -> bytes:
    return encoded(Image.fromarray(np.dstack([COLOURS, GREY])), "PNG")


@pytest.mark.parametrize(
    ("make", "wanted", "tolerance"),
    [
        (lambda: encoded(Image.fromarray(COLOURS), "PNG"), COLOURS, 0),
        (lambda: encoded(Image.fromarray(COLOURS), "BMP"), COLOURS, 0),
        (lambda: encoded(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw"), COLOURS, 0),
        (lambda: encoded(Image.fromarray(COLOURS), "WEBP", lossless=True), COLOURS, 0),
        (lambda: encoded(Image.fromarray(COLOURS), "JPEG", quality=98, subsampling=0), COLOURS, 6),
        (lambda: encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=98, subsampling=0), COLOURS, 6),
        (lambda: encoded(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS, 1),
        (lambda: encoded(Image.fromarray(GREY), "PNG"), in_three(GREY), 0),
        (lambda: encoded(Image.fromarray(GREY), "JPEG", quality=98), in_three(GREY), 6),
        (lambda: encoded(Image.fromarray((_GREY * 257).astype(np.uint16)), "PNG"), in_three(GREY), 1),
        (lambda: encoded(Image.fromarray((_GREY * 257).astype(np.uint16)), "TIFF"), in_three(GREY), 1),
        (lambda: encoded(Image.fromarray(_GREY.astype(np.float32)), "TIFF"), in_three(GREY), 1),
        (lambda: encoded(Image.fromarray(GREY > 127), "PNG"), in_three((GREY > 127) * np.uint8(255)), 0),
        (palette, in_three(GREY), 2),
        (lambda: encoded(Image.fromarray(in_three(GREY)), "GIF"), in_three(GREY), 2),
        (alpha, COLOURS, 0),
        (lambda: encoded(Image.fromarray(np.dstack([GREY, GREY])), "PNG"), in_three(GREY), 0),
        (animation, COLOURS, 0),
    ],
    ids=[
        "png",
        "bmp",
        "tiff",
        "webp",
        "jpeg",
        "cmyk-jpeg",
        "cmyk-tiff",
        "grey",
        "grey-jpeg",
        "16-bit-png",
        "16-bit-tiff",
        "float-tiff",
        "one-bit",
        "palette",
        "gif",
        "alpha",
        "grey-with-alpha",
        "animated",
    ],
)
def test_pixels_are_those_that_were_sent(make: Callable[[], bytes], wanted: Pixels, tolerance: int) -> None:
    assert np.abs(decoded(make()).astype(int) - wanted.astype(int)).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_one_pixel_is_an_image(kind: str) -> None:
    assert decoded(encoded(Image.new("RGB", (1, 1), (9, 9, 9)), kind)).shape == (1, 1, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_in_the_metadata_is_not_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(COLOURS), "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(decoded(data), COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_truncated_image_is_refused_in_our_words(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for cut in (12, len(data) // 2, len(data) - len(data) // 8):
        with pytest.raises(InvalidInput, match=r"^the image cannot be decoded: its (data is|format is none)"):
            decode_image(data[:cut])


def test_a_format_that_is_not_read_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="none of JPEG, PNG, WEBP, BMP, GIF, TIFF"):
        decode_image(encoded(Image.fromarray(COLOURS), "PPM"))


def test_sides_and_pixels_are_bounded_from_the_header() -> None:
    data = encoded(Image.new("1", (200, 100)), "PNG")
    for side, pixels in ((199, 10**6), (10**6, 19_999)):
        with pytest.raises(TooLarge, match="200 × 100 pixels"):
            decode_scaled(data[:60], max_side=side, max_pixels=pixels)  # what follows the header is not there
        with pytest.raises(TooLarge, match="200 × 100 pixels"):
            check_image_header(data, max_side=side, max_pixels=pixels)


def test_the_bounds_are_those_of_the_settings_where_nobody_gives_others(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (20, 10)), "PNG")
    for name, value in (("MAX_IMAGE_PIXELS", "199"), ("MAX_IMAGE_SIDE", "19")):
        with monkeypatch.context() as environment:
            environment.setenv(f"PIXANO_{name}", value)
            environment.setattr(images, "server_settings", ServerSettings)
            for read in (decode_image, check_image_header):
                with pytest.raises(TooLarge, match=rf"20 × 10 pixels; allowed are .*\b{value}\b"):
                    read(data)
            environment.setenv(f"PIXANO_{name}", str(int(value) + 1))
            assert decode_image(data).size == check_image_header(data) == (20, 10)


def test_a_scaled_decode_keeps_the_size_that_was_sent_and_enough_pixels() -> None:
    large = Image.fromarray(COLOURS).resize((1600, 1200), Image.Resampling.BICUBIC)
    scaled = decode_scaled(encoded(large, "JPEG", quality=95), 256)
    assert (scaled.width, scaled.height) == (1600, 1200)
    assert scaled.image.size == (400, 300)
    small = np.asarray(large.resize((400, 300), Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(scaled.image).astype(int) - small).mean() < 2
