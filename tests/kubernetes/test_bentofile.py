"""The Bento installs what pyproject.toml asks for, and holds what its image starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pixano_inference.kubernetes.naming import PROGRAM, SOURCE_FOLDER, USER_ID

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("server", "transformers", "redis", "tracing")
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *(line for name in EXTRAS for line in extras[name])}
    assert sorted(wanted) == sorted(BENTOFILE["python"]["packages"])


def test_the_sources_are_where_the_manifests_expect_them() -> None:
    assert {"name": "PYTHONPATH", "value": SOURCE_FOLDER} in BENTOFILE["envs"]


@pytest.mark.system
def test_the_bento_builds_and_its_sources_alone_resolve_a_model_set(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "BENTOML_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    build = [str(ROOT / "scripts" / "build_image"), "--set", "annotation_cpu", "--bento-only"]
    done = subprocess.run(build, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (dockerfile,) = tmp_path.glob("bentos/pixano_inference/*/env/docker/Dockerfile")
    bento = dockerfile.parents[2]
    text = dockerfile.read_text()
    assert f"ARG BENTO_USER_UID={USER_ID}" in text
    assert f"BENTO_PATH={Path(SOURCE_FOLDER).parent}" in text
    assert "extra-index-url" in (bento / "env" / "python" / "requirements.txt").read_text()
    lean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bento / "src"), "HOME": str(tmp_path)}
    helped = subprocess.run(
        [sys.executable, *PROGRAM[1:], "role", "--help"], env=lean, cwd=tmp_path, capture_output=True, check=False
    )
    assert helped.returncode == 0
    loader = [sys.executable, "-m", "pixano_inference.model_sets.loader", str(bento / "src/models/annotation_cpu.py")]
    resolved = subprocess.run(loader, env=lean, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"sam2-image"' in resolved.stdout
