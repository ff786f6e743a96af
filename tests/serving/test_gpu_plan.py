"""Which replica gets which GPU, and what is refused before anything starts."""

from __future__ import annotations

import os

import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet, ResolvedModel
from pixano_inference.schemas import Capability
from pixano_inference.serving.gpu_plan import PLAN_VARIABLE, machine_gpus, plan_gpus, plan_this_machine, take_gpus


def model_set(**gpus: tuple[float, int]) -> ModelSet:
    """Models by name, each with GPUs per replica and replicas."""
    models = [
        ResolvedModel(
            name=name,
            capability=Capability.SEGMENTATION,
            model_class="Test",
            params={},
            deployment=DeploymentConfig(num_gpus=number, min_replicas=replicas, max_replicas=max(1, replicas)),
        )
        for name, (number, replicas) in gpus.items()
    ]
    return ModelSet(source="models.py", module_paths=[], models=models)


def test_each_replica_has_gpus_of_its_own() -> None:
    plan = plan_gpus(model_set(a=(1, 2), b=(2, 1)), ["0", "1", "2", "3"])
    assert sorted(gpu for gpus in plan.values() for gpu in gpus) == ["0", "1", "2", "3"]
    assert [len(plan[name]) for name in ("runner_a", "runner_a__1", "runner_b")] == [1, 1, 2]


def test_fractions_share_a_gpu_up_to_one() -> None:
    plan = plan_gpus(model_set(a=(0.5, 1), b=(0.3, 1), c=(0.2, 1), d=(0.6, 1), e=(1, 1)), ["x", "y", "z"])
    assert plan["runner_e"] == ["x"]
    shares = {name: plan[f"runner_{name}"][0] for name in "abcd"}
    assert set(shares.values()) == {"y", "z"}
    sizes = {"a": 0.5, "b": 0.3, "c": 0.2, "d": 0.6}
    for gpu in "yz":
        assert sum(sizes[name] for name, on in shares.items() if on == gpu) <= 1.0001


def test_ten_tenths_fit_on_one_gpu() -> None:
    plan = plan_gpus(model_set(a=(0.1, 10)), ["0"])
    assert set(map(tuple, plan.values())) == {("0",)}


def test_a_model_without_gpus_sees_none() -> None:
    assert plan_gpus(model_set(a=(0, 1)), ["0"]) == {"runner_a": []}


def test_a_model_that_scales_to_zero_has_one_local_replica() -> None:
    assert plan_gpus(model_set(a=(1, 0)), ["0"]) == {"runner_a": ["0"]}


@pytest.mark.parametrize(
    ("gpus", "there", "message"),
    [
        ({"a": (1, 1)}, 0, r"models.py: the models ask for 1 GPUs \(a 1\), this machine has 0"),
        ({"a": (1, 2), "b": (2, 1)}, 3, r"ask for 4 GPUs \(a 1 × 2 replicas, b 2\), this machine has 3"),
        ({"a": (0.6, 2)}, 1, r"ask for 1.2 GPUs \(a 0.6 × 2 replicas\), this machine has 1"),
        ({"a": (1.5, 1)}, 8, r"model 'a': num_gpus must be a whole number or below 1, got 1.5"),
    ],
)
def test_more_gpus_than_there_are_is_refused_with_the_numbers(
    gpus: dict[str, tuple[float, int]], there: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_gpus(model_set(**gpus), [str(index) for index in range(there)])


def test_the_operator_may_name_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7f,-1")
    assert machine_gpus() == ["3", "GPU-7f"]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    for name in (PLAN_VARIABLE, "BENTOML_DISABLE_GPU_ALLOCATION"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_runner_sees_its_gpus_alone(clean_environment: pytest.MonkeyPatch) -> None:
    plan_this_machine(model_set(a=(1, 2), b=(0, 1)), "all")
    seen = []
    for service in ("runner_a", "runner_a__1", "runner_b"):
        take_gpus(service)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["3", "5", ""]


def test_a_runner_apart_needs_gpus_for_one_replica_of_its_own_model(clean_environment: pytest.MonkeyPatch) -> None:
    plan_this_machine(model_set(a=(2, 8), b=(4, 1)), "runner:a")
    take_gpus("runner_a")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_a_gateway_apart_needs_none(clean_environment: pytest.MonkeyPatch) -> None:
    plan_this_machine(model_set(a=(8, 8)), "gateway")
    assert os.environ[PLAN_VARIABLE] == "{}"


def test_the_first_process_decides_for_all(clean_environment: pytest.MonkeyPatch) -> None:
    plan_this_machine(model_set(a=(1, 1)), "all")
    take_gpus("runner_a")
    plan_this_machine(model_set(a=(2, 1)), "all")  # with one GPU in sight this would be refused
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
