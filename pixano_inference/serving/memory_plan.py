"""Whether the models of this machine fit into its memory, as far as their deployments say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pixano_inference.model_sets import ModelSet


def machine_memory_mb() -> int:
    """Return the memory of this machine, or of the control group of this process where that is less, in MiB."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return (machine if limit == "max" else min(machine, int(limit))) // 2**20


def warn_when_memory_is_short(model_set: ModelSet, there_are_mb: int) -> None:
    """Say so when the local replicas are meant to take more memory than there is; nothing holds them to it here."""
    asked = {model.name: (model.deployment.memory_mb or 0) * model.local_replicas for model in model_set.models}
    if sum(asked.values()) > there_are_mb:
        each = ", ".join(f"{name} {size}" for name, size in asked.items() if size)
        sys.stderr.write(
            f"pixano-inference: warning: the models ask for {sum(asked.values())} MiB of memory ({each}), "
            f"this machine has {there_are_mb}\n"
        )
