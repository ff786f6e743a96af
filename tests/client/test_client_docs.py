"""The code in the users' documentation runs as it is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.servers import ROOT, Server

from .contract_app import ContractApp

DOCS = ROOT / "docs" / "users"
ADDRESS = "http://127.0.0.1:7463"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def renamed(code: str, names: dict[str, str]) -> str:
    for documented, served in names.items():
        code = code.replace(f'"{documented}"', f'"{served}"')
    return code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    for name in ("photo.png", "frames/0.png", "frames/1.png"):
        Image.fromarray(pixels).save(tmp_path / name, compress_level=1)
    return tmp_path


def test_the_python_of_the_client_page(
    contract: ContractApp, url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"sam2-image": "seg", "grounding-dino": "find", "sam2-video": "follow", "vlm": "ask", ADDRESS: url}
    code = "\n".join(blocks("client.md", "python"))
    exec(compile(renamed(code, names), "client.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "404 Model 'no-such-model' not found" in printed
    for picture in ("drawn.png", "found.png", "tracked-0.png", "tracked-1.png"):
        assert (folder / picture).exists()


@pytest.mark.system
def test_the_commands_of_the_api_page(plain_server: Server, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    names = {"sam2-image": "disk", "grounding-dino": "boxes", "sam2-video": "still", "vlm": "echo"}
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    commands = "\n".join(["set -euo pipefail", *blocks("api.md", "bash")]).replace(ADDRESS, plain_server.url)
    done = subprocess.run(
        ["bash", "-c", renamed(commands, names)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count('"SUCCESS"') == 7, "six answers and the end of a stream"
    assert '"done":true' in done.stdout.replace(" ", "")
    assert (folder / "answer.msgpack").stat().st_size > 100
