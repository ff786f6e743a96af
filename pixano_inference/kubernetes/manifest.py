"""Manifests as plain values, made from the typed models of the ``kubernetes`` package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes import client as k8s

Manifest = dict[str, Any]

_client = k8s.ApiClient()


def plain(model: Any) -> Manifest:
    """Return a typed model as the API server gets it: camel case, nothing that is unset."""
    value: Manifest = _client.sanitize_for_serialization(model)
    first = {key: value[key] for key in ("apiVersion", "kind", "metadata") if key in value}
    return first | value


@dataclass(frozen=True)
class Reference:
    """Which object is meant."""

    api_version: str
    kind: str
    name: str

    @classmethod
    def to(cls, manifest: Manifest) -> Reference:
        """Return the reference to a manifest."""
        return cls(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without its group."""
        return self.api_version.rpartition("/")[2]
