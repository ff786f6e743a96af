"""Rules about NetworkPolicies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.naming import COMPONENT_LABEL, GATEWAY

from .problem import Problem, where
from .view import Pod, namespace_of, of_kind, pods, selects


def default_deny(manifests: list[Manifest]) -> Iterator[Problem]:
    """Every namespace denies what no policy allows, both ways."""
    denied = {
        namespace_of(policy)
        for policy in of_kind(manifests, "NetworkPolicy")
        if not policy["spec"].get("podSelector", {}).get("matchLabels")
        and set(policy["spec"].get("policyTypes", [])) == {"Ingress", "Egress"}
        and not policy["spec"].get("ingress")
        and not policy["spec"].get("egress")
    }
    for namespace in of_kind(manifests, "Namespace"):
        if namespace["metadata"]["name"] not in denied:
            yield Problem("default-deny", where(namespace), "no NetworkPolicy denies everything by default")


def policies_select_pods(manifests: list[Manifest]) -> Iterator[Problem]:
    """A policy selects pods, and so do the peers of its rules that have no namespace of their own."""
    everything = pods(manifests)
    for policy in of_kind(manifests, "NetworkPolicy"):
        if not _selected(policy["spec"].get("podSelector"), policy, everything):
            yield Problem("policy", where(policy), "its podSelector selects no pod")
        for peer in _peers(policy):
            chosen = peer.get("podSelector")
            if chosen is not None and "namespaceSelector" not in peer and not _selected(chosen, policy, everything):
                yield Problem("policy", where(policy), f"a peer selects no pod: {chosen}")


def policy_ports_exist(manifests: list[Manifest]) -> Iterator[Problem]:
    """Named ports of ingress rules exist on the selected pods."""
    everything = pods(manifests)
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                for pod in _selected(policy["spec"].get("podSelector"), policy, everything):
                    known = [p for c in pod.spec.get("containers", []) for p in c.get("ports", [])]
                    if port["port"] not in {p.get("name") for p in known} | {p.get("containerPort") for p in known}:
                        yield Problem("policy-port", where(policy), f"{pod.where} has no port {port['port']!r}")


def runners_are_closed(manifests: list[Manifest]) -> Iterator[Problem]:
    """Nobody but the gateway, and Prometheus in a namespace of its own, reaches a runner."""
    runners = [pod for pod in pods(manifests) if pod.labels.get(COMPONENT_LABEL) == "runner"]
    for policy in of_kind(manifests, "NetworkPolicy"):
        if not _selected(policy["spec"].get("podSelector"), policy, runners):
            continue
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", [{}]):
                component = peer.get("podSelector", {}).get("matchLabels", {}).get(COMPONENT_LABEL)
                if component != GATEWAY:
                    yield Problem("open-runner", where(policy), f"it lets {peer or 'everybody'} reach runners")


def address_blocks(manifests: list[Manifest]) -> Iterator[Problem]:
    """Excepted ranges lie within their block, and a rule to the internet excepts private ones."""
    for policy in of_kind(manifests, "NetworkPolicy"):
        for peer in _peers(policy):
            block = peer.get("ipBlock")
            if block is None:
                continue
            network = ipaddress.ip_network(block["cidr"])
            inside = [ipaddress.ip_network(cidr) for cidr in block.get("except", [])]
            if any(part.version != network.version or not _within(part, network) for part in inside):
                yield Problem("block", where(policy), f"an excepted range is not within {network}")
            metadata_service = ipaddress.ip_network("169.254.169.254/32")
            if (
                network.prefixlen == 0
                and network.version == 4
                and not any(_within(metadata_service, p) for p in inside)
            ):
                yield Problem(
                    "block", where(policy), "the internet must not include 169.254.0.0/16, the metadata service"
                )


def _within(part: Any, whole: Any) -> bool:
    return part.version == whole.version and bool(part.subnet_of(whole))


def _selected(selector: dict[str, Any] | None, policy: Manifest, everything: list[Pod]) -> list[Pod]:
    namespace = namespace_of(policy)
    return [pod for pod in everything if pod.namespace == namespace and selects(selector, pod.labels)]


def _peers(policy: Manifest) -> Iterator[dict[str, Any]]:
    spec = policy["spec"]
    for rule in spec.get("ingress", []):
        yield from rule.get("from", [])
    for rule in spec.get("egress", []):
        yield from rule.get("to", [])
