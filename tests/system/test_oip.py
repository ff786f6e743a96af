"""The Open Inference Protocol, spoken with real servers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixano_inference.oip.request import BINARY_TYPE
from pixano_inference.oip.tensor import DTYPES
from pixano_inference.schemas import CompressedRLE
from tests.oip.bodies import Value, binary_body, json_body, png
from tests.servers import ROOT, Server

from .conftest import SECRET, PacedServer
from .paced import Diary, wait_for

pytestmark = pytest.mark.system

PAGE = ROOT / "docs" / "users" / "open-inference-protocol.md"
SCENE = ROOT / "docs" / "images" / "scene.png"
DATA_URI = b"data:image/png;base64," + base64.b64encode(png())
FRAMES = np.zeros((2, 20, 30, 3), np.uint8)

REQUESTS: dict[str, tuple[dict[str, Value], dict[str, Any], list[str]]] = {
    "disk": ({"image": [DATA_URI], "points": np.array([[[20, 30]]])}, {}, ["masks", "masks_rle", "scores"]),
    "boxes": ({"image": [DATA_URI], "classes": [b"a", b"b"]}, {"box_threshold": 0.1}, ["boxes", "scores", "classes"]),
    "still": (
        {
            "pixels": FRAMES,
            "objects_ids": np.array([7]),
            "frame_indexes": np.array([0]),
            "boxes": np.array([[1, 2, 9, 9]]),
        },
        {"propagate": True},
        ["objects_ids", "frame_indexes", "masks_rle"],
    ),
    "echo": (
        {"prompt": [b"hello there"], "images": [DATA_URI]},
        {"max_new_tokens": 8},
        ["text", "prompt_tokens", "completion_tokens", "generation_config"],
    ),
}


@pytest.fixture(scope="module")
def http(plain_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=plain_server.url, timeout=20) as client:
        yield client


def infer(http: httpx.Client, model: str, values: Mapping[str, Value], **fields: Any) -> httpx.Response:
    body, length = binary_body(values, **fields)
    headers = {"Content-Type": BINARY_TYPE, "Inference-Header-Content-Length": str(length)}
    return http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


def outputs(response: httpx.Response) -> dict[str, Any]:
    """Return the outputs of an answer that is JSON, as arrays of their shape."""
    assert response.status_code == 200, response.text
    return {
        tensor["name"]: np.array(tensor["data"], DTYPES.get(tensor["datatype"], object)).reshape(tensor["shape"])
        for tensor in response.json()["outputs"]
    }


def test_health_and_metadata(http: httpx.Client) -> None:
    assert http.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/disk", "/v2/models/disk/versions/1"):
        told = http.get(path).json()
        assert (told["name"], told["versions"]) == ("disk", ["1"])
        assert {"name": "points", "datatype": "INT32", "shape": [-1, -1, 2]}.items() <= told["inputs"][2].items()
        assert http.get(f"{path}/ready").json()["ready"] is True
    assert http.get("/v2/models/disk/", follow_redirects=False).headers["location"] == "/v2/models/disk"


@pytest.mark.parametrize("model", REQUESTS)
@pytest.mark.parametrize("path", ["infer", "versions/1/infer"])
def test_a_model_of_each_capability_answers(http: httpx.Client, model: str, path: str) -> None:
    values, parameters, names = REQUESTS[model]
    body = json_body(values, parameters=parameters, id="mine")
    response = http.post(f"/v2/models/{model}/{path}", content=body)
    assert list(outputs(response)) == names
    assert (response.json()["model_name"], response.json()["id"]) == (model, "mine")
    assert outputs(infer(http, model, values, parameters=parameters)).keys() == set(names)


def test_what_the_models_say_arrives(http: httpx.Client) -> None:
    found = {
        model: outputs(infer(http, model, values, parameters=more)) for model, (values, more, _) in REQUESTS.items()
    }
    assert found["disk"]["masks"].shape == (1, 1, 48, 64)
    assert found["disk"]["masks"][0, 0, 30, 20] == 1
    rle = CompressedRLE.model_validate(json.loads(found["disk"]["masks_rle"][0, 0]))
    np.testing.assert_array_equal(rle.to_mask(), found["disk"]["masks"][0, 0])
    assert found["boxes"]["boxes"].tolist() == [[16, 12, 48, 36]] * 2
    assert found["boxes"]["classes"].tolist() == ["a", "b"]
    assert found["still"]["frame_indexes"].tolist() == [0, 1]
    assert found["still"]["objects_ids"].tolist() == [7, 7]
    assert found["echo"]["text"].tolist() == ["hello there"]


def test_an_image_sent_before_can_be_named_by_its_digest(http: httpx.Client) -> None:
    image = png(51, 41)
    assert infer(http, "disk", {"image": [image]}).status_code == 200
    named = infer(http, "disk", {"image": [b"sha256:" + hashlib.sha256(image).hexdigest().encode()]})
    assert outputs(named)["masks"].shape == (1, 1, 41, 51)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/models/no-such-model", None, 404),
        ("GET", "/v2/models/disk/versions/2", None, 404),
        ("GET", "/v2/no/such/path", None, 404),
        ("GET", "/v2/models/disk/infer", None, 405),
        ("POST", "/v2/models/no-such-model/infer", b"{}", 404),
        ("POST", "/v2/models/disk/infer", b"{", 400),
        ("POST", "/v2/models/disk/infer", b"{}", 422),
        ("POST", "/v2/models/disk/infer", b'{"inputs": []}', 422),
        ("POST", "/v2/models/disk/infer", json_body({"image": [b"http://127.0.0.1:1/a.png"]}), 422),
        ("POST", "/v2/models/disk/infer", json_body({"image": [b"/etc/passwd"]}), 422),
        ("POST", "/v2/models/disk/infer", json_body({"image": [b"data:,"]}), 422),
        ("POST", "/v2/models/disk/infer", json_body({"image": [DATA_URI], "boxes": np.array([[9, 9, 1, 1]])}), 422),
        ("POST", "/v2/models/echo/infer", json_body({"prompt": [b"a"], "images": [DATA_URI]}), 422),
        ("POST", "/v2/models/odd/infer", json_body({"image": [DATA_URI], "classes": [b"raise"]}), 500),
        ("POST", "/v2/models/odd/infer", json_body({"image": [DATA_URI], "classes": [b"polite"]}), 504),
    ],
)
def test_a_failure_has_the_protocols_error_and_ours(
    http: httpx.Client, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = http.request(method, path, content=body)
    assert response.status_code == status, response.text
    told = response.json()
    assert isinstance(told["error"], str)
    assert told["error"]
    if isinstance(told["detail"], list):
        assert all(item["msg"] in told["error"] for item in told["detail"])
    else:
        assert told["error"] == told["detail"]
    assert "secret words" not in response.text


def test_other_paths_keep_their_shape_of_errors(http: httpx.Client) -> None:
    assert http.get("/no/such/path").json() == {"detail": "Not Found"}


def test_metrics_have_the_template_and_the_model(http: httpx.Client) -> None:
    infer(http, "disk", {"image": [DATA_URI]})
    text = http.get("/metrics").text
    route = 'model="disk",route="/v2/models/{model_name}/infer",status="200"'
    assert f'pixano_requests_total{{capability="segmentation",{route}}}' in text


def test_keys_are_asked_for_and_probes_need_none(keyed_server: Server) -> None:
    with httpx.Client(base_url=keyed_server.url, timeout=20) as http:
        refused = infer(http, "disk", {"image": [DATA_URI]})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json()["error"] == refused.json()["detail"]
        assert http.get("/v2/models/disk").status_code == 401
        assert http.get("/v2/health/ready").status_code == 200
        http.headers["Authorization"] = f"Bearer {SECRET}"
        assert infer(http, "disk", {"image": [DATA_URI]}).status_code == 200


@pytest.fixture
def at_runner(disk_runner: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=disk_runner.url, timeout=20) as client:
        yield client


def test_a_runner_tells_everybody_what_it_is(at_runner: httpx.Client, http: httpx.Client) -> None:
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/disk", "/v2/models/disk/ready"):
        assert at_runner.get(path).json() == http.get(path).json()
    for path in ("/v2/models/boxes", "/v2/models/disk/versions/2", "/v2/x", "/v2/models"):
        assert at_runner.get(path).status_code == 404
        assert at_runner.get(path).json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": "another"}, 401),
        ({"Authorization": f"Basic {SECRET}"}, 401),
        ({"X-API-Key": "é".encode()}, 401),
        ({"X-API-Key": SECRET}, 200),
        ({"Authorization": f"Bearer {SECRET}"}, 200),
        ({"X-Pixano-Runner-Secret": SECRET}, 200),
    ],
)
def test_a_runner_infers_for_who_knows_the_secret(
    at_runner: httpx.Client, headers: dict[str, str], status: int
) -> None:
    at_runner.headers.update(headers)
    assert infer(at_runner, "disk", {"image": [png()]}).status_code == status


@pytest.mark.parametrize(
    "reference", [b"http://127.0.0.1:1/a.png", b"/etc/passwd", b"file:///etc/passwd", b"sha256:" + b"0" * 64, b"a.png"]
)
def test_a_runner_opens_no_url_and_no_path(at_runner: httpx.Client, reference: bytes) -> None:
    at_runner.headers["X-API-Key"] = SECRET
    refused = infer(at_runner, "disk", {"image": [reference]})
    assert refused.status_code == 422
    assert "opens no URL or path" in refused.json()["error"]
    assert infer(at_runner, "disk", {"image": [DATA_URI]}).status_code == 200


def test_a_runner_keeps_the_gateways_bounds(at_runner: httpx.Client) -> None:
    at_runner.headers["X-API-Key"] = SECRET
    many = np.ones((1025, 1, 2), np.int32)
    refused = infer(at_runner, "disk", {"image": [png()], "points": many})
    assert refused.status_code == 422
    assert "allowed are 1024" in refused.json()["error"]


def test_a_runner_reads_no_other_body(at_runner: httpx.Client) -> None:
    for content_type in ("application/vnd.bentoml+pickle", BINARY_TYPE, "text/plain"):
        headers = {"X-API-Key": SECRET, "Content-Type": content_type}
        assert at_runner.post("/v2/models/disk/infer", content=b"\x80", headers=headers).status_code == 415


def test_no_mutated_body_makes_gateway_or_runner_fail(plain_server: Server, disk_runner: Server) -> None:
    values, _, names = REQUESTS["disk"]
    body, length = binary_body(values, outputs=[{"name": name, "parameters": {"binary_data": True}} for name in names])
    seen: set[int] = set()
    with (
        httpx.Client(base_url=plain_server.url, timeout=20) as gateway,
        httpx.Client(base_url=disk_runner.url, timeout=20, headers={"X-API-Key": SECRET}) as runner,
    ):

        @settings(max_examples=100)
        @given(st.data())
        def send(data: st.DataObject) -> None:
            mutated = bytearray(body)
            for _ in range(data.draw(st.integers(0, 3))):
                position = data.draw(st.integers(0, len(mutated)))
                mutated[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
            headers = {
                "Content-Type": BINARY_TYPE,
                "Inference-Header-Content-Length": str(data.draw(st.just(length) | st.integers(0, 2 * len(body)))),
            }
            for http in (gateway, runner):
                response = http.post("/v2/models/disk/infer", content=bytes(mutated), headers=headers)
                assert response.status_code in (200, 400, 404, 413, 422), response.text
                assert response.status_code == 200 or response.json()["error"]
                seen.add(response.status_code)

        send()
    assert {200, 400, 422} <= seen


def test_a_caller_that_goes_away_stops_the_model(paced: PacedServer, paced_runner: tuple[Server, Diary]) -> None:
    runner, runner_diary = paced_runner
    values: dict[str, Value] = {"prompt": [b" ".join([b"word"] * 1000)], "images": [png()]}
    for url, diary in ((paced.server.url, paced.diary), (runner.url, runner_diary)):
        with (
            httpx.Client(base_url=url, timeout=0.5, headers={"X-API-Key": SECRET}) as http,
            pytest.raises(httpx.ReadTimeout),
        ):
            infer(http, "words", values, parameters={"max_new_tokens": 1000})
        wait_for(partial(diary.events, "end"))
        assert 0 < len(diary.events("word")) < 500


def test_sam2_answers_as_over_the_http_api(demo_server: Server) -> None:
    with httpx.Client(base_url=demo_server.url, timeout=60) as http:
        point, scene = [[[95, 190]]], SCENE.read_bytes()
        request = {"model": "sam2-image", "points": point, "labels": [[1]]}
        direct = http.post(
            "/inference/segmentation/binary", files={"image": scene}, data={"metadata": json.dumps(request)}
        ).json()["data"]
        prompt = {"points": np.array(point), "labels": np.array([[1]])}
        wanted = [{"name": name} for name in ("masks_rle", "scores", "mask_logits")]
        with Image.open(SCENE) as image:
            pixels = np.asarray(image.convert("RGB"))
        for source in ({"image": [scene]}, {"pixels": pixels}):
            found = outputs(infer(http, "sam2-image", {**source, **prompt}, outputs=wanted))
            assert [json.loads(text) for text in found["masks_rle"][0]] == direct["masks"][0]
            np.testing.assert_allclose(found["scores"].ravel(), direct["scores"]["values"], rtol=1e-6)
        best = int(found["scores"][0].argmax())
        refined = infer(
            http,
            "sam2-image",
            {**source, **prompt, "mask_input": found["mask_logits"][:, best : best + 1]},
            parameters={"multimask_output": False},
        )
        assert outputs(refined)["masks"].shape == (1, 1, *pixels.shape[:2])


def test_the_commands_of_the_page(plain_server: Server, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    (commands,) = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    commands = commands.replace("http://127.0.0.1:7463", plain_server.url).replace("sam2-image", "disk")
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{commands}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert '"masks_rle"' in done.stdout
    assert '"model_name":"disk"' in done.stdout
