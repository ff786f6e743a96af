"""The objects of one model's runner."""

from __future__ import annotations

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet, ResolvedModel

from . import naming, pods
from .manifest import Manifest, plain
from .options import RenderOptions
from .resources import resource_requirements, threads, whole_gpus
from .scaling import fixed_replicas, runner_autoscaler
from .weights import WeightsVolume, runner_volume

RUNNER = "runner"
CONTAINER = "runner"

LOAD_TIMEOUT_S = 1200
"""Seconds that a model may take to load, a download and a compilation included."""

_STARTUP_PERIOD_S = 5


def runner_manifests(
    model: ResolvedModel, model_set: ModelSet, config_text: str, options: RenderOptions
) -> list[Manifest]:
    """Return Deployment, headless Service, ServiceAccount, PodDisruptionBudget and HPA of a runner.

    Raises:
        ConfigError: The deployment of the model cannot be expressed on Kubernetes.
    """
    name, labels = naming.runner_name(model), naming.selector(model_set, RUNNER, model)
    autoscaler = runner_autoscaler(model, model_set, options)
    return [
        plain(pods.service_account(name, model_set, RUNNER, options)),
        plain(runner_service(model, model_set, options)),
        plain(_deployment(model, model_set, config_text, options)),
        plain(pods.disruption_budget(name, labels, model_set, RUNNER, options)),
        *([plain(autoscaler)] if autoscaler is not None else []),
    ]


def runner_service(model: ResolvedModel, model_set: ModelSet, options: RenderOptions) -> k8s.V1Service:
    """Return the headless Service: the gateway wants every replica's address, to choose by image."""
    return k8s.V1Service(
        api_version="v1",
        kind="Service",
        metadata=pods.metadata(naming.runner_name(model), model_set, RUNNER, options, model=model),
        spec=k8s.V1ServiceSpec(
            cluster_ip="None",
            selector=naming.selector(model_set, RUNNER, model),
            ports=[
                k8s.V1ServicePort(
                    name=naming.PORT_NAME, port=naming.RUNNER_PORT, target_port=naming.PORT_NAME, protocol="TCP"
                )
            ],
        ),
    )


def runner_container(
    model: ResolvedModel, model_set: ModelSet, options: RenderOptions, *, name: str, mounts: list[k8s.V1VolumeMount]
) -> k8s.V1Container:
    """Return the container that serves one model."""
    weights = runner_volume(model, options)
    return k8s.V1Container(
        name=name,
        image=options.image,
        image_pull_policy="IfNotPresent",
        args=runner_arguments(model),
        env=runner_environment(model, model_set, options, weights),
        ports=[k8s.V1ContainerPort(name=naming.PORT_NAME, container_port=naming.RUNNER_PORT, protocol="TCP")],
        resources=resource_requirements(model),
        security_context=pods.container_security(),
        startup_probe=pods.probe("/readyz", period_s=_STARTUP_PERIOD_S, failures=LOAD_TIMEOUT_S // _STARTUP_PERIOD_S),
        readiness_probe=pods.probe("/readyz", period_s=5, failures=2),
        # a process that computes on every core answers late; only one that does not answer at all is dead
        liveness_probe=pods.probe("/livez", period_s=15, failures=4, timeout_s=10),
        lifecycle=pods.drain(),
        volume_mounts=[*mounts, *weights.mounts],
    )


def runner_arguments(model: ResolvedModel) -> list[str]:
    """Return what the image is started with to be this model's runner."""
    port = str(naming.RUNNER_PORT)
    return [*naming.PROGRAM, "role", RUNNER, "--model", model.name, "--host", "0.0.0.0", "--port", port]


def runner_environment(
    model: ResolvedModel, model_set: ModelSet, options: RenderOptions, weights: WeightsVolume
) -> list[k8s.V1EnvVar]:
    """Return the environment of a runner."""
    return [
        *pods.common_environment(model_set, options),
        pods.variable("OMP_NUM_THREADS", str(threads(model.deployment))),
        # a compiled model's kernels outlive a crash of the container, not the pod
        pods.variable("TORCHINDUCTOR_CACHE_DIR", "/tmp/inductor"),  # noqa: S108  # an emptyDir of the pod
        *weights.environment,
    ]


def runner_pod(
    model: ResolvedModel, model_set: ModelSet, config_text: str, options: RenderOptions, *, container: str = CONTAINER
) -> k8s.V1PodSpec:
    """Return the pod of a runner."""
    volumes, mounts = pods.common_volumes(model_set, config_text, scratch_size="8Gi")
    weights = runner_volume(model, options)
    return k8s.V1PodSpec(
        service_account_name=naming.runner_name(model),
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=pods.pod_security(),
        termination_grace_period_seconds=pods.grace_period_s(model.deployment.timeout_s),
        topology_spread_constraints=pods.spread(naming.selector(model_set, RUNNER, model)),
        containers=[runner_container(model, model_set, options, name=container, mounts=mounts)],
        volumes=[*volumes, *weights.volumes],
    )


def _deployment(
    model: ResolvedModel, model_set: ModelSet, config_text: str, options: RenderOptions
) -> k8s.V1Deployment:
    labels = naming.selector(model_set, RUNNER, model)
    return k8s.V1Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=pods.metadata(
            naming.runner_name(model),
            model_set,
            RUNNER,
            options,
            model=model,
            annotations={naming.MODEL_ANNOTATION: model.name},
        ),
        spec=k8s.V1DeploymentSpec(
            replicas=fixed_replicas(model),
            selector=k8s.V1LabelSelector(match_labels=labels),
            strategy=_strategy(model),
            progress_deadline_seconds=LOAD_TIMEOUT_S + 300,
            revision_history_limit=3,
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(
                    labels=naming.labels(model_set, RUNNER, model),
                    annotations={naming.MODEL_ANNOTATION: model.name},
                ),
                spec=runner_pod(model, model_set, config_text, options),
            ),
        ),
    )


def _strategy(model: ResolvedModel) -> k8s.V1DeploymentStrategy:
    """Return how replicas are exchanged: the new one first.

    GPUs may all be taken: with two replicas or more of a GPU runner, one may go before its successor is there, or
    the roll-out would wait for a GPU for ever. A lone replica is never given up first.
    """
    may_lack_one = whole_gpus(model) > 0 and model.deployment.min_replicas > 1
    return k8s.V1DeploymentStrategy(
        type="RollingUpdate",
        rolling_update=k8s.V1RollingUpdateDeployment(max_surge=1, max_unavailable=1 if may_lack_one else 0),
    )
