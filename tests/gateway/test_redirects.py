"""Redirects of slashes never lead anywhere else, whatever host or path the caller claims."""

from __future__ import annotations

import httpx
import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway.app import create_app
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet

PATHS = [
    "/inference/segmentation",
    "/app/models//",
    "//app/models",
    "//elsewhere.example/app/models",
    "//elsewhere.example/%2e%2e/app/models",
    "/\\elsewhere.example",
    "/app/models%0d%0aSet-Cookie:%20a=b",
    "/%2felsewhere.example/health/",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_redirect_stays_on_this_server(path: str) -> None:
    app = create_app(GatewayState(ModelSet(source="none", module_paths=[], models=[]), ServerSettings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        request = client.build_request(
            "GET", "/", headers={"Host": "elsewhere.example", "X-Forwarded-Host": "e.example"}
        )
        request.url = request.url.copy_with(raw_path=path.encode())
        response = await client.send(request)
    assert response.status_code in (307, 404, 405)
    if response.status_code == 307:
        location = response.headers["location"]
        assert location in ("/inference/segmentation/", "/app/models/")
    assert "set-cookie" not in response.headers
