"""Fixtures of the tests with real servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.servers import MODEL_SETS, Server

from .paced import Diary

SECRET = "a secret of these tests"


@dataclass
class PacedServer:
    """A server of the paced models, a client of it, and what the models write down."""

    server: Server
    http: httpx.Client
    diary: Diary


@pytest.fixture(scope="session")
def _paced_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PacedServer]:
    folder = tmp_path_factory.mktemp("paced")
    environment = {"PACED_LOG": str(folder / "diary"), "PIXANO_JOB_TTL_S": "600"}
    with (
        Server(MODEL_SETS / "paced.py", folder / "log", environment=environment) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        yield PacedServer(server, http, Diary(folder / "diary"))


@pytest.fixture
def paced(_paced_server: PacedServer) -> PacedServer:
    """The server of the paced models, with an empty diary."""
    _paced_server.diary.start_afresh()
    return _paced_server


@pytest.fixture(scope="session")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the plain model set that asks for a key, :data:`SECRET`."""
    folder = tmp_path_factory.mktemp("keyed")
    with Server(MODEL_SETS / "plain.py", folder / "log", environment={"PIXANO_API_KEYS": SECRET}) as server:
        yield server


@pytest.fixture(scope="session")
def disk_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The runner of one plain model on a port of its own, whose secret is :data:`SECRET`."""
    with _runner("plain.py", "disk", tmp_path_factory.mktemp("runner")) as server:
        yield server


@pytest.fixture(scope="session")
def paced_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Diary]]:
    """The runner of the paced VLM, as :func:`disk_runner`, and what the model writes down."""
    folder = tmp_path_factory.mktemp("paced-runner")
    with _runner("paced.py", "words", folder, PACED_LOG=str(folder / "diary")) as server:
        yield server, Diary(folder / "diary")


@contextlib.contextmanager
def _runner(model_set: str, model: str, folder: Path, **environment: str) -> Iterator[Server]:
    role = ("role", "runner", "--model", model)
    environment |= {"PIXANO_RUNNER_SECRET": SECRET}
    server = Server(MODEL_SETS / model_set, folder / "log", environment=environment, role=role)
    try:
        give_up = time.monotonic() + 60
        while not _is_ready(server.url):
            assert server.process.poll() is None, server.text()
            assert time.monotonic() < give_up, server.text()
            time.sleep(0.1)
        yield server
    finally:
        server.stop()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
