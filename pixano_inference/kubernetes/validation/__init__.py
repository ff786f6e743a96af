"""What a cluster would refuse, or accept and never run: schemas and rules for rendered manifests."""

from __future__ import annotations

from collections.abc import Sequence

from pixano_inference.kubernetes.manifest import Manifest

from . import network_rules, reference_rules, scaling_rules, workload_rules
from .problem import Problem
from .schemas import KUBERNETES_VERSIONS, schema_problems

RULES = (
    workload_rules.selector_matches_template,
    workload_rules.restricted_pods,
    workload_rules.resources_in_order,
    workload_rules.ports_and_probes,
    workload_rules.graceful_stop,
    workload_rules.volumes_and_mounts,
    workload_rules.environment_names,
    workload_rules.images_pinned,
    reference_rules.unique_names,
    reference_rules.one_namespace,
    reference_rules.services_find_pods,
    reference_rules.disruption_budgets,
    reference_rules.pod_references,
    reference_rules.routes_find_services,
    reference_rules.runtimes_exist,
    scaling_rules.autoscaler_bounds,
    scaling_rules.autoscaler_targets,
    scaling_rules.runners_scale_on_requests,
    scaling_rules.stabilization_windows,
    network_rules.default_deny,
    network_rules.policies_select_pods,
    network_rules.policy_ports_exist,
    network_rules.runners_are_closed,
    network_rules.address_blocks,
)

__all__ = ["KUBERNETES_VERSIONS", "RULES", "Problem", "check", "schema_problems"]


def check(manifests: Sequence[Manifest], versions: Sequence[str] = KUBERNETES_VERSIONS) -> list[Problem]:
    """Return everything that is wrong with the objects of one installation.

    Args:
        manifests: All objects that are applied together.
        versions: Kubernetes versions whose schemas count.
    """
    objects = list(manifests)
    problems = schema_problems(objects, versions)
    if problems:
        # rules read fields that the schemas promise
        return problems
    return [problem for rule in RULES for problem in rule(objects)]
