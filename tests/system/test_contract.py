"""The HTTP contract, spoken with a real server of custom models."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import re
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from PIL import Image

from pixano_inference.gateway.metrics import CACHE_EVENTS, CATALOGUE, GPU_MEMORY
from pixano_inference.protocol.messages import MEDIA_TYPE, decode, to_plain
from pixano_inference.schemas import CompressedRLE, NDArrayFloat
from tests.servers import Server

pytestmark = pytest.mark.system

MODELS = ("disk", "boxes", "still", "echo", "odd")


def png(width: int = 64, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes | None = None) -> str:
    return "data:image/png;base64," + base64.b64encode(data or png()).decode()


@pytest.fixture(scope="module")
def http(plain_server: Server) -> Any:
    with httpx.Client(base_url=plain_server.url, timeout=20) as client:
        yield client


def segment(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/inference/segmentation/", json={"model": "disk", "image": data_uri(), **fields})


def test_service_endpoints(http: httpx.Client) -> None:
    root = http.get("/").json()
    assert {"message", "version", "docs"} <= root.keys()
    assert http.get(root["docs"]).status_code == 200
    assert http.get("/health").json() == {"status": "healthy"}
    ready = http.get("/ready").json()
    assert ready["ready"] is True
    assert ready["models_loaded"] == 5
    settings = http.get("/app/settings/").json()
    assert settings["app_name"] == "Pixano Inference"
    assert None not in settings.values()
    assert settings["num_nodes"] == 1
    assert settings["models_to_capability"]["still"] == "tracking"
    models = {model["name"]: model for model in http.get("/app/models/").json()}
    assert models["disk"] == {
        "name": "disk",
        "capability": "segmentation",
        "model_path": None,
        "model_class": "DiskModel",
        "state": "ready",
        "reason": None,
    }


@pytest.mark.parametrize("path", ["/app/models", "/app/models//", "/health/", "/ready/", "/app/settings//"])
def test_a_missing_or_extra_slash_redirects(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 307
    assert response.headers["location"].startswith("/")
    assert http.get(path, follow_redirects=True).status_code == 200


def test_a_redirected_post_keeps_its_body(http: httpx.Client) -> None:
    body = {"model": "disk", "image": data_uri(), "points": [[[3, 4]]], "labels": [[1]]}
    assert http.post("/inference/segmentation?x=1", json=body).headers["location"] == "/inference/segmentation/?x=1"
    assert http.post("/inference/segmentation", json=body, follow_redirects=True).status_code == 200


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "GET", "PUT"])
def test_other_methods_on_a_post_route_are_405(http: httpx.Client, method: str) -> None:
    assert http.request(method, "/inference/segmentation/").status_code == 405


def test_an_unknown_path_is_a_json_404(http: httpx.Client) -> None:
    response = http.get("/no/such/path")
    assert response.status_code == 404
    assert "detail" in response.json()


def test_a_click_answers_in_the_envelope(http: httpx.Client) -> None:
    response = segment(http, points=[[[20, 30]], [[40, 10], [1, 1]]], labels=[[1], [1, 0]])
    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "SUCCESS"
    assert answer["metadata"] == {"model_name": "disk", "capability": "segmentation", "model_class": "DiskModel"}
    assert answer["processing_time"] > 0
    assert len(answer["data"]["masks"]) == 2
    mask = CompressedRLE(**answer["data"]["masks"][0][0]).to_mask()
    assert mask.shape == (48, 64)
    assert mask[30, 20] == 1
    assert mask[30, 40] == 0
    assert answer["id"] != segment(http, points=[[[20, 30]]]).json()["id"]


def test_every_capability_answers(http: httpx.Client) -> None:
    boxes = http.post("/inference/detection/", json={"model": "boxes", "image": data_uri(), "classes": "cat"})
    assert boxes.json()["data"] == {"boxes": [[16, 12, 48, 36]], "scores": [0.9], "classes": ["cat"], "masks": None}
    tracking = {"model": "still", "video": [data_uri()] * 3, "objects_ids": [7], "frame_indexes": [0]}
    tracks = http.post("/inference/tracking/", json={**tracking, "points": [[[5, 5]]], "labels": [[1]]}).json()["data"]
    assert tracks["objects_ids"] == [7, 7, 7]
    assert tracks["frame_indexes"] == [0, 1, 2]
    question = {"model": "echo", "prompt": "what is this", "images": [data_uri()], "max_new_tokens": 2}
    text = http.post("/inference/vlm/", json=question).json()["data"]
    assert text["generated_text"] == "what is"
    assert text["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_lenient_where_callers_rely_on_it(http: httpx.Client) -> None:
    response = segment(http, points=[[["12", 12.0]]], labels=[["1"]], unknown_field={"a": 1})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"points": [[[1, 2]]], "labels": [[1, 0]]}, "labels"),
        ({"labels": [[1]]}, "without points"),
        ({"points": [[[1, 2]]], "boxes": [[0, 0, 5, 5], [0, 0, 6, 6]]}, "boxes"),
        ({"points": [[[1.5, 2]]]}, "integer"),
        ({"image": "data:image/png;base64,AAAA"}, "image"),
        ({"image": "file:///etc/passwd"}, "image"),
        ({"image": "/etc/passwd"}, "image"),
        ({"image": "http://127.0.0.1:9/x.png"}, "image"),
        ({"mask_input": {"values": [1.0], "shape": [2]}}, "shape"),
        ({"image_embedding": {"values": [1.0], "shape": [1]}}, "together"),
    ],
)
def test_unusable_content_is_a_422_that_says_what(http: httpx.Client, fields: dict[str, Any], words: str) -> None:
    response = segment(http, **fields)
    assert response.status_code == 422
    assert words in json.dumps(response.json()["detail"])
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [100_000, 100_000], "counts": "0"},
        {"size": [-1, 5], "counts": "0"},
        {"size": [5], "counts": "0"},
        {"size": [2, 2], "counts": [2**64]},
        {"size": [2, 2], "counts": [3]},
    ],
)
def test_impossible_masks_are_refused(http: httpx.Client, rle: dict[str, Any]) -> None:
    body = {
        "model": "still",
        "video": [data_uri()],
        "objects_ids": [1],
        "frame_indexes": [0],
        "keyframes": [{"frame_index": 0, "mask": rle}],
    }
    assert http.post("/inference/tracking/", json=body).status_code == 422


def test_models_that_are_not_there_or_do_something_else(http: httpx.Client) -> None:
    unknown = segment(http, model="nobody")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Model 'nobody' not found")
    assert segment(http, model="boxes").status_code == 400
    assert http.post("/inference/detection/", json={"model": "disk", "image": data_uri()}).status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model": NaN}', b'"\\ud800"', b"\xff\xfe"])
def test_a_broken_body_is_a_422(http: httpx.Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert http.post("/inference/segmentation/", content=body, headers=headers).status_code == 422


def test_a_422_does_not_echo_the_body(http: httpx.Client) -> None:
    response = segment(http, points="x" * 1_000_000)
    assert response.status_code == 422
    assert len(response.content) < 2000


@pytest.mark.parametrize("part", ["file", "field"])
def test_an_upload_answers_as_json_does(http: httpx.Client, part: str) -> None:
    metadata = json.dumps({"model": "disk", "points": [[[20, 30]]], "labels": [[1]], "multimask_output": False})
    files: list[tuple[str, Any]] = [("image", ("image.png", png(), "image/png"))]
    data = {}
    if part == "file":
        files.append(("metadata", ("metadata.json", metadata.encode(), "application/json")))
    else:
        data["metadata"] = metadata
    response = http.post("/inference/segmentation/binary", files=files, data=data)
    assert response.status_code == 200
    assert response.json()["data"] == segment(http, points=[[[20, 30]]], labels=[[1]]).json()["data"]


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ("", 400),
        ('{"model": NaN}', 400),
        ('{"model": "\\ud800"}', 400),
        ("{}", 422),
        ('{"model": "disk", "points": [[["a", 1]]]}', 422),
        ('{"model": "nobody"}', 404),
    ],
)
def test_broken_metadata_of_an_upload(http: httpx.Client, metadata: str, status: int) -> None:
    files = {"image": ("image.png", png(), "image/png")}
    response = http.post("/inference/segmentation/binary", files=files, data={"metadata": metadata})
    assert response.status_code == status, response.text
    assert len(response.content) < 2000


def test_an_upload_without_metadata_is_a_400(http: httpx.Client) -> None:
    response = http.post("/inference/segmentation/binary", files={"image": ("image.png", png(), "image/png")})
    assert response.status_code == 400


def test_images_are_used_as_sent(http: httpx.Client) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    Image.new("RGB", (60, 20)).save(buffer, "JPEG", exif=exif)
    answer = segment(http, image=data_uri(buffer.getvalue()), points=[[[1, 1]]]).json()
    assert answer["data"]["masks"][0][0]["size"] == [20, 60]


def test_nan_becomes_null(http: httpx.Client) -> None:
    answer = http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": "nan"})
    assert answer.status_code == 200
    assert answer.json()["data"]["scores"] == [None]


@pytest.mark.parametrize("what", ["raise", "none", "wrong type", "invalid"])
def test_a_failing_model_is_a_500_that_tells_nothing(http: httpx.Client, what: str) -> None:
    response = http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": what})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in response.json()["detail"]


def test_a_model_refuses_in_its_own_words(http: httpx.Client) -> None:
    response = http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": "refuse"})
    assert (response.status_code, response.json()["detail"]) == (422, "classes: this one is not known; known are a, b")


def test_a_model_over_its_time_limit_is_a_504(http: httpx.Client) -> None:
    response = http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": "polite"})
    assert response.status_code == 504
    after = http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": "nothing"})
    assert after.status_code == 200


def test_no_port_reads_pickle(plain_server: Server, http: httpx.Client) -> None:
    body = pickle.dumps({"model": "disk"})
    for content_type in ("application/vnd.bentoml+pickle", "application/octet-stream", "application/pickle"):
        headers = {"Content-Type": content_type}
        for path in ("/inference/segmentation/", "/v2/models/disk/infer"):
            assert http.post(path, content=body, headers=headers).status_code == 415
    sockets = [
        str(connection.laddr)
        for pid in plain_server.runner_pids("disk")
        for connection in psutil.Process(pid).net_connections("unix")
        if str(connection.laddr).endswith(".sock")
    ]
    assert sockets, "the runner listens on a Unix socket"
    with httpx.Client(transport=httpx.HTTPTransport(uds=sockets[0]), base_url="http://runner") as runner:
        for path in ("/rpc/predict", "/rpc/stream", "/rpc/", "/predict", "/"):
            headers = {"Content-Type": "application/vnd.bentoml+pickle"}
            status = runner.post(path, content=body, headers=headers).status_code
            assert status == 415, (path, status)
        assert runner.post("/rpc/predict", content=b"", headers={"Content-Type": MEDIA_TYPE}).status_code == 403
        # processes inherit each other's sockets, so ask whose this one is
        (model,) = [name for name in MODELS if runner.get(f"/v2/models/{name}").status_code == 200]
        infer = runner.post(f"/v2/models/{model}/infer", content=body, headers={"Content-Type": "application/pickle"})
        assert infer.status_code == 401, "the secret is asked for before a byte is read"


def test_msgpack_in_and_out(http: httpx.Client) -> None:
    body = {"model": "disk", "image": data_uri(), "points": [[[20, 30]]], "return_image_embedding": True}
    embedding = to_plain(NDArrayFloat.from_numpy(np.zeros((1, 4, 2, 2), np.float32)))
    response = http.post(
        "/inference/segmentation/",
        content=msgspec.msgpack.encode({**body, "image_embedding": embedding, "high_resolution_features": [embedding]}),
        headers={"Content-Type": MEDIA_TYPE, "Accept": f"{MEDIA_TYPE}, application/json"},
    )
    assert response.headers["content-type"] == MEDIA_TYPE
    array = NDArrayFloat.model_validate(decode(response.content)["data"]["image_embedding"]).to_numpy()
    np.testing.assert_array_equal(array, np.full((1, 4, 2, 2), 0.1, np.float32))
    as_json = http.post("/inference/segmentation/", json=body).text
    assert '"values":[0.1,0.1' in as_json, "float32 is written in its shortest form"


def test_an_image_can_be_named_by_digest(http: httpx.Client) -> None:
    image = png(50, 40)
    digest = "sha256:" + hashlib.sha256(image).hexdigest()
    missing = segment(http, image=digest)
    assert (missing.status_code, missing.json()["code"]) == (404, "send_image")
    assert segment(http, image=data_uri(image)).status_code == 200
    assert segment(http, image=digest).json()["data"]["masks"][0][0]["size"] == [40, 50]


def test_so_can_the_images_of_a_question(http: httpx.Client) -> None:
    image = png(51, 41)
    digest = "sha256:" + hashlib.sha256(image).hexdigest()

    def ask(image: str) -> int:
        body = {"model": "echo", "prompt": "what?", "images": [image], "max_new_tokens": 4}
        return http.post("/inference/vlm/", json=body).status_code

    assert [ask(digest), ask(data_uri(image)), ask(digest)] == [404, 200, 200]


def test_the_callers_request_id_comes_back(http: httpx.Client) -> None:
    assert http.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = http.get("/health", headers={b"X-Request-ID": "a b\u00e9".encode()}).headers["x-request-id"]
    assert len(made) == 32


def test_a_running_server_exports_every_metric_with_its_labels(http: httpx.Client) -> None:
    segment(http)
    text = http.get("/metrics").text
    for metric in CATALOGUE:
        (family,) = metric.collect()
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"# TYPE {name} {family.type}" in text
        if metric in (CACHE_EVENTS, GPU_MEMORY):  # these models have neither
            continue
        samples = re.findall(rf"^{name}(?:_bucket|_sum|_count)?\{{([^}}]*)\}} ", text, re.MULTILINE)
        assert samples, name
        for labels in samples:
            assert set(re.findall(r"(\w+)=", re.sub(r'"[^"]*"', "", labels))) - {"le"} == set(metric._labelnames)


def test_metrics_have_bounded_labels(http: httpx.Client) -> None:
    http.get("/no/such/path/12345")
    segment(http, model="made up name")
    text = http.get("/metrics").text
    assert 'pixano_requests_total{capability="segmentation",model="disk"' in text
    assert "12345" not in text
    assert "made up name" not in text
    assert 'pixano_runner_up{model="disk"} 1.0' in text
