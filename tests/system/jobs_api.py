"""The job endpoints as the tests call them."""

from __future__ import annotations

from typing import Any

import httpx

from pixano_inference.schemas import CompressedRLE

from .paced import tracking, wait_for

JOBS = "/inference/tracking/jobs/"


def submit(http: httpx.Client, *args: Any, **fields: Any) -> dict[str, Any]:
    answer = http.post(JOBS, json=tracking(*args, **fields))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(http: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    answer = http.get(JOBS + job["job_id"])
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def until(http: httpx.Client, job: dict[str, Any], *statuses: str, seconds: float = 30) -> dict[str, Any]:
    """Return the job once it is in one of these states."""

    def reached() -> dict[str, Any] | None:
        try:
            seen = poll(http, job)
        except httpx.TransportError:  # the gateway is being restarted
            return None
        return seen if seen["status"] in statuses else None

    seen: dict[str, Any] = wait_for(reached, seconds)
    return seen


def areas(data: dict[str, Any]) -> list[int]:
    return [CompressedRLE(**mask).area() for mask in data["masks"]]
