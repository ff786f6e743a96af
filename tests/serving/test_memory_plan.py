"""A machine that is too small for its models is told of at the start."""

from __future__ import annotations

import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.model_sets import ModelSet, ResolvedModel
from pixano_inference.schemas import Capability
from pixano_inference.serving.memory_plan import machine_memory_mb, warn_when_memory_is_short


def asking(**memory_mb: int | None) -> ModelSet:
    """Models by name, each of two replicas."""
    models = [
        ResolvedModel(
            name=name,
            capability=Capability.VLM,
            model_class="Test",
            params={},
            deployment=DeploymentConfig(memory_mb=size, min_replicas=2, max_replicas=2),
        )
        for name, size in memory_mb.items()
    ]
    return ModelSet(source="models.py", module_paths=[], models=models)


def test_more_memory_than_there_is_is_told_with_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    warn_when_memory_is_short(asking(a=100, b=50, c=None), 300)
    assert capsys.readouterr().err == ""
    warn_when_memory_is_short(asking(a=100, b=51, c=None), 300)
    assert "ask for 302 MiB of memory (a 200, b 102), this machine has 300" in capsys.readouterr().err


def test_the_memory_of_this_machine_is_known() -> None:
    assert 64 < machine_memory_mb() < 2**30
