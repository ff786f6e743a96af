"""The OpenAPI document is true of a running server."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixano_inference.gateway.openapi_examples import EXAMPLES
from tests.servers import Server

with warnings.catch_warnings():
    # its dependencies' deprecations are not ours
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

pytestmark = pytest.mark.system

MODELS = {"segmentation": "disk", "detection": "boxes", "tracking": "still", "vlm": "echo"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def data_uri() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (10, 200, 10)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def document(plain_server: Server) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{plain_server.url}/openapi.json").json()
    return document


@pytest.fixture(scope="module")
def api(plain_server: Server, document: dict[str, Any]) -> Any:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=plain_server.url)
    return schema


@pytest.mark.parametrize(
    ("schema", "title"), [(schema, title) for schema, examples in EXAMPLES.items() for title in examples]
)
def test_every_example_is_answered(plain_server: Server, schema: str, title: str) -> None:
    capability = schema.removesuffix("Request").lower()
    body = {**EXAMPLES[schema][title], "model": MODELS[capability]}
    response = httpx.post(f"{plain_server.url}/inference/{capability}/", json=body, timeout=20)
    assert response.status_code == 200, response.text
    assert response.json()["metadata"]["capability"] == capability


def aim(case: Any, capability: str, draw: Any) -> None:
    """Let some of the generated requests get past the first checks: name a model that is there, and a real image."""
    if case.path_parameters and "model_name" in case.path_parameters and draw(st.booleans()):
        case.path_parameters["model_name"] = draw(st.sampled_from([*MODELS.values()]))
        if "model_version" in case.path_parameters:
            case.path_parameters["model_version"] = draw(st.sampled_from(["1", "1", "2"]))
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("inputs"), list) and draw(st.booleans()):
        body["inputs"] = [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [data_uri()]}]
        body["outputs"] = None
        if case.headers:
            case.headers.pop("Inference-Header-Content-Length", None)
    if not isinstance(body, dict) or not capability:
        return
    if draw(st.booleans()):
        body["model"] = draw(st.sampled_from([MODELS[capability], *MODELS.values()]))
    if draw(st.booleans()):
        for name in ("image", "video"):
            if name in body:
                body[name] = data_uri()
        if isinstance(body.get("images"), list):
            body["images"] = [data_uri() for _ in body["images"]]


def send_generated(operation: Any, mode: GenerationMode, max_examples: int) -> int:
    """Send generated requests to one operation, check each answer, and return how many were sent."""
    strategy = operation.as_strategy(generation_mode=mode)
    capability = next((name for name in MODELS if f"/{name}/" in operation.path), "")
    aimed = bool(capability) or operation.path.startswith("/v2/models/")
    sent = 0

    @settings(
        max_examples=max_examples if aimed else 3,
        deadline=None,
        derandomize=True,  # a fixed set of requests: CI fails for a change, not for luck
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def send(data: st.DataObject) -> None:
        nonlocal sent
        case = data.draw(strategy)
        if aimed:
            aim(case, capability, data.draw)
        case.call_and_validate(checks=CHECKS, timeout=20)
        sent += 1

    send()
    return sent


def run(api: Any, mode: GenerationMode, max_examples: int) -> int:
    found = [result.ok() for result in api.get_all_operations()]
    if mode is GenerationMode.NEGATIVE:
        found = [operation for operation in found if operation.body]  # nothing can be wrong with the others
    return sum(send_generated(operation, mode, max_examples) for operation in found)


def test_generated_requests_are_answered_as_the_document_says(api: Any) -> None:
    assert run(api, GenerationMode.POSITIVE, 30) > 100


def test_generated_nonsense_is_answered_as_the_document_says(api: Any) -> None:
    assert run(api, GenerationMode.NEGATIVE, 30) > 100
