"""The overlay kserve: an InferenceService per runner, in KServe's Standard mode (Deployments, no Knative).

Headless Services, NetworkPolicies and disruption budgets of the base stay: the predictor's pods carry the labels that
those select, so that the gateway finds the replicas as it does without KServe.

Fields follow KServe 0.21 (serving.kserve.io/v1beta1 InferenceService, v1alpha1 ClusterServingRuntime).
"""

from __future__ import annotations

import math

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet, ResolvedModel

from . import naming, pods, scaling
from .accelerators import deployment_reference, gpu_tolerations, wake_patches
from .component import Component
from .manifest import Manifest, Reference, plain
from .options import RenderOptions
from .resources import whole_gpus
from .runners import RUNNER, runner_pod

MODEL_FORMAT = "pixano"
PROTOCOL = "v2"
"""The Open Inference Protocol, which runners speak beside the gateway's own; KServe takes v1 where none is named."""

# KServe merges the runtime's container with the service's by this name
_CONTAINER = "kserve-container"


def kserve_component(model_set: ModelSet, config_text: str, options: RenderOptions) -> Component:
    """Return the overlay."""
    runtime = _serving_runtime(model_set, options)
    component = Component("kserve", added={"serving-runtime.yaml": [runtime]}, patches=wake_patches(model_set))
    for model in model_set.models:
        name = naming.runner_name(model)
        service = _inference_service(model, model_set, config_text, options, runtime["metadata"]["name"])
        component.added[f"{name}.yaml"] = [service]
        component.removed.append(deployment_reference(name))
        if scaling.fixed_replicas(model) is None:
            component.removed.append(Reference("autoscaling/v2", "HorizontalPodAutoscaler", name))
    return component


def _serving_runtime(model_set: ModelSet, options: RenderOptions) -> Manifest:
    port = k8s.V1ContainerPort(name=naming.PORT_NAME, container_port=naming.RUNNER_PORT, protocol="TCP")
    container = k8s.V1Container(
        name=_CONTAINER,
        image=options.image,
        image_pull_policy="IfNotPresent",
        # KServe appends the arguments of the service: the model's name
        args=[*naming.PROGRAM, "role", RUNNER, "--host", "0.0.0.0", "--port", str(naming.RUNNER_PORT)],
        ports=[port],
        security_context=pods.container_security(),
    )
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {
            # the one object without a namespace: its name must tell installations apart
            "name": f"{options.namespace}-{naming.instance(model_set)}",
            "labels": naming.labels(model_set, RUNNER),
        },
        "spec": {
            "supportedModelFormats": [{"name": MODEL_FORMAT, "version": "1", "autoSelect": False}],
            "protocolVersions": [PROTOCOL],
            "multiModel": False,
            "containers": [plain(container)],
        },
    }


def _inference_service(
    model: ResolvedModel, model_set: ModelSet, config_text: str, options: RenderOptions, runtime: str
) -> Manifest:
    pod: Manifest = plain(runner_pod(model, model_set, config_text, options, container=_CONTAINER))
    (container,) = pod.pop("containers")
    scaled = model.deployment.min_replicas != model.deployment.max_replicas
    container |= {"args": ["--model", model.name]}
    del container["image"], container["imagePullPolicy"], container["ports"]
    tolerations = [plain(toleration) for toleration in gpu_tolerations()]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            # not the runner's own name: KServe makes Services that are named after it
            "name": f"kserve-{naming.slug(model.name)}",
            "namespace": options.namespace,
            "labels": {
                **naming.labels(model_set, RUNNER, model),
                # callers come through the gateway, so KServe makes no route of its own
                "networking.kserve.io/visibility": "cluster-local",
            },
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                # "external": KServe makes no HPA; its default would scale on CPU
                "serving.kserve.io/autoscalerClass": "keda" if scaled else "external",
                naming.MODEL_ANNOTATION: model.name,
            },
        },
        "spec": {
            "predictor": {
                "labels": naming.labels(model_set, RUNNER, model),
                "annotations": {naming.MODEL_ANNOTATION: model.name},
                "minReplicas": model.deployment.min_replicas,
                "maxReplicas": model.deployment.max_replicas,
                "timeout": math.ceil(model.deployment.timeout_s),
                **({"autoScaling": _auto_scaling(model, options)} if scaled else {}),
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                **({"tolerations": tolerations} if whole_gpus(model) else {}),
                **pod,
                "model": {
                    "modelFormat": {"name": MODEL_FORMAT, "version": "1"},
                    "protocolVersion": PROTOCOL,
                    "runtime": runtime,
                    **container,
                },
            }
        },
    }


def _auto_scaling(model: ResolvedModel, options: RenderOptions) -> Manifest:
    return {
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": {
                        "backend": "prometheus",
                        "serverAddress": options.prometheus,
                        "query": scaling.demand_query(model, options),
                    },
                    "target": {
                        "type": "AverageValue",
                        "averageValue": str(model.deployment.target_num_ongoing_requests_per_replica),
                    },
                },
            }
        ],
        "behavior": plain(scaling.behavior(model)),
    }
