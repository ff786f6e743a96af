"""Embeddings of SAM2's size out and in: 4.2 million floats."""

from __future__ import annotations

import time

import httpx
import msgspec
import numpy as np
from pydantic import BaseModel

from benchmarks import bodies, load, models, servers
from benchmarks.pictures import SMALL, data_uri, picture
from benchmarks.results import Bar, Outcome, Result, Setup, median
from pixano_inference.protocol.messages import MEDIA_TYPE

from .small import PATH, measure


class _Array(BaseModel):
    values: list[float]
    shape: list[int]


def run(setup: Setup) -> Outcome:
    """Ask for embeddings, as JSON and as msgpack, and send them back."""
    repeats = setup.count(5, 2)
    uri = data_uri(picture(*SMALL))
    wanted = bodies.write(setup.folder, bodies.segmentation("embeddings", uri, return_image_embedding=True))
    embedding, features = models.embeddings()
    packed = [{"shape": list(a.shape), "values": a.astype("<f4").tobytes()} for a in (embedding, *features)]
    as_list = [{"shape": list(a.shape), "values": a.ravel()} for a in (embedding, *features)]
    fields = {"model": "embeddings", "image": uri, "boxes": bodies.BOX}
    sent_packed = msgspec.msgpack.encode(
        {**fields, "image_embedding": packed[0], "high_resolution_features": packed[1:]}
    )
    sent_json = bodies.segmentation("embeddings", uri, image_embedding=as_list[0], high_resolution_features=as_list[1:])
    binary = {"Content-Type": "application/json", "Accept": MEDIA_TYPE}
    with servers.server(["embeddings"]) as ours, servers.yardstick() as yardstick:
        plain, _ = measure(yardstick, load.Load(yardstick.url + PATH, wanted, 1, repeats, warm_up=1))
        json, _ = measure(ours, load.Load(ours.url + PATH, wanted, 1, repeats, warm_up=1))
        msgpack, _ = measure(ours, load.Load(ours.url + PATH, wanted, 1, repeats, headers=binary, warm_up=1))
        into_json = bodies.write(setup.folder, sent_json)
        into_packed = bodies.write(setup.folder, sent_packed)
        json_in, _ = measure(ours, load.Load(ours.url + PATH, into_json, 1, repeats, warm_up=1))
        msgpack_in, _ = measure(
            ours, load.Load(ours.url + PATH, into_packed, 1, repeats, headers={"Content-Type": MEDIA_TYPE}, warm_up=1)
        )
        plain_in, _ = measure(yardstick, load.Load(yardstick.url + PATH, into_json, 1, repeats, warm_up=1))
        parsed = [_parse_json(yardstick.url, wanted[0]), _parse_msgpack(ours.url, wanted[0])]
    seconds = [m.quantile(0.5) for m in (json, msgpack, plain, json_in, msgpack_in, plain_in)]
    case, into = "embeddings out, 4.2 million floats", "embeddings in, 4.2 million floats"
    return Outcome(
        [
            Result(case, "JSON, MB", json.answer_bytes / 1e6, plain.answer_bytes / 1e6, bar=Bar(0.55)),
            Result(case, "JSON, seconds", seconds[0], seconds[2], bar=Bar(0.4)),
            Result(case, "msgpack, MB", msgpack.answer_bytes / 1e6, bar=Bar(17.0)),
            Result(case, "msgpack, seconds", seconds[1], seconds[2], bar=Bar(0.1)),
            Result(case, "msgpack against lists, parsed by the caller too, seconds", parsed[1], parsed[0]),
            Result(into, "JSON, seconds", seconds[3], seconds[5]),
            Result(into, "msgpack, seconds", seconds[4], seconds[5]),
        ]
    )


def _timed_answers(url: str, body: str, accept: str) -> tuple[httpx.Response, float]:
    with open(body, "rb") as file:
        content = file.read()
    headers = {"Content-Type": "application/json", "Accept": accept, "Accept-Encoding": "identity"}
    began = time.perf_counter()
    response = httpx.post(url + PATH, content=content, headers=headers, timeout=120).raise_for_status()
    return response, began


def _parse_json(url: str, body: str) -> float:
    times = []
    for _ in range(2):
        response, began = _timed_answers(url, body, "application/json")
        np.array(_Array(**response.json()["data"]["image_embedding"]).values, dtype=np.float32)
        times.append(time.perf_counter() - began)
    return median(times)


def _parse_msgpack(url: str, body: str) -> float:
    times = []
    for _ in range(2):
        response, began = _timed_answers(url, body, MEDIA_TYPE)
        np.frombuffer(msgspec.msgpack.decode(response.content)["data"]["image_embedding"]["values"], dtype="<f4")
        times.append(time.perf_counter() - began)
    return median(times)
