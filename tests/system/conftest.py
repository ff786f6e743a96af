"""Fixtures of the tests with real servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.servers import MODEL_SETS, Server

from .paced import Diary


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
