"""What the server serves while it is measured."""

from __future__ import annotations

import json
import os
from typing import Any

from benchmarks import models as bench
from pixano_inference.configs import DeploymentConfig, FreeParams, ModelConfig, Sam2ImageParams, Sam2VideoParams

one_at_a_time = DeploymentConfig(max_batch_size=8)

_CLASSES: dict[str, tuple[type[Any], dict[str, Any], DeploymentConfig]] = {
    "one-mask": (bench.OneMask, {}, one_at_a_time),
    "one-mask-plain": (bench.OneMaskPlain, {}, one_at_a_time),
    "at-1024": (bench.At1024, {}, one_at_a_time),
    "slow": (bench.SlowBatch, {}, DeploymentConfig(max_batch_size=8)),
    "slow-replicated": (bench.SlowBatch, {}, DeploymentConfig(max_batch_size=8, min_replicas=2, max_replicas=2)),
    "embeddings": (bench.Embeddings, {}, one_at_a_time),
    "tracking": (bench.FrameByFrame, {}, one_at_a_time),
    "vlm": (bench.TokenByToken, {}, one_at_a_time),
}

# a case serves what it needs and nothing else: idle runners would cost memory, not speed, but a SAM2 costs both
_named = os.environ.get("PIXANO_BENCHMARK_MODELS", "one-mask").split(",")
models = [
    ModelConfig(
        name=name,
        model_class=_CLASSES[name][0],
        model_params=FreeParams(**_CLASSES[name][1]),
        deployment=_CLASSES[name][2],
    )
    for name in _named
    if name in _CLASSES
]
for _name, _class, _params in (
    ("sam2", "Sam2ImageModel", Sam2ImageParams),
    ("sam2-video", "Sam2VideoModel", Sam2VideoParams),
):
    if _name not in _named:
        continue
    settings = json.loads(os.environ["PIXANO_BENCHMARK_SAM2"])
    models.append(
        ModelConfig(
            name=_name,
            model_class=_class,
            model_params=_params(**settings["params"]),
            deployment=DeploymentConfig(num_cpus=os.cpu_count() or 1, num_gpus=settings["num_gpus"]),
        )
    )
