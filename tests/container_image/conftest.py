"""One image and one group of containers for all tests of this folder; nothing is left of either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from .cluster import Cluster
from .engine import Engine, EngineError, missing
from .image import add_custom_models, build, unreachable

VARIANT = "cpu"


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Prints past pytest's capture: what an image costs is to be seen in every run."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def tell(words: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\ncontainers: {words}", end="", flush=True)

    return tell


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Podman in a folder of its own, removed at the end unless PIXANO_CONTAINER_STORE names one to keep."""
    lacks = missing()
    if lacks:
        pytest.skip(f"containers are neither built nor run here, for want of: {', '.join(lacks)}")
    kept = os.environ.get("PIXANO_CONTAINER_STORE")
    engine = Engine(Path(kept)) if kept else Engine.temporary()
    try:
        lacks = unreachable(engine)
        if lacks:
            pytest.skip(f"the image is not built here; out of reach: {', '.join(lacks)}")
        engine.remove_containers()
        yield engine
    finally:
        if kept:
            engine.release()
        else:
            engine.destroy()


@pytest.fixture(scope="session")
def image(engine: Engine, say: Callable[[str], None]) -> str:
    """The image that scripts/build_image makes."""
    try:
        return build(engine, VARIANT, say)
    except EngineError as error:
        pytest.fail(f"the image was not built: {error}", pytrace=False)


@pytest.fixture(scope="session")
def cluster(engine: Engine, image: str, say: Callable[[str], None]) -> Iterator[Cluster]:
    """The running containers."""
    cluster = Cluster(engine, add_custom_models(engine, image), say)
    try:
        try:
            cluster.start()
        except (AssertionError, EngineError) as error:
            pytest.fail(f"the containers did not start: {error}", pytrace=False)
        yield cluster
    finally:
        engine.remove_containers()


@pytest.fixture
def inside(cluster: Cluster) -> Iterator[None]:
    """Run the test, and the threads it starts, in the containers' network namespace, with all models up."""
    if cluster.lost is not None:
        pytest.fail(f"the containers did not recover from an earlier test: {cluster.lost}", pytrace=False)
    with cluster.inside():
        try:
            cluster.wait_until_ready()
        except AssertionError as error:
            cluster.lost = str(error)
            pytest.fail(cluster.lost, pytrace=False)
        yield


@pytest.fixture
def http(cluster: Cluster, inside: None) -> Iterator[httpx.Client]:
    """A caller of the gateway."""
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        yield client
