"""Loading SAM2 checkpoints: Hugging Face folders and names, and Meta's ``.pt`` files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pixano_inference.configs import TorchParams
from pixano_inference.errors import ConfigError

from .preprocessing import Normalization


@dataclass(frozen=True)
class Precision:
    """Where and in which number type a model computes.

    Attributes:
        device: A torch device.
        dtype: Number type of the matrix products; weights stay float32 and are cast by autocast where it is another.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, params: TorchParams) -> Precision:
        """Choose as the parameters say; ``auto`` is the first GPU and bfloat16 where there is one.

        Raises:
            ConfigError: A GPU is asked for that torch does not see.
        """
        name = params.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"device {name!r} is asked for, but torch {torch.__version__} sees no GPU")
        device = torch.device(name)
        if params.torch_dtype == "auto":
            fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
            return cls(device, torch.bfloat16 if fast else torch.float32)
        return cls(device, getattr(torch, params.torch_dtype))

    def autocast(self) -> torch.autocast:
        """Return the context in which the model is called."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32)


def is_meta_checkpoint(path: str) -> bool:
    """Whether the path names one of Meta's ``.pt`` files rather than a Hugging Face folder or name."""
    return path.endswith((".pt", ".pth"))


def load_transformers(class_name: str, params: TorchParams, precision: Precision) -> tuple[Any, Normalization]:
    """Load a SAM2 model class of transformers from a hub name or a local folder.

    Args:
        class_name: ``Sam2Model`` or ``Sam2VideoModel``.
        params: Path, revision and whether the hub may be asked.
        precision: Where the model is to compute.

    Raises:
        ConfigError: The checkpoint is missing or is not a SAM2 checkpoint.
    """
    import transformers

    path = params.path
    folder = Path(path)
    if not folder.is_dir() and (folder.is_absolute() or path.startswith((".", "~"))):
        raise ConfigError(f"there is no checkpoint folder {path!r}")
    try:
        # Weights are stored in half precision in many checkpoints, which "auto" would keep: autocast is what decides.
        model = getattr(transformers, class_name).from_pretrained(
            path, revision=params.revision or "main", local_files_only=params.local_files_only, dtype=torch.float32
        )
    except OSError as error:
        raise ConfigError(f"the checkpoint {path!r} cannot be loaded: {error}") from error
    model.eval().requires_grad_(False).to(precision.device)
    return model, Normalization.of_checkpoint(folder if folder.is_dir() else None)


def checkpoint_revision(model: Any, path: str) -> str:
    """Return what tells this checkpoint from another one: the hub's commit where it is known, otherwise the path."""
    commit = getattr(model.config, "_commit_hash", None)
    return f"{path}@{commit}" if commit else path
