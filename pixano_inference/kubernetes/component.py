"""A kustomize component: what it adds to, changes in and removes from the base."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .manifest import Manifest, Reference

Operation = dict[str, Any]


@dataclass(frozen=True)
class Patch:
    """A JSON patch (RFC 6902) of one object; the operations used are add, replace and remove."""

    target: Reference
    operations: tuple[Operation, ...]


@dataclass
class Component:
    """One overlay's content.

    Attributes:
        name: Name of the overlay.
        added: File name -> objects in that file.
        patches: Changes of the base's objects.
        removed: Objects of the base that must go.
        extra_files: Further files that lie beside it without being applied.
    """

    name: str
    added: dict[str, list[Manifest]] = field(default_factory=dict)
    patches: list[Patch] = field(default_factory=list)
    removed: list[Reference] = field(default_factory=list)
    extra_files: dict[str, str] = field(default_factory=dict)


def compose(base: Iterable[Manifest], components: Sequence[Component]) -> list[Manifest]:
    """Return what ``kustomize build`` gives for the base with these components, in this order."""
    objects = {Reference.to(manifest): copy.deepcopy(manifest) for manifest in base}
    for component in components:
        for manifests in component.added.values():
            objects.update({Reference.to(manifest): copy.deepcopy(manifest) for manifest in manifests})
        for patch in component.patches:
            # as in kustomize, a patch whose target an earlier component removed has nothing to do
            if patch.target in objects:
                for operation in patch.operations:
                    _apply(objects[patch.target], operation)
        for reference in component.removed:
            objects.pop(reference, None)
    return list(objects.values())


def pointer(*parts: str | int) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _apply(document: Manifest, operation: Operation) -> None:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    parent: Any = document
    for part in parts[:-1]:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    last = parts[-1]
    if isinstance(parent, list):
        if operation["op"] == "add":
            parent.insert(len(parent) if last == "-" else int(last), copy.deepcopy(operation["value"]))
        elif operation["op"] == "replace":
            parent[int(last)] = copy.deepcopy(operation["value"])
        else:
            del parent[int(last)]
    elif operation["op"] == "remove":
        del parent[last]
    else:
        parent[last] = copy.deepcopy(operation["value"])
