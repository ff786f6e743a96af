"""Browsers of other origins: only those that the operator names."""

from __future__ import annotations

import httpx
import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway.app import create_app
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet

ORIGIN = "https://annotate.example"


async def preflight(origins: list[str], origin: str) -> httpx.Response:
    settings = ServerSettings(cors_origins=origins, api_keys=["key"])
    app = create_app(GatewayState(ModelSet(source="none", module_paths=[], models=[]), settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return await client.options(
            "/inference/segmentation/",
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-api-key, content-type",
            },
        )


async def test_a_named_origin_may_call_and_needs_no_key_to_ask() -> None:
    response = await preflight([ORIGIN], ORIGIN)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]
    assert "x-api-key" in response.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origins", [[], [ORIGIN]])
async def test_another_origin_may_not(origins: list[str]) -> None:
    response = await preflight(origins, "https://elsewhere.example")
    assert response.status_code in (400, 401)
    assert "detail" in response.json()
    assert response.headers["x-request-id"]
    assert "access-control-allow-origin" not in response.headers
