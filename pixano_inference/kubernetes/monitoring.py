"""The overlay monitoring: ServiceMonitor, alerts and a dashboard, for the Prometheus operator and Grafana."""

from __future__ import annotations

import yaml
from kubernetes import client as k8s

from pixano_inference.model_sets import ModelSet

from . import naming, network, pods
from .alerts import Alert, alerts
from .component import Component
from .dashboard import dashboard
from .manifest import Manifest, plain
from .metrics import REQUESTS_IN_FLIGHT
from .options import RenderOptions


def monitoring_component(model_set: ModelSet, options: RenderOptions) -> Component:
    """Return the overlay; the values of the Prometheus adapter lie beside it, for HPAs to find the metric."""
    board = k8s.V1ConfigMap(
        api_version="v1",
        kind="ConfigMap",
        metadata=_dashboard_metadata(model_set, options),
        data={"pixano-inference.json": dashboard()},
    )
    return Component(
        "monitoring",
        added={
            "service-monitor.yaml": [_service_monitor(model_set, options)],
            "alerts.yaml": [_rules(model_set, options)],
            "dashboard.yaml": [plain(board)],
            "network-policy.yaml": [network.monitoring_policy(model_set, options)],
        },
        extra_files={"prometheus-adapter-values.yaml": _adapter_values()},
    )


def _service_monitor(model_set: ModelSet, options: RenderOptions) -> Manifest:
    # runners export nothing: the gateway counts for each of them
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata("gateway", model_set, options),
        "spec": {
            "selector": {"matchLabels": naming.selector(model_set, naming.GATEWAY)},
            "endpoints": [{"port": naming.PORT_NAME, "path": "/metrics", "interval": "10s", "scrapeTimeout": "5s"}],
        },
    }


def _rules(model_set: ModelSet, options: RenderOptions) -> Manifest:
    rules = [_rule(alert, options) for alert in alerts(model_set, options)]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _metadata("pixano-inference", model_set, options),
        "spec": {"groups": [{"name": "pixano-inference", "rules": rules}]},
    }


def _rule(alert: Alert, options: RenderOptions) -> Manifest:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "action": alert.action.replace("NAMESPACE", options.namespace)},
    }


def _adapter_values() -> str:
    rule = {
        "seriesQuery": f'{REQUESTS_IN_FLIGHT}{{namespace!="",service!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "service": {"resource": "service"}}},
        "name": {"matches": "", "as": REQUESTS_IN_FLIGHT},
        # several gateways: what a runner has in flight is the sum
        "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
    }
    header = (
        "# Values of the Helm chart prometheus-community/prometheus-adapter, made by `pixano-inference k8s render`.\n"
        "# Not applied with the rest: the adapter lives in a namespace of its own.\n"
    )
    return header + yaml.safe_dump({"rules": {"custom": [rule]}}, sort_keys=False, width=120)


def _metadata(name: str, model_set: ModelSet, options: RenderOptions) -> Manifest:
    return {
        "name": name,
        "namespace": options.namespace,
        "labels": naming.labels(model_set, "monitoring"),
    }


def _dashboard_metadata(model_set: ModelSet, options: RenderOptions) -> k8s.V1ObjectMeta:
    metadata = pods.metadata("pixano-dashboard", model_set, "monitoring", options)
    # Grafana's sidecar loads ConfigMaps with this label
    metadata.labels = {**metadata.labels, "grafana_dashboard": "1"}
    return metadata
