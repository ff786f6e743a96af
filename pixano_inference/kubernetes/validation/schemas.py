"""Manifests against the schemas of several Kubernetes versions and of the custom resources.

The schemas of Kubernetes come with the package ``kubernetes-validate``; a kind that they do not know is a problem
here, where that package only warns. Strict schemas: a field that does not exist is a problem too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from pixano_inference.kubernetes.manifest import Manifest

from .problem import Problem, where

KUBERNETES_VERSIONS = ("1.30", "1.32", "1.34", "1.37")
"""Versions that every rendered manifest is checked against; 1.30 is the oldest that has the ``sleep`` hook."""

RULE = "schema"


def schema_problems(manifests: Iterable[Manifest], versions: Iterable[str] = KUBERNETES_VERSIONS) -> list[Problem]:
    """Return what the schemas of each version refuse."""
    chosen = tuple(versions)
    found: dict[tuple[str, str], list[str]] = {}
    for manifest in manifests:
        text = json.dumps(manifest, sort_keys=True)
        for version in chosen:
            for message in _messages(text, version):
                found.setdefault((where(manifest), message), []).append(version)
    return [
        Problem(RULE, place, message if len(seen) == len(chosen) else f"{message} (Kubernetes {', '.join(seen)})")
        for (place, message), seen in found.items()
    ]


@lru_cache(maxsize=4096)
def _messages(text: str, version: str) -> tuple[str, ...]:
    # overlays share most of their objects: each is looked at once
    manifest = json.loads(text)
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return ("it has no apiVersion or no kind",)
    validator = _validator(api_version, kind, version)
    if validator is None:
        return (f"there is no schema of {api_version} {kind}: the kind is unknown",)
    messages = []
    for error in validator.iter_errors(manifest):
        path = ".".join(str(part) for part in error.absolute_path) or "(top)"
        messages.append(f"{path}: {error.message[:300]}")
    return tuple(messages)


@lru_cache(maxsize=256)
def _validator(api_version: str, kind: str, version: str) -> Draft202012Validator | None:
    own = _custom_resources().get((api_version, kind))
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    if not folder.is_dir():
        raise ValueError(f"kubernetes-validate has no schemas of Kubernetes {version}")
    if own is None:
        # networking.k8s.io/v1 is networking-v1 there
        group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
        file = folder / f"{kind.lower()}-{group}.json"
        if not file.is_file():
            return None
        own = json.loads(file.read_text(encoding="utf-8"))
        if not _names_group(own, api_version, kind):
            return None
    # the Validator resolves references into its own schema by itself
    registry: Registry[Any] = _definitions(version) @ Registry()
    return Draft202012Validator(own, registry=registry)


def _names_group(schema: Manifest, api_version: str, kind: str) -> bool:
    # the file name has the first word of the group only: monitoring.coreos.com would match a monitoring.k8s.io
    group, _, version = api_version.rpartition("/")
    named = schema.get("x-kubernetes-group-version-kind", [])
    return {"group": group, "version": version, "kind": kind} in named


@lru_cache(maxsize=len(KUBERNETES_VERSIONS) * 2)
def _definitions(version: str) -> Resource[Any]:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def _custom_resources() -> dict[tuple[str, str], Manifest]:
    text = (resources.files(__package__) / "crd_schemas.yaml").read_text(encoding="utf-8")
    return {
        (entry["apiVersion"], entry["kind"]): _schema(entry) for entry in yaml.safe_load_all(text) if entry is not None
    }


def _schema(entry: Manifest) -> Manifest:
    metadata = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "namespace"] if entry["namespaced"] else ["name"],
        "properties": {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            **({"namespace": {"type": "string"}} if entry["namespaced"] else {}),
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": entry["apiVersion"]},
            "kind": {"const": entry["kind"]},
            "metadata": metadata,
            "spec": entry["spec"],
        },
    }
