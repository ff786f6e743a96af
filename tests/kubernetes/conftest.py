"""A model set that has every case: GPUs and none, scale to zero, fixed and scaled replicas, weights from the hub."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import Rendered, render
from pixano_inference.model_sets import ModelSet, ResolvedModel
from pixano_inference.schemas import Capability

CONFIG_TEXT = "# a model set\nmodels = []\n"
IMAGE = "registry.example.com/pixano-inference:1.0"


def make_model(name: str, path: str, *, local: bool = False, **deployment: object) -> ResolvedModel:
    return ResolvedModel(
        name=name,
        capability=Capability.SEGMENTATION,
        model_class="Sam2ImageModel",
        model_path=path,
        params={"path": f"/checkout/models/{path}" if local else path, "revision": None},
        deployment=DeploymentConfig.model_validate(deployment),
    )


def make_set(*models: ResolvedModel) -> ModelSet:
    return ModelSet(source="every_case.py", module_paths=[], models=list(models))


@pytest.fixture(scope="session")
def model_set() -> ModelSet:
    return make_set(
        make_model("sleepy-gpu", "org/base", num_gpus=1, num_cpus=2.5, memory_mb=8192, min_replicas=0, max_replicas=4),
        make_model("fixed_gpu", "org/fixed", num_gpus=2),
        make_model("Scaled.CPU", "demo/tiny", local=True, memory_mb=512, min_replicas=2, max_replicas=5, timeout_s=90),
        make_model("sleepy-one", "demo/small", local=True, min_replicas=0, max_replicas=1),
    )


@pytest.fixture(scope="session")
def rendering(model_set: ModelSet) -> Callable[..., Rendered]:
    @functools.cache
    def make(**options: Any) -> Rendered:
        return render(model_set, CONFIG_TEXT, RenderOptions(**{"image": IMAGE, **options}))

    return make
