"""Every query names metrics and labels that the gateway exports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from pixano_inference.gateway.metrics import CATALOGUE, REGISTRY
from pixano_inference.kubernetes import metrics as names
from pixano_inference.kubernetes.dashboard import PANELS
from pixano_inference.kubernetes.render import Rendered

# what Prometheus adds when it reads the gateway through the ServiceMonitor
ADDED_LABELS = {"namespace", "service"}
KEYWORDS = {"sum", "max", "by", "rate", "increase", "histogram_quantile", "or", "vector", "absent"}


def _exported() -> dict[str, set[str]]:
    """Return every series of a running gateway with its labels."""
    labels = {metric._name: set(metric._labelnames) for metric in CATALOGUE}
    series: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        own = labels[family.name]
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}[family.type]
        series |= {family.name + ending: own | ({"le"} if ending == "_bucket" else set()) for ending in endings}
    return series


def _queries(rendered: Rendered) -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        yield from ((panel.title, query) for query, _ in panel.queries)
    for manifest in rendered.manifests(("keda", "monitoring")):
        if manifest["kind"] == "PrometheusRule":
            yield from ((rule["alert"], rule["expr"]) for rule in manifest["spec"]["groups"][0]["rules"])
        if manifest["kind"] == "ScaledObject":
            yield manifest["metadata"]["name"], manifest["spec"]["triggers"][0]["metadata"]["query"]
    for manifest in rendered.manifests(("kserve",)):
        if manifest["kind"] == "InferenceService" and "autoScaling" in manifest["spec"]["predictor"]:
            external = manifest["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]
            yield manifest["metadata"]["name"], external["metric"]["query"]


def test_every_query_names_what_the_gateway_exports(rendering: Callable[..., Rendered]) -> None:
    exported = _exported()
    checked = 0
    for place, query in _queries(rendering()):
        for name, selector in re.findall(r"\b(pixano_\w+)(?:\{([^}]*)\})?", query):
            assert name in exported, f"{place}: {name}"
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selector)))
            assert labels <= exported[name] | ADDED_LABELS, f"{place}: {labels} of {name}"
            checked += 1
    assert checked > 40


def test_sums_are_by_labels_that_exist(rendering: Callable[..., Rendered]) -> None:
    known = set.union(*_exported().values())
    for place, query in _queries(rendering()):
        for group in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= known, place


def test_parentheses_and_braces_of_queries_match(rendering: Callable[..., Rendered]) -> None:
    for place, query in _queries(rendering()):
        bare = re.sub(r'"[^"]*"', "", query)
        assert bare.count("(") == bare.count(")"), place
        assert bare.count("{") == bare.count("}"), place
        words = set(re.findall(r"\b([a-z_]+)\b(?=\s*\()", bare))
        assert words <= KEYWORDS, f"{place}: {words - KEYWORDS}"


def test_the_adapter_gives_hpas_the_metric_that_they_ask_for(rendering: Callable[..., Rendered]) -> None:
    component = rendering().components["monitoring"]
    (rule,) = yaml.safe_load(component.extra_files["prometheus-adapter-values.yaml"])["rules"]["custom"]
    asked = {
        metric["object"]["metric"]["name"]
        for manifest in rendering().manifests()
        if manifest["kind"] == "HorizontalPodAutoscaler"
        for metric in manifest["spec"]["metrics"]
    }
    assert asked == {rule["name"]["as"]} == {names.REQUESTS_IN_FLIGHT}


def test_the_dashboard_is_json_with_a_panel_for_each_graph(rendering: Callable[..., Rendered]) -> None:
    (board,) = [m for m in rendering().manifests(("monitoring",)) if m["metadata"]["name"] == "pixano-dashboard"]
    parsed: dict[str, Any] = json.loads(board["data"]["pixano-inference.json"])
    assert [panel["title"] for panel in parsed["panels"]] == [panel.title for panel in PANELS]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in parsed["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", [value for key, value in vars(names).items() if key.isupper()])
def test_every_name_is_in_the_catalogue(name: str) -> None:
    assert name in {family.name for family in REGISTRY.collect()} | set(_exported())
