"""A model set after all questions are answered: plain values that any process can read without importing a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pixano_inference.configs import DeploymentConfig, ModelConfig
from pixano_inference.errors import ConfigError
from pixano_inference.schemas import Capability

ENVIRONMENT_VARIABLE = "PIXANO_MODEL_SET"
"""Holds a resolved model set as JSON: how the first process hands it to the gateway and the runners."""


class ResolvedModel(BaseModel):
    """One model of a set.

    Attributes:
        name: What requests call it.
        capability: What it does.
        model_class: Name of its class, as the config gave it.
        target: ``module:qualified_name`` of a custom class; null for built-in classes and entry points.
        model_path: Checkpoint name or folder, as the config gave it.
        params: Checked parameters.
        deployment: Resources and scaling.
    """

    model_config = ConfigDict(protected_namespaces=())

    name: str
    capability: Capability
    model_class: str
    target: str | None = None
    model_path: str | None = None
    params: dict[str, Any]
    deployment: DeploymentConfig

    @property
    def service_name(self) -> str:
        """Name of the runner's Bento service: letters, digits and underscores only, unique within the set."""
        return "runner_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in self.name)

    @property
    def local_replicas(self) -> int:
        """How many runner processes are started on one machine."""
        return max(1, self.deployment.min_replicas)

    def replica_service_name(self, replica: int) -> str:
        """Name of the Bento service of one local replica; the first has the plain name."""
        return self.service_name if replica == 0 else f"{self.service_name}__{replica}"


class ModelSet(BaseModel):
    """The models of one config file.

    Attributes:
        source: File name of the config, for messages.
        module_paths: Folders that custom modules are imported from.
        models: In the order of the config file.
    """

    source: str
    module_paths: list[str]
    models: list[ResolvedModel]

    def model(self, name: str) -> ResolvedModel:
        """Return a model by name.

        Raises:
            ConfigError: The set has no such model.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigError(f"{self.source} has no model {name!r}; it has {', '.join(m.name for m in self.models)}")

    def store(self) -> None:
        """Hand the set to this process's children through the environment."""
        os.environ[ENVIRONMENT_VARIABLE] = self.model_dump_json()

    @classmethod
    def stored(cls) -> ModelSet | None:
        """Return the set that a parent process stored."""
        text = os.environ.get(ENVIRONMENT_VARIABLE)
        return cls.model_validate_json(text) if text else None


def load_config(model: ResolvedModel, params_class: type[Any]) -> ModelConfig:
    """Return the entry as a model's constructor gets it, its parameters typed."""
    return ModelConfig(
        name=model.name,
        model_class=model.model_class,
        model_params=params_class(**model.params),
        deployment=model.deployment,
    )


def default_config() -> Path:
    """Return the config file served when none is named: ``PIXANO_CONFIG``, or the demo set of a checkout or Bento.

    Raises:
        ConfigError: There is neither.
    """
    named = os.environ.get("PIXANO_CONFIG")
    if named:
        return Path(named)
    demo = Path(__file__).resolve().parents[2] / "models" / "demo.py"
    if demo.is_file():
        return demo
    raise ConfigError("no model set: name a config file with --config or PIXANO_CONFIG")
