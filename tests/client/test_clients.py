"""One suite for both clients: what they send, and what they make of the answers."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import fastapi
import httpx
import numpy as np
import pytest
from PIL import Image

from pixano_inference.client import (
    RequestFailed,
    detection_request,
    image_to_data_uri,
    segmentation_request,
    tracking_request,
    vlm_request,
)
from pixano_inference.client.media import ImageLike
from pixano_inference.schemas import (
    DetectionRequest,
    NDArrayFloat,
    SegmentationRequest,
    Settings,
    TrackingInterval,
    VLMRequest,
)

from .conftest import Caller
from .contract_app import EMBEDDING, SETTINGS, ContractApp


def picture(seed: int = 0, size: tuple[int, int] = (8, 6)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


FRAMES = [picture(seed) for seed in range(3)]


async def test_the_settings_are_attributes(caller: Caller, url: str) -> None:
    client = caller.client
    assert client.url == url
    assert client.models == SETTINGS["models"]
    assert client.num_gpus == 1
    assert client.gpus_used == 0.5
    assert client.model_dump() == {**SETTINGS, "url": url}
    assert "k-1" not in repr(client)
    assert await caller("get_settings") == Settings.model_validate(SETTINGS)
    assert [(model.name, model.capability) for model in await caller("list_models")][:2] == [
        ("seg", "segmentation"),
        ("find", "detection"),
    ]


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
async def test_plain_verbs(caller: Caller, method: str) -> None:
    options = {} if method in ("get", "delete") else {"json": {"a": 1}}
    for path in ("echo/", "/echo/"):
        response = await caller(method, path, **options)
        assert isinstance(response, httpx.Response)
        answer = response.json()
        assert answer["method"] == method.upper()
        assert answer["body"] == ('{"a":1}' if options else "")
        assert answer["headers"]["authorization"] == "Bearer k-1"
    assert (await caller("get", "old/")).json() == SETTINGS


async def test_bytes_are_uploaded_as_they_are(caller: Caller, contract: ContractApp) -> None:
    response = await caller("segmentation", segmentation_request("seg", FRAMES[0], points=[[5, 4]], labels=[1]))
    mask = response.data.masks[0][0].to_mask()
    assert np.argwhere(mask).tolist() == [[4, 5]]
    assert mask.shape == (6, 8)
    assert response.metadata == {"model_name": "seg"}
    assert response.processing_time == 0.25
    np.testing.assert_array_equal(response.data.scores.to_numpy(), [[0.5, np.nan]])
    [seen] = contract.seen
    assert (seen.path, seen.content_type) == ("/inference/segmentation/binary", "multipart/form-data")
    assert seen.parts == [FRAMES[0]]
    assert "image" not in seen.fields
    assert seen.fields["points"] == [[[5, 4]]]


async def test_a_second_click_names_the_image_by_its_digest(caller: Caller, contract: ContractApp) -> None:
    request = SegmentationRequest(model="seg", image=image_to_data_uri(FRAMES[0]), points=[[[1, 2]]])
    first = await caller("segmentation", request)
    second = await caller("segmentation", request)
    assert second.data.masks == first.data.masks
    assert [seen.path for seen in contract.seen] == ["/inference/segmentation/binary", "/inference/segmentation/"]
    assert contract.seen[1].fields["image"].startswith("sha256:")
    assert request.image.startswith("data:image/png"), "the caller's request is left as it was"
    # the image is known to the server, whichever model is asked
    await caller("detection", detection_request("find", FRAMES[0], "cat"))
    assert contract.seen[2].fields["image"] == contract.seen[1].fields["image"]


async def test_an_image_that_the_server_forgot_is_sent_again(caller: Caller, contract: ContractApp) -> None:
    request = segmentation_request("seg", FRAMES[0])
    await caller("segmentation", request)
    contract.images.clear()
    await caller("segmentation", request)
    assert [bool(seen.parts) for seen in contract.seen] == [True, False, True]
    await caller("segmentation", request)
    assert not contract.seen[-1].parts, "and then it is known again"


async def test_a_server_without_digests_is_not_asked_twice(caller: Caller, contract: ContractApp) -> None:
    contract.digests = False
    for _ in range(3):
        await caller("segmentation", segmentation_request("seg", FRAMES[0]))
    assert [bool(seen.parts) for seen in contract.seen] == [True, False, True, True]


async def test_a_refusal_of_the_content_does_not_end_the_use_of_digests(caller: Caller, contract: ContractApp) -> None:
    await caller("segmentation", segmentation_request("seg", FRAMES[0]))
    with pytest.raises(RequestFailed, match="not found"):
        await caller("segmentation", segmentation_request("none", FRAMES[0]))
    await caller("segmentation", segmentation_request("seg", FRAMES[0]))
    assert not contract.seen[-1].parts


async def test_urls_and_paths_of_the_server_are_passed_on(caller: Caller, contract: ContractApp) -> None:
    for image in ("http://127.0.0.1/cat.png", "cat.png"):
        contract.images[image] = FRAMES[0]
        await caller("segmentation", SegmentationRequest(model="seg", image=image))
        assert contract.seen[-1].path == "/inference/segmentation/"
        assert contract.seen[-1].fields["image"] == image


async def test_arrays_travel_as_binary_both_ways(caller: Caller, contract: ContractApp) -> None:
    first = await caller("segmentation", segmentation_request("seg", FRAMES[0], return_image_embedding=True))
    np.testing.assert_array_equal(first.data.image_embedding.to_numpy(), EMBEDDING)
    assert contract.seen[0].accept.startswith("application/msgpack")
    logits = NDArrayFloat.from_numpy(np.full((1, 1, 2, 2), 0.1))
    again = segmentation_request(
        "seg",
        FRAMES[0],
        image_embedding=first.data.image_embedding,
        high_resolution_features=first.data.high_resolution_features,
        mask_input=logits,
    )
    await caller("segmentation", again)
    seen = contract.seen[1]
    assert (seen.content_type, seen.path) == ("application/msgpack", "/inference/segmentation/")
    assert seen.fields["image"].startswith("sha256:")
    assert seen.fields["mask_input"] == {"values": np.full(4, 0.1, "<f4").tobytes(), "shape": [1, 1, 2, 2]}
    assert len(seen.fields["high_resolution_features"]) == 2
    # an image that the server does not know goes with the arrays
    await caller("segmentation", segmentation_request("seg", FRAMES[1], mask_input=logits))
    assert contract.seen[2].content_type == "application/msgpack"
    assert contract.seen[2].fields["image"] == image_to_data_uri(FRAMES[1])


async def test_detection_and_vlm(caller: Caller, contract: ContractApp) -> None:
    request = DetectionRequest(model="find", image=image_to_data_uri(FRAMES[0]), classes=["cat"], box_threshold=0.25)
    found = await caller("detection", request)
    assert (found.data.boxes, found.data.classes, found.data.masks) == ([[0, 0, 8, 6]], ["cat"], None)
    assert contract.seen[0].fields["box_threshold"] == 0.25
    answer = await caller("vlm", vlm_request("ask", "how many?", [FRAMES[0], FRAMES[1]], temperature=0))
    assert answer.data.generated_text == "two red circles"
    assert answer.data.usage.total_tokens == 7
    known, new = answer.data.generation_config["images"]
    assert known.startswith("sha256:")
    assert new == image_to_data_uri(FRAMES[1])


async def test_images_in_messages_are_named_too(caller: Caller, contract: ContractApp) -> None:
    part = {"type": "image_url", "image_url": {"url": image_to_data_uri(FRAMES[0])}}
    prompt = [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}, {"role": "assistant", "content": "!"}]
    request = VLMRequest.model_validate({"model": "ask", "prompt": prompt, "max_new_tokens": 5})
    for _ in range(2):
        await caller("vlm", request)
    assert contract.seen[0].fields["prompt"] == prompt
    named = contract.seen[1].fields["prompt"][0]["content"]
    assert named[0]["image_url"]["url"].startswith("sha256:")
    assert named[1] == {"type": "text", "text": "?"}


async def test_frames_are_uploaded_in_order(caller: Caller, contract: ContractApp) -> None:
    response = await caller("tracking", tracking_request("follow", FRAMES, objects_ids=[4], boxes=[0, 0, 2, 2]))
    assert response.data.frame_indexes == [0, 1, 2]
    [seen] = contract.seen
    assert (seen.path, seen.parts) == ("/inference/tracking/binary", FRAMES)
    assert seen.fields["frame_indexes"] == [0]
    assert "video" not in seen.fields


async def test_frames_on_the_server_are_named(caller: Caller, contract: ContractApp) -> None:
    mixed: list[ImageLike] = [FRAMES[0], "https://localhost/1.png"]
    await caller("tracking", tracking_request("follow", mixed, objects_ids=[4], points=[[1, 1]]))
    [seen] = contract.seen
    assert (seen.path, seen.parts) == ("/inference/tracking/", [])
    assert seen.fields["video"] == [image_to_data_uri(FRAMES[0]), "https://localhost/1.png"]


async def test_a_job_is_waited_for(caller: Caller, contract: ContractApp) -> None:
    job = await caller("submit_tracking", tracking_request("follow", FRAMES, objects_ids=[4], points=[[1, 1]]))
    assert job.status == "queued"
    assert contract.seen[0].path == "/inference/tracking/jobs/binary"
    shown: list[tuple[int, int | None]] = []
    done = await caller(
        "wait_tracking", job.job_id, poll_s=0.01, progress=lambda done, total: shown.append((done, total))
    )
    assert done.status == "completed"
    assert done.data.frame_indexes == [0, 1, 2]
    assert shown == [(1, 3), (2, 3), (3, 3)]


async def test_a_bar_shows_the_progress(caller: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    job = await caller("submit_tracking", tracking_request("follow", FRAMES, objects_ids=[4], points=[[1, 1]]))
    await caller("wait_tracking", job.job_id, poll_s=0.01, progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "status", "words"), [("failed", 500, "out of memory"), ("canceled", 409, "canceled")]
)
async def test_a_job_that_ends_badly_raises(caller: Caller, model: str, status: int, words: str) -> None:
    job = await caller("submit_tracking", tracking_request(model, FRAMES, objects_ids=[4], points=[[1, 1]]))
    with pytest.raises(RequestFailed, match=words) as caught:
        await caller("wait_tracking", job.job_id, poll_s=0.01)
    assert caught.value.status_code == status


async def test_jobs_are_canceled_lost_and_given_up_on(caller: Caller) -> None:
    request = tracking_request("follow", "https://localhost/clip.mp4", objects_ids=[4], points=[[1, 1]])
    job = await caller("submit_tracking", request)
    with pytest.raises(TimeoutError, match=r"is still (queued|running)"):
        await caller("wait_tracking", job.job_id, timeout_s=0)
    assert (await caller("cancel_tracking", job.job_id)).status == "canceled"
    assert (await caller("tracking_job", job.job_id)).status == "canceled"
    with pytest.raises(RequestFailed, match="no such job"):
        await caller("tracking_job", "job-99")


async def test_frames_are_streamed(caller: Caller, contract: ContractApp) -> None:
    stream = caller.client.stream_tracking(tracking_request("follow", FRAMES, objects_ids=[4], points=[[1, 1]]))
    assert stream.end is None
    frames = await caller.collect(stream)
    assert [(frame.frame_index, frame.objects_ids, frame.frames_total) for frame in frames] == [
        (0, [4], 3),
        (1, [4], 3),
        (2, [4], 3),
    ]
    assert frames[0].masks[0].to_mask().tolist() == np.eye(3).tolist()
    assert (contract.seen[0].path, contract.seen[0].parts) == ("/inference/tracking/stream/binary", FRAMES)
    assert stream.end is not None
    assert (stream.end.processing_time, stream.end.metadata) == (0.5, {"model_name": "follow"})


async def test_text_is_streamed_whatever_is_in_it(caller: Caller) -> None:
    stream = caller.client.stream_vlm(vlm_request("ask", "?", FRAMES[0]))
    assert await caller.collect(stream) == ["two ", "red\u2028", "circles\u0085\n"]
    assert stream.end is not None
    assert stream.end.data is not None
    assert stream.end.data.generated_text == "two red circles"


async def test_leaving_a_stream_stops_the_model(caller: Caller, contract: ContractApp) -> None:
    request = tracking_request("follow", FRAMES, objects_ids=[4], points=[[1, 1]], propagate=False)
    frames = await caller.collect(caller.client.stream_tracking(request), most=1)
    assert len(frames) == 1
    assert await asyncio.to_thread(contract.stopped.wait, 5)


@pytest.mark.parametrize(
    ("model", "objects", "interval", "status", "frames"),
    [
        ("follow", [4], TrackingInterval(start_frame=0, end_frame=2), 500, 3),
        ("follow", [99], None, 502, 3),
        ("none", [4], None, 404, 0),
    ],
    ids=["the model fails", "the server dies", "no such model"],
)
async def test_streams_that_end_badly_raise(
    caller: Caller, model: str, objects: list[int], interval: TrackingInterval | None, status: int, frames: int
) -> None:
    request = tracking_request(model, FRAMES, objects_ids=objects, points=[[1, 1]], interval=interval)
    with pytest.raises(RequestFailed) as caught:
        await caller.collect(caller.client.stream_tracking(request))
    assert caught.value.status_code == status


async def test_errors_are_fastapi_exceptions_with_the_servers_words(caller: Caller) -> None:
    with pytest.raises(fastapi.HTTPException) as caught:
        await caller("segmentation", segmentation_request("none", FRAMES[0]))
    assert (caught.value.status_code, caught.value.detail) == (404, "Model 'none' not found")
    with pytest.raises(RequestFailed) as busy:
        await caller("segmentation", segmentation_request("busy", FRAMES[0]))
    assert (busy.value.status_code, busy.value.retry_after_s, busy.value.request_id) == (429, 7.0, "r-1")
    with pytest.raises(fastapi.HTTPException) as wrong:
        await caller("vlm", vlm_request("seg", "?", FRAMES[0]))
    assert wrong.value.status_code == 400
    with pytest.raises(fastapi.HTTPException) as proxy:
        await caller("get", "html/")
    assert (proxy.value.status_code, proxy.value.detail) == (502, "<h1>no</h1>")


async def test_an_answer_that_is_none_says_so(caller: Caller, tmp_path: Path) -> None:
    client = caller.client
    client.url = client.url  # settings are plain attributes
    with pytest.raises(ValueError, match="Invalid URL"):
        type(client)(url="wrongurl")
    assert type(client)(url=client.url + "/").url == client.url
    lost = type(client)(url="http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(httpx.ConnectError):
        await Caller(lost)("list_models")
    with pytest.raises(httpx.ConnectError):
        type(client).connect("http://127.0.0.1:9")
    await lost.aclose() if hasattr(lost, "aclose") else lost.close()
