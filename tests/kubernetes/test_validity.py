"""Everything that is rendered passes the schemas of several Kubernetes versions and our own rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pixano_inference.kubernetes import kustomize
from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.options import OVERLAYS
from pixano_inference.kubernetes.render import Rendered, write
from pixano_inference.kubernetes.validation import KUBERNETES_VERSIONS, check, schema_problems

COMBINATIONS = [(), *((name,) for name in OVERLAYS), ("gpu", "ha", "keda", "monitoring"), ("gpu", "kserve", "ha")]


@pytest.mark.parametrize("overlays", COMBINATIONS, ids="+".join)
def test_every_overlay_is_valid(rendering: Callable[..., Rendered], overlays: tuple[str, ...]) -> None:
    assert check(rendering(weights="pvc").manifests(overlays)) == []


@pytest.mark.parametrize("weights", ["baked", "fetch"])
def test_every_source_of_weights_is_valid(rendering: Callable[..., Rendered], weights: str) -> None:
    assert check(rendering(weights=weights).manifests()) == []


@pytest.mark.parametrize(
    "endpoint", ["http://otel.observability.svc:4318", "https://10.1.2.3:4318", "http://[fd00::1]"]
)
@pytest.mark.parametrize("overlays", [(), ("kserve",), ("ha", "monitoring")], ids="+".join)
def test_traces_are_valid(rendering: Callable[..., Rendered], endpoint: str, overlays: tuple[str, ...]) -> None:
    assert check(rendering(otlp_endpoint=endpoint).manifests(overlays)) == []


def test_image_volumes_are_valid_where_kubernetes_has_them(rendering: Callable[..., Rendered]) -> None:
    manifests = rendering(weights="image", weights_image="registry.example.com/weights:1").manifests()
    assert check(manifests, [version for version in KUBERNETES_VERSIONS if version > "1.30"]) == []
    assert any("image" in str(problem) for problem in schema_problems(manifests, ["1.30"]))


def test_at_least_three_kubernetes_versions_count() -> None:
    assert len(KUBERNETES_VERSIONS) >= 3


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which has kustomize built in, is not installed")
@pytest.mark.parametrize("overlays", COMBINATIONS, ids="+".join)
def test_kustomize_builds_what_we_say_it_builds(
    rendering: Callable[..., Rendered], overlays: tuple[str, ...], tmp_path: Path
) -> None:
    rendered = rendering(weights="pvc", overlays=overlays)
    write(rendered, tmp_path)
    build = ["kubectl", "kustomize", str(tmp_path)]
    built = subprocess.run(build, capture_output=True, text=True, check=True).stdout
    assert _sorted(kustomize.load(built)) == _sorted(rendered.manifests())


def _sorted(manifests: list[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda manifest: (manifest["kind"], manifest["metadata"]["name"]))
