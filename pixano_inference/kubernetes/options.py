"""What the caller of ``k8s render`` may choose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from pixano_inference.errors import ConfigError

from .collector import Collector

Weights = Literal["baked", "pvc", "image", "fetch"]

OVERLAYS = {
    "cpu": "no accelerators: GPU limits are taken away and models run on CPU cores",
    "gpu": "GPU nodes: tolerations and node affinity for the runners that ask for GPUs",
    "ha": "several gateways that scale with their CPU use; jobs in Redis",
    "keda": "KEDA ScaledObjects instead of HPAs, with scale to zero where min_replicas is 0",
    "kserve": "KServe InferenceServices instead of Deployments for the runners",
    "monitoring": "ServiceMonitor, alerts and a Grafana dashboard for the Prometheus operator",
    "ingress": "an Ingress in front of the gateway",
    "gateway-api": "an HTTPRoute of the Gateway API in front of the gateway",
}
"""Every overlay with what it is for."""

_CONFLICTS = (("cpu", "gpu"), ("keda", "kserve"))
_REFERENCE = re.compile(
    r"^[a-z0-9]([a-z0-9._:/-]*[a-z0-9])?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
_DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class RenderOptions:
    """Choices that a model set does not make.

    Attributes:
        image: Image of the Bento, for gateway and runners.
        namespace: Namespace of everything.
        overlays: Overlays that the top kustomization combines; every overlay is rendered in any case.
        weights: Where checkpoints that the image lacks come from: ``baked``: nowhere, the image has them all;
            ``pvc``: a claim that a Job fills; ``image``: an image volume; ``fetch``: each runner downloads its own.
        weights_image: Image of the image volume.
        weights_size: Size of the claim, a Kubernetes quantity.
        weights_access_mode: Access mode of the claim.
        storage_class: Storage class of the claim; None: the cluster's default.
        cpu_image: Image of the cpu overlay, where it is another one.
        gpu_image: Image of the gpu overlay's runners, where it is another one.
        host: Host name of Ingress and HTTPRoute.
        ingress_class: Ingress class.
        parent_gateway: ``namespace/name`` of the Gateway that the HTTPRoute joins.
        prometheus: Address of Prometheus, for KEDA.
        monitoring_namespace: Namespace that Prometheus runs in.
        otlp_endpoint: Where every pod sends traces: a Service of the cluster, or an address; None: nowhere.
    """

    image: str
    namespace: str = "pixano"
    overlays: tuple[str, ...] = ()
    weights: Weights = "baked"
    weights_image: str | None = None
    weights_size: str = "50Gi"
    weights_access_mode: str = "ReadWriteMany"
    storage_class: str | None = None
    cpu_image: str | None = None
    gpu_image: str | None = None
    host: str = "pixano.example.com"
    ingress_class: str = "nginx"
    parent_gateway: str = "gateway-system/public"
    prometheus: str = "http://prometheus-operated.monitoring.svc:9090"
    monitoring_namespace: str = "monitoring"
    otlp_endpoint: str | None = None

    def __post_init__(self) -> None:
        for image in (self.image, self.cpu_image, self.gpu_image, self.weights_image):
            if image is not None and not _REFERENCE.match(image):
                raise ConfigError(f"image {image!r} must look like registry/name:tag or registry/name@sha256:<64 hex>")
        if not _DNS_LABEL.match(self.namespace):
            raise ConfigError(f"namespace {self.namespace!r} must be lower-case letters, digits and hyphens")
        if self.weights not in get_args(Weights):
            raise ConfigError(f"weights {self.weights!r} must be one of {', '.join(get_args(Weights))}")
        if (self.weights == "image") != (self.weights_image is not None):
            raise ConfigError("weights 'image' and the name of that image (--weights-image) go together")
        if self.parent_gateway.count("/") != 1:
            raise ConfigError(f"the parent gateway {self.parent_gateway!r} must be namespace/name")
        if self.otlp_endpoint is not None:
            Collector.at(self.otlp_endpoint)
        self._check_overlays()

    def _check_overlays(self) -> None:
        for name in self.overlays:
            if name not in OVERLAYS:
                raise ConfigError(f"overlay {name!r} is not known; known are {', '.join(OVERLAYS)}")
        for one, other in _CONFLICTS:
            if one in self.overlays and other in self.overlays:
                raise ConfigError(f"the overlays {one!r} and {other!r} exclude each other")
