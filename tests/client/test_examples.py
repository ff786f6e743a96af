"""The programs in clients/python run as their first lines say, here against a server of custom models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.servers import ROOT, Server

pytestmark = pytest.mark.system

EXAMPLES = ROOT / "clients" / "python"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(3):
        Image.new("RGB", (64, 48), (60 * index, 90, 120)).save(folder / f"{index}.png")
    return folder


def run(server: Server, name: str, *arguments: object) -> str:
    """Run an example and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments), "--url", server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_segment(plain_server: Server, images: Path, tmp_path: Path) -> None:
    mask, drawn = tmp_path / "mask.png", tmp_path / "drawn.png"
    printed = run(
        plain_server, "segment", images / "1.png", 40, 24, "--background", 2, 2, "--output", mask, "--picture", drawn
    )
    assert "317 pixels, score 1.00" in printed
    with Image.open(mask) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (48, 64)
    assert np.argwhere(pixels == 255).mean(axis=0).tolist() == [24, 40]
    with Image.open(drawn) as image:
        assert image.size == (64, 48)


def test_find(plain_server: Server, images: Path, tmp_path: Path) -> None:
    printed = run(
        plain_server, "find", images / "1.png", "cat", "red dog", "--model", "boxes", "--output", tmp_path / "x.png"
    )
    assert "red dog" in printed
    assert "x 16-48, y 12-36" in printed
    assert "2 found" in printed
    assert (tmp_path / "x.png").exists()


def test_follow(plain_server: Server, images: Path, tmp_path: Path) -> None:
    printed = run(plain_server, "follow", images, 5, 5, "--output", tmp_path / "tracked")
    assert "frame 2: 49 pixels (3 done)" in printed
    assert sorted(file.name for file in (tmp_path / "tracked").iterdir()) == ["00000.png", "00001.png", "00002.png"]


def test_follow_job(plain_server: Server, images: Path) -> None:
    printed = run(plain_server, "follow_job", images, 5, 5)
    assert printed.startswith("3 masks of 49 to 49 pixels\n")


def test_ask(plain_server: Server, images: Path) -> None:
    printed = run(plain_server, "ask", images / "1.png", "two red circles")
    assert printed.startswith("two red circles\n3 tokens in ")


def test_annotate(plain_server: Server, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "annotations.json"
    files = sorted(images.iterdir())
    printed = run(plain_server, "annotate", *files, "--classes", "cat", "dog", "--model", "boxes", "--output", output)
    assert "6 annotations of 3 images" in printed
    written = json.loads(output.read_text())
    assert [category["name"] for category in written["categories"]] == ["cat", "dog"]
    assert [annotation["image_id"] for annotation in written["annotations"]] == [0, 0, 1, 1, 2, 2]
    for annotation in written["annotations"]:
        assert annotation["bbox"] == [16, 12, 32, 24]
        assert CompressedRLE.model_validate(annotation["segmentation"]).area() == annotation["area"]
