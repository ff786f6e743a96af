"""From the name of a model class to the class, importing no more than is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pixano_inference import configs
from pixano_inference.configs import ModelParams
from pixano_inference.errors import ConfigError
from pixano_inference.schemas import Capability

from .base import InferenceModel

ENTRY_POINT_GROUP = "pixano_inference.models"

ModelT = TypeVar("ModelT", bound=type[InferenceModel[Any, Any]])


_registered: dict[str, type[InferenceModel[Any, Any]]] = {}


class BuiltinModel:
    """A built-in model class that is described without importing it, since that would import torch.

    Attributes:
        target: ``module:Class``.
        capability: What it does.
        params_class: Its typed parameters.
    """

    def __init__(self, target: str, capability: Capability, params_class: type[ModelParams]) -> None:
        self.target = target
        self.capability = capability
        self.params_class = params_class


BUILTIN_MODELS: dict[str, BuiltinModel] = {
    "Sam2ImageModel": BuiltinModel(
        "pixano_inference.models.sam2.image_model:Sam2ImageModel", Capability.SEGMENTATION, configs.Sam2ImageParams
    ),
    "Sam2VideoModel": BuiltinModel(
        "pixano_inference.models.sam2.video_model:Sam2VideoModel", Capability.TRACKING, configs.Sam2VideoParams
    ),
    "GroundingDINOModel": BuiltinModel(
        "pixano_inference.models.detection.zero_shot:GroundingDINOModel",
        Capability.DETECTION,
        configs.GroundingDINOParams,
    ),
    "TransformersDetectionModel": BuiltinModel(
        "pixano_inference.models.detection.closed_vocabulary:TransformersDetectionModel",
        Capability.DETECTION,
        configs.TransformersDetectionParams,
    ),
    "TransformersVLMModel": BuiltinModel(
        "pixano_inference.models.vlm.transformers_model:TransformersVLMModel",
        Capability.VLM,
        configs.TransformersVLMParams,
    ),
    "VLLMVLMModel": BuiltinModel(
        "pixano_inference.models.vlm.vllm_model:VLLMVLMModel", Capability.VLM, configs.VLLMVLMParams
    ),
}


def register_model(name: str) -> Callable[[ModelT], ModelT]:
    """Make a model class known under ``name``, for ``model_class="name"`` in a model set.

    Raises:
        ConfigError: Another class has the name already.
    """

    def register(cls: ModelT) -> ModelT:
        known = _registered.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"the model class name {name!r} is registered twice: {known!r} and {cls!r}")
        _registered[name] = cls
        return cls

    return register


def registered_class(name: str) -> type[InferenceModel[Any, Any]] | None:
    """Return the class that was registered under ``name`` in this process, if any."""
    return _registered.get(name)


def registered_names() -> list[str]:
    """Return every name that ``model_class`` may hold now."""
    return sorted({*_registered, *BUILTIN_MODELS, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def describe(name: str) -> tuple[Capability, type[ModelParams]]:
    """Return capability and parameters of a model class without importing a built-in one.

    Raises:
        ConfigError: No such name.
    """
    builtin = BUILTIN_MODELS.get(name)
    if builtin is not None and name not in _registered:
        return builtin.capability, builtin.params_class
    cls = find_model_class(name)
    return cls.capability, cls.params_class


def find_model_class(name: str) -> type[InferenceModel[Any, Any]]:
    """Return the class: registered in this process, built in, or from an installed package's entry point.

    Raises:
        ConfigError: No such name, or its module cannot be imported.
    """
    if name in _registered:
        return _registered[name]
    builtin = BUILTIN_MODELS.get(name)
    if builtin is not None:
        module, _, attribute = builtin.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]  # a name of ours
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"model class {name!r} needs the package {error.name!r}: pip install 'pixano-inference[transformers]'"
            ) from error
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            loaded = point.load()
            if not (isinstance(loaded, type) and issubclass(loaded, InferenceModel)):
                raise ConfigError(f"the entry point {name!r} of {point.value!r} is not a model class")
            return loaded
    raise ConfigError(f"model class {name!r} is not known; known are {', '.join(registered_names())}")
