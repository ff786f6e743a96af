"""Ways into the cluster: an Ingress, or an HTTPRoute of the Gateway API."""

from __future__ import annotations

import math

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet

from . import naming, pods
from .component import Component
from .manifest import plain
from .options import RenderOptions


def ingress_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the Ingress; its annotations lift the body and time limits that ingress-nginx sets by default."""
    timeout_s = str(_longest_request_s(model_set))
    backend = k8s.V1IngressBackend(
        service=k8s.V1IngressServiceBackend(name=naming.GATEWAY, port=k8s.V1ServiceBackendPort(name=naming.PORT_NAME))
    )
    ingress = k8s.V1Ingress(
        api_version="networking.k8s.io/v1",
        kind="Ingress",
        metadata=pods.metadata(
            naming.GATEWAY,
            model_set,
            naming.GATEWAY,
            options,
            annotations={
                # the gateway has its own limit, and streams the body while it reads it
                "nginx.ingress.kubernetes.io/proxy-body-size": "0",
                "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
                "nginx.ingress.kubernetes.io/proxy-buffering": "off",
                "nginx.ingress.kubernetes.io/proxy-read-timeout": timeout_s,
                "nginx.ingress.kubernetes.io/proxy-send-timeout": timeout_s,
            },
        ),
        spec=k8s.V1IngressSpec(
            ingress_class_name=options.ingress_class,
            tls=[k8s.V1IngressTLS(hosts=[options.host], secret_name="gateway-tls")],  # noqa: S106  # a Secret's name
            rules=[
                k8s.V1IngressRule(
                    host=options.host,
                    http=k8s.V1HTTPIngressRuleValue(
                        paths=[k8s.V1HTTPIngressPath(path="/", path_type="Prefix", backend=backend)]
                    ),
                )
            ],
        ),
    )
    return Component("ingress", added={"ingress.yaml": [plain(ingress)]})


def gateway_api_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the HTTPRoute."""
    namespace, _, name = options.parent_gateway.partition("/")
    timeout = f"{_longest_request_s(model_set)}s"
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": naming.GATEWAY,
            "namespace": options.namespace,
            "labels": naming.labels(model_set, naming.GATEWAY),
        },
        "spec": {
            "parentRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace, "name": name}
            ],
            "hostnames": [options.host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "timeouts": {"request": timeout, "backendRequest": timeout},
                    "backendRefs": [
                        {"kind": "Service", "name": naming.GATEWAY, "port": naming.GATEWAY_PORT, "weight": 1}
                    ],
                }
            ],
        },
    }
    return Component("gateway-api", added={"httproute.yaml": [route]})


def _longest_request_s(model_set: ModelSet) -> int:
    # the gateway's own answer, a 504 with a reason, must come before the proxy's
    return math.ceil(max(model.deployment.timeout_s for model in model_set.models)) + 30
