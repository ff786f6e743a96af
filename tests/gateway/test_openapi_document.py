"""The OpenAPI document is complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway.app import create_routes
from pixano_inference.gateway.middleware import OPEN_PATHS
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    state = GatewayState(ModelSet(source="none", module_paths=[], models=[]), ServerSettings())
    return create_routes(state).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_operation_tells_its_errors_and_every_reference_resolves(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation.get("summary") or operation.get("description"), path
        assert "200" in operation["responses"], path
        assert ("401" in operation["responses"]) == (path not in OPEN_PATHS), path
        if method == "post":
            assert {"401", "404", "413", "422", "429", "500", "503"} <= operation["responses"].keys(), path
            assert operation["requestBody"]["content"], path

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    components = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in components, reference
