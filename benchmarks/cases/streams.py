"""Frames and tokens as they are made: when the first one arrives."""

from __future__ import annotations

import orjson

from benchmarks import bodies, load, models, servers
from benchmarks.pictures import SMALL
from benchmarks.results import Outcome, Result, Setup

FRAMES = 100
TOKENS = 50


def run(setup: Setup) -> Outcome:
    """Track through 100 frames and generate 50 tokens, as a stream and at once."""
    repeats = setup.count(3, 1)
    uris = bodies.pictures(SMALL, 10)
    tracking = bodies.write(
        setup.folder,
        orjson.dumps(
            {
                "model": "tracking",
                "video": [uris[index % len(uris)] for index in range(FRAMES)],
                "objects_ids": [1],
                "frame_indexes": [0],
                "boxes": [[10, 10, 100, 100]],
            }
        ),
    )
    asking = bodies.write(
        setup.folder,
        orjson.dumps({"model": "vlm", "prompt": "What is it?", "images": [uris[0]], "max_new_tokens": TOKENS}),
    )
    with servers.server(["tracking", "vlm"]) as ours:
        frames = load.run(load.Load(f"{ours.url}/inference/tracking/stream", tracking, 1, repeats, warm_up=1))
        whole = load.run(load.Load(f"{ours.url}/inference/tracking/", tracking, 1, repeats, warm_up=1))
        tokens = load.run(load.Load(f"{ours.url}/inference/vlm/stream", asking, 1, repeats, warm_up=1))
    model = f"the model takes {models.FRAME_SECONDS * FRAMES:.0f} s"
    return Outcome(
        [
            Result(
                "100-frame tracking as a stream", "seconds to the first frame", frames.first_chunk[repeats // 2],
                whole.quantile(0.5), "whole answer",
            ),
            Result("100-frame tracking as a stream", "seconds in all", frames.quantile(0.5), note=model),
            Result("100-frame tracking at once", "seconds in all", whole.quantile(0.5), note=model),
            Result(
                "50 tokens as a stream", "seconds to the first token", tokens.first_chunk[repeats // 2],
                tokens.quantile(0.5), "last token",
            ),
        ]
    )  # fmt: skip
