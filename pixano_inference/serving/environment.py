"""The environment that every process of the server shares, set by the first one."""

from __future__ import annotations

import os
import secrets

from pixano_inference.configs.server_settings import server_settings

ROLE_VARIABLE = "PIXANO_ROLE"
"""``all`` (the default), ``gateway``, or ``runner:<model>``: what this process and its children are."""


def prepare_environment() -> None:
    """Set what Bento, torch and the other processes read from the environment."""
    if "PIXANO_RUNNER_SECRET" not in os.environ:
        os.environ["PIXANO_RUNNER_SECRET"] = secrets.token_urlsafe(32)
        server_settings.cache_clear()
    # usage statistics would be sent to a host outside
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
