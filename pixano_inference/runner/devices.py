"""What a runner may use of the machine."""

from __future__ import annotations

import logging
import os
import sys

from pixano_inference.configs import DeploymentConfig

logger = logging.getLogger(__name__)


def visible_gpus() -> list[str]:
    """Return the identifiers of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    torch = sys.modules.get("torch")
    return [str(index) for index in range(torch.cuda.device_count())] if torch is not None else []


def gpu_memory() -> dict[str, dict[str, int]]:
    """Return the ``used`` and ``total`` bytes of each GPU of this process, whoever uses them, by its identifier.

    Empty while torch is not loaded or has not touched a GPU: asking would take some of the memory.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    memory = {}
    for index, gpu in enumerate(visible_gpus()[: torch.cuda.device_count()]):
        try:
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError:
            # a GPU that fell off the bus is no reason to fall silent about the runner
            logger.warning("GPU %s does not tell its memory", gpu, exc_info=True)
            continue
        memory[gpu] = {"used": total - free, "total": total}
    return memory


def limit_threads(deployment: DeploymentConfig) -> None:
    """Keep torch to the cores that the deployment asks for, before torch starts its pools."""
    threads = max(1, round(deployment.num_cpus))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def host_name() -> str:
    """Return what tells the GPUs of one runner from those of another: the machine, or the pod on Kubernetes.

    There each pod counts its GPUs from 0, and none has another one's.
    """
    return os.uname().nodename


def node_name() -> str:
    """Return the name of the machine: the node's on Kubernetes, where PIXANO_NODE_NAME gives it."""
    return os.environ.get("PIXANO_NODE_NAME") or host_name()
