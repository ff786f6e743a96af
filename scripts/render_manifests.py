"""Renders the manifests under k8s/ from the model sets under models/; a test fails when they are stale."""

from __future__ import annotations

from pathlib import Path

from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import Rendered, render, write
from pixano_inference.model_sets.loader import load

ROOT = Path(__file__).resolve().parents[1]
_IMAGE = "ghcr.io/pixano/pixano-inference"

SETS = {
    "demo": RenderOptions(image=f"{_IMAGE}:demo"),
    "annotation": RenderOptions(image=f"{_IMAGE}:annotation", weights="pvc"),
    "annotation_cpu": RenderOptions(image=f"{_IMAGE}:annotation-cpu", weights="pvc"),
}
"""Name of a model set, and of its folder under k8s/, to what it is rendered with."""


def render_set(name: str) -> Rendered:
    """Render one of the sets."""
    config = ROOT / "models" / f"{name}.py"
    return render(load(config), config.read_text(encoding="utf-8"), SETS[name])


if __name__ == "__main__":
    for set_name in SETS:
        made = write(render_set(set_name), ROOT / "k8s" / set_name)
        print(f"k8s/{set_name}: {len(made)} files")
