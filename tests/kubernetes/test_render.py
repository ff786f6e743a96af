"""What a DeploymentConfig becomes, and what cannot be deployed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ConfigError
from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import Rendered, render, write
from pixano_inference.model_sets import ResolvedModel

from .conftest import CONFIG_TEXT, IMAGE, make_model, make_set


def _one(model: ResolvedModel, *overlays: str, **options: Any) -> dict[tuple[str, str], Manifest]:
    rendered = render(make_set(model), CONFIG_TEXT, RenderOptions(image=IMAGE, overlays=overlays, **options))
    return {(m["kind"], m["metadata"]["name"]): m for m in rendered.manifests()}


def _pod(manifest: Manifest) -> dict[str, Any]:
    pod: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return pod


def _environment(manifest: Manifest) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in _pod(manifest)["containers"][0]["env"]}


def test_gpus_cpus_and_memory_become_resources() -> None:
    objects = _one(make_model("m", "org/m", num_gpus=2, num_cpus=1.5, memory_mb=4096))
    assert _pod(objects["Deployment", "runner-m"])["containers"][0]["resources"] == {
        "requests": {"cpu": "1500m", "memory": "4096Mi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "4096Mi", "nvidia.com/gpu": "2"},
    }


def test_a_fraction_of_a_gpu_is_an_error_that_names_the_ways_to_share_one() -> None:
    with pytest.raises(ConfigError, match=r"model 'm': num_gpus=0.5 .*MIG.*time-slicing"):
        _one(make_model("m", "org/m", num_gpus=0.5))


def test_names_that_become_the_same_are_an_error_that_names_both() -> None:
    models = make_set(make_model("a.b", "org/m"), make_model("A-B", "org/m"))
    with pytest.raises(ConfigError, match=r"'a\.b' and 'A-B' would both be named 'runner-a-b'"):
        render(models, CONFIG_TEXT, RenderOptions(image=IMAGE))


def test_a_delay_that_no_autoscaler_can_wait_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"downscale_delay_s=7200 .*3600"):
        _one(make_model("m", "org/m", max_replicas=2, downscale_delay_s=7200))


def test_replica_bounds_target_and_delays_become_an_hpa_on_requests_in_flight() -> None:
    deployment: dict[str, Any] = {"max_replicas": 6, "target_num_ongoing_requests_per_replica": 3}
    objects = _one(make_model("m", "org/m", **deployment, upscale_delay_s=4.2, downscale_delay_s=60))
    assert "replicas" not in objects["Deployment", "runner-m"]["spec"]
    spec = objects["HorizontalPodAutoscaler", "runner-m"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 6)
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 5
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    (metric,) = spec["metrics"]
    assert metric["object"]["metric"]["name"] == "pixano_requests_in_flight"
    assert metric["object"]["metric"]["selector"]["matchLabels"] == {"model": "m"}
    assert metric["object"]["target"] == {"type": "AverageValue", "averageValue": "3"}


def test_a_fixed_number_of_replicas_needs_no_autoscaler() -> None:
    objects = _one(make_model("m", "org/m", min_replicas=3, max_replicas=3))
    assert objects["Deployment", "runner-m"]["spec"]["replicas"] == 3
    assert ("HorizontalPodAutoscaler", "runner-m") not in objects


def test_keda_scales_to_zero_and_is_woken_by_held_and_refused_requests() -> None:
    model = make_model("m", "org/m", min_replicas=0, max_replicas=2, downscale_delay_s=120)
    assert _one(model)["HorizontalPodAutoscaler", "runner-m"]["spec"]["minReplicas"] == 1
    objects = _one(model, "keda")
    assert ("HorizontalPodAutoscaler", "runner-m") not in objects
    spec = objects["ScaledObject", "runner-m"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 2, 120)
    query = spec["triggers"][0]["metadata"]["query"]
    assert 'pixano_requests_in_flight{namespace="pixano",model="m"}' in query
    assert 'status="503"' in query
    assert float(_environment(objects["Deployment", "gateway"])["PIXANO_WAKE_HOLD_S"]) > 0


def test_keda_takes_over_a_lone_replica_that_may_sleep() -> None:
    objects = _one(make_model("m", "org/m", min_replicas=0, max_replicas=1), "keda")
    assert "replicas" not in objects["Deployment", "runner-m"]["spec"]
    assert objects["ScaledObject", "runner-m"]["spec"]["maxReplicaCount"] == 1


def test_the_gateway_alone_scales_on_cpu_and_jobs_move_to_redis() -> None:
    objects = _one(make_model("m", "org/m"), "ha")
    assert objects["HorizontalPodAutoscaler", "gateway"]["spec"]["metrics"][0]["resource"]["name"] == "cpu"
    variables = {v["name"]: v for v in _pod(objects["Deployment", "gateway"])["containers"][0]["env"]}
    assert "optional" not in variables["PIXANO_JOBS_URL"]["valueFrom"]["secretKeyRef"]
    assert "replicas" not in objects["Deployment", "gateway"]["spec"]


def test_the_gateway_knows_every_runner_by_its_headless_service(rendering: Callable[..., Rendered]) -> None:
    objects = {(m["kind"], m["metadata"]["name"]): m for m in rendering().manifests()}
    pairs = dict(
        pair.split("=") for pair in _environment(objects["Deployment", "gateway"])["PIXANO_RUNNERS"].split(",")
    )
    assert pairs["Scaled.CPU"] == "http://runner-scaled-cpu:3000"
    for address in pairs.values():
        service = objects["Service", address.removeprefix("http://").removesuffix(":3000")]
        assert service["spec"]["clusterIP"] == "None"


def test_a_pod_may_finish_its_longest_request_and_the_gateway_outlives_it() -> None:
    objects = _one(make_model("m", "org/m", timeout_s=600))
    runner = _pod(objects["Deployment", "runner-m"])["terminationGracePeriodSeconds"]
    gateway = _pod(objects["Deployment", "gateway"])["terminationGracePeriodSeconds"]
    assert 600 < runner < gateway


def test_callers_cannot_fill_the_gateways_memory_or_its_volume() -> None:
    deployment = _one(make_model("m", "org/m"))["Deployment", "gateway"]
    given = {name: int(value) for name, value in _environment(deployment).items() if name.startswith("PIXANO_MAX_")}
    (container,) = _pod(deployment)["containers"]
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert 3 * given["PIXANO_MAX_HELD_MB"] + ServerSettings().seen_images_mb < 2048
    (data,) = [volume for volume in _pod(deployment)["volumes"] if volume["name"] == "data"]
    assert data["emptyDir"]["sizeLimit"] == "8Gi"
    # a job is admitted before its upload is counted
    assert given["PIXANO_MAX_JOBS_MB"] + ServerSettings().max_upload_mb < 8192


def test_torch_uses_as_many_threads_as_cpus_are_requested() -> None:
    objects = _one(make_model("m", "org/m", num_cpus=3))
    assert _environment(objects["Deployment", "runner-m"])["OMP_NUM_THREADS"] == "3"


def test_every_pod_knows_its_node() -> None:
    for name in ("gateway", "runner-m"):
        container = _pod(_one(make_model("m", "org/m"))["Deployment", name])["containers"][0]
        (node,) = [entry for entry in container["env"] if entry["name"] == "PIXANO_NODE_NAME"]
        assert node["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


def test_a_changed_config_file_rolls_the_pods() -> None:
    def config_map(text: str) -> str:
        rendered = render(make_set(make_model("m", "org/m")), text, RenderOptions(image=IMAGE))
        (found,) = [m for m in rendered.manifests() if m["kind"] == "ConfigMap"]
        assert found["data"] == {"every_case.py": text}
        return str(found["metadata"]["name"])

    assert config_map("models = [1]\n") != config_map("models = [2]\n")


def test_runners_have_no_egress_unless_they_fetch_weights(rendering: Callable[..., Rendered]) -> None:
    def policies(**options: str) -> set[str]:
        made = rendering(**options).manifests()
        return {m["metadata"]["name"] for m in made if m["kind"] == "NetworkPolicy"}

    assert policies(weights="fetch") - policies() == {"runners-fetch"}
    assert policies(weights="pvc") - policies() == {"fetch-weights"}


def test_only_hub_checkpoints_are_fetched_and_runners_read_them_offline(rendering: Callable[..., Rendered]) -> None:
    objects = {(m["kind"], m["metadata"]["name"]): m for m in rendering(weights="pvc").manifests()}
    (job,) = [m for m in objects.values() if m["kind"] == "Job"]
    containers = [*_pod(job)["initContainers"], *_pod(job)["containers"]]
    assert [c["args"] for c in containers] == [["hf", "download", "org/base"], ["hf", "download", "org/fixed"]]
    assert _environment(objects["Deployment", "runner-sleepy-gpu"])["HF_HUB_OFFLINE"] == "1"
    mounts = _pod(objects["Deployment", "runner-scaled-cpu"])["containers"][0]["volumeMounts"]
    assert "weights" not in {mount["name"] for mount in mounts}


def test_the_cpu_overlay_takes_gpus_away(rendering: Callable[..., Rendered]) -> None:
    for manifest in rendering().manifests(("cpu",)):
        if manifest["kind"] == "Deployment":
            assert "nvidia.com/gpu" not in str(_pod(manifest)["containers"][0]["resources"])


def test_kserve_finds_pods_through_the_same_services(rendering: Callable[..., Rendered]) -> None:
    objects = {(m["kind"], m["metadata"]["name"]): m for m in rendering().manifests(("kserve",))}
    service = objects["InferenceService", "kserve-fixed-gpu"]
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert objects["Service", "runner-fixed-gpu"]["spec"]["selector"].items() <= predictor["labels"].items()
    assert predictor["model"]["args"] == ["--model", "fixed_gpu"]
    assert predictor["model"]["protocolVersion"] == "v2"
    assert ("Deployment", "runner-fixed-gpu") not in objects


@pytest.mark.parametrize(
    ("endpoint", "peer", "port"),
    [
        (
            "http://otel-collector.observability.svc.cluster.local:4318",
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}},
            4318,
        ),
        ("https://10.1.2.3", {"ipBlock": {"cidr": "10.1.2.3/32"}}, 443),
        ("http://[fd00::1]:4318", {"ipBlock": {"cidr": "fd00::1/128"}}, 4318),
    ],
)
def test_traces_leave_every_pod_for_the_collector_alone(
    rendering: Callable[..., Rendered], endpoint: str, peer: dict[str, Any], port: int
) -> None:
    manifests = rendering(otlp_endpoint=endpoint).manifests()
    told = [
        [entry["value"] for entry in _pod(m)["containers"][0]["env"] if entry["name"] == "PIXANO_OTLP_ENDPOINT"]
        for m in manifests
        if m["kind"] == "Deployment"
    ]
    assert told == [[endpoint]] * 5
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    for name in ("gateway", "runners"):
        rule, *dns = policies[f"{name}-traces"]["egress"]
        assert rule == {"to": [peer], "ports": [{"port": port, "protocol": "TCP"}]}
        assert len(dns) == ("namespaceSelector" in peer)
        assert policies[f"{name}-traces"]["podSelector"] == policies[name]["podSelector"]


def test_without_an_endpoint_nothing_is_sent_and_no_policy_opens(rendering: Callable[..., Rendered]) -> None:
    text = str(rendering().manifests())
    assert "PIXANO_OTLP_ENDPOINT" not in text
    assert "traces" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"otlp_endpoint": "http://collector.example.com:4318"}, "NAME.NAMESPACE.svc"),
        ({"otlp_endpoint": "grpc://otel.observability.svc:4317"}, "NAME.NAMESPACE.svc"),
        ({"otlp_endpoint": "http://otel.observability.svc:http"}, "NAME.NAMESPACE.svc"),
        ({"otlp_endpoint": "otel.observability.svc:4318"}, "NAME.NAMESPACE.svc"),
        ({"overlays": ("cpu", "gpu")}, "exclude each other"),
        ({"overlays": ("keda", "kserve")}, "exclude each other"),
        ({"overlays": ("helm",)}, "known are cpu"),
        ({"image": "Not An Image"}, "must look like"),
        ({"namespace": "Big_Name"}, "lower-case"),
        ({"weights": "image"}, "go together"),
        ({"parent_gateway": "gateway"}, "namespace/name"),
    ],
)
def test_wrong_options_say_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RenderOptions(**{"image": IMAGE, **options})


def test_an_overlay_without_anything_to_change_says_why() -> None:
    with pytest.raises(ConfigError, match="no model asks for GPUs"):
        _one(make_model("m", "demo/m", local=True), "gpu")


def test_writing_again_deletes_what_is_no_longer_made_and_nothing_else(tmp_path: Path) -> None:
    def made(*names: str) -> Rendered:
        models = [make_model(name, "org/m") for name in names]
        return render(make_set(*models), CONFIG_TEXT, RenderOptions(image=IMAGE))

    write(made("a", "b"), tmp_path)
    write(made("a"), tmp_path)
    assert not (tmp_path / "base" / "runner-b.yaml").exists()
    (tmp_path / "mine.yaml").write_text("kind: Mine\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml was not made by a rendering"):
        write(made("a"), tmp_path)
