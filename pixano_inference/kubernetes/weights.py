"""Where checkpoints come from: the image, a claim that a Job fills, an image volume, or a download per runner."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet, ResolvedModel

from . import naming, pods
from .manifest import Manifest, plain
from .options import RenderOptions

COMPONENT = "weights"
_VOLUME = "weights"
_CACHE_LIMIT = "100Gi"


@dataclass
class WeightsVolume:
    """What a runner's pod needs for its checkpoint."""

    environment: list[k8s.V1EnvVar]
    volumes: list[k8s.V1Volume] = field(default_factory=list)
    mounts: list[k8s.V1VolumeMount] = field(default_factory=list)


def comes_from_hub(model: ResolvedModel) -> bool:
    """Return whether the checkpoint is named by a hub name: one that was not found beside the config file."""
    path = model.params.get("path")
    return path is not None and path == model.model_path and not path.startswith(("/", ".", "~"))


def runner_volume(model: ResolvedModel, options: RenderOptions) -> WeightsVolume:
    """Return volume, mount and environment of a runner's checkpoint."""
    if options.weights == "baked" or not comes_from_hub(model):
        # the image knows where its checkpoints are
        return WeightsVolume(_hub_environment(offline=True, cache=None))
    offline = options.weights != "fetch"
    mount = k8s.V1VolumeMount(name=_VOLUME, mount_path=naming.WEIGHTS_FOLDER, read_only=offline)
    environment = _hub_environment(offline=offline, cache=naming.WEIGHTS_FOLDER)
    if options.weights == "pvc":
        source = k8s.V1Volume(
            name=_VOLUME,
            persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name=_VOLUME, read_only=True),
        )
    elif options.weights == "image":
        source = k8s.V1Volume(
            name=_VOLUME,
            image=k8s.V1ImageVolumeSource(reference=options.weights_image, pull_policy="IfNotPresent"),
        )
    else:
        source = k8s.V1Volume(name=_VOLUME, empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=_CACHE_LIMIT))
        environment.append(pods.optional_secret("HF_TOKEN", naming.HUB_TOKEN_SECRET, "token"))
    return WeightsVolume(environment, [source], [mount])


def weights_manifests(model_set: ModelSet, options: RenderOptions) -> list[Manifest]:
    """Return the claim and the Job that fills it, where weights come from a claim."""
    checkpoints = _checkpoints(model_set)
    if options.weights != "pvc" or not checkpoints:
        return []
    claim = k8s.V1PersistentVolumeClaim(
        api_version="v1",
        kind="PersistentVolumeClaim",
        metadata=pods.metadata(_VOLUME, model_set, COMPONENT, options),
        spec=k8s.V1PersistentVolumeClaimSpec(
            access_modes=[options.weights_access_mode],
            resources=k8s.V1VolumeResourceRequirements(requests={"storage": options.weights_size}),
            storage_class_name=options.storage_class,
        ),
    )
    account = pods.service_account("fetch-weights", model_set, COMPONENT, options)
    return [plain(claim), plain(account), plain(_fetch_job(model_set, checkpoints, options))]


def _checkpoints(model_set: ModelSet) -> list[tuple[str, str | None]]:
    found = {
        (str(model.params["path"]), model.params.get("revision")): None
        for model in model_set.models
        if comes_from_hub(model)
    }
    return list(found)


def _fetch_job(model_set: ModelSet, checkpoints: list[tuple[str, str | None]], options: RenderOptions) -> k8s.V1Job:
    # a Job cannot be changed: other checkpoints or another image are another Job
    parts = [options.image, *(f"{path}@{revision}" for path, revision in checkpoints)]
    labels = naming.labels(model_set, COMPONENT)
    return k8s.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=pods.metadata(f"fetch-weights-{naming.content_hash(parts)}", model_set, COMPONENT, options),
        spec=k8s.V1JobSpec(
            backoff_limit=6,
            active_deadline_seconds=6 * 3600,
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(labels=labels),
                spec=k8s.V1PodSpec(
                    restart_policy="OnFailure",
                    service_account_name="fetch-weights",
                    automount_service_account_token=False,
                    enable_service_links=False,
                    security_context=pods.pod_security(),
                    # one after the other: the hub's library locks its cache per file, not every volume can lock
                    init_containers=[_download(index, *c, options) for index, c in enumerate(checkpoints[:-1])] or None,
                    containers=[_download(len(checkpoints) - 1, *checkpoints[-1], options)],
                    volumes=[
                        k8s.V1Volume(
                            name=_VOLUME,
                            persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name=_VOLUME),
                        ),
                        k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="1Gi")),
                    ],
                ),
            ),
        ),
    )


def _download(index: int, path: str, revision: str | None, options: RenderOptions) -> k8s.V1Container:
    return k8s.V1Container(
        name=f"fetch-{index}",
        image=options.image,
        image_pull_policy="IfNotPresent",
        args=["hf", "download", path, *(["--revision", revision] if revision else [])],
        env=[
            *_hub_environment(offline=False, cache=naming.WEIGHTS_FOLDER),
            pods.variable("HOME", "/tmp"),  # noqa: S108  # an emptyDir of the pod
            pods.optional_secret("HF_TOKEN", naming.HUB_TOKEN_SECRET, "token"),
        ],
        resources=k8s.V1ResourceRequirements(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "2Gi"}),
        security_context=pods.container_security(),
        volume_mounts=[
            k8s.V1VolumeMount(name=_VOLUME, mount_path=naming.WEIGHTS_FOLDER),
            k8s.V1VolumeMount(name="scratch", mount_path="/tmp"),  # noqa: S108  # an emptyDir of the pod
        ],
    )


def _hub_environment(*, offline: bool, cache: str | None) -> list[k8s.V1EnvVar]:
    return [
        *([pods.variable("HF_HUB_CACHE", cache)] if cache is not None else []),
        pods.variable("HF_HOME", "/tmp/huggingface"),  # noqa: S108  # an emptyDir of the pod
        pods.variable("HF_HUB_DISABLE_TELEMETRY", "1"),
        *([pods.variable("HF_HUB_OFFLINE", "1")] if offline else []),
    ]
