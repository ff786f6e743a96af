"""Where a torch model computes, and in which number type."""

from __future__ import annotations

import torch

from pixano_inference.errors import ConfigError
from pixano_inference.models.embedding_cache import default_limit_bytes, free_memory_bytes


def choose_device(device: str) -> torch.device:
    """Return the device a model set names; ``auto`` is the first GPU that the runner may use, otherwise the CPU.

    Raises:
        ConfigError: The device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not (torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count()):
        raise ConfigError(f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device {device!r} is not there: torch sees no Apple GPU")
    return chosen


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number type a model set names; ``auto`` is bfloat16 on a GPU that has it, otherwise float32."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]


def cache_limit_bytes(configured_mb: float | None, device: torch.device) -> int:
    """Return the bound of a model's embedding cache: as configured in MiB, or a share of what ``device`` has free."""
    if configured_mb is not None:
        return int(configured_mb * 2**20)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory_bytes()
    return default_limit_bytes(free)
