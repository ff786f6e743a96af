"""What a runner tells of its GPUs' memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pixano_inference.runner.devices import gpu_memory


def test_without_torch_there_is_nothing_to_tell_and_torch_is_not_loaded_for_it() -> None:
    code = (
        "import sys; from pixano_inference.runner.devices import gpu_memory; "
        "print(gpu_memory(), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[0] == "{} False"


@pytest.mark.model
def test_a_gpu_is_told_of_once_a_model_uses_it_and_not_before() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        assert gpu_memory() == {}
        return
    code = (
        "import torch; from pixano_inference.runner.devices import gpu_memory; before = gpu_memory(); "
        "held = torch.zeros(2**26, device='cuda'); told = gpu_memory()['0']; "
        "assert before == {}, before; assert 2**28 <= told['used'] <= told['total'], told"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
