"""Many large bodies at a time are refused before they fill the memory."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import Message, Receive

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import Overloaded, TooLarge
from pixano_inference.gateway.app import create_app, create_routes
from pixano_inference.gateway.held_bodies import SPOOLED_PATHS, HeldBodies
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet


def arriving(*sizes: int) -> Receive:
    messages = iter(sizes)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * next(messages), "more_body": True}

    return receive


async def test_what_is_over_the_bound_is_refused_until_others_are_answered() -> None:
    bodies = HeldBodies(100, 100)
    with bodies.counted("a", arriving(30, 30)) as first:
        await first()
        await first()
        with bodies.counted("a", arriving(41)) as second, pytest.raises(Overloaded) as refused:
            await second()
        assert refused.value.retry_after_s == 1
        with bodies.counted("b", arriving(40)) as third:
            await third()
    with bodies.counted("b", arriving(100)) as fourth:
        await fourth()


async def test_no_caller_takes_all_of_it() -> None:
    bodies = HeldBodies(100, 50)
    with bodies.counted("greedy", arriving(50)) as first, bodies.counted("greedy", arriving(1)) as second:
        await first()
        with pytest.raises(Overloaded):
            await second()
        with bodies.counted("modest", arriving(50)) as other:
            await other()


async def test_a_body_that_never_fits_is_too_large_rather_than_too_early() -> None:
    with HeldBodies(100, 50).counted("a", arriving(30, 30)) as receive:
        await receive()
        with pytest.raises(TooLarge, match="uploaded as a job"):
            await receive()


async def test_the_gateway_counts() -> None:
    settings = ServerSettings(max_held_mb=0.001)
    state = GatewayState(ModelSet(source="none", module_paths=[], models=[]), settings)
    transport = httpx.ASGITransport(create_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        refused = await client.post("/inference/segmentation/", json={"model": "m", "image": "x" * 2000})
        assert (refused.status_code, refused.json()["code"]) == (413, "body")
        for _ in range(3):
            answer = await client.post("/inference/segmentation/", json={"model": "m", "image": "x" * 700})
            assert answer.status_code == 404
    assert create_routes(state).openapi()["paths"].keys() >= SPOOLED_PATHS


async def test_the_end_of_a_request_that_was_refused_gives_back_what_it_had() -> None:
    bodies = HeldBodies(100, 100)

    async def refused() -> None:
        with bodies.counted("a", arriving(60, 60)) as receive:
            await receive()
            await receive()

    for _ in range(3):
        with pytest.raises(TooLarge):
            await refused()
    with bodies.counted("a", arriving(100)) as receive:
        await receive()
