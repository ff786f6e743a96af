"""From a model set to the files of a kustomize base, its components and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubernetes import client as k8s

from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet

from . import kustomize, naming, pods
from .accelerators import cpu_component, gpu_component, ha_component, keda_component, runners_with_gpus
from .component import Component, compose
from .gateway import gateway_manifests
from .kserve import kserve_component
from .manifest import Manifest, plain
from .monitoring import monitoring_component
from .network import network_manifests
from .options import OVERLAYS, RenderOptions
from .routes import gateway_api_component, ingress_component
from .runners import runner_manifests
from .weights import weights_manifests


@dataclass(frozen=True)
class Rendered:
    """Everything that a model set becomes.

    Attributes:
        source: Name of the config file.
        base: File name -> objects of the base.
        components: Overlay name -> its content.
        overlays: Overlays that the top kustomization combines.
    """

    source: str
    base: dict[str, list[Manifest]]
    components: dict[str, Component]
    overlays: tuple[str, ...]

    def manifests(self, overlays: tuple[str, ...] | None = None) -> list[Manifest]:
        """Return the objects that are applied: the base with some overlays, by default the chosen ones."""
        chosen = self.overlays if overlays is None else overlays
        base = [manifest for manifests in self.base.values() for manifest in manifests]
        return compose(base, [self.components[name] for name in chosen if name in self.components])

    def files(self) -> dict[str, str]:
        """Return every file: path relative to the output folder -> text."""
        files = {f"base/{name}": text for name, text in kustomize.base_files(self.base, self.source).items()}
        for name, component in self.components.items():
            for file_name, text in kustomize.component_files(component, self.source).items():
                files[f"components/{name}/{file_name}"] = text
            overlay = kustomize.overlay_file("../../base", [f"../../components/{name}"], self.source)
            files[f"overlays/{name}/kustomization.yaml"] = overlay
        chosen = [f"components/{name}" for name in self.overlays if name in self.components]
        files["kustomization.yaml"] = kustomize.overlay_file("base", chosen, self.source)
        return files


def render(model_set: ModelSet, config_text: str, options: RenderOptions) -> Rendered:
    """Render a model set.

    Args:
        model_set: The resolved set.
        config_text: Text of its config file, which the pods read again.
        options: Image, namespace, overlays and so on.

    Raises:
        ConfigError: The set cannot be expressed on Kubernetes; the message names the model and the field.
    """
    naming.check_names(model_set)
    base: dict[str, list[Manifest]] = {
        "namespace.yaml": [plain(_namespace(model_set, options))],
        "model-set.yaml": [plain(pods.model_set_map(model_set, config_text, options))],
        "gateway.yaml": gateway_manifests(model_set, config_text, options),
        "weights.yaml": weights_manifests(model_set, options),
        "network-policies.yaml": network_manifests(model_set, options),
    }
    for model in model_set.models:
        base[f"{naming.runner_name(model)}.yaml"] = runner_manifests(model, model_set, config_text, options)
    components = _components(model_set, config_text, options)
    for name in options.overlays:
        if name not in components:
            raise ConfigError(f"{model_set.source}: the overlay {name!r} has nothing to change: {_WHY_EMPTY[name]}")
    return Rendered(model_set.source, {k: v for k, v in base.items() if v}, components, options.overlays)


def write(rendered: Rendered, folder: Path) -> list[Path]:
    """Write the files and delete those of an earlier rendering that are no longer made.

    Returns:
        The files written.

    Raises:
        ConfigError: The folder holds files that no rendering made.
    """
    files = {folder / name: text for name, text in rendered.files().items()}
    stale = [path for path in _yaml_files(folder) if path not in files]
    foreign = [path for path in stale if "pixano-inference k8s render" not in path.read_text(encoding="utf-8")[:200]]
    if foreign:
        raise ConfigError(f"{foreign[0]} was not made by a rendering; choose another folder, or move it away")
    for path in stale:
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


_WHY_EMPTY = {
    "gpu": "no model asks for GPUs (num_gpus)",
    "keda": "no model has min_replicas below max_replicas",
}


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml")) if folder.is_dir() else []


def _components(model_set: ModelSet, config_text: str, options: RenderOptions) -> dict[str, Component]:
    made = {
        "cpu": cpu_component(model_set, options),
        "gpu": gpu_component(model_set, options) if runners_with_gpus(model_set) else None,
        "ha": ha_component(model_set, options),
        "keda": keda_component(model_set, options),
        "kserve": kserve_component(model_set, config_text, options),
        "monitoring": monitoring_component(model_set, options),
        "ingress": ingress_component(model_set, options),
        "gateway-api": gateway_api_component(model_set, options),
    }
    if made["keda"] is not None and not made["keda"].added:
        made["keda"] = None
    return {name: component for name in OVERLAYS if (component := made.get(name)) is not None}


def _namespace(model_set: ModelSet, options: RenderOptions) -> k8s.V1Namespace:
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return k8s.V1Namespace(
        api_version="v1",
        kind="Namespace",
        metadata=k8s.V1ObjectMeta(name=options.namespace, labels={naming.NAME_LABEL: naming.APPLICATION, **levels}),
    )
