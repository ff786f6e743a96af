"""Requests that the tests send, and what every refusal has in common."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from PIL import Image

from pixano_inference.schemas import CompressedRLE

INNER_WORDS = ("/home/bentoml", "/app/", "/tmp", "/etc/", "Traceback", ".py", "127.0.0.", "secret")
"""What no answer may hold: paths, addresses, a model's words."""


def png(width: int = 32, height: int = 24, shade: int = 0) -> bytes:
    """Return an image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, shade // 256 % 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    """Return bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def disk(http: httpx.Client, number: int = 0) -> httpx.Response:
    """Click on the ``number``-th image; the disk model answers."""
    x, y = number % 30, number % 20
    body = {"model": "disk", "image": data_uri(png(shade=number)), "points": [[[x, y]]], "labels": [[1]]}
    return http.post("/inference/segmentation/", json=body)


def is_the_disk(answer: httpx.Response, number: int) -> bool:
    """Whether an answer is the mask of the ``number``-th click and of no other."""
    mask = CompressedRLE(**answer.json()["data"]["masks"][0][0]).to_mask()
    rows, columns = np.ogrid[:24, :32]
    return bool(np.array_equal(mask, (columns - number % 30) ** 2 + (rows - number % 20) ** 2 <= 36))


def odd(http: httpx.Client, what: str) -> httpx.Response:
    """Have the odd model do something."""
    return http.post("/inference/detection/", json={"model": "odd", "image": data_uri(png()), "classes": what})


def states(http: httpx.Client) -> dict[str, str]:
    """Return the state of each model by ``/ready``."""
    return {model["name"]: model["state"] for model in http.get("/ready").json()["models"]}


def replicas(http: httpx.Client) -> int:
    """Return how many runners of the disk model the gateway counts."""
    text = http.get("/metrics").text
    return int(float(re.findall(r'^pixano_runner_up\{model="disk"\} (\S+)', text, re.MULTILINE)[0]))


def assert_refused(answer: httpx.Response, *statuses: int) -> None:
    """Assert that an answer is one of the refusals, in the contract's shape and without a word about the inside."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    detail: Any = answer.json()["detail"]
    assert detail
    for words in INNER_WORDS:
        assert words not in answer.text, answer.text[:300]


class Load:
    """Callers that click without pause; every answer is looked at."""

    def __init__(self) -> None:
        self.answered = 0
        self.refused: list[httpx.Response] = []
        self.broken: list[str] = []
        self.wrong: list[int] = []

    def statuses(self) -> list[int]:
        """Return the statuses of the answers that were no mask."""
        return [answer.status_code for answer in self.refused]


@contextmanager
def load(url: str, callers: int = 3) -> Iterator[Load]:
    """Click on many images from several threads for as long as the block lasts."""
    seen, done, lock = Load(), threading.Event(), threading.Lock()

    def call(first: int) -> None:
        number = first
        with httpx.Client(base_url=url, timeout=60) as http:
            while not done.is_set():
                number += callers
                try:
                    answer = disk(http, number)
                except httpx.TransportError as error:
                    with lock:
                        seen.broken.append(repr(error))
                    done.wait(0.05)
                    continue
                with lock:
                    if answer.status_code != 200:
                        seen.refused.append(answer)
                    elif is_the_disk(answer, number):
                        seen.answered += 1
                    else:
                        seen.wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()
