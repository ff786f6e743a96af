"""Typed parameters per model class: a typo in a config is an error before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TorchDtype = Literal["float32", "float16", "bfloat16", "auto"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class ModelParams(BaseModel):
    """Base of the parameters of a model class; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    path: str | None = None
    """Hub name or local folder of the checkpoint; a relative folder is looked up beside the config file first."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter that was given, as a dict would."""
        return getattr(self, name) if name in self else default

    def keys(self) -> list[str]:
        """Return the names of the parameters that were given, so that ``dict(params)`` holds these."""
        return [name for name in (*type(self).model_fields, *(self.model_extra or {})) if name in self.model_fields_set]

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.model_fields_set


class FreeParams(ModelParams):
    """Parameters of a custom model that declares none: anything goes, as attributes and as a dict's items."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class TorchParams(ModelParams):
    """What every model that runs on torch takes.

    Attributes:
        path: Hub name or local folder of the checkpoint.
        revision: Revision on the hub.
        torch_dtype: Number type of the weights and of the computation; ``auto`` is float32 on a CPU and bfloat16 on
            a GPU that has it.
        device: ``auto`` is the first GPU the runner may use, otherwise the CPU.
        compile: Compile what is called with ``torch.compile`` before the model reports ready.
        local_files_only: Never ask the hub.
    """

    path: str
    revision: str | None = None
    torch_dtype: TorchDtype = "float32"
    device: Device = "auto"
    compile: bool = False
    local_files_only: bool = False


class Sam2ImageParams(TorchParams):
    """Parameters of ``Sam2ImageModel``.

    Attributes:
        config: Name of the configuration of a Meta ``.pt`` checkpoint, for instance
            ``configs/sam2.1/sam2.1_hiera_t.yaml``; only for those.
        embedding_cache_mb: Bound of the embedding cache in MiB; null: a share of the memory free at start, 0: none.
    """

    config: str | None = None
    embedding_cache_mb: Annotated[float, Field(ge=0)] | None = None


class Sam2VideoParams(TorchParams):
    """Parameters of ``Sam2VideoModel``.

    Attributes:
        vos_optimized: Compile everything that a frame takes, the memory encoder too.
        propagate: Whether objects are followed when the request does not say.
        embedding_cache_mb: Bound of the cache of frames in MiB; null: a share of the memory free at start, 0: none.
    """

    config: str | None = None
    vos_optimized: bool = False
    propagate: bool = True
    embedding_cache_mb: Annotated[float, Field(ge=0)] | None = None


class GroundingDINOParams(TorchParams):
    """Parameters of ``GroundingDINOModel``: any zero-shot detector of transformers."""


class TransformersDetectionParams(TorchParams):
    """Parameters of ``TransformersDetectionModel``: any detector with a closed vocabulary of transformers."""


class TransformersVLMParams(TorchParams):
    """Parameters of ``TransformersVLMModel``.

    Attributes:
        processor_kwargs: Passed to the processor, for instance ``{"max_pixels": 1003520}``.
    """

    processor_kwargs: dict[str, object] = Field(default_factory=dict)


class VLLMVLMParams(ModelParams):
    """Parameters of ``VLLMVLMModel``.

    Attributes:
        path: Hub name or local folder of the checkpoint.
        dtype: Number type, as vLLM names it.
        max_model_len: Longest context in tokens.
        gpu_memory_utilization: Share of the GPU's memory that vLLM may take.
        engine_kwargs: Further arguments of vLLM's engine.
    """

    path: str
    dtype: str = "auto"
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    engine_kwargs: dict[str, object] = Field(default_factory=dict)
