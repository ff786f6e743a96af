"""One API key cannot have all of the server."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
import pytest

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import Overloaded
from pixano_inference.gateway.app import create_app
from pixano_inference.gateway.shares import CallerShares
from pixano_inference.gateway.state import GatewayState
from pixano_inference.model_sets import ModelSet


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_bounds_nothing_is_refused() -> None:
    shares = CallerShares(None, None)
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(shares.hold("a"))


def test_requests_in_flight_are_bounded_per_key() -> None:
    shares = CallerShares(2, None)
    with shares.hold("a"), shares.hold("a"):
        with pytest.raises(Overloaded) as caught, shares.hold("a"):
            pass
        assert caught.value.retry_after_s == 1
        with shares.hold("b"):
            pass
    with shares.hold("a"):
        pass


def test_a_request_that_fails_gives_its_place_back() -> None:
    shares = CallerShares(1, None)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shares.hold("a"):
            raise ZeroDivisionError


def test_requests_per_minute_are_bounded_per_key(clock: Clock) -> None:
    shares = CallerShares(None, 60, clock)

    def sent(key: str, tries: int) -> int:
        done = 0
        for _ in range(tries):
            try:
                with shares.hold(key):
                    done += 1
            except Overloaded as error:
                assert error.retry_after_s == 1  # noqa: PT017  # the only refusal there is
        return done

    assert sent("a", 50) == 10  # a burst of ten seconds' worth
    assert sent("b", 1) == 1
    clock.now += 3
    assert sent("a", 50) == 3
    clock.now += 3600
    assert sent("a", 50) == 10


def test_slow_rates_tell_how_long_to_wait(clock: Clock) -> None:
    shares = CallerShares(None, 2, clock)
    with shares.hold("a"):
        pass
    with pytest.raises(Overloaded) as caught, shares.hold("a"):
        pass
    assert caught.value.retry_after_s == 30


async def test_a_key_over_its_share_is_answered_429_and_only_on_inference() -> None:
    settings = ServerSettings(api_keys=["one", "two"], requests_per_minute_per_key=1)
    app = create_app(GatewayState(ModelSet(source="none", module_paths=[], models=[]), settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:

        async def ask(key: str) -> httpx.Response:
            body = {"model": "none", "image": "data:,", "classes": "x"}
            return await client.post("/inference/detection/", json=body, headers={"X-API-Key": key})

        assert (await ask("one")).status_code == 404
        refused = await ask("one")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) in range(1, 61)
        assert refused.json()["code"] == "key_rate"
        assert (await ask("two")).status_code == 404
        assert (await client.get("/app/models/", headers={"X-API-Key": "one"})).status_code == 200
