"""A gateway that is about to end sends its callers elsewhere."""

from __future__ import annotations

import asyncio
import time

import httpx

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway.app import create_app
from pixano_inference.gateway.leaving import LONGEST_S, Leaving
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet


async def test_answers_close_their_connections_once_the_gateway_leaves() -> None:
    state = GatewayState(ModelSet(source="test", module_paths=[], models=[]), ServerSettings())
    transport = httpx.ASGITransport(create_app(state))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert "connection" not in (await client.get("/health")).headers
        state.leaving.begun = True
        assert (await client.get("/health")).headers["connection"] == "close"


async def test_the_end_waits_for_callers_but_not_for_ever() -> None:
    leaving = Leaving()
    started = time.monotonic()
    end = asyncio.create_task(leaving.wait_until_quiet())
    while time.monotonic() < started + 0.7:
        leaving.request_came()
        await asyncio.sleep(0.02)
    assert not end.done()
    await end
    assert time.monotonic() - started < LONGEST_S + 5
