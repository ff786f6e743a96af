"""From what a request says to bytes: data URIs, URLs and paths, under one policy."""

from __future__ import annotations

import os

from aiohttp.abc import AbstractResolver

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput
from pixano_inference.schemas.media_bytes import ImageBytes, VideoBytes

from .data_uri import decode_data_uri
from .fair_slots import FairThreads
from .fetch import CONNECTIONS, UrlFetcher
from .files import MediaRoots
from .image_header import check_image_header

_MIB = 1024 * 1024
_THREAD_FROM = 256 * 1024
"""Characters of a data URI from which decoding and hashing leave the event loop."""

_LOOKED_AT = 4096
"""Digests of images whose header was found good that are remembered."""

Location = tuple[str | int, ...]


class MediaResolver:
    """Turns the image and video references of requests into bytes, with their digests.

    One resolver serves all requests of a gateway process; it keeps connections to image servers open. Where there are
    API keys, none of them can have all connections, or all threads: slow servers and slow disks are their caller's.

    Args:
        settings: Limits, media roots and the URL policy.
        dns: Resolves the names in URLs; null is the system's resolver.
    """

    def __init__(self, settings: ServerSettings, dns: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._roots = MediaRoots(settings.media_roots)
        self._looked_at: set[str] = set()
        keyed = bool(settings.api_keys or settings.api_keys_file)
        threads = min(32, (os.cpu_count() or 1) + 4)
        self._threads = FairThreads(threads, threads // 2 if keyed else None, "media")
        self._fetcher = UrlFetcher(
            settings.allowed_hosts,
            timeout_s=settings.fetch_timeout_s,
            max_redirects=settings.fetch_redirects,
            resolver=dns,
            per_caller=CONNECTIONS // 4 if keyed else CONNECTIONS,
        )

    async def image(self, reference: str, location: Location = (), caller: str = "") -> ImageBytes:
        """Return the bytes of an image, whose header has been looked at; nothing is decoded.

        Args:
            reference: ``data:`` URI, http(s) URL, or path below a media root.
            location: Field of the request that holds the reference, for the error.
            caller: Opaque id of who asks for it.

        Raises:
            InvalidInput: The reference is refused, cannot be read, or holds no image.
            TooLarge: The image has more bytes or pixels than allowed.
        """
        limit = int(self._settings.max_media_mb * _MIB)
        if (scheme := _scheme(reference)) == "data":
            if len(reference) < _THREAD_FROM:
                return self._named(decode_data_uri(reference, location), location)
            return await self._threads.run(caller, lambda: self._named(decode_data_uri(reference, location), location))
        if scheme is not None:
            data = await self._fetch(reference, scheme, limit, location, caller)
            return await self._threads.run(caller, lambda: self._named(data, location))
        return await self._threads.run(
            caller, lambda: self._named(self._roots.read(reference, limit, location), location)
        )

    async def video(self, reference: str, location: Location = (), caller: str = "") -> VideoBytes | list[ImageBytes]:
        """Return the bytes of a video file, or of the frames of a folder in natural order of their names.

        Args:
            reference: ``data:`` URI, http(s) URL, or path below a media root.
            location: Field of the request that holds the reference, for the error.
            caller: Opaque id of who asks for it.

        Raises:
            InvalidInput: The reference is refused, cannot be read, or the folder holds no images.
            TooLarge: The video has more bytes or frames than allowed.
        """
        limit = int(self._settings.max_video_mb * _MIB)
        if (scheme := _scheme(reference)) == "data":
            return await self._threads.run(caller, lambda: VideoBytes(decode_data_uri(reference, location)))
        if scheme is not None:
            data = await self._fetch(reference, scheme, limit, location, caller)
            return await self._threads.run(caller, lambda: VideoBytes(data))
        return await self._threads.run(caller, lambda: self._read_video(reference, limit, location))

    def check_upload(self, data: bytes | memoryview, location: Location = ()) -> ImageBytes:
        """Name an uploaded image by its digest after a look at its header.

        Raises:
            InvalidInput: The bytes are no image.
            TooLarge: The image has more pixels than allowed.
        """
        return self._named(data, location)

    async def aclose(self) -> None:
        """Close the connections to image servers."""
        await self._fetcher.aclose()
        self._threads.close()

    async def _fetch(self, reference: str, scheme: str, limit: int, location: Location, caller: str) -> bytes:
        if scheme not in ("http", "https"):
            raise InvalidInput(
                "a medium is a data URI, an http(s) URL, or a path below a media root",
                code="media_scheme",
                location=location or None,
            )
        if not self._settings.fetch_urls:
            raise InvalidInput("this server fetches no URLs", code="media_url", location=location or None)
        return await self._fetcher.fetch(reference, limit, location, caller)

    def _named(self, data: bytes | memoryview, location: Location) -> ImageBytes:
        limits, image = self._settings, ImageBytes(data)
        if image.digest not in self._looked_at:  # most clicks are on an image that was clicked on before
            check_image_header(
                data, max_pixels=limits.max_image_pixels, max_side=limits.max_image_side, location=location
            )
            if len(self._looked_at) >= _LOOKED_AT:
                self._looked_at.clear()
            self._looked_at.add(image.digest)
        return image

    def _read_video(self, reference: str, limit: int, location: Location) -> VideoBytes | list[ImageBytes]:
        content = self._roots.read_video(reference, limit, self._settings.max_frames, location)
        if isinstance(content, bytes):
            return VideoBytes(content)
        return [self._named(frame, (*location, index)) for index, frame in enumerate(content)]


def _scheme(reference: str) -> str | None:
    """Return the scheme of a URI in lower case, or null for what can only be a path."""
    head, colon, rest = reference.partition(":")
    scheme = head.strip().lower()
    if scheme == "data":
        return scheme if colon else None
    # a path may hold a colon; "scheme:" alone, without slashes, is refused as a path if it is none
    return scheme if colon and rest.startswith(("//", "\\\\", "/\\", "\\/")) else None
