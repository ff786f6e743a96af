"""Callers that send the next click when the last one is answered, and count every answer."""

from __future__ import annotations

import base64
import io
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
from PIL import Image


def image(number: int) -> str:
    """Return a small image that no other number has, as a data URI."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (number % 256, number // 256 % 256, 30)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_THINK_S = 0.02
"""Between an answer and the next click of its caller: leaves the machine some of its time to start processes."""


@dataclass(frozen=True)
class Answer:
    """One answer: what came, from which replica, when (monotonic seconds), how long it took, whether it was the last
    on its connection.
    """

    status: int
    replica: str | None
    image: int
    at: float
    seconds: float
    detail: str
    closed: bool = True


class Load:
    """Clicks from several callers at once for as long as the context lasts.

    Args:
        gateways: Tells the gateways to be asked now; the callers take them in turn.
        stay: Whether a caller asks one gateway for as long as its connection holds, as behind the address of a Service.
        callers: Callers, each with one click at a time.
        images: Numbers of the images, which the callers take in turn.
    """

    def __init__(
        self,
        gateways: Callable[[], Sequence[str]],
        callers: int = 6,
        images: Sequence[int] = tuple(range(24)),
        stay: bool = False,
    ) -> None:
        self.answers: list[Answer] = []
        self._gateways = gateways
        self._turns = itertools.count()
        self._images = itertools.cycle([(number, image(number)) for number in images])
        self._stay = stay
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._call, name=f"caller {n}") for n in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        url: str | None = None
        with httpx.Client(timeout=40, verify=False) as http:
            while not self._done.is_set():
                with self._lock:
                    if url is None:
                        gateways = self._gateways()
                        url = gateways[next(self._turns) % len(gateways)]
                    number, data = next(self._images)
                answer = click(http, url, number, data)
                if answer.closed or not self._stay:
                    url = None
                self.answers.append(answer)
                time.sleep(_THINK_S)

    @property
    def failed(self) -> list[Answer]:
        """Answers that are no 200."""
        return [answer for answer in self.answers if answer.status != 200]

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to clicks that were sent after a moment."""
        return [answer for answer in list(self.answers) if answer.at - answer.seconds >= moment]

    def by_replica(self, since: float = 0.0) -> Counter[str]:
        """Count good answers by the replica that gave them."""
        return Counter(answer.replica for answer in self.since(since) if answer.replica)


def click(http: httpx.Client, url: str, number: int, data: str | None = None) -> Answer:
    """Click on an image once; a connection that fails is status 0."""
    body = {"model": "clicks", "image": data or image(number), "points": [[[0, 0]]], "labels": [[1]]}
    started = time.monotonic()
    try:
        response = http.post(f"{url}/inference/segmentation/", json=body)
    except httpx.TransportError as error:
        now = time.monotonic()
        return Answer(0, None, number, now, now - started, repr(error))
    now = time.monotonic()
    served_by = response.json()["metadata"]["served_by"] if response.status_code == 200 else None
    closed = response.headers.get("connection") == "close"
    return Answer(response.status_code, served_by, number, now, now - started, response.text[:300], closed)
