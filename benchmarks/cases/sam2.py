"""First and second click on an image, with SAM2.1's sizes and random weights at 1024 px."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable

import httpx

from benchmarks import bodies, servers
from benchmarks.pictures import MEGAPIXEL, TWELVE_MEGAPIXELS
from benchmarks.results import Bar, Outcome, Result, Setup, median

from .small import PATH


def run(setup: Setup) -> Outcome:
    """Click on new images, and again on the same ones."""
    size = "tiny" if setup.device == "cpu" else "large"
    weights = setup.folder / f"sam2-{size}"
    subprocess.run([sys.executable, "-m", "benchmarks.sam2_weights", size, str(weights)], check=True, cwd=servers.ROOT)
    params = {"path": str(weights), "device": setup.device, "torch_dtype": "auto", "compile": setup.device == "cuda"}
    environment = {
        "PIXANO_BENCHMARK_SAM2": json.dumps({"params": params, "num_gpus": int(setup.device == "cuda")}),
        "PIXANO_STRICT": "1",
    }
    images = setup.count(5, 2) if setup.device == "cpu" else setup.count(30, 5)
    again = setup.count(10, 4) if setup.device == "cpu" else setup.count(200, 10)
    name = f"SAM2.1 hiera-{size}, random weights, {setup.device}"
    with servers.server(["sam2"], environment) as ours, httpx.Client(base_url=ours.url, timeout=300) as client:
        uris = bodies.pictures(MEGAPIXEL, images + 1)
        _clicks(client, [uris[0]])
        first = _clicks(client, uris[1:])
        second = _clicks(client, [uris[-1]] * again, moved=True)
        by_digest = _clicks(client, [bodies.digest_of(uris[-1])] * again, moved=True)
        [large] = bodies.pictures(TWELVE_MEGAPIXELS, 1)
        first_large = _clicks(client, [large])
        second_large = _clicks(client, [bodies.digest_of(large)] * again, moved=True)
    gpu = setup.device == "cuda"
    results = [
        Result(name, "first click on 1 megapixel, median ms", median(first) * 1000, bar=Bar(60) if gpu else None),
        Result(
            name, "second click, data URI sent again, median ms", median(second) * 1000,
            median(first) * 1000, "first click", bar=None if gpu else Bar(1 / 15),
        ),
        Result(
            name, "second click, named by digest, median ms", median(by_digest) * 1000, median(first) * 1000,
            "first click", bar=None if gpu else Bar(1 / 15),
        ),
        Result(
            name, "second click on 12 megapixels, named by digest, median ms", median(second_large) * 1000,
            first_large[0] * 1000, "its first click", bar=Bar(1 / 8),
        ),
    ]  # fmt: skip
    if gpu:
        ordered = sorted(by_digest)
        results += [
            Result(name, "second click, named by digest, median ms", median(by_digest) * 1000, bar=Bar(15)),
            Result(
                name, "second click, named by digest, 99th percentile ms", ordered[int(0.99 * len(ordered))] * 1000,
                bar=Bar(40),
            ),
        ]  # fmt: skip
    else:
        results.append(Result("SAM2.1 hiera-large on a GPU", "first and second click", None, note=NO_GPU))
    return Outcome(results)


NO_GPU = "not run: there is no GPU in this machine (python -m benchmarks --device cuda)"


def _clicks(client: httpx.Client, images: Iterable[str], *, moved: bool = False) -> list[float]:
    times = []
    for index, image in enumerate(images):
        x = 300 + (10 * index if moved else 0)
        body = {"model": "sam2", "image": image, "points": [[[x, 300]]], "labels": [[1]]}
        content = json.dumps(body)
        began = time.perf_counter()
        client.post(PATH, content=content, headers={"Content-Type": "application/json"}).raise_for_status()
        times.append(time.perf_counter() - began)
    return times
