"""Twelve megapixels for a model that needs one."""

from __future__ import annotations

from benchmarks import bodies, load, servers
from benchmarks.pictures import TWELVE_MEGAPIXELS
from benchmarks.results import Bar, Outcome, Result, Setup, median

from .small import PATH, measure


def run(setup: Setup) -> Outcome:
    """Send a 12-megapixel JPEG as data URI, and then by its digest."""
    requests, repeats = setup.count(16, 4), setup.count(3, 1)
    [uri] = bodies.pictures(TWELVE_MEGAPIXELS, 1)
    body = bodies.write(setup.folder, bodies.segmentation("at-1024", uri))
    latencies: dict[str, list[float]] = {"server": [], "yardstick": []}
    costs: dict[str, list[float]] = {"server": [], "yardstick": []}
    with servers.server(["at-1024"]) as ours, servers.yardstick() as yardstick:
        for _ in range(repeats):
            for name, served in (("server", ours), ("yardstick", yardstick)):
                measured, seconds = measure(served, load.Load(served.url + PATH, body, 1, requests, warm_up=2))
                latencies[name].append(measured.quantile(0.5) * 1000)
                costs[name].append(seconds * 1000)
        digest = bodies.write(setup.folder, bodies.segmentation("at-1024", bodies.digest_of(uri)))
        by_digest, _ = measure(ours, load.Load(ours.url + PATH, digest, 1, requests, warm_up=2))
    wait = {name: median(values) for name, values in latencies.items()}
    cost = {name: median(values) for name, values in costs.items()}
    case = "12-megapixel JPEG as data URI, model at 1024 px"
    return Outcome(
        [
            Result(case, "median latency, ms", wait["server"], wait["yardstick"], bar=Bar(0.6)),
            Result(case, "CPU of all processes, ms per request", cost["server"], cost["yardstick"]),
            Result(
                "the same named by its digest", "median latency, ms", by_digest.quantile(0.5) * 1000,
                wait["server"], "as data URI",
            ),
        ]
    )  # fmt: skip
