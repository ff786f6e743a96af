"""From a DeploymentConfig to the resources of a container."""

from __future__ import annotations

import math

from kubernetes import client as k8s

from pixano_inference.configs import DeploymentConfig
from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ResolvedModel

GPU_RESOURCE = "nvidia.com/gpu"

_DEFAULT_MEMORY_MB = 2048


def resource_requirements(model: ResolvedModel) -> k8s.V1ResourceRequirements:
    """Return requests and limits of a runner.

    CPU is requested and not limited, since a limit throttles a burst that nobody else needed. Memory given in the
    config is both request and limit, so that a runner that grows is stopped before its node suffers.

    Raises:
        ConfigError: ``num_gpus`` is no whole number.
    """
    deployment = model.deployment
    requests = {"cpu": cpu_quantity(deployment.num_cpus), "memory": f"{deployment.memory_mb or _DEFAULT_MEMORY_MB}Mi"}
    limits = {"memory": f"{deployment.memory_mb}Mi"} if deployment.memory_mb is not None else {}
    gpus = whole_gpus(model)
    if gpus:
        requests[GPU_RESOURCE] = limits[GPU_RESOURCE] = str(gpus)
    return k8s.V1ResourceRequirements(requests=requests, limits=limits or None)


def whole_gpus(model: ResolvedModel) -> int:
    """Return the GPUs of a replica.

    Raises:
        ConfigError: ``num_gpus`` is no whole number.
    """
    gpus = model.deployment.num_gpus
    if gpus != int(gpus):
        raise ConfigError(
            f"model {model.name!r}: num_gpus={gpus:g} cannot be deployed: Kubernetes hands out whole GPUs. Write 1 and "
            "let the cluster cut GPUs into smaller ones: MIG profiles, or time-slicing in the NVIDIA device plugin"
        )
    return int(gpus)


def cpu_quantity(cores: float) -> str:
    """Return CPU cores as a quantity: whole cores, or millicores rounded up."""
    return str(int(cores)) if cores == int(cores) else f"{math.ceil(cores * 1000)}m"


def threads(deployment: DeploymentConfig) -> int:
    """Return how many threads torch may use: without a limit it would count the cores of the node."""
    return max(1, round(deployment.num_cpus))
