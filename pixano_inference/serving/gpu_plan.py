"""Which replica gets which GPU of this machine, decided once, before anything is started.

BentoML's own allocation gives out indexes of GPUs that do not exist and lets only equal fractions share, so it is
turned off. Whole GPUs are exclusive; fractions share a GPU up to one.
"""

from __future__ import annotations

import json
import os

from pixano_inference.errors import ConfigError
from pixano_inference.gateway.gpus import local_gpu_count
from pixano_inference.model_sets import ModelSet

from .memory_plan import machine_memory_mb, warn_when_memory_is_short

PLAN_VARIABLE = "PIXANO_GPU_PLAN"
"""Holds the plan as JSON, service name to GPU identifiers: how the first process hands it to the runners."""
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"

Plan = dict[str, list[str]]


def machine_gpus() -> list[str]:
    """Return the GPUs that this server may use: those that CUDA_VISIBLE_DEVICES names, otherwise all."""
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    return [str(index) for index in range(local_gpu_count())]


def plan_gpus(model_set: ModelSet, gpus: list[str]) -> Plan:
    """Assign GPUs to every local replica of every model.

    Args:
        model_set: What is served.
        gpus: Identifiers of the GPUs there are.

    Raises:
        ConfigError: The models ask for more than there is, or for a number between whole ones.
    """
    wanted = [
        (model.deployment.num_gpus, model.replica_service_name(replica))
        for model in model_set.models
        for replica in range(model.local_replicas)
    ]
    for model in model_set.models:
        number = model.deployment.num_gpus
        if number > 1 and number != int(number):
            raise ConfigError(
                f"{model_set.source}: model {model.name!r}: num_gpus must be a whole number or below 1, got {number:g}"
            )
    plan: Plan = {}
    free = list(gpus)
    shared: dict[str, float] = {}
    # the largest first, so that fractions fill what whole GPUs leave
    for number, service in sorted(wanted, key=lambda pair: -pair[0]):
        if number == 0:
            plan[service] = []
        elif number >= 1 and len(free) >= number:
            plan[service] = [free.pop(0) for _ in range(int(number))]
        elif number < 1:
            plan[service] = [_share(shared, free, number) or _refuse(model_set, gpus)]
        else:
            _refuse(model_set, gpus)
    return plan


def _share(shared: dict[str, float], free: list[str], number: float) -> str | None:
    for gpu, left in shared.items():
        if left + 1e-9 >= number:
            shared[gpu] = left - number
            return gpu
    if not free:
        return None
    gpu = free.pop(0)
    shared[gpu] = 1.0 - number
    return gpu


def _refuse(model_set: ModelSet, gpus: list[str]) -> str:
    asked = [
        f"{model.name} {model.deployment.num_gpus:g}"
        + (f" × {model.local_replicas} replicas" if model.local_replicas > 1 else "")
        for model in model_set.models
        if model.deployment.num_gpus
    ]
    total = sum(model.deployment.num_gpus * model.local_replicas for model in model_set.models)
    raise ConfigError(
        f"{model_set.source}: the models ask for {total:g} GPUs ({', '.join(asked)}), this machine has {len(gpus)}"
    )


def plan_this_machine(model_set: ModelSet, role: str) -> None:
    """Decide for this machine and hand the plan to this process's children; once is enough.

    Args:
        model_set: All models.
        role: What is started here: ``all``, ``gateway``, or ``runner:<model>`` for one replica of one model.

    Raises:
        ConfigError: The models of this machine ask for more GPUs than there are.
    """
    os.environ["BENTOML_DISABLE_GPU_ALLOCATION"] = "1"
    if PLAN_VARIABLE in os.environ:
        return
    here = model_set
    if role == "gateway":
        here = model_set.model_copy(update={"models": []})
    elif role.startswith("runner:"):
        model = model_set.model(role.removeprefix("runner:"))
        deployment = model.deployment.model_copy(update={"min_replicas": 1})
        here = model_set.model_copy(update={"models": [model.model_copy(update={"deployment": deployment})]})
    os.environ[PLAN_VARIABLE] = json.dumps(plan_gpus(here, machine_gpus()))
    warn_when_memory_is_short(here, machine_memory_mb())


def take_gpus(service_name: str) -> None:
    """Let this process see the GPUs of its replica alone; call it before torch starts."""
    plan: Plan = json.loads(os.environ.get(PLAN_VARIABLE, "{}"))
    if service_name in plan:
        os.environ[VISIBLE_VARIABLE] = ",".join(plan[service_name])
