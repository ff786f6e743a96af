"""The TypeScript client: its types are the schemas', and it works in front of a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from pixano_inference import schemas
from tests.servers import ROOT, Server

FOLDER = ROOT / "clients" / "typescript"


def interfaces() -> dict[str, dict[str, bool]]:
    """Return the fields of each interface, and whether they may be left out."""
    source = (FOLDER / "src" / "types.ts").read_text(encoding="utf-8")
    bodies = re.findall(r"^export interface (\w+)(?:<\w+>)? \{\n(.*?)^\}", source, re.DOTALL | re.MULTILINE)
    return {
        name: {field: bool(optional) for field, optional in re.findall(r"^  (\w+)(\??): ", body, re.MULTILINE)}
        for name, body in bodies
    }


@pytest.mark.parametrize("name", sorted(interfaces()))
def test_the_types_are_the_schemas(name: str) -> None:
    fields = interfaces()[name]
    schema = schemas.SegmentationResponse if name == "Answer" else getattr(schemas, name)
    assert fields.keys() == schema.model_fields.keys()
    if name.endswith(("Request", "Keyframe", "Interval", "Point")):
        for field, info in schema.model_fields.items():
            assert fields[field] == (not info.is_required()), field


def test_every_request_and_output_has_its_type() -> None:
    wanted = {name for name in schemas.__all__ if name.endswith(("Request", "Output"))}
    assert wanted <= interfaces().keys()


@pytest.mark.system
def test_the_client_works(plain_server: Server, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    folder = tmp_path / "typescript"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "image.png")
    environment = {**os.environ, "PIXANO_URL": plain_server.url, "PIXANO_IMAGE": str(tmp_path / "image.png")}

    def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["npm", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
        )

    installed = npm("ci")
    if installed.returncode != 0:
        pytest.skip(f"npm cannot install the compiler here: {installed.stderr[-300:]}")
    built = npm("run", "build")
    assert built.returncode == 0, built.stdout
    tested = npm("test")
    assert tested.returncode == 0, tested.stdout
    assert "tests 6" in tested.stdout, "all of them were run"
