"""What the server costs before anybody asks it anything."""

from __future__ import annotations

from benchmarks import servers
from benchmarks.results import Bar, Outcome, Result, Setup


def run(setup: Setup) -> Outcome:
    """Start the server with one model that needs no torch."""
    with servers.server(["one-mask"]) as ours:
        used = ours.use()
        ready = ours.ready_seconds
    with servers.yardstick() as yardstick:
        plain, plain_ready = yardstick.use()["yardstick"], yardstick.ready_seconds
    results = [
        Result("start", "seconds until ready", ready, bar=Bar(6.0), note=f"the yardstick: {plain_ready:.1f}"),
    ]
    for name, use in used.items():
        if name == "resource tracker":
            continue
        bar = Bar(120.0) if name != "supervisor" else None
        role = "runner" if name.startswith("runner") else name
        note = f"the yardstick: {plain.memory_mb:.0f}" if role == "gateway" else ""
        results.append(Result("idle", f"resident memory of the {role}, MB", use.memory_mb, bar=bar, note=note))
    return Outcome(results)
