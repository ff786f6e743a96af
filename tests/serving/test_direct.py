"""Our applications are reached past BentoML's middlewares; what is Bento's stays Bento's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pixano_inference.serving.direct import DirectMount


def named(name: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["seen"].append(name)
            return
        await PlainTextResponse(f"{name} {scope.get('root_path', '')}")(scope, receive, send)

    return app


async def get(app: ASGIApp, path: str) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return (await client.get(path)).text.strip()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/rpc/predict", "ours /rpc"),
        ("/livez", "bento"),
        ("/metrics", "bento"),
        ("/rpc", "ours /rpc"),
        ("/rpcs/x", "bento"),
    ],
)
async def test_only_what_is_below_the_prefix_is_ours(path: str, answer: str) -> None:
    assert await get(DirectMount(named("bento"), named("ours"), "/rpc"), path) == answer


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/rpc/predict", "ours /rpc"), ("/v2", "protocol /v2"), ("/v2/models/m", "protocol /v2"), ("/livez", "bento")],
)
async def test_a_service_may_have_several_applications(path: str, answer: str) -> None:
    app = DirectMount(DirectMount(named("bento"), named("ours"), "/rpc"), named("protocol"), "/v2")
    assert await get(app, path) == answer


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/", "ours"), ("/health", "ours"), ("/metrics", "ours"), ("/livez", "bento"), ("/readyz", "bento")],
)
async def test_mounted_at_the_root_all_but_bentos_own_paths_are_ours(path: str, answer: str) -> None:
    assert await get(DirectMount(named("bento"), named("ours"), ""), path) == answer


async def test_the_life_of_the_service_is_bentos() -> None:
    seen: list[str] = []
    scope: dict[str, Any] = {"type": "lifespan", "seen": seen}

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is received or sent")

    await DirectMount(named("bento"), named("ours"), "")(scope, never, never)
    assert seen == ["bento"]
