"""Answers while they are made, from a real server."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from pixano_inference.schemas import CompressedRLE, FrameMasks

from .conftest import PacedServer
from .paced import data_uri, frame, tracking, upload, wait_for

pytestmark = pytest.mark.system


def lines(http: httpx.Client, path: str, **arguments: Any) -> list[dict[str, Any]]:
    with http.stream("POST", path, **arguments) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.iter_lines()]


def vlm(prompt: str) -> dict[str, Any]:
    return {"model": "words", "prompt": prompt, "images": [data_uri(frame(0))], "max_new_tokens": 50}


def test_each_frame_is_a_line_and_the_last_line_is_the_envelope(paced: PacedServer) -> None:
    *frames, last = lines(paced.http, "/inference/tracking/stream", json=tracking(5, [3, 4]))
    assert [FrameMasks(**line).frame_index for line in frames] == [0, 1, 2, 3, 4]
    assert [line["frames_done"] for line in frames] == [1, 2, 3, 4, 5]
    assert {line["frames_total"] for line in frames} == {5}
    assert [CompressedRLE(**mask).area() for mask in frames[4]["masks"]] == [3 + 4, 4 + 4]
    assert last["done"] is True
    assert last["metadata"]["model_name"] == "tracker"
    assert 0.1 <= last["processing_time"] < 10
    assert last["id"]
    assert "data" not in last


def test_the_first_frame_comes_before_the_last_is_made(paced: PacedServer) -> None:
    with paced.http.stream("POST", "/inference/tracking/stream", json=tracking(40)) as response:
        first = json.loads(next(response.iter_lines()))
        made = len(paced.diary.events("frame"))
    assert first["frame_index"] == 0
    assert made < 40


def test_uploaded_frames_stream_too(paced: PacedServer) -> None:
    *frames, last = lines(paced.http, "/inference/tracking/stream/binary", files=upload(12))
    assert [CompressedRLE(**line["masks"][0]).area() for line in frames] == list(range(1, 13))
    assert last["done"] is True


def test_a_failure_before_the_first_frame_keeps_its_status(paced: PacedServer) -> None:
    refused = paced.http.post("/inference/tracking/stream", json=tracking(5, [22]))
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["msg"] == "object 22 cannot be followed"
    assert paced.http.post("/inference/tracking/stream", json=tracking(2, model="words")).status_code == 400
    assert paced.http.post("/inference/tracking/stream", json=tracking(2, model="none")).status_code == 404
    assert paced.http.post("/inference/vlm/stream", json=vlm("refuse me")).status_code == 422


def test_a_failure_after_the_first_frame_is_the_last_line(paced: PacedServer) -> None:
    *frames, last = lines(paced.http, "/inference/tracking/stream", json=tracking(5, [13]))
    assert len(frames) == 2
    assert last["error"]["status"] == 500
    assert "failed" in last["error"]["detail"]
    assert "secret" not in json.dumps(last)


def test_a_caller_that_goes_away_stops_the_tracker_within_a_frame(paced: PacedServer) -> None:
    with paced.http.stream("POST", "/inference/tracking/stream", json=tracking(400)) as response:
        next(response.iter_lines())
    seen = len(paced.diary.events("frame"))
    wait_for(lambda: paced.diary.events("end"), seconds=5)
    # the runner makes up to eight frames ahead of the reader; what matters is that it does not go on
    assert paced.diary.events("end")[0]["index"] <= seen + 20
    time.sleep(0.2)
    assert len(paced.diary.events("frame")) == paced.diary.events("end")[0]["index"] + 1


def test_words_are_lines_and_the_last_line_holds_the_whole_answer(paced: PacedServer) -> None:
    *words, last = lines(paced.http, "/inference/vlm/stream", json=vlm("one two three"))
    assert [line["text"] for line in words] == ["one ", "two ", "three "]
    assert last["done"] is True
    assert last["data"]["generated_text"] == "one two three"
    assert last["data"]["usage"]["completion_tokens"] == 3
    assert last["metadata"]["capability"] == "vlm"


def test_a_vlm_that_fails_midway_ends_with_an_error_line(paced: PacedServer) -> None:
    *words, last = lines(paced.http, "/inference/vlm/stream", json=vlm("one boom three"))
    assert [line["text"] for line in words] == ["one "]
    assert last["error"]["status"] == 500


def test_a_caller_that_goes_away_stops_the_vlm(paced: PacedServer) -> None:
    request = vlm(" ".join(["word"] * 1000)) | {"max_new_tokens": 1000}
    with paced.http.stream("POST", "/inference/vlm/stream", json=request) as response:
        next(response.iter_lines())
    wait_for(lambda: paced.diary.events("end"), seconds=5)
    assert len(paced.diary.events("word")) < 100


def test_the_openapi_document_knows_the_streams(paced: PacedServer) -> None:
    paths = paced.http.get("/openapi.json").json()["paths"]
    assert "application/x-ndjson" in paths["/inference/vlm/stream"]["post"]["responses"]["200"]["content"]
    assert "multipart/form-data" in paths["/inference/tracking/stream/binary"]["post"]["requestBody"]["content"]
