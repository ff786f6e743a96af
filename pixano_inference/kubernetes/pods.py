"""What gateway and runner pods have in common: security, environment, probes, volumes, draining."""

from __future__ import annotations

import math
from typing import Any

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet

from . import naming
from .options import RenderOptions

DRAIN_S = 15
"""Seconds between leaving the endpoints and SIGTERM: until every gateway and proxy has noticed."""

_STOP_MARGIN_S = 15
_SCRATCH_FOLDER = "/tmp"  # noqa: S108  # an emptyDir of the pod's own
_SCRATCH = "scratch"
_MODEL_SET = "model-set"


def pod_security() -> k8s.V1PodSecurityContext:
    """Return what the Pod Security Standard "restricted" asks of a pod."""
    return k8s.V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=naming.USER_ID,
        run_as_group=naming.USER_ID,
        fs_group=naming.USER_ID,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )


def container_security() -> k8s.V1SecurityContext:
    """Return what "restricted" asks of a container, and a root file system that nobody writes."""
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
    )


def model_set_name(model_set: ModelSet, config_text: str) -> str:
    """Return the name of the ConfigMap; another content is another name, so that pods roll when it changes."""
    return f"model-set-{naming.instance(model_set)}-{naming.content_hash([config_text])}"


def model_set_map(model_set: ModelSet, config_text: str, options: RenderOptions) -> k8s.V1ConfigMap:
    """Return the ConfigMap that holds the config file."""
    return k8s.V1ConfigMap(
        api_version="v1",
        kind="ConfigMap",
        metadata=metadata(model_set_name(model_set, config_text), model_set, "model-set", options),
        data={_file_name(model_set): config_text},
        immutable=True,
    )


def metadata(name: str, model_set: ModelSet, component: str, options: RenderOptions, **more: Any) -> k8s.V1ObjectMeta:
    """Return the metadata of an object that belongs to a component of this installation."""
    return k8s.V1ObjectMeta(
        name=name,
        namespace=options.namespace,
        labels=naming.labels(model_set, component, more.pop("model", None)),
        **more,
    )


def common_environment(model_set: ModelSet, options: RenderOptions) -> list[k8s.V1EnvVar]:
    """Return the variables of every pod."""
    traces = [variable("PIXANO_OTLP_ENDPOINT", options.otlp_endpoint)] if options.otlp_endpoint else []
    return [
        variable("PIXANO_CONFIG", f"{naming.SOURCE_FOLDER}/models/{_file_name(model_set)}"),
        variable("PIXANO_LOG_FORMAT", "json"),
        *traces,
        # how many nodes and cores there are is told by it; a pod's own host name is none of a node
        field("PIXANO_NODE_NAME", "spec.nodeName"),
        k8s.V1EnvVar(
            name="PIXANO_RUNNER_SECRET",
            value_from=k8s.V1EnvVarSource(
                secret_key_ref=k8s.V1SecretKeySelector(name=naming.RUNNER_SECRET, key="secret")
            ),
        ),
        # the device plugin has chosen the GPU already
        variable("BENTOML_DISABLE_GPU_ALLOCATION", "1"),
        variable("BENTOML_DO_NOT_TRACK", "True"),
        variable("BENTOML_HOME", f"{_SCRATCH_FOLDER}/bentoml"),
        variable("HOME", _SCRATCH_FOLDER),
    ]


def variable(name: str, value: str) -> k8s.V1EnvVar:
    """Return a plain environment variable."""
    return k8s.V1EnvVar(name=name, value=value)


def field(name: str, path: str) -> k8s.V1EnvVar:
    """Return a variable that holds a field of the pod."""
    reference = k8s.V1ObjectFieldSelector(api_version="v1", field_path=path)
    return k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(field_ref=reference))


def optional_secret(name: str, secret: str, key: str) -> k8s.V1EnvVar:
    """Return a variable that is set where the Secret exists."""
    reference = k8s.V1SecretKeySelector(name=secret, key=key, optional=True)
    return k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(secret_key_ref=reference))


def common_volumes(
    model_set: ModelSet, config_text: str, scratch_size: str
) -> tuple[list[k8s.V1Volume], list[k8s.V1VolumeMount]]:
    """Return the volumes of every pod, and where they are mounted.

    The config file is mounted over its namesake in the image's ``models/``, since checkpoints and modules that it
    names by a relative path lie beside it there.
    """
    volumes = [
        k8s.V1Volume(name=_SCRATCH, empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=scratch_size)),
        k8s.V1Volume(
            name=_MODEL_SET,
            config_map=k8s.V1ConfigMapVolumeSource(name=model_set_name(model_set, config_text)),
        ),
    ]
    file_name = _file_name(model_set)
    mounts = [
        k8s.V1VolumeMount(name=_SCRATCH, mount_path=_SCRATCH_FOLDER),
        k8s.V1VolumeMount(
            name=_MODEL_SET,
            mount_path=f"{naming.SOURCE_FOLDER}/models/{file_name}",
            sub_path=file_name,
            read_only=True,
        ),
    ]
    return volumes, mounts


def probe(path: str, *, period_s: int, failures: int, timeout_s: int = 3) -> k8s.V1Probe:
    """Return an HTTP probe of the container's one port."""
    return k8s.V1Probe(
        http_get=k8s.V1HTTPGetAction(path=path, port=naming.PORT_NAME),
        period_seconds=period_s,
        failure_threshold=failures,
        timeout_seconds=timeout_s,
    )


def drain() -> k8s.V1Lifecycle:
    """Return the hook that keeps a pod serving while others learn that it goes."""
    return k8s.V1Lifecycle(pre_stop=k8s.V1LifecycleHandler(sleep=k8s.V1SleepAction(seconds=DRAIN_S)))


def grace_period_s(longest_request_s: float) -> int:
    """Return seconds from the order to stop to SIGKILL: draining, then the longest request, then some."""
    return DRAIN_S + math.ceil(longest_request_s) + _STOP_MARGIN_S


def spread(labels: dict[str, str]) -> list[k8s.V1TopologySpreadConstraint]:
    """Return constraints that keep replicas on different nodes and zones where there are some."""
    return [
        k8s.V1TopologySpreadConstraint(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=k8s.V1LabelSelector(match_labels=labels),
        )
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def service_account(name: str, model_set: ModelSet, component: str, options: RenderOptions) -> k8s.V1ServiceAccount:
    """Return a ServiceAccount whose token no pod gets: nothing here talks to the API server."""
    return k8s.V1ServiceAccount(
        api_version="v1",
        kind="ServiceAccount",
        metadata=metadata(name, model_set, component, options),
        automount_service_account_token=False,
    )


def disruption_budget(
    name: str, labels: dict[str, str], model_set: ModelSet, component: str, options: RenderOptions
) -> k8s.V1PodDisruptionBudget:
    """Return a budget of one pod at a time; ``minAvailable`` would block the drain of a node with a lone replica."""
    return k8s.V1PodDisruptionBudget(
        api_version="policy/v1",
        kind="PodDisruptionBudget",
        metadata=metadata(name, model_set, component, options),
        spec=k8s.V1PodDisruptionBudgetSpec(
            max_unavailable=1,
            selector=k8s.V1LabelSelector(match_labels=labels),
            unhealthy_pod_eviction_policy="AlwaysAllow",
        ),
    )


def _file_name(model_set: ModelSet) -> str:
    return model_set.source.rsplit("/", 1)[-1]
