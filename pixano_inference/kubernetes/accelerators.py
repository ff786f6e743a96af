"""The overlays cpu, gpu, ha and keda: changes of what the base has."""

from __future__ import annotations

from typing import Any

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet, ResolvedModel

from . import naming, network, scaling
from .component import Component, Operation, Patch, pointer
from .gateway import gateway_environment
from .manifest import Reference, plain
from .options import RenderOptions
from .resources import GPU_RESOURCE, whole_gpus

# about how long a small model takes from nothing to ready, and not longer than proxies usually wait
_WAKE_HOLD_S = 60
_CONTAINER = ("spec", "template", "spec", "containers", 0)


def deployment_reference(name: str) -> Reference:
    """Return the reference to a Deployment."""
    return Reference("apps/v1", "Deployment", name)


def gpu_tolerations() -> list[k8s.V1Toleration]:
    """Return what lets a pod run on nodes that are kept for GPU work."""
    return [k8s.V1Toleration(key=GPU_RESOURCE, operator="Exists", effect="NoSchedule")]


def cpu_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the overlay that runs every model on CPU cores."""
    component = Component("cpu")
    for model in model_set.models:
        operations = [_add_variable("CUDA_VISIBLE_DEVICES", ""), *_image(options.cpu_image)]
        if whole_gpus(model):
            resources = (*_CONTAINER, "resources")
            operations.append({"op": "remove", "path": pointer(*resources, "requests", GPU_RESOURCE)})
            # with the GPU, the only limit may go: an empty map is no map
            emptied = model.deployment.memory_mb is None
            path = pointer(*resources, "limits") if emptied else pointer(*resources, "limits", GPU_RESOURCE)
            operations.append({"op": "remove", "path": path})
        component.patches.append(_patch(naming.runner_name(model), operations))
    if options.cpu_image is not None:
        component.patches.append(_patch(naming.GATEWAY, _image(options.cpu_image)))
    return component


def gpu_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the overlay that places the runners with GPUs on GPU nodes."""
    component = Component("gpu")
    tolerations = [plain(toleration) for toleration in gpu_tolerations()]
    for model in model_set.models:
        if whole_gpus(model):
            operations: list[Operation] = [
                {"op": "add", "path": pointer("spec", "template", "spec", "tolerations"), "value": tolerations},
                {
                    "op": "add",
                    "path": pointer("spec", "template", "spec", "nodeSelector"),
                    # set on every GPU node by the NVIDIA GPU operator's feature discovery
                    "value": {"nvidia.com/gpu.present": "true"},
                },
                _add_variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
                *_image(options.gpu_image),
            ]
            component.patches.append(_patch(naming.runner_name(model), operations))
    return component


def ha_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the overlay with several gateways."""
    key = {"secretKeyRef": {"name": naming.JOBS_SECRET, "key": "url"}}
    position = _position_of_jobs_url(model_set, options)
    return Component(
        "ha",
        added={
            "gateway-hpa.yaml": [plain(scaling.gateway_autoscaler(model_set, options))],
            "network-policy.yaml": [network.redis_policy(model_set, options)],
        },
        patches=[
            _patch(
                naming.GATEWAY,
                [
                    {"op": "remove", "path": pointer("spec", "replicas")},
                    # several gateways with a SQLite each would lose each other's jobs: the Secret is required now
                    {
                        "op": "replace",
                        "path": pointer(*_CONTAINER, "env", position),
                        "value": {"name": "PIXANO_JOBS_URL", "valueFrom": key},
                    },
                ],
            )
        ],
    )


def keda_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the overlay that scales with KEDA."""
    component = Component("keda", patches=wake_patches(model_set))
    for model in model_set.models:
        if model.deployment.min_replicas == model.deployment.max_replicas:
            continue
        name = naming.runner_name(model)
        behavior = plain(scaling.behavior(model))
        scaled = scaling.scaled_object(model, model_set, options, behavior)
        component.added.setdefault("scaled-objects.yaml", []).append(scaled)
        if scaling.fixed_replicas(model) is None:
            component.removed.append(Reference("autoscaling/v2", "HorizontalPodAutoscaler", name))
        else:
            component.patches.append(_patch(name, [{"op": "remove", "path": pointer("spec", "replicas")}]))
    return component


def wake_patches(model_set: ModelSet) -> list[Patch]:
    """Return what makes the gateway hold requests for models that may sleep, rather than refuse them at once."""
    if all(model.deployment.min_replicas > 0 for model in model_set.models):
        return []
    return [_patch(naming.GATEWAY, [_add_variable("PIXANO_WAKE_HOLD_S", str(_WAKE_HOLD_S))])]


def runners_with_gpus(model_set: ModelSet) -> list[ResolvedModel]:
    """Return the models that ask for GPUs."""
    return [model for model in model_set.models if whole_gpus(model)]


def _position_of_jobs_url(model_set: ModelSet, options: RenderOptions) -> int:
    return [variable.name for variable in gateway_environment(model_set, options)].index("PIXANO_JOBS_URL")


def _patch(name: str, operations: list[Operation]) -> Patch:
    return Patch(deployment_reference(name), tuple(operations))


def _add_variable(name: str, value: str) -> Operation:
    return {"op": "add", "path": pointer(*_CONTAINER, "env", "-"), "value": {"name": name, "value": value}}


def _image(image: str | None) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": pointer(*_CONTAINER, "image"), "value": image}] if image is not None else []
