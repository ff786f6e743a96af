"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixano_inference.cli import main

SETS = Path(__file__).resolve().parents[2] / "models"


def test_render_writes_what_kubectl_applies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", str(SETS / "annotation_cpu.py"), "--image", "pixano:1", "--overlay", "keda"]
    assert main(["k8s", "render", *options, "-o", str(tmp_path)]) == 0
    assert "components/keda" in (tmp_path / "kustomization.yaml").read_text()
    assert f"kubectl apply --server-side -k {tmp_path}" in capsys.readouterr().out


def test_an_image_that_rolls_by_itself_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--config", str(SETS / "annotation_cpu.py"), "--image", "pixano:latest"]
    assert main(["k8s", "render", *options, "-o", str(tmp_path / "out")]) == 2
    assert "must have a tag other than latest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_number_of_replicas_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["k8s", "scale", "sam2-image", "many"]) == 2
    assert "a number or MIN-MAX, got 'many'" in capsys.readouterr().err


def test_without_a_cluster_the_reason_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["k8s", "status"]) == 2
    assert "cluster" in capsys.readouterr().err
