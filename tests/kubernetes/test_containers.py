"""An image, run as the manifests say: three containers, confined, a click through them, and a clean end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGE = os.environ.get("PIXANO_CHECK_IMAGE")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(IMAGE is None, reason="PIXANO_CHECK_IMAGE names no image that scripts/build_image built"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed"),
]


def test_the_image_runs_as_the_manifests_say() -> None:
    check = [sys.executable, str(ROOT / "scripts" / "check_containers"), str(IMAGE)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
