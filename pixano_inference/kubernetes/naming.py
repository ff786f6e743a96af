"""Names, labels, ports and paths that several manifests must agree on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet, ResolvedModel

GATEWAY = "gateway"
GATEWAY_PORT = 7463
RUNNER_PORT = 3000
PORT_NAME = "http"

# the user that a Bento's image runs as
USER_ID = 1034
# where a Bento's image keeps the project, and with it models/
SOURCE_FOLDER = "/home/bentoml/bento/src"
# the image's entry point runs any command; as a module, the program needs no installed script
PROGRAM = ("python", "-m", "pixano_inference.cli")
WEIGHTS_FOLDER = "/weights"
DATA_FOLDER = "/data"

RUNNER_SECRET = "pixano-runner"  # noqa: S105  # the name of a Secret
API_KEYS_SECRET = "pixano-api-keys"  # noqa: S105  # the name of a Secret
HUB_TOKEN_SECRET = "pixano-hub-token"  # noqa: S105  # the name of a Secret
JOBS_SECRET = "pixano-jobs"  # noqa: S105  # the name of a Secret

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MODEL_LABEL = "pixano-inference/model"
MODEL_ANNOTATION = "pixano-inference/model-name"
APPLICATION = "pixano-inference"

# leaves room for "runner-" and for what Kubernetes and KServe append to names of at most 63 characters
_LONGEST_SLUG = 40


def slug(name: str) -> str:
    """Return a model's name as a DNS label: lower case, digits and hyphens, at most 40 characters."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(label) <= _LONGEST_SLUG:
        return label
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{label[: _LONGEST_SLUG - 7].rstrip('-')}-{digest}"


def runner_name(model: ResolvedModel) -> str:
    """Return the name of a runner's Deployment, Service and so on."""
    return f"runner-{slug(model.name)}"


def check_names(model_set: ModelSet) -> None:
    """Check that no two models get the same object names.

    Raises:
        ConfigError: Two names differ only in what a DNS label cannot express.
    """
    seen: dict[str, str] = {}
    for model in model_set.models:
        other = seen.setdefault(slug(model.name), model.name)
        if other != model.name:
            raise ConfigError(
                f"{model_set.source}: the models {other!r} and {model.name!r} would both be named "
                f"{runner_name(model)!r} on Kubernetes; rename one"
            )


def instance(model_set: ModelSet) -> str:
    """Return the name of an installation: the config file's without its ending."""
    return slug(model_set.source.rsplit("/", 1)[-1].removesuffix(".py"))


def labels(model_set: ModelSet, component: str, model: ResolvedModel | None = None) -> dict[str, str]:
    """Return the labels of an object; :func:`selector` picks those that select pods."""
    return {
        **selector(model_set, component, model),
        MANAGED_BY_LABEL: APPLICATION,
    }


def selector(model_set: ModelSet, component: str, model: ResolvedModel | None = None) -> dict[str, str]:
    """Return the labels that select the pods of the gateway, of all runners, or of one model's runner."""
    chosen = {NAME_LABEL: APPLICATION, INSTANCE_LABEL: instance(model_set), COMPONENT_LABEL: component}
    return chosen | {MODEL_LABEL: slug(model.name)} if model is not None else chosen


def content_hash(parts: Sequence[str]) -> str:
    """Return a short name for a content, so that a changed content is a new object and pods roll."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
