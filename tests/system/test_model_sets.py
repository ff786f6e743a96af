"""Model sets as users write them, served by the command and by Bento."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.servers import MODEL_SETS, ROOT, Server, free_port, start_server

pytestmark = pytest.mark.system


def half_bright() -> tuple[str, np.ndarray]:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), pixels[..., 0] == 0


def test_a_model_of_the_ray_based_server_is_served_unchanged(tmp_path: Path) -> None:
    image, dark = half_bright()
    with start_server(MODEL_SETS / "legacy" / "models.py", tmp_path / "log") as server:
        answer = httpx.post(f"{server.url}/inference/segmentation/", json={"model": "threshold", "image": image}).json()
        models = httpx.get(f"{server.url}/app/models/").json()
    np.testing.assert_array_equal(CompressedRLE(**answer["data"]["masks"][0][0]).to_mask(), dark)
    assert answer["metadata"]["path"] == "acme/brightness"
    assert models[0]["model_path"] == "acme/brightness"


def test_bento_serves_a_package_s_model_by_its_entry_point(tmp_path: Path) -> None:
    config = tmp_path / "set.py"
    config.write_text(
        "from pixano_inference.configs import ModelConfig\n"
        "models = [ModelConfig(name='acme', model_class='AcmeDetector')]\n"
    )
    port = free_port()
    environment = {
        **os.environ,
        "PIXANO_CONFIG": str(config),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(MODEL_SETS / "entry_point")]),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
    }
    command = [sys.executable, "-m", "bentoml", "serve", "service:service", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        image, _ = half_bright()
        give_up = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < give_up, (tmp_path / "log").read_text()
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        connections = psutil.Process(process.pid).net_connections("inet")
        assert {open.laddr.ip for open in connections if open.laddr.port == port} == {"127.0.0.1"}
        body = {"model": "acme", "image": image}
        answer = httpx.post(f"http://127.0.0.1:{port}/inference/detection/", json=body)
        assert answer.json()["data"] == {"boxes": [], "scores": [], "classes": [], "masks": None}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


FAILING = """
from pixano_inference.configs import ModelConfig
from pixano_inference.models import DetectionModel
from pixano_inference.schemas import DetectionOutput

class Good(DetectionModel):
    def load_model(self): ...
    def predict(self, input): return DetectionOutput(boxes=[], scores=[], classes=[])

class Bad(Good):
    def load_model(self): raise OSError("no weights in the folder")

models = [ModelConfig(name="good", model_class=Good), ModelConfig(name="bad", model_class=Bad)]
"""


def test_a_model_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    config = tmp_path / "failing.py"
    config.write_text(FAILING)
    server = start_server(config, tmp_path / "log")
    assert server.process.wait(timeout=60) == 1
    assert server.text().splitlines()[-1] == (
        "pixano-inference: model 'bad' could not be loaded: OSError: no weights in the folder"
    )


def test_or_is_left_out_when_asked(tmp_path: Path) -> None:
    config = tmp_path / "failing.py"
    config.write_text(FAILING)
    server = start_server(config, tmp_path / "log", ["--no-strict"])
    try:
        give_up = time.monotonic() + 60
        states: dict[str, str] = {}
        while states.get("good") != "ready" or states.get("bad") != "failed":
            assert time.monotonic() < give_up, server.text()
            time.sleep(0.1)
            try:
                ready = httpx.get(f"{server.url}/ready")
            except httpx.TransportError:
                continue
            states = {model["name"]: model["state"] for model in ready.json()["models"]}
        assert ready.status_code == 503
        assert "no weights" in next(model["reason"] for model in ready.json()["models"] if model["name"] == "bad")
        image, _ = half_bright()
        assert (
            httpx.post(f"{server.url}/inference/detection/", json={"model": "good", "image": image}).status_code == 200
        )
        refused = httpx.post(f"{server.url}/inference/detection/", json={"model": "bad", "image": image})
        assert refused.status_code == 503
    finally:
        server.stop()


def test_a_wrong_config_opens_no_port(tmp_path: Path) -> None:
    config = tmp_path / "wrong.py"
    config.write_text("models = [1]\n")
    server = start_server(config, tmp_path / "log")
    assert server.process.wait(timeout=60) == 2
    assert server.text() == f"pixano-inference: {config}: models[0] must be a ModelConfig, got int\n"


def test_a_taken_port_is_said_plainly(tmp_path: Path, plain_server: Server) -> None:
    port = plain_server.port
    server = start_server(MODEL_SETS / "plain.py", tmp_path / "log", ["--port", str(port)])
    assert server.process.wait(timeout=60) == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in server.text()
