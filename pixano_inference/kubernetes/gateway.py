"""The gateway's objects."""

from __future__ import annotations

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet

from . import naming, pods
from .manifest import Manifest, plain
from .options import RenderOptions

_STARTUP_S = 120


def gateway_manifests(model_set: ModelSet, config_text: str, options: RenderOptions) -> list[Manifest]:
    """Return Deployment, Service, ServiceAccount and PodDisruptionBudget of the gateway."""
    labels = naming.selector(model_set, naming.GATEWAY)
    return [
        plain(pods.service_account(naming.GATEWAY, model_set, naming.GATEWAY, options)),
        plain(_service(model_set, options)),
        plain(_deployment(model_set, config_text, options)),
        plain(pods.disruption_budget(naming.GATEWAY, labels, model_set, naming.GATEWAY, options)),
    ]


def runner_addresses(model_set: ModelSet) -> str:
    """Return ``name=address`` of every runner: the headless Service, whose name has an address for each replica."""
    return ",".join(
        f"{model.name}=http://{naming.runner_name(model)}:{naming.RUNNER_PORT}" for model in model_set.models
    )


def _service(model_set: ModelSet, options: RenderOptions) -> k8s.V1Service:
    return k8s.V1Service(
        api_version="v1",
        kind="Service",
        metadata=pods.metadata(naming.GATEWAY, model_set, naming.GATEWAY, options),
        spec=k8s.V1ServiceSpec(
            type="ClusterIP",
            selector=naming.selector(model_set, naming.GATEWAY),
            ports=[
                k8s.V1ServicePort(
                    name=naming.PORT_NAME, port=naming.GATEWAY_PORT, target_port=naming.PORT_NAME, protocol="TCP"
                )
            ],
        ),
    )


def _deployment(model_set: ModelSet, config_text: str, options: RenderOptions) -> k8s.V1Deployment:
    return k8s.V1Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=pods.metadata(naming.GATEWAY, model_set, naming.GATEWAY, options),
        spec=k8s.V1DeploymentSpec(
            # jobs live in this pod's own SQLite; the ha overlay moves them to Redis and scales
            replicas=1,
            selector=k8s.V1LabelSelector(match_labels=naming.selector(model_set, naming.GATEWAY)),
            strategy=k8s.V1DeploymentStrategy(
                type="RollingUpdate", rolling_update=k8s.V1RollingUpdateDeployment(max_surge=1, max_unavailable=0)
            ),
            progress_deadline_seconds=_STARTUP_S * 3,
            revision_history_limit=3,
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(labels=naming.labels(model_set, naming.GATEWAY)),
                spec=_pod(model_set, config_text, options),
            ),
        ),
    )


def _pod(model_set: ModelSet, config_text: str, options: RenderOptions) -> k8s.V1PodSpec:
    volumes, mounts = pods.common_volumes(model_set, config_text, scratch_size="4Gi")
    data = k8s.V1Volume(name="data", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="8Gi"))
    longest_s = max(model.deployment.timeout_s for model in model_set.models)
    return k8s.V1PodSpec(
        service_account_name=naming.GATEWAY,
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=pods.pod_security(),
        # longer than any runner's: a request ends here after it ended there
        termination_grace_period_seconds=pods.grace_period_s(longest_s) + pods.DRAIN_S,
        topology_spread_constraints=pods.spread(naming.selector(model_set, naming.GATEWAY)),
        containers=[
            k8s.V1Container(
                name=naming.GATEWAY,
                image=options.image,
                image_pull_policy="IfNotPresent",
                args=gateway_arguments(),
                env=gateway_environment(model_set, options),
                ports=[k8s.V1ContainerPort(name=naming.PORT_NAME, container_port=naming.GATEWAY_PORT, protocol="TCP")],
                resources=k8s.V1ResourceRequirements(
                    requests={"cpu": "1", "memory": "512Mi"}, limits={"memory": "2Gi"}
                ),
                security_context=pods.container_security(),
                startup_probe=pods.probe("/health", period_s=2, failures=_STARTUP_S // 2),
                # not /ready: it tells of the models, and a gateway without one still serves the others
                readiness_probe=pods.probe("/readyz", period_s=5, failures=2),
                liveness_probe=pods.probe("/health", period_s=10, failures=3, timeout_s=5),
                lifecycle=pods.drain(),
                volume_mounts=[*mounts, k8s.V1VolumeMount(name="data", mount_path=naming.DATA_FOLDER)],
            )
        ],
        volumes=[*volumes, data],
    )


def gateway_arguments() -> list[str]:
    """Return what the image is started with to be the gateway.

    Not strict: a model that cannot be loaded is its runner's end, not that of everybody's gateway.
    """
    port = str(naming.GATEWAY_PORT)
    return [*naming.PROGRAM, "role", naming.GATEWAY, "--no-strict", "--host", "0.0.0.0", "--port", port]


def gateway_environment(model_set: ModelSet, options: RenderOptions) -> list[k8s.V1EnvVar]:
    """Return the environment of the gateway."""
    return [
        *pods.common_environment(model_set, options),
        pods.variable("PIXANO_RUNNERS", runner_addresses(model_set)),
        pods.variable("PIXANO_DATA_DIR", naming.DATA_FOLDER),
        # so that callers cannot fill the memory limit: a body is there two or three times while it is answered
        pods.variable("PIXANO_MAX_HELD_MB", "512"),
        pods.variable("PIXANO_MAX_VIDEO_MB", "512"),
        # and cannot fill the volume "data": a pod that does is evicted
        pods.variable("PIXANO_MAX_JOBS_MB", "5120"),
        pods.optional_secret("PIXANO_API_KEYS", naming.API_KEYS_SECRET, "keys"),
        pods.optional_secret("PIXANO_JOBS_URL", naming.JOBS_SECRET, "url"),
    ]
