"""What the Pixano app's HTTP provider sends, answered by the demo server and held to the truth.

The app sends uploads wherever it has bytes: one mask per click, tracks as jobs with keyframes and an interval.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.servers import Server
from training import scenes
from training.detector_evaluation import NAMES, held_out_scenes, mean_average_precision
from training.vlm_questions import held_out

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def http(demo_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo_server.url, timeout=120) as client:
        yield client


def png(image: npt.NDArray[np.uint8] | Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(image: npt.NDArray[np.uint8] | Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def overlap(mask: dict[str, Any], truth: npt.NDArray[np.bool_]) -> float:
    found = CompressedRLE(**mask).to_mask().astype(bool)
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def test_one_mask_per_click(http: httpx.Client) -> None:
    found = []
    for seed in range(900_100, 900_112):
        rng = np.random.default_rng(seed)
        scene = scenes.draw_scene(seed)
        truth = scene.mask(int(rng.choice(scene.objects)))
        metadata = {
            "model": "sam2-image",
            "points": [[scenes.random_click(rng, truth)]],
            "labels": [[1]],
            "multimask_output": False,
            "num_multimask_outputs": 1,
            "return_image_embedding": False,
        }
        files = {"image": ("image", png(scene.image), "application/octet-stream")}
        parts = {"metadata": ("metadata", json.dumps(metadata).encode(), "application/json"), **files}
        answer = http.post("/inference/segmentation/binary", files=parts)
        assert answer.status_code == 200, answer.text
        assert [len(masks) for masks in answer.json()["data"]["masks"]] == [1]
        found.append(overlap(answer.json()["data"]["masks"][0][0], truth))
    assert np.mean(found) >= 0.85, found


def test_a_track_as_a_job_with_keyframes_and_an_interval(http: httpx.Client) -> None:
    found = []
    for seed in (900_200, 900_201):
        clip = scenes.draw_clip(seed, frames=12)
        label = clip.objects[0]
        x, y = scenes.random_click(np.random.default_rng(seed), clip.labels[0] == label)
        metadata = {
            "model": "sam2-video",
            "objects_ids": [label],
            "frame_indexes": [0],
            "keyframes": [{"frame_index": 0, "points": [{"x": x, "y": y, "label": 1}]}],
            "propagate": True,
            "interval": {"start_frame": 0, "end_frame": 9, "direction": "forward"},
        }
        files = [("frames", (f"{index}.png", png(frame), "image/png")) for index, frame in enumerate(clip.frames)]
        job = http.post("/inference/tracking/jobs/binary", files=files, data={"metadata": json.dumps(metadata)}).json()
        give_up = time.monotonic() + 100
        while job["status"] in ("queued", "running"):
            assert time.monotonic() < give_up, job
            time.sleep(0.2)
            job = http.get(f"/inference/tracking/jobs/{job['job_id']}").json()
        assert job["status"] == "completed", job["detail"]
        assert job["data"]["frame_indexes"] == list(range(10))
        assert job["data"]["objects_ids"] == [label] * 10
        for index, mask in enumerate(job["data"]["masks"]):
            truth = clip.labels[index] == label
            if truth.any():
                found.append(overlap(mask, truth))
    assert np.mean(found) >= 0.75, np.mean(found)


def test_names_become_boxes(http: httpx.Client) -> None:
    drawn = held_out_scenes(24)
    detections = []
    for scene in drawn:
        body = {"model": "detector", "image": data_uri(scene.image), "classes": NAMES, "box_threshold": 0.05}
        data = http.post("/inference/detection/", json={**body, "text_threshold": 0.05}).json()["data"]
        boxes = [[float(side) for side in box] for box in data["boxes"]]
        detections.append(list(zip(data["classes"], data["scores"], boxes, strict=True)))
    assert mean_average_precision(drawn, detections)["map50"] >= 0.85


def test_questions_are_answered(http: httpx.Client) -> None:
    asked = held_out(40)
    right = 0
    for image, question in asked:
        body = {"model": "vlm", "prompt": question.text, "images": [data_uri(image)], "max_new_tokens": 8}
        data = http.post("/inference/vlm/", json={**body, "temperature": 0.0}).json()["data"]
        assert data["usage"]["total_tokens"] == data["usage"]["prompt_tokens"] + data["usage"]["completion_tokens"]
        right += data["generated_text"].strip().lower() == question.answer
    assert right >= 34, f"{right} of {len(asked)}"
