"""One object followed through a video with SAM2.1's sizes and random weights at 1024 px."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import httpx
import orjson

from benchmarks import bodies, servers
from benchmarks.pictures import SMALL
from benchmarks.results import Bar, Outcome, Result, Setup

PATH = "/inference/tracking/"


def run(setup: Setup) -> Outcome:
    """Track through the server and with the same model in this program; then again on the same video."""
    results: list[Result] = []
    for size in ("tiny",) if setup.device == "cpu" else ("base-plus", "large"):
        results += _measure(setup, size)
    return Outcome(results)


def _measure(setup: Setup, size: str) -> list[Result]:
    gpu = setup.device == "cuda"
    weights = setup.folder / f"sam2-video-{size}"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.sam2_weights", size, str(weights), "video"], check=True, cwd=servers.ROOT
    )
    params = {"path": str(weights), "device": setup.device, "torch_dtype": "auto", "compile": gpu, "vos_optimized": gpu}
    frames = setup.count(100, 10) if gpu else setup.count(4, 2)
    # the first video is for warming up
    videos = [
        orjson.dumps(
            {
                "model": "sam2-video",
                "video": bodies.pictures(SMALL, frames, first=frames * video),
                "objects_ids": [1],
                "frame_indexes": [0],
                "boxes": [[200, 150, 400, 350]],
            }
        )
        for video in range(2)
    ]
    files = bodies.write(setup.folder, *videos)
    in_process = _in_process(params, files)
    environment = {"PIXANO_BENCHMARK_SAM2": json.dumps({"params": params, "num_gpus": int(gpu)}), "PIXANO_STRICT": "1"}
    with servers.server(["sam2-video"], environment) as ours, httpx.Client(base_url=ours.url, timeout=600) as client:
        _, first, again = (_track(client, body) for body in (*videos, videos[-1]))
    name, per_second = f"SAM2.1 hiera-{size}, random weights, {setup.device}, {frames} frames", frames / first
    results = [
        Result(
            name, "frames per second", per_second, frames / in_process, "same model in one process",
            bar=Bar(0.9, at_least=True),
        ),
        Result(name, "seconds of another request on the same video", again, first, "the first request"),
    ]  # fmt: skip
    if size == "base-plus":
        results.append(Result(name, "frames per second", per_second, bar=Bar(64, at_least=True)))
    return results


def _track(client: httpx.Client, body: bytes) -> float:
    began = time.perf_counter()
    client.post(PATH, content=body, headers={"Content-Type": "application/json"}).raise_for_status()
    return time.perf_counter() - began


def _in_process(params: dict[str, object], files: list[str]) -> float:
    command = [sys.executable, "-m", "benchmarks.in_process", json.dumps(params), *files]
    done = subprocess.run(command, check=True, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])
