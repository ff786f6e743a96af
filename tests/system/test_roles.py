"""Gateway and runners started apart, with the very arguments and variables that the manifests give their containers."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import render
from pixano_inference.model_sets import ModelSet
from pixano_inference.model_sets.loader import resolve
from tests.containers import WAIT_S, Container, wait_for
from tests.servers import MODEL_SETS, free_port

pytestmark = pytest.mark.system

CONFIG = MODEL_SETS / "plain.py"
REPLICAS = ("127.0.0.2", "127.0.0.3")


@pytest.fixture(scope="module")
def model_set() -> ModelSet:
    return resolve(CONFIG)


@pytest.fixture(scope="module")
def manifests(model_set: ModelSet) -> dict[str, Any]:
    rendered = render(model_set, CONFIG.read_text(), RenderOptions(image="pixano:1"))
    return {m["metadata"]["name"]: m for m in rendered.manifests() if m["kind"] == "Deployment"}


@pytest.fixture(scope="module")
def parts(manifests: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Container]]:
    folder = tmp_path_factory.mktemp("pods")
    port, gateway = free_port(), ("127.0.0.1", free_port())
    with contextlib.ExitStack() as stack:
        started = {
            host: Container(manifests["runner-disk"], CONFIG, folder, (host, port), name=host) for host in REPLICAS
        }
        stack.callback(lambda: [container.stop() for container in started.values()])
        addresses = ",".join(f"disk={container.url}" for container in started.values())
        started["gateway"] = Container(manifests["gateway"], CONFIG, folder, gateway, PIXANO_RUNNERS=addresses)
        for container in started.values():
            container.wait_until_ready()
        yield started


def _click(gateway: Container) -> httpx.Response:
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
    body = {"model": "disk", "image": pixel, "points": [[[0, 0]]], "labels": [[1]]}
    return httpx.post(f"{gateway.url}/inference/segmentation/", json=body, timeout=30)


def _replicas(gateway: Container) -> int:
    text = httpx.get(f"{gateway.url}/metrics", timeout=10).text
    return int(float(re.findall(r'^pixano_runner_up\{model="disk"\} (\S+)', text, re.MULTILINE)[0]))


@contextlib.contextmanager
def _clicks(gateway: Container, callers: int) -> Iterator[list[int]]:
    """Click again and again from several threads; gives the statuses."""
    statuses: list[int] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            statuses.append(_click(gateway).status_code)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_click_goes_from_the_gateway_to_a_runner(parts: dict[str, Container]) -> None:
    wait_for(lambda: _click(parts["gateway"]).status_code == 200, parts["gateway"])


def test_liveness_and_readiness_answer_while_other_models_have_no_runner(parts: dict[str, Container]) -> None:
    gateway = parts["gateway"]
    assert httpx.get(f"{gateway.url}/ready").status_code == 503  # the other models of the set are not started
    assert gateway.answers("readinessProbe")
    assert gateway.answers("livenessProbe")


def test_a_killed_replica_costs_what_it_had_begun_at_most_and_comes_back(
    parts: dict[str, Container], manifests: dict[str, Any], tmp_path: Path
) -> None:
    gateway, killed = parts["gateway"], parts["127.0.0.3"]
    wait_for(lambda: _replicas(gateway) == 2, gateway)
    with _clicks(gateway, callers=2) as statuses:
        killed.kill()
        wait_for(lambda: _replicas(gateway) == 1, gateway)
        port = int(killed.url.rpartition(":")[2])
        parts["127.0.0.3"] = Container(manifests["runner-disk"], CONFIG, tmp_path, ("127.0.0.3", port))
        wait_for(lambda: _replicas(gateway) == 2, parts["127.0.0.3"])
    lost = [status for status in statuses if status != 200]
    assert len(statuses) > 10
    assert len(lost) <= 2  # one for each caller
    assert set(lost) <= {500, 503}


def test_a_replica_leaves_without_a_lost_request_and_exits_0(parts: dict[str, Container]) -> None:
    gateway, leaving = parts["gateway"], parts["127.0.0.2"]
    wait_for(lambda: _click(gateway).status_code == 200, gateway)
    leaving.process.send_signal(signal.SIGTERM)
    answers = []
    while leaving.process.poll() is None:
        answers.append(_click(gateway).status_code)
    answers += [_click(gateway).status_code for _ in range(5)]
    assert leaving.stop() == 0
    assert set(answers) == {200}


def test_a_runner_whose_model_cannot_be_loaded_is_never_ready_and_ends(
    tmp_path: Path, manifests: dict[str, Any]
) -> None:
    config = tmp_path / "broken.py"
    config.write_text(
        "from pixano_inference.configs import ModelConfig\n"
        "from pixano_inference.models import SegmentationModel\n"
        "class Broken(SegmentationModel):\n"
        "    def load_model(self): raise OSError('no such checkpoint')\n"
        "    def predict(self, input): ...\n"
        "models = [ModelConfig(name='disk', model_class=Broken)]\n"
    )
    address = ("127.0.0.1", free_port())
    container = Container(manifests["runner-disk"], config, tmp_path, address)
    seen_ready = False
    give_up = time.monotonic() + WAIT_S
    while container.process.poll() is None and time.monotonic() < give_up:
        seen_ready = seen_ready or container.answers("readinessProbe")
        time.sleep(0.1)
    assert container.stop() != 0
    assert not seen_ready
    assert "no such checkpoint" in container.log.read_text()
