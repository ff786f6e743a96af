"""The manifests under k8s/ are those that the model sets give now, and they are valid."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from pixano_inference.kubernetes.render import Rendered
from pixano_inference.kubernetes.validation import check

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "render_manifests.py"))
SETS = [name for name in _SCRIPT["SETS"] if (ROOT / "models" / f"{name}.py").is_file()]


@pytest.fixture(scope="session", params=SETS)
def committed(request: pytest.FixtureRequest) -> tuple[str, Rendered, dict[str, str]]:
    rendered: Rendered = _SCRIPT["render_set"](request.param)
    return request.param, rendered, rendered.files()


def test_the_committed_manifests_are_fresh(committed: tuple[str, Rendered, dict[str, str]]) -> None:
    name, _, files = committed
    folder = ROOT / "k8s" / name
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    stale = sorted(path for path, text in files.items() if found.get(path) != text)
    assert not stale, f"run `python scripts/render_manifests.py`: {stale}"
    assert found.keys() == files.keys()


def test_every_overlay_of_the_committed_manifests_is_valid(committed: tuple[str, Rendered, dict[str, str]]) -> None:
    _, rendered, _ = committed
    for overlay in ((), *((name,) for name in rendered.components)):
        assert check(rendered.manifests(overlay), ["1.30", "1.33", "1.37"]) == []


def test_no_path_of_this_machine_is_committed(committed: tuple[str, Rendered, dict[str, str]]) -> None:
    _, _, files = committed
    assert not [name for name, text in files.items() if str(ROOT) in text]


def test_every_model_has_a_runner(committed: tuple[str, Rendered, dict[str, str]]) -> None:
    name, rendered, _ = committed
    text = (ROOT / "models" / f"{name}.py").read_text()
    runners = [m for m in rendered.manifests() if m["kind"] == "Deployment" and m["metadata"]["name"] != "gateway"]
    assert len(runners) == text.count("ModelConfig(")
