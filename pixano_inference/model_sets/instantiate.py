"""From a resolved model to the model object, in the process that runs it."""

from __future__ import annotations

from typing import Any

from pixano_inference.errors import ConfigError
from pixano_inference.models.base import InferenceModel
from pixano_inference.models.registry import find_model_class, registered_class

from .custom_modules import import_module
from .resolved import ModelSet, ResolvedModel, load_config


def instantiate(model: ResolvedModel, model_set: ModelSet) -> InferenceModel[Any, Any]:
    """Import the class of ``model`` and construct it; weights are not loaded yet.

    Raises:
        ConfigError: The class cannot be found or constructed.
    """
    if model.target is None:
        cls = find_model_class(model.model_class)
    else:
        module_name, _, qualname = model.target.partition(":")
        found: Any = import_module(module_name, model_set.module_paths)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        found = found or registered_class(model.model_class)
        if found is None:
            raise ConfigError(f"module {module_name!r} has no model class {qualname!r}")
        cls = found
    return cls(load_config(model, cls.params_class))
