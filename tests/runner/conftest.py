"""Requests for a batcher, without a model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from pixano_inference.runner.batcher import Batcher, RunBatch
from pixano_inference.runner.work import Work
from pixano_inference.schemas import ImageBytes, SegmentationInput

MakeBatcher = Callable[..., "contextlib.AbstractAsyncContextManager[Batcher]"]


def work(name: str = "image", timeout_s: float = 10.0) -> Work:
    """A request whose image is made of its name."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Work(SegmentationInput(image=ImageBytes(name.encode())), time.monotonic() + timeout_s, future)


def name_of(item: Work) -> str:
    """What :func:`work` was called with."""
    assert isinstance(item.input, SegmentationInput)
    assert isinstance(item.input.image, ImageBytes)
    return bytes(item.input.image.data).decode()


def echo(batch: Sequence[Work]) -> list[Any]:
    """A model that answers each request's name."""
    return [name_of(item) for item in batch]


@pytest.fixture
def serving() -> MakeBatcher:
    """A started batcher, closed afterwards."""

    @contextlib.asynccontextmanager
    async def serve(
        run: RunBatch = echo, *, max_size: int = 8, wait_s: float = 0.0, max_queue: int = 64
    ) -> AsyncIterator[Batcher]:
        batcher = Batcher(run, max_size=max_size, wait_s=wait_s, max_queue=max_queue)
        batcher.start()
        try:
            yield batcher
        finally:
            await batcher.close()

    return serve
