"""``pixano-inference k8s``: render, apply, status, scale, delete."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pixano_inference.errors import ConfigError

from .options import OVERLAYS, RenderOptions, Weights

if TYPE_CHECKING:
    from .render import Rendered

_INSTALL = "pixano-inference k8s needs more packages: pip install 'pixano-inference[server,kubernetes]'"


def add_parser(subparsers: Any) -> None:
    """Add the command ``k8s`` to the program's subcommands."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "k8s", help="deploy a model set on Kubernetes", description="Deploy a model set on Kubernetes."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    render = commands.add_parser("render", help="write manifests: a kustomize base and its overlays")
    _add_render_options(render)
    render.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    render.set_defaults(run=_render)
    apply = commands.add_parser("apply", help="render and apply to the current cluster, and wait until it runs")
    _add_render_options(apply)
    apply.add_argument("--timeout", type=float, default=1800.0, help="seconds to wait (default: %(default)g)")
    apply.set_defaults(run=_apply)
    status = commands.add_parser("status", help="tell how gateway and runners are")
    scale = commands.add_parser("scale", help="set the replicas of one runner, or the bounds of its autoscaler")
    scale.add_argument("model", help="name of the model")
    scale.add_argument("replicas", help="a number, or MIN-MAX where an autoscaler decides")
    delete = commands.add_parser("delete", help="delete what apply made; claims with weights stay")
    delete.add_argument("--weights", action="store_true", help="delete the claims with weights too")
    for command, run in ((status, _status), (scale, _scale), (delete, _delete)):
        command.add_argument("--namespace", default="pixano", help="namespace (default: %(default)s)")
        command.set_defaults(run=run)


def _add_render_options(parser: argparse.ArgumentParser) -> None:
    default = RenderOptions(image="image:tag")
    parser.add_argument("--config", type=Path, help="model set (default: PIXANO_CONFIG, or the demo set)")
    parser.add_argument(
        "--module-path", type=Path, action="append", default=[], metavar="DIR", help="folder of custom model modules"
    )
    parser.add_argument("--image", required=True, help="image of the Bento, best with its digest: name@sha256:...")
    parser.add_argument("--namespace", default=default.namespace, help="namespace (default: %(default)s)")
    parser.add_argument(
        "--overlay",
        action="append",
        default=[],
        choices=list(OVERLAYS),
        help="; ".join(f"{name}: {what}" for name, what in OVERLAYS.items()),
    )
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        default=default.weights,
        help="where checkpoints come from that the image lacks (default: %(default)s)",
    )
    parser.add_argument("--weights-image", help="image that holds a hub cache, for --weights image")
    parser.add_argument("--weights-size", default=default.weights_size, help="size of the claim (default: %(default)s)")
    parser.add_argument(
        "--weights-access-mode",
        choices=["ReadWriteMany", "ReadWriteOnce"],
        default=default.weights_access_mode,
        help="access mode of the claim (default: %(default)s)",
    )
    parser.add_argument("--storage-class", help="storage class of the claim (default: the cluster's)")
    parser.add_argument("--cpu-image", help="image of the cpu overlay, where it is another one")
    parser.add_argument("--gpu-image", help="image of the gpu overlay's runners, where it is another one")
    parser.add_argument(
        "--host", default=default.host, help="host name of Ingress and HTTPRoute (default: %(default)s)"
    )
    parser.add_argument("--ingress-class", default=default.ingress_class, help="ingress class (default: %(default)s)")
    parser.add_argument(
        "--parent-gateway",
        default=default.parent_gateway,
        metavar="NAMESPACE/NAME",
        help="Gateway that the HTTPRoute joins (default: %(default)s)",
    )
    parser.add_argument("--prometheus", default=default.prometheus, help="its address (default: %(default)s)")
    parser.add_argument(
        "--monitoring-namespace",
        default=default.monitoring_namespace,
        help="namespace of Prometheus (default: %(default)s)",
    )
    parser.add_argument(
        "--otlp-endpoint",
        metavar="URL",
        help="OpenTelemetry collector that every pod sends traces to, http://NAME.NAMESPACE.svc:4318 (default: none)",
    )


def rendered(options: argparse.Namespace) -> Rendered:
    """Return what the options ask for, checked.

    Raises:
        ConfigError: The model set or an option is wrong, or a package is missing.
    """
    from pixano_inference.model_sets import default_config
    from pixano_inference.model_sets.loader import resolve

    try:
        from .render import render
        from .validation import check
    except ModuleNotFoundError as error:
        raise ConfigError(f"{_INSTALL} ({error.name} is missing)") from error
    names = set(RenderOptions.__dataclass_fields__) - {"overlays"}
    chosen = {name: value for name, value in vars(options).items() if name in names}
    config = options.config or default_config()
    model_set = resolve(config, options.module_path)
    made = render(
        model_set, config.read_text(encoding="utf-8"), RenderOptions(overlays=tuple(options.overlay), **chosen)
    )
    problems = check(made.manifests())
    if problems:
        raise ConfigError(f"{config}: the manifests are wrong: " + "; ".join(map(str, problems[:5])))
    return made


def _render(options: argparse.Namespace) -> int:
    from .render import write

    made = rendered(options)
    files = write(made, options.output)
    print(f"{len(files)} files in {options.output}, {len(made.manifests())} objects; apply them with:")
    print(f"  kubectl apply --server-side -k {options.output}")
    return 0


def _apply(options: argparse.Namespace) -> int:
    made = rendered(options)
    from .cluster import Cluster

    return Cluster.connect(options.namespace).apply(made.manifests(), timeout_s=options.timeout)


def _status(options: argparse.Namespace) -> int:
    status: int = _cluster(options).print_status()
    return status


def _scale(options: argparse.Namespace) -> int:
    fewest, _, most = options.replicas.partition("-")
    if not fewest.isdigit() or (most and not most.isdigit()):
        raise ConfigError(f"replicas must be a number or MIN-MAX, got {options.replicas!r}")
    status: int = _cluster(options).scale(options.model, int(fewest), int(most) if most else None)
    return status


def _delete(options: argparse.Namespace) -> int:
    status: int = _cluster(options).delete(weights=options.weights)
    return status


def _cluster(options: argparse.Namespace) -> Any:
    try:
        from .cluster import Cluster
    except ModuleNotFoundError as error:
        raise ConfigError(f"{_INSTALL} ({error.name} is missing)") from error
    return Cluster.connect(options.namespace)
