"""References of every kind become bytes with a digest."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput, PixanoError, TooLarge
from pixano_inference.media import resolve as resolve_module
from pixano_inference.media.data_uri import decode_data_uri
from pixano_inference.media.image_header import check_image_header
from pixano_inference.media.resolve import MediaResolver
from pixano_inference.schemas.media_bytes import ImageBytes, VideoBytes
from tests.attacks import NO_REFERENCES, answer

from .conftest import Names, RawServer, png

BODY_IMAGE = ("body", "image")


def resolver(**settings: Any) -> MediaResolver:
    return MediaResolver(ServerSettings(**settings), Names(images_test=["127.0.0.1"]))


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claimed_png(width: int, height: int, *, depth: int = 1, colour: int = 0) -> bytes:
    """A PNG of a few bytes that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


async def test_a_data_uri_is_decoded(png_bytes: bytes) -> None:
    image = await resolver().image(data_uri(png_bytes))
    assert isinstance(image, ImageBytes)
    assert image.data == png_bytes
    assert image.digest == hashlib.sha256(png_bytes).hexdigest()
    assert image == f"sha256:{image.digest}"


async def test_a_large_data_uri_is_decoded_off_the_event_loop() -> None:
    noise = png(8, 8) + b"\0" * 600_000
    assert (await resolver().image(data_uri(noise))).data == noise


async def test_a_url_is_fetched(server: RawServer, png_bytes: bytes) -> None:
    server.replies["/a.png"] = answer(png_bytes)
    one = resolver(allowed_hosts="images.test")
    assert (await one.image(server.url("/a.png"))).data == png_bytes
    assert (await one.image(server.url("/a.png").replace("http", "HTTP"))).data == png_bytes
    await one.aclose()


async def test_urls_can_be_turned_off(server: RawServer) -> None:
    with pytest.raises(InvalidInput, match="fetches no URLs"):
        await resolver(allowed_hosts="images.test", fetch_urls=False).image(server.url("/a.png"))
    assert server.requests == []


async def test_a_path_below_a_root_is_read(tmp_path: Path, png_bytes: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes)
    assert (await resolver(media_roots=str(tmp_path)).image(str(tmp_path / "a.png"))).data == png_bytes


async def test_a_folder_is_frames_and_a_file_is_a_video(tmp_path: Path) -> None:
    frames = [png(4, 4, (shade, 0, 0)) for shade in (1, 2, 3)]
    for index, frame in enumerate(frames):
        (tmp_path / f"{index}.png").write_bytes(frame)
    (tmp_path / "movie.mp4").write_bytes(b"movie")
    one = resolver(media_roots=str(tmp_path))
    folder = await one.video(".")
    assert isinstance(folder, list)
    assert [frame.data for frame in folder] == frames
    video = await one.video("movie.mp4")
    assert isinstance(video, VideoBytes)
    assert video.data == b"movie"
    uri = await one.video("data:video/mp4;base64," + base64.b64encode(b"clip").decode())
    assert isinstance(uri, VideoBytes)
    assert uri.data == b"clip"


@pytest.mark.parametrize("reference", NO_REFERENCES)
async def test_what_is_no_reference_is_refused_with_its_location(reference: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await resolver().image(reference, BODY_IMAGE)
    assert caught.value.location == BODY_IMAGE
    assert "/etc" not in caught.value.message


@given(st.text(max_size=80))
async def test_no_reference_raises_anything_else(reference: str) -> None:
    with pytest.raises(PixanoError):
        await MediaResolver(ServerSettings(fetch_urls=False)).image(reference, BODY_IMAGE)


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["", "\n", "\r\n", " "]), st.booleans())
def test_base64_with_line_breaks_or_without_padding_is_read(data: bytes, gap: str, padded: bool) -> None:
    text = base64.b64encode(data).decode()
    text = text if padded else text.rstrip("=")
    lines = gap.join(text[start : start + 20] for start in range(0, len(text), 20))
    assert decode_data_uri(f"DATA:image/x;charset=utf-8;BASE64,{lines}") == data


def test_an_image_of_absurd_size_is_refused_from_its_header() -> None:
    for width, height in ((20_000, 20_000), (40_000, 2), (2, 40_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(TooLarge, match="pixels"):
            check_image_header(claimed_png(width, height))
    assert check_image_header(claimed_png(10_000, 10_000)) == (10_000, 10_000)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        check_image_header(claimed_png(*size))


async def test_the_pixel_limit_is_the_settings_one() -> None:
    with pytest.raises(TooLarge) as caught:
        await resolver(max_image_pixels=100).image(data_uri(png(11, 10)), BODY_IMAGE)
    assert caught.value.location == BODY_IMAGE
    await resolver(max_image_pixels=100).image(data_uri(png(10, 10)), BODY_IMAGE)


MAGIC = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"RIFF\x00\x00\x00\x00WEBP"]


@given(st.binary(max_size=200), st.sampled_from(MAGIC))
def test_any_bytes_are_a_size_or_a_refusal_in_our_words(data: bytes, magic: bytes) -> None:
    refusals = ("the image cannot be decoded: ", "the image has ")
    try:
        width, height = check_image_header(magic + data)
    except PixanoError as error:
        message = error.message
    else:
        message = f"the image has {width} × {height}" if width > 0 and height > 0 else "a size of nothing"
    assert message.startswith(refusals)


def test_the_header_of_an_image_is_read_once_and_that_of_a_refused_one_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []

    def look(data: bytes | memoryview, **limits: Any) -> tuple[int, int]:
        looks.append(len(data))
        return check_image_header(data, **limits)

    monkeypatch.setattr(resolve_module, "check_image_header", look)
    media = resolver()
    good, other = png(4, 4), png(5, 4)
    assert media.check_upload(good) == media.check_upload(good) == ImageBytes(good)
    media.check_upload(other)
    for _ in range(2):
        with pytest.raises(InvalidInput):
            media.check_upload(b"no image")
    assert looks == [len(good), len(other), 8, 8]
