"""KServe's own Python client talks to the gateway and to a runner.

The client lives in an environment of its own: it pins older protobuf and psutil than this project uses.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.servers import ROOT, Server

from .conftest import SECRET as KEY

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]

KSERVE = "kserve==0.21.0"
FOLDER = Path(os.environ.get("PIXANO_KSERVE_VENV", ROOT / ".venv-kserve"))
CALLS = Path(__file__).with_name("kserve_calls.py")
FIELDS = Path(__file__).with_name("kserve_fields.py")
CRD_SCHEMAS = ROOT / "pixano_inference" / "kubernetes" / "validation" / "crd_schemas.yaml"
PAGE = ROOT / "docs" / "users" / "open-inference-protocol.md"
DISK_PIXELS = 317
"""Pixels of a disk of radius 10."""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with the client; made once, and kept for the next run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        interpreter, stamp = FOLDER / "bin" / "python", FOLDER / KSERVE
        if not stamp.exists():
            subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True, timeout=120)
            install: list[str | Path] = [
                interpreter,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                KSERVE,
            ]
            done = subprocess.run(install, capture_output=True, text=True, timeout=360, check=False)
            if done.returncode:
                pytest.skip(f"{KSERVE} cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            stamp.touch()
    return interpreter


def run(python: Path, *arguments: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([python, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("where", ["keyed_server", "disk_runner"])
def test_the_client_asks_everything_that_it_can(where: str, python: Path, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(where)
    found: dict[str, Any] = json.loads(run(python, CALLS, server.url, "disk", KEY))
    assert [found[name] for name in ("live", "ready", "model", "no model")] == [True, True, True, False]
    expected = {
        "id": "abc",
        "model": "disk",
        "names": ["masks", "scores", "masks_rle"],
        "dtype": "uint8",
        "shape": [1, 1, 48, 64],
        "pixels": DISK_PIXELS,
        "at the point": 1,
        "score": 1.0,
        "rle": [48, 64],
    }
    assert found["binary"] == expected
    assert found["json"] == expected
    status, words = found["refused"]
    assert status == 422
    assert words == "boxes: shape [1, 1, 2] does not fit [-1, 4], where -1 is any positive size"
    assert found["without a key"] == 401


def test_our_schemas_of_kserves_objects_have_kserves_fields(python: Path) -> None:
    found: dict[str, list[str]] = json.loads(run(python, FIELDS, CRD_SCHEMAS))
    assert len(found) == 10
    assert {model: fields for model, fields in found.items() if fields} == {}


def test_the_python_of_the_page(python: Path, keyed_server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for documented, served in (("http://127.0.0.1:7463", keyed_server.url), ("sam2-image", "disk"), ("KEY", KEY)):
        assert documented in code
        code = code.replace(documented, served)
    (tmp_path / "page.py").write_text(code)
    assert run(python, tmp_path / "page.py", cwd=tmp_path).splitlines() == ["(1, 1, 48, 64) uint8 [[1.]]"]
