"""The files of a kustomize base and its components."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from .component import Component, Patch
from .manifest import Manifest

_HEADER = "# Rendered by `pixano-inference k8s render` from {source}. Do not edit: render again.\n"


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and lists indented as everybody writes manifests."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def dump(documents: Iterable[Mapping[str, Any]], source: str) -> str:
    """Return manifests as one YAML file."""
    texts = (yaml.dump(dict(d), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for d in documents)
    return _HEADER.format(source=source) + "---\n".join(texts)


def load(text: str) -> list[Manifest]:
    """Return the manifests of a YAML file."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
    return [document for document in yaml.load_all(text, Loader=loader) if document]  # both are safe


def base_files(groups: Mapping[str, Sequence[Manifest]], source: str) -> dict[str, str]:
    """Return the files of the base: file name -> text."""
    files = {name: dump(manifests, source) for name, manifests in groups.items() if manifests}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(files),
    }
    return files | {"kustomization.yaml": dump([kustomization], source)}


def component_files(component: Component, source: str) -> dict[str, str]:
    """Return the files of a component: file name -> text."""
    files = {name: dump(manifests, source) for name, manifests in component.added.items()}
    patches = [_patch(patch) for patch in component.patches]
    for reference in component.removed:
        metadata = {"name": reference.name}
        deletion = {"$patch": "delete", "apiVersion": reference.api_version, "kind": reference.kind}
        target = {"kind": reference.kind, "name": reference.name}
        patches.append({"target": target, "patch": yaml.safe_dump(deletion | {"metadata": metadata}, sort_keys=False)})
    kustomization: Manifest = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    if files:
        kustomization["resources"] = list(files)
    if patches:
        kustomization["patches"] = patches
    return files | component.extra_files | {"kustomization.yaml": dump([kustomization], source)}


def overlay_file(base: str, components: Sequence[str], source: str) -> str:
    """Return a kustomization that combines the base with components; paths are relative to its folder."""
    kustomization: Manifest = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
    }
    if components:
        kustomization["components"] = list(components)
    return dump([kustomization], source)


def _patch(patch: Patch) -> Manifest:
    target = {"group": patch.target.group, "version": patch.target.version, "kind": patch.target.kind}
    operations = "".join(f"- {json.dumps(operation)}\n" for operation in patch.operations)
    return {"target": target | {"name": patch.target.name}, "patch": operations}
