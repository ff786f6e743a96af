"""Model sets: Python config files and what they resolve to."""

from .resolved import ModelSet, ResolvedModel, default_config

__all__ = ["ModelSet", "ResolvedModel", "default_config"]
