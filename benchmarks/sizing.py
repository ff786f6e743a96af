"""``python -m benchmarks.sizing [cpu|cuda]``: what SAM2.1 of each size needs, as a table for the operators' docs.

Weights are random and of the published sizes; each model is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pictures import MEGAPIXEL, picture
from benchmarks.sam2_weights import HIERA, save


def measure(folder: str, device: str) -> dict[str, float]:
    """Return parameters, bytes and seconds of one checkpoint, in this process."""
    import torch
    from safetensors.torch import load_file

    from pixano_inference.configs import ModelConfig, Sam2ImageParams
    from pixano_inference.models.sam2.image_model import Sam2ImageModel
    from pixano_inference.schemas import ImageBytes, SegmentationInput

    torch.set_num_threads(os.cpu_count() or 1)
    params = Sam2ImageParams(path=folder, device=device, torch_dtype="auto")
    model = Sam2ImageModel(ModelConfig(name="sam2", model_class="Sam2ImageModel", model_params=params))
    model.load_model()
    clicks = []
    for seed in (0, 1, 1):
        request = SegmentationInput(
            image=ImageBytes(picture(*MEGAPIXEL, seed=seed)), points=[[[300, 300]]], labels=[[1]]
        )
        began = time.perf_counter()
        model.predict(request)
        clicks.append(time.perf_counter() - began)
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "gpu": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        "embedding": model.cache.statistics.used_bytes / model.cache.statistics.entries,
        "first": clicks[1],
        "second": clicks[2],
        "weights": sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")),
        "parameters": sum(int(t.numel()) for t in load_file(next(Path(folder).glob("*.safetensors"))).values()),
    }


def main(device: str = "cpu") -> None:
    """Print the table."""
    gpu = device == "cuda"
    print(
        f"| SAM2.1 | parameters | weights | {'GPU memory' if gpu else 'memory, peak'} | embedding | click 1 | click 2 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in HIERA:
        with tempfile.TemporaryDirectory() as folder:
            save(size, Path(folder))
            command = [sys.executable, "-m", "benchmarks.sizing", folder, device]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| hiera-{size} | {figures['parameters'] / 1e6:.0f} M | {figures['weights'] / 1e6:.0f} MB "
            f"| {figures['gpu' if gpu else 'peak'] / 1e9:.1f} GB | {figures['embedding'] / 2**20:.0f} MiB "
            f"| {figures['first']:.2f} s | {figures['second']:.3f} s |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
    else:
        main(*sys.argv[1:])
