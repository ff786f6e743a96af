"""One model of a model set."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from .deployment import DeploymentConfig
from .params import FreeParams, ModelParams

NAME_PATTERN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")


class ModelConfig(BaseModel):
    """A model to serve: its class, its parameters, its deployment.

    Attributes:
        name: What requests call it; by default the last part of the path of its parameters.
        model_class: Registered name, or the class itself.
        model_module: Python module that registers the class, where it is not beside the config file.
        model_params: Typed parameters, or a dict that is checked against the typed parameters of the class.
        deployment: Resources and scaling.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True)

    name: str = ""
    model_class: str | type[Any]
    model_module: str | None = None
    model_params: SerializeAsAny[ModelParams] = Field(default_factory=FreeParams)
    deployment: DeploymentConfig = Field(default_factory=DeploymentConfig)

    @field_validator("model_params", mode="before")
    @classmethod
    def _dict_until_the_class_is_known(cls, value: Any) -> Any:
        return FreeParams(**value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _name_from_path(self) -> Self:
        if not self.name and self.model_params.path:
            self.name = PurePath(self.model_params.path.rstrip("/\\").replace("\\", "/")).name
        if not NAME_PATTERN.match(self.name):
            raise ValueError(
                f"name {self.name!r} must be 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit"
                + ("" if self.name else " (it has no default here, since the parameters have no path)")
            )
        return self

    @property
    def resources(self) -> DeploymentConfig:
        """The deployment, under the name that model code written for the Ray-based server uses."""
        return self.deployment

    @property
    def class_name(self) -> str:
        """The name of the model class."""
        return self.model_class if isinstance(self.model_class, str) else self.model_class.__name__
