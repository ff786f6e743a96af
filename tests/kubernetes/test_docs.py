"""The operators' pages tell of everything there is, and of nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.kubernetes.naming import API_KEYS_SECRET, HUB_TOKEN_SECRET, JOBS_SECRET, RUNNER_SECRET
from pixano_inference.kubernetes.options import OVERLAYS
from pixano_inference.kubernetes.render import Rendered
from pixano_inference.kubernetes.validation import KUBERNETES_VERSIONS

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "operators"


def _first_column(page: str, heading: str) -> set[str]:
    text = (FOLDER / page).read_text().partition(f"| {heading} |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def test_the_table_of_deployment_config_has_every_field_and_every_way_to_deploy() -> None:
    assert _first_column("deployment-config.md", "field") == set(DeploymentConfig.model_fields)
    rows = [line for line in (FOLDER / "deployment-config.md").read_text().splitlines() if line.startswith("| `")]
    assert all(len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 5 for row in rows)


def test_the_table_of_overlays_is_complete() -> None:
    assert _first_column("kubernetes.md", "overlay") == set(OVERLAYS)


def test_the_table_of_secrets_is_complete() -> None:
    wanted = {RUNNER_SECRET, API_KEYS_SECRET, JOBS_SECRET, HUB_TOKEN_SECRET, "gateway-tls"}
    assert _first_column("kubernetes.md", "Secret") == wanted


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_versions_that_are_checked_are_named(version: str) -> None:
    assert version in (FOLDER / "kubernetes.md").read_text()


def test_the_table_of_alerts_is_complete(rendering: Callable[..., Rendered]) -> None:
    (rules,) = [m for m in rendering().manifests(("monitoring",)) if m["kind"] == "PrometheusRule"]
    names = {rule["alert"] for rule in rules["spec"]["groups"][0]["rules"]}
    told = _first_column("monitoring.md", "alert")
    for pattern in (name for name in told if "<Model>" in name):
        names = {pattern if name.startswith(pattern.removesuffix("<Model>")) else name for name in names}
    assert names == told
