"""The README, followed to the letter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.servers import ROOT, Server
from tests.test_docs import blocks

pytestmark = pytest.mark.system

URL = "http://127.0.0.1:7463"


def test_the_curl_command_answers_a_mask(demo_server: Server) -> None:
    command = next(block for block in blocks(ROOT / "README.md", "bash") if block.startswith("curl"))
    assert URL in command
    done = subprocess.run(
        ["bash", "-c", command.replace(URL, demo_server.url)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["status"] == "SUCCESS"
    (points,) = re.findall(r'"points": (\[.*?\]),', command)
    x, y = json.loads(points)[0][0]
    best = int(np.argmax(answer["data"]["scores"]["values"]))
    assert CompressedRLE(**answer["data"]["masks"][0][best]).to_mask()[y, x] == 1


def test_the_python_block_draws_the_mask(demo_server: Server, tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    script = block.replace(URL, demo_server.url).replace("docs/images", str(ROOT / "docs" / "images"))
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT)})
    drawn, scene = Image.open(tmp_path / "mask.png"), Image.open(ROOT / "docs" / "images" / "scene.png")
    assert drawn.size == scene.size
    assert (np.asarray(drawn) != np.asarray(scene)).any()


def test_the_playground_is_there(demo_server: Server) -> None:
    import httpx

    page = httpx.get(f"{demo_server.url}/playground/")
    assert page.status_code == 200
    for name in re.findall(r'(?:src|href)="([a-z.]+)"', page.text):
        assert httpx.get(f"{demo_server.url}/playground/{name}").status_code == 200, name


def test_the_demo_is_light(demo_server: Server) -> None:
    gateway = psutil.Process(demo_server.gateway_pid())
    assert gateway.memory_info().rss < 200e6
    maps = " ".join(region.path for region in gateway.memory_maps())
    assert "libtorch" not in maps, "the gateway must not load torch"
    processes = [psutil.Process(demo_server.process.pid), *psutil.Process(demo_server.process.pid).children(True)]
    assert sum(process.memory_info().rss for process in processes) < 4e9
