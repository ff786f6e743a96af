"""Every 429 and 503 says when to come back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ModelFailed, Overloaded, PixanoError, Unavailable
from pixano_inference.gateway.app import create_app
from pixano_inference.gateway.jobs.store import QuotaExceeded, StoreUnavailable
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet
from pixano_inference.protocol.answers import error_response


@pytest.mark.parametrize("error", [Overloaded, Unavailable, StoreUnavailable, QuotaExceeded])
def test_also_where_who_raised_it_did_not(error: type[PixanoError]) -> None:
    assert error_response(error("no")).headers["Retry-After"] == "2"
    assert error_response(error("no", retry_after_s=7.4)).headers["Retry-After"] == "7"
    assert error_response(error("no", retry_after_s=0)).headers["Retry-After"] == "1"


def test_others_do_not() -> None:
    assert "Retry-After" not in error_response(ModelFailed("no")).headers


@pytest.mark.parametrize("path", ["/ready", "/v2/health/ready", "/v2/models/sam2/ready"])
@pytest.mark.parametrize("told", ["ready", "starting"])
async def test_probes_of_a_model_that_is_not_ready(path: str, told: str) -> None:
    state = GatewayState(ModelSet(source="none", module_paths=[], models=[]), ServerSettings())
    pool: Any = SimpleNamespace(
        model=SimpleNamespace(name="sam2", deployment=DeploymentConfig()), state=(told, None), replicas={}
    )
    state.pools["sam2"] = pool
    transport = httpx.ASGITransport(create_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.get(path)
    assert response.status_code == (200 if told == "ready" else 503)
    assert ("Retry-After" in response.headers) == (told != "ready")
