"""The name under which model code annotates its configuration."""

from pixano_inference.configs import ModelConfig as ModelDeploymentConfig

__all__ = ["ModelDeploymentConfig"]
