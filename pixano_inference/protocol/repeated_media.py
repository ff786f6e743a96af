"""Media cross to a runner once: after that their digest is enough, as long as the runner still has them.

A second click on an image needs none of its bytes when its embedding is cached, and the frames of a video come again
with every correction. The sender guesses what the receiver still has; when it guesses wrong, the receiver says so
before any work is done and everything is sent again in full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pixano_inference.errors import NotFound

FROM_BYTES = 32 * 1024
"""Smaller media are always sent: looking them up costs as much."""
SEND_MEDIA = "send_media"
"""Code of the error that asks for media in full."""
_MOST_REMEMBERED = 4096


class SentMedia:
    """The sender's half: which digests one receiver has been sent."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()

    def shorten(self, plain: Any) -> Any:
        """Return a message without the bytes that the receiver should have; the same object where there are none."""
        shortened = False

        def without_data(medium: dict[str, Any]) -> dict[str, Any]:
            nonlocal shortened
            if medium["digest"] not in self._digests:
                return medium
            shortened = True
            return {**medium, "data": None}

        result = _map_media(plain, without_data)
        return result if shortened else plain

    def remember(self, plain: Any) -> None:
        """Tell that the receiver was sent this message, or asked for nothing."""

        def note(medium: dict[str, Any]) -> dict[str, Any]:
            if len(medium["data"]) >= FROM_BYTES:
                self._digests[medium["digest"]] = None
                self._digests.move_to_end(medium["digest"])
            return medium

        _map_media(plain, note)
        while len(self._digests) > _MOST_REMEMBERED:
            self._digests.popitem(last=False)

    def forget(self) -> None:
        """Tell that the receiver has lost media, or was replaced."""
        self._digests.clear()


class ReceivedMedia:
    """The receiver's half: the media received last, the least recently used dropped over ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._data: OrderedDict[str, bytes] = OrderedDict()

    def complete(self, plain: Any) -> Any:
        """Return a message with the bytes that its sender left out, and keep those that it did send.

        Raises:
            NotFound: Bytes left out are not here (any more); its code is :data:`SEND_MEDIA`.
        """
        return _map_media(plain, self._completed)

    def _completed(self, medium: dict[str, Any]) -> dict[str, Any]:
        digest, data = medium["digest"], medium["data"]
        if data is None:
            kept = self._data.get(digest)
            if kept is None:
                raise NotFound("a medium of the request is not here", code=SEND_MEDIA)
            self._data.move_to_end(digest)
            return {**medium, "data": kept}
        if FROM_BYTES <= len(data) <= self._max_bytes // 4 and digest not in self._data:
            self._data[digest] = data
            self._bytes += len(data)
            while self._bytes > self._max_bytes:
                _, dropped = self._data.popitem(last=False)
                self._bytes -= len(dropped)
        return medium


def _map_media(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(value, dict):
        if "media" in value and isinstance(value.get("digest"), str) and "data" in value:
            data = value["data"]
            return change(value) if data is None or isinstance(data, bytes | memoryview) else value
        return {key: _map_media(item, change) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [_map_media(item, change) for item in value]
    return value
