"""What the tests of streams and jobs send to the paced models, and how they read what those wrote down."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image


def _plain_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (10, 20, 30)).save(buffer, "PNG")
    return buffer.getvalue()


_PNG = _plain_png()


def frame(number: int, padding: int = 0) -> bytes:
    """Return an image that carries its number, so that the order of frames can be seen in the answer."""
    return _PNG + bytes(padding) + f"{number:06d}".encode()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def prompts(objects_ids: list[int], **fields: Any) -> dict[str, Any]:
    """Return a tracking request without its video."""
    return {
        "model": "tracker",
        "objects_ids": objects_ids,
        "frame_indexes": [0] * len(objects_ids),
        "boxes": [[0, 0, 4, 4]] * len(objects_ids),
        **fields,
    }


def tracking(frames: int, objects_ids: list[int] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a tracking request."""
    video = [data_uri(frame(number)) for number in range(frames)]
    return prompts(objects_ids or [1], video=video, **fields)


def upload(
    frames: int, objects_ids: list[int] | None = None, padding: int = 0
) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Return the parts of a tracking upload, for httpx's ``files``."""
    metadata = json.dumps(prompts(objects_ids or [1])).encode()
    return [("metadata", ("metadata.json", metadata, "application/json"))] + [
        ("frames", (f"{number}.png", frame(number, padding), "image/png")) for number in range(frames)
    ]


class Diary:
    """What the paced models wrote down."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._skip = 0

    def start_afresh(self) -> None:
        """Forget what is there."""
        self._skip = len(self._lines())

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def events(self, kind: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in self._lines()[self._skip :]]
        return [entry for entry in entries if entry["event"] == kind]


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first true value of ``condition``.

    Raises:
        AssertionError: There was none in time.
    """
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, "it did not come true in time"
        time.sleep(0.02)
    return value
