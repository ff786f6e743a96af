"""A 640 × 480 JPEG in, one RLE out: what a request costs beside its model."""

from __future__ import annotations

from benchmarks import bodies, load, servers
from benchmarks.pictures import SMALL, picture
from benchmarks.results import Bar, Outcome, Result, Series, Setup, median

CONCURRENCY = (1, 4, 16, 64)
PATH = "/inference/segmentation/"


def measure(served: servers.Served, what: load.Load) -> tuple[load.Measured, float]:
    """Send a load; return what came back and the CPU seconds per request of all the server's processes."""
    generator = load.Generator(what)
    before = served.cpu_seconds()
    generator.go()
    measured = generator.result()
    return measured, (served.cpu_seconds() - before) / what.requests


def run(setup: Setup) -> Outcome:
    """Measure CPU, throughput and latency at each concurrency, and other ways to send the same picture."""
    requests, repeats = setup.count(400, 60), setup.count(7, 1)
    uris = bodies.pictures(SMALL, 4)
    outcome = Outcome([])
    throughput = Series("640 × 480 JPEG, one RLE: throughput", "requests per second")
    latency = Series("640 × 480 JPEG, one RLE: median latency", "milliseconds")
    cpu = Series("640 × 480 JPEG, one RLE: CPU of all processes", "milliseconds per request")
    with servers.server(["one-mask", "one-mask-plain"]) as ours, servers.yardstick() as yardstick:
        sides = {"server": ours, "yardstick": yardstick}
        for model in ("one-mask", "one-mask-plain"):
            files = bodies.write(setup.folder, *(bodies.segmentation(model, uri) for uri in uris))
            for concurrency in CONCURRENCY if model == "one-mask" else (16,):
                figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
                for _ in range(repeats):  # by turns, so that both see the same machine
                    for name, served in sides.items():
                        what = load.Load(served.url + PATH, files, concurrency, requests, warm_up=2 * concurrency + 10)
                        measured, seconds = measure(served, what)
                        figures[name].append((seconds * 1000, measured.per_second, measured.quantile(0.5) * 1000))
                cost, rate, wait = (
                    {name: median([figure[index] for figure in figures[name]]) for name in sides} for index in range(3)
                )
                if model == "one-mask":
                    for name in sides:
                        cpu.add(name, concurrency, cost[name])
                        throughput.add(name, concurrency, rate[name])
                        latency.add(name, concurrency, wait[name])
                staged = "" if model == "one-mask" else ", all in predict()"
                case = f"640 × 480 JPEG, {concurrency} callers{staged}"
                outcome.results += [
                    Result(
                        case, "CPU of all processes, ms per request", cost["server"], cost["yardstick"],
                        bar=Bar(1.25),
                    ),
                    Result(
                        case, "requests per second", rate["server"], rate["yardstick"],
                        bar=Bar(1.6, at_least=True) if concurrency == 16 and not staged else None,
                    ),
                    Result(case, "median latency, ms", wait["server"], wait["yardstick"]),
                ]  # fmt: skip
        outcome.results += _other_ways(setup, ours, yardstick)
    outcome.plots = [throughput, latency, cpu]
    return outcome


def _other_ways(setup: Setup, ours: servers.Served, yardstick: servers.Served) -> list[Result]:
    requests = setup.count(200, 30)
    results = []
    png = bodies.write(
        setup.folder, *(bodies.segmentation("one-mask", uri) for uri in bodies.pictures(SMALL, 4, "PNG"))
    )
    costs = [
        measure(served, load.Load(served.url + PATH, png, 4, requests, warm_up=10))[1] * 1000
        for served in (ours, yardstick)
    ]
    results.append(Result("640 × 480 PNG, 4 callers", "CPU of all processes, ms per request", costs[0], costs[1]))
    parts = bodies.write(setup.folder, *(bodies.upload("one-mask", picture(*SMALL, seed=seed)) for seed in range(4)))
    uploaded = load.Load(
        ours.url + "/inference/segmentation/binary", parts, 4, requests, headers=bodies.MULTIPART, warm_up=10
    )
    _, seconds = measure(ours, uploaded)
    uris = bodies.write(setup.folder, *(bodies.segmentation("one-mask", uri) for uri in bodies.pictures(SMALL, 4)))
    _, as_uri = measure(ours, load.Load(ours.url + PATH, uris, 4, requests, warm_up=10))
    results.append(
        Result(
            "640 × 480 JPEG uploaded as a part, 4 callers", "CPU of all processes, ms per request",
            seconds * 1000, as_uri * 1000, "as data URI",
        )
    )  # fmt: skip
    return results
