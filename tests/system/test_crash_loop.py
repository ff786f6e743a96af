"""A model whose process ends whenever it is loaded is reported and started less and less often."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import start_server

pytestmark = pytest.mark.system

LOOPING = """
import os
from pixano_inference.configs import ModelConfig
from pixano_inference.models import DetectionModel
from pixano_inference.schemas import DetectionOutput

class Good(DetectionModel):
    def load_model(self): ...
    def predict(self, input): return DetectionOutput(boxes=[], scores=[], classes=[])

class Crashing(Good):
    def load_model(self): os._exit(9)

models = [ModelConfig(name="good", model_class=Good), ModelConfig(name="crashing", model_class=Crashing)]
"""


def test_a_crash_loop_is_told_and_held_back(tmp_path: Path) -> None:
    config = tmp_path / "looping.py"
    config.write_text(LOOPING)
    server = start_server(config, tmp_path / "log", ["--no-strict"])
    try:
        give_up = time.monotonic() + 80
        states: dict[str, Any] = {}
        while "keeps ending" not in (states.get("crashing", {}).get("reason") or ""):
            assert time.monotonic() < give_up, server.text()
            time.sleep(0.1)
            try:
                models = httpx.get(f"{server.url}/ready").json()["models"]
            except httpx.TransportError:
                continue
            states = {model["name"]: model for model in models}
        assert states["good"]["state"] == "ready"
    finally:
        server.stop()
