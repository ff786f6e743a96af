"""The asynchronous client lives through what programs written for Pixano Inference do with it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from pixano_inference.client import PixanoInferenceClient, SyncPixanoInferenceClient, segmentation_request

from .contract_app import ContractApp
from .test_clients import FRAMES


def test_one_client_serves_one_asyncio_run_after_the_other(contract: ContractApp, url: str) -> None:
    client = PixanoInferenceClient.connect(url=url)
    for _ in range(2):
        response = asyncio.run(client.segmentation(segmentation_request("seg", FRAMES[0])))
        assert response.status == "SUCCESS"
    # a connection that was left open would have warned, and warnings are errors here
    assert len(contract.seen) == 2


async def test_connect_may_be_awaited_or_entered(contract: ContractApp, url: str) -> None:
    client = await PixanoInferenceClient.connect(url)
    assert client.num_cpus == 2
    async with PixanoInferenceClient.connect(url) as entered:
        assert entered.models == client.models
        assert len(await entered.list_models()) == 4


async def test_requests_run_at_the_same_time(contract: ContractApp, url: str) -> None:
    async with PixanoInferenceClient.connect(url) as client:
        requests = [segmentation_request("seg", FRAMES[index % 3], points=[[index, 0]]) for index in range(8)]
        answers = await asyncio.gather(*(client.segmentation(request) for request in requests))
    for index, answer in enumerate(answers):
        assert answer.data.masks[0][0].to_mask()[0, index] == 1


def test_a_canceled_request_lets_go_of_its_connection(contract: ContractApp, url: str) -> None:
    async def run() -> None:
        async with PixanoInferenceClient.connect(url) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.segmentation(segmentation_request("seg", FRAMES[0])), 0.0001)
            assert (await client.get_settings()).num_cpus == 2

    asyncio.run(run())


def test_both_clients_have_the_same_methods() -> None:
    def methods(cls: type) -> dict[str, Callable[..., object]]:
        names = [name for name in vars(cls) if not name.startswith(("_", "model_"))]
        return {name.replace("aclose", "close"): getattr(cls, name) for name in names if callable(getattr(cls, name))}

    ours, theirs = methods(PixanoInferenceClient), methods(SyncPixanoInferenceClient)
    assert ours.keys() == theirs.keys()
    assert {"connect", "segmentation", "detection", "tracking", "vlm", "list_models", "get_settings"} < ours.keys()
    for name, method in ours.items():
        assert inspect.signature(method).parameters == inspect.signature(theirs[name]).parameters, name
        if inspect.iscoroutinefunction(method):
            assert get_type_hints(method) == get_type_hints(theirs[name]), name


def test_paths_are_images_too(contract: ContractApp, url: str, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(FRAMES[0])
    with SyncPixanoInferenceClient.connect(url) as client:
        client.segmentation(segmentation_request("seg", tmp_path / "image.png"))
    assert contract.seen[0].parts == [FRAMES[0]]
