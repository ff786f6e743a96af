"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import MODEL_SETS, ROOT, Server

# a busy machine must not fail a property, and a failure must come back when the test is run again
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the plain model set, without torch."""
    folder = tmp_path_factory.mktemp("plain")
    with Server(MODEL_SETS / "plain.py", folder / "log") as server:
        yield server


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the demo model set, as the README starts it."""
    folder = tmp_path_factory.mktemp("demo")
    with Server(ROOT / "models" / "demo.py", folder / "log") as server:
        yield server
