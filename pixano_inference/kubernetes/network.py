"""NetworkPolicies: nothing may talk to anything, save what is listed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet

from . import naming, pods, weights
from .collector import Collector
from .manifest import Manifest, plain
from .options import RenderOptions

# what no client may make the gateway fetch from, beside the gateway's own check of every address
PRIVATE_RANGES = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_RANGES_V6 = ("::1/128", "fc00::/7", "fe80::/10")

_COMPONENT = "network"


def network_manifests(model_set: ModelSet, options: RenderOptions) -> list[Manifest]:
    """Return the policies: default deny, clients to gateway, gateway to runners and the internet, weights."""
    gateway, runner = _selector(model_set, naming.GATEWAY), _selector(model_set, "runner")
    policies = [
        _policy("default-deny", k8s.V1LabelSelector(), model_set, options, ingress=[], egress=[]),
        _policy(
            "gateway",
            gateway,
            model_set,
            options,
            ingress=[k8s.V1NetworkPolicyIngressRule(ports=[_port(naming.PORT_NAME)])],
            egress=[
                k8s.V1NetworkPolicyEgressRule(
                    to=[k8s.V1NetworkPolicyPeer(pod_selector=runner)], ports=[_port(naming.RUNNER_PORT)]
                ),
                dns_rule(),
                internet_rule(80, 443),
            ],
        ),
        # no egress rule: a runner gets bytes and opens no connection
        _policy("runners", runner, model_set, options, ingress=[_from_gateway(gateway)], egress=[]),
    ]
    from_hub = any(weights.comes_from_hub(model) for model in model_set.models)
    if from_hub and options.weights == "pvc":
        fetcher = _selector(model_set, weights.COMPONENT)
        policies.append(_policy("fetch-weights", fetcher, model_set, options, egress=[dns_rule(), internet_rule(443)]))
    if from_hub and options.weights == "fetch":
        policies.append(_policy("runners-fetch", runner, model_set, options, egress=[dns_rule(), internet_rule(443)]))
    if options.otlp_endpoint is not None:
        rules = _collector_rules(Collector.at(options.otlp_endpoint))
        policies += [
            _policy(f"{name}-traces", chosen, model_set, options, egress=rules)
            for name, chosen in (("gateway", gateway), ("runners", runner))
        ]
    return [plain(policy) for policy in policies]


def _collector_rules(collector: Collector) -> list[k8s.V1NetworkPolicyEgressRule]:
    port = _port(collector.port)
    if collector.block is not None:
        peer = k8s.V1NetworkPolicyPeer(ip_block=k8s.V1IPBlock(cidr=collector.block))
        return [k8s.V1NetworkPolicyEgressRule(to=[peer], ports=[port])]
    namespace = k8s.V1LabelSelector(match_labels={"kubernetes.io/metadata.name": collector.namespace})
    peer = k8s.V1NetworkPolicyPeer(namespace_selector=namespace)
    return [k8s.V1NetworkPolicyEgressRule(to=[peer], ports=[port]), dns_rule()]


def monitoring_policy(model_set: ModelSet, options: RenderOptions) -> Manifest:
    """Return the policy that lets Prometheus read the gateway's metrics."""
    prometheus = k8s.V1NetworkPolicyPeer(
        namespace_selector=k8s.V1LabelSelector(
            match_labels={"kubernetes.io/metadata.name": options.monitoring_namespace}
        )
    )
    gateway = _selector(model_set, naming.GATEWAY)
    rule = k8s.V1NetworkPolicyIngressRule(_from=[prometheus], ports=[_port(naming.PORT_NAME)])
    return plain(_policy("metrics", gateway, model_set, options, ingress=[rule]))


def redis_policy(model_set: ModelSet, options: RenderOptions) -> Manifest:
    """Return the policy that lets the gateways reach Redis, wherever it runs."""
    rule = k8s.V1NetworkPolicyEgressRule(ports=[_port(6379), _port(6380)])
    return plain(_policy("gateway-jobs", _selector(model_set, naming.GATEWAY), model_set, options, egress=[rule]))


def dns_rule() -> k8s.V1NetworkPolicyEgressRule:
    """Return a rule that lets a pod ask the cluster's name service."""
    kube_dns = k8s.V1NetworkPolicyPeer(
        namespace_selector=k8s.V1LabelSelector(match_labels={"kubernetes.io/metadata.name": "kube-system"}),
        pod_selector=k8s.V1LabelSelector(match_labels={"k8s-app": "kube-dns"}),
    )
    return k8s.V1NetworkPolicyEgressRule(to=[kube_dns], ports=[_port(53, "UDP"), _port(53, "TCP")])


def internet_rule(*ports: int) -> k8s.V1NetworkPolicyEgressRule:
    """Return a rule that lets a pod reach public addresses on some ports."""
    peers = [
        k8s.V1NetworkPolicyPeer(ip_block=k8s.V1IPBlock(cidr="0.0.0.0/0", _except=list(PRIVATE_RANGES))),
        k8s.V1NetworkPolicyPeer(ip_block=k8s.V1IPBlock(cidr="::/0", _except=list(PRIVATE_RANGES_V6))),
    ]
    return k8s.V1NetworkPolicyEgressRule(to=peers, ports=[_port(port) for port in ports])


def _from_gateway(gateway: k8s.V1LabelSelector) -> k8s.V1NetworkPolicyIngressRule:
    return k8s.V1NetworkPolicyIngressRule(
        _from=[k8s.V1NetworkPolicyPeer(pod_selector=gateway)], ports=[_port(naming.PORT_NAME)]
    )


def _selector(model_set: ModelSet, component: str) -> k8s.V1LabelSelector:
    return k8s.V1LabelSelector(match_labels=naming.selector(model_set, component))


def _port(port: int | str, protocol: str = "TCP") -> k8s.V1NetworkPolicyPort:
    return k8s.V1NetworkPolicyPort(port=port, protocol=protocol)


def _policy(
    name: str,
    chosen: k8s.V1LabelSelector,
    model_set: ModelSet,
    options: RenderOptions,
    *,
    ingress: Sequence[Any] | None = None,
    egress: Sequence[Any] | None = None,
) -> k8s.V1NetworkPolicy:
    types = [name for name, rules in (("Ingress", ingress), ("Egress", egress)) if rules is not None]
    return k8s.V1NetworkPolicy(
        api_version="networking.k8s.io/v1",
        kind="NetworkPolicy",
        metadata=pods.metadata(name, model_set, _COMPONENT, options),
        spec=k8s.V1NetworkPolicySpec(
            pod_selector=chosen,
            policy_types=types,
            # an empty list says the same as none, and what is not written cannot be misread
            ingress=list(ingress) if ingress else None,
            egress=list(egress) if egress else None,
        ),
    )
