"""What the tests of faults share: callers with keys, images, and the server of the fragile models."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image

from tests.servers import MODEL_SETS, Server

ALICE, BOB = {"X-API-Key": "key of alice"}, {"Authorization": "Bearer key of bob"}
ENVIRONMENT = {
    "PIXANO_API_KEYS": "key of alice,key of bob",
    "PIXANO_HANG_GRACE_S": "0.5",
    "PIXANO_LOG_FORMAT": "json",
    "PIXANO_MAX_BODY_MB": "4",
}
BACK_WITHIN_S = 30
"""Longest wait for a replaced runner; on an idle machine it takes three or four seconds."""


@contextlib.contextmanager
def serve(folders: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the fragile models to Alice and Bob."""
    log = folders.mktemp("fragile") / "log"
    with Server(MODEL_SETS / "fragile.py", log, environment=ENVIRONMENT) as server:
        yield server


def as_alice(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=20, headers=ALICE)


def png(width: int = 32, height: int = 24, shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes | None = None) -> str:
    return "data:image/png;base64," + base64.b64encode(data or png()).decode()


def wait_until(condition: Callable[[], bool], within_s: float = BACK_WITHIN_S) -> float:
    """Wait for ``condition`` and return how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def log_entries(server: Server, request_id: str) -> list[dict[str, str]]:
    """Return what was logged under an id."""
    lines = [line for line in server.text().splitlines() if request_id in line]
    return [entry for entry in map(json.loads, lines) if entry["request_id"] == request_id]
