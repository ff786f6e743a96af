"""Both clients, behind one way of calling them, in front of the contract's canned answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from pixano_inference.client import (
    AsyncStream,
    PixanoInferenceClient,
    Stream,
    SyncPixanoInferenceClient,
)

from .contract_app import ContractApp, served

T = TypeVar("T")


@pytest.fixture(scope="session")
def contract_server() -> Iterator[tuple[ContractApp, str]]:
    app = ContractApp()
    with served(app) as url:
        yield app, url


@pytest.fixture
def contract(contract_server: tuple[ContractApp, str]) -> ContractApp:
    app, _ = contract_server
    app.seen.clear()
    app.images.clear()
    app.jobs.clear()
    app.stopped.clear()
    app.digests = True
    return app


@pytest.fixture
def url(contract_server: tuple[ContractApp, str]) -> str:
    return contract_server[1]


class Caller:
    """Calls a method of either client, and waits for it in a coroutine."""

    def __init__(self, client: PixanoInferenceClient | SyncPixanoInferenceClient) -> None:
        self.client = client

    async def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        method = getattr(self.client, name)
        if inspect.iscoroutinefunction(method):
            return await method(*args, **options)
        return await asyncio.to_thread(method, *args, **options)

    async def collect(self, stream: AsyncStream[T] | Stream[T], most: int | None = None) -> list[T]:
        """Return the items of a stream, and leave it after ``most`` of them."""
        items: list[T] = []
        if isinstance(stream, AsyncStream):
            async with stream:
                async for item in stream:
                    items.append(item)
                    if len(items) == most:
                        break
            return items

        def read() -> None:
            with stream:
                for item in stream:
                    items.append(item)
                    if len(items) == most:
                        break

        await asyncio.to_thread(read)
        return items


@pytest_asyncio.fixture(params=[PixanoInferenceClient, SyncPixanoInferenceClient], ids=["async", "sync"])
async def caller(request: pytest.FixtureRequest, contract: ContractApp, url: str) -> AsyncIterator[Caller]:
    client = request.param.connect(url, api_key="k-1")
    yield Caller(client)
    await client.aclose() if isinstance(client, PixanoInferenceClient) else client.close()
