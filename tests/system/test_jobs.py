"""Tracking jobs of a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixano_inference.schemas import TrackingJob, TrackingOutput

from .conftest import PacedServer
from .jobs_api import JOBS, areas, poll, submit, until
from .paced import tracking, upload, wait_for

pytestmark = pytest.mark.system


def test_a_job_answers_what_the_request_would(paced: PacedServer) -> None:
    request = tracking(30, [2, 5])
    job = paced.http.post(JOBS, json=request).json()
    assert TrackingJob(**job).status == "queued"
    assert job["data"] is None
    assert job["processing_time"] == 0
    done = until(paced.http, job, "completed", "failed")
    assert done["status"] == "completed"
    assert done["detail"] is None
    direct = paced.http.post("/inference/tracking/", json=request).json()
    assert done["data"] == direct["data"]
    assert done["metadata"].items() >= {"model_name": "tracker", "frames_done": 30, "frames_total": 30}.items()
    assert done["metadata"]["capability"] == "tracking"
    assert 30 * 0.02 <= done["processing_time"] < 15


def test_queued_and_running_are_told_apart_and_a_running_job_tells_its_frames(paced: PacedServer) -> None:
    first, second = submit(paced.http, 150), submit(paced.http, 2)
    running = until(paced.http, first, "running")
    seen = wait_for(lambda: (job := poll(paced.http, first))["metadata"]["frames_done"] > 0 and job)
    assert seen["status"] == "running"
    assert 0 < seen["metadata"]["frames_done"] < 150
    assert seen["metadata"]["frames_total"] == 150
    assert seen["processing_time"] > 0
    waiting = poll(paced.http, second)
    assert waiting["status"] == "queued", "one runner works on one job at a time"
    assert waiting["processing_time"] == 0
    assert running["job_id"] == first["job_id"]
    assert until(paced.http, second, "completed")["processing_time"] < 2, "time in the queue is no work"


def test_a_job_that_waits_for_an_interactive_request_is_queued(paced: PacedServer) -> None:
    with paced.http.stream("POST", "/inference/tracking/stream", json=tracking(100)) as response:
        lines = response.iter_lines()
        next(lines)
        job = submit(paced.http, 2)
        time.sleep(0.3)
        assert poll(paced.http, job)["status"] == "queued"
    assert until(paced.http, job, "completed")["metadata"]["frames_done"] == 2


def test_delete_stops_the_model_and_frees_the_runner(paced: PacedServer) -> None:
    job = submit(paced.http, 500)
    wait_for(lambda: len(paced.diary.events("frame")) > 5)
    canceled = paced.http.delete(JOBS + job["job_id"]).json()
    made = len(paced.diary.events("frame"))
    assert canceled["status"] == "canceled"
    end = wait_for(lambda: paced.diary.events("end"), 5)[0]
    assert end["index"] <= made + 2, "the model stops within one frame"
    started = time.monotonic()
    assert until(paced.http, submit(paced.http, 2), "completed")["status"] == "completed"
    assert time.monotonic() - started < 5, "the runner is free for the next caller"
    assert poll(paced.http, job)["status"] == "canceled"
    assert paced.http.delete(JOBS + job["job_id"]).json()["status"] == "canceled"


def test_a_queued_job_that_is_canceled_never_begins(paced: PacedServer) -> None:
    first, second = submit(paced.http, 100), submit(paced.http, 7)
    assert paced.http.delete(JOBS + second["job_id"]).json()["status"] == "canceled"
    paced.http.delete(JOBS + first["job_id"])
    until(paced.http, submit(paced.http, 1), "completed")
    assert [event["frames"] for event in paced.diary.events("begin")] in ([100, 1], [1])


def test_a_finished_job_cannot_be_canceled(paced: PacedServer) -> None:
    job = submit(paced.http, 2)
    until(paced.http, job, "completed")
    kept = paced.http.delete(JOBS + job["job_id"]).json()
    assert kept["status"] == "completed"
    assert len(kept["data"]["masks"]) == 2


def test_an_unknown_job_is_a_404(paced: PacedServer) -> None:
    for answer in (paced.http.get(JOBS + "nothing"), paced.http.delete(JOBS + "nothing")):
        assert answer.status_code == 404
        assert answer.json() == {"detail": "Job 'nothing' not found"}


def test_a_wrong_request_is_refused_at_once(paced: PacedServer) -> None:
    def status(**fields: Any) -> int:
        return paced.http.post(JOBS, json=tracking(2, **fields)).status_code

    assert status(model="nothing") == 404
    assert status(model="words") == 400
    assert status(frame_indexes=[7]) == 422
    assert paced.http.post(JOBS + "binary", files=upload(1)[1:]).status_code == 400
    assert paced.http.post(JOBS + "binary", files=upload(1)[:1]).status_code == 422
    broken = [*upload(1), ("frames", ("2.png", b"no image", "image/png"))]
    assert paced.http.post(JOBS + "binary", files=broken).status_code == 422
    unprompted = [("metadata", ("m", json.dumps({"model": "tracker"}).encode(), "application/json")), *upload(1)[1:]]
    assert paced.http.post(JOBS + "binary", files=unprompted).status_code == 422


def test_what_the_model_refuses_or_breaks_on_is_a_failed_job(paced: PacedServer) -> None:
    refused = until(paced.http, submit(paced.http, 3, [22]), "failed")
    assert refused["detail"] == "object 22 cannot be followed"
    assert refused["metadata"]["error_status"] == 422
    job = submit(paced.http, 5, [13])
    broken = until(paced.http, job, "failed")
    assert broken["metadata"]["error_status"] == 500
    assert "secret" not in json.dumps(broken)
    assert f"[tracker] [{job['job_id']}] model tracker failed" in paced.server.text()
    assert broken["data"] is None


def test_a_job_whose_runner_dies_is_run_again(paced: PacedServer) -> None:
    job = submit(paced.http, 60)
    wait_for(lambda: len(paced.diary.events("frame")) > 3)
    paced.server.kill_runner("tracker")
    done = until(paced.http, job, "completed", "failed", seconds=40)
    assert done["status"] == "completed", done["detail"]
    assert done["metadata"]["attempts"] == 2
    assert areas(done["data"]) == list(range(1, 61)), "nothing of the first attempt is left"


def test_a_job_that_kills_its_runner_twice_fails(paced: PacedServer) -> None:
    job = submit(paced.http, 10, [66])
    failed = until(paced.http, job, "completed", "failed", seconds=60)
    assert failed["status"] == "failed"
    assert "ended 2 times" in failed["detail"]
    wait_for(lambda: paced.http.get("/ready").status_code == 200, 40)
    assert until(paced.http, submit(paced.http, 2), "completed")["status"] == "completed"


def test_jobs_are_counted(paced: PacedServer) -> None:
    until(paced.http, submit(paced.http, 1), "completed")
    wait_for(lambda: _metric(paced.http, "completed") >= 1, 5)


def _metric(http: httpx.Client, state: str) -> float:
    for line in http.get("/metrics").text.splitlines():
        if line.startswith(f'pixano_jobs{{state="{state}"}}'):
            return float(line.split()[-1])
    return 0.0


def test_memory_does_not_grow_with_the_frames_of_a_job(paced: PacedServer) -> None:
    processes = [paced.server.gateway_pid(), *paced.server.runner_pids("tracker")]
    _job_of_upload(paced.http, 100, padding=100_000)
    before = [_peak_memory(pid) for pid in processes]
    done = _job_of_upload(paced.http, 1500, padding=100_000)
    assert done["metadata"]["frames_done"] == 1500
    grown = [_peak_memory(pid) - most for pid, most in zip(processes, before, strict=True)]
    assert max(grown) < 40 * 2**20, "150 MB of frames went through both"


def _peak_memory(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


@pytest.mark.parametrize("send", ["job", "request"])
def test_uploads_of_more_than_a_thousand_frames_keep_their_order(paced: PacedServer, send: str) -> None:
    frames = 1200
    answers: dict[str, Callable[[], dict[str, Any]]] = {
        "job": lambda: _job_of_upload(paced.http, frames),
        "request": lambda: dict(paced.http.post("/inference/tracking/binary", files=upload(frames, [1000])).json()),
    }
    output = TrackingOutput(**answers[send]()["data"])
    assert output.frame_indexes == list(range(frames))
    assert [mask.area() for mask in output.masks] == list(range(1000, 1000 + frames))


def _job_of_upload(http: httpx.Client, frames: int, padding: int = 0) -> dict[str, Any]:
    answer = http.post(JOBS + "binary", files=upload(frames, [1000], padding))
    assert answer.status_code == 200, answer.text
    return until(http, answer.json(), "completed", "failed", seconds=60)
