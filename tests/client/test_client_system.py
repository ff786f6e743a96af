"""Both clients in front of a real server of custom models."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator

import fastapi
import httpx
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from pixano_inference.client import (
    PixanoInferenceClient,
    SyncPixanoInferenceClient,
    detection_request,
    segmentation_request,
    tracking_request,
    vlm_request,
)
from pixano_inference.schemas import NDArrayFloat
from tests.servers import Server

from .conftest import Caller

pytestmark = pytest.mark.system


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


FRAMES = [picture(seed) for seed in range(4)]


@pytest_asyncio.fixture(params=[PixanoInferenceClient, SyncPixanoInferenceClient], ids=["async", "sync"])
async def caller(request: pytest.FixtureRequest, plain_server: Server) -> AsyncIterator[Caller]:
    client = request.param.connect(plain_server.url)
    yield Caller(client)
    await client.aclose() if isinstance(client, PixanoInferenceClient) else client.close()


async def test_what_is_deployed(caller: Caller) -> None:
    assert caller.client.app_name == "Pixano Inference"
    assert caller.client.models_to_capability["disk"] == "segmentation"
    assert {model.name for model in await caller("list_models")} == set(caller.client.models)
    assert (await caller("get_settings")).models == caller.client.models
    assert (await caller("get", "health")).json() == {"status": "healthy"}


async def test_a_click(caller: Caller) -> None:
    for x in (20, 40):  # the second time the image is named by its digest
        response = await caller("segmentation", segmentation_request("disk", FRAMES[0], points=[[x, 24]]))
        mask = response.data.masks[0][0].to_mask()
        assert mask.shape == (48, 64)
        assert np.argwhere(mask).mean(axis=0).round().tolist() == [24, x]
        assert response.metadata["model_name"] == "disk"


async def test_the_second_click_sends_no_image(caller: Caller) -> None:
    image = picture(5 if isinstance(caller.client, PixanoInferenceClient) else 6)
    sent: list[int] = []
    client = caller.client
    if isinstance(client, PixanoInferenceClient):

        async def note(request: httpx.Request) -> None:
            sent.append(int(request.headers["content-length"]))

        client._http_options["event_hooks"] = {"request": [note]}
    else:
        client.close()
        client._http_options["event_hooks"] = {"request": [lambda r: sent.append(int(r.headers["content-length"]))]}
    for _ in range(2):
        await caller("segmentation", segmentation_request("disk", image))
    assert len(sent) == 2, "the server knew the image by its digest"
    assert sent[0] > len(image)
    assert sent[1] < 300


async def test_a_digest_that_the_server_does_not_know(caller: Caller) -> None:
    image = picture(7 if isinstance(caller.client, PixanoInferenceClient) else 8)
    caller.client._known_images.add(hashlib.sha256(image).hexdigest())
    response = await caller("segmentation", segmentation_request("disk", image))
    assert response.data.masks[0][0].size == [48, 64]
    assert caller.client._known_images.supported


async def test_embeddings_out_and_in(caller: Caller) -> None:
    first = await caller("segmentation", segmentation_request("disk", FRAMES[0], return_image_embedding=True))
    embedding = first.data.image_embedding
    np.testing.assert_array_equal(embedding.to_numpy(), np.full((1, 4, 2, 2), 0.1, np.float32))
    again = segmentation_request(
        "disk",
        FRAMES[0],
        image_embedding=embedding,
        high_resolution_features=first.data.high_resolution_features,
        mask_input=NDArrayFloat.from_numpy(np.zeros((1, 1, 4, 4))),
    )
    assert (await caller("segmentation", again)).data.masks == first.data.masks


async def test_the_other_capabilities(caller: Caller) -> None:
    found = await caller("detection", detection_request("boxes", FRAMES[0], ["cat", "dog"]))
    assert found.data.classes == ["cat", "dog"]
    assert found.data.boxes[0] == [16, 12, 48, 36]
    answer = await caller("vlm", vlm_request("echo", "two red circles", [FRAMES[0], FRAMES[1]], temperature=0))
    assert answer.data.generated_text == "two red circles"
    assert answer.data.usage.completion_tokens == 3
    tracked = await caller("tracking", tracking_request("still", FRAMES, objects_ids=[4, 9], boxes=[[0, 0, 9, 9]] * 2))
    assert tracked.data.frame_indexes == [0, 0, 1, 1, 2, 2, 3, 3]
    assert tracked.data.objects_ids == [4, 9] * 4


async def test_errors(caller: Caller) -> None:
    for request, status in [
        (segmentation_request("none", FRAMES[0]), 404),
        (segmentation_request("boxes", FRAMES[0]), 400),
        (segmentation_request("disk", b"no image"), 422),
    ]:
        with pytest.raises(fastapi.HTTPException) as caught:
            await caller("segmentation", request)
        assert caught.value.status_code == status
        assert caught.value.detail


async def test_streams(caller: Caller) -> None:
    stream = caller.client.stream_tracking(tracking_request("still", FRAMES, objects_ids=[4], points=[[5, 5]]))
    frames = await caller.collect(stream)
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3]
    assert stream.end is not None
    text = caller.client.stream_vlm(vlm_request("echo", "two red circles", FRAMES[0]))
    assert await caller.collect(text) == ["two", " red", " circles"]
    assert text.end is not None
    assert text.end.data is not None
    assert text.end.data.generated_text == "two red circles"


async def test_leaving_a_stream_frees_the_model(caller: Caller) -> None:
    long = tracking_request("still", [FRAMES[0]] * 2000, objects_ids=[4], points=[[5, 5]])  # 40 s of work
    await caller.collect(caller.client.stream_tracking(long), most=1)
    short = tracking_request("still", FRAMES[:1], objects_ids=[4], points=[[5, 5]])
    await asyncio.wait_for(caller("tracking", short), 10)


async def test_jobs(caller: Caller) -> None:
    job = await caller("submit_tracking", tracking_request("still", FRAMES, objects_ids=[4], points=[[5, 5]]))
    shown: list[tuple[int, int | None]] = []
    done = await caller("wait_tracking", job.job_id, progress=lambda done, total: shown.append((done, total)))
    assert done.data.frame_indexes == [0, 1, 2, 3]
    assert shown[-1] == (4, 4)
    long = await caller(
        "submit_tracking", tracking_request("still", [FRAMES[0]] * 1000, objects_ids=[4], points=[[5, 5]])
    )
    await caller("cancel_tracking", long.job_id)
    with pytest.raises(fastapi.HTTPException) as caught:
        await caller("wait_tracking", long.job_id)
    assert caught.value.status_code == 409
