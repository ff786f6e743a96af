"""The GPUs of this machine, asked without torch."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1)
def local_gpu_count() -> int:
    """Return how many NVIDIA GPUs the driver reports; 0 where there is no driver."""
    try:
        import pynvml  # comes with BentoML

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except Exception:  # no library, no driver, no permission: no GPU that could be used
        return 0
