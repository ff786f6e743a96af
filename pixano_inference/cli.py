"""The command ``pixano-inference``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pixano_inference import __version__
from pixano_inference.errors import ConfigError
from pixano_inference.kubernetes.cli import add_parser as add_kubernetes_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except ConfigError as error:
        sys.stderr.write(f"pixano-inference: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pixano-inference", description="Serve models for image and video annotation over HTTP."
    )
    parser.add_argument("--version", action="version", version=__version__)
    _add_serve_options(parser)
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="commands", metavar="{role,k8s}")
    role = commands.add_parser("role", help="start one part of the server: the gateway, or the runner of one model")
    role.add_argument("role", choices=["gateway", "runner"])
    role.add_argument("--model", help="the model of a runner")
    _add_serve_options(role)
    role.set_defaults(run=_serve_role)
    add_kubernetes_parser(commands)
    return parser


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="model set to serve (default: PIXANO_CONFIG, or the demo set)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7463, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--module-path", type=Path, action="append", default=[], metavar="DIR", help="folder of custom model modules"
    )
    parser.add_argument("--no-strict", action="store_true", help="serve the other models when one cannot be loaded")


def _serve_role(options: argparse.Namespace) -> int:
    if (options.role == "runner") != bool(options.model):
        raise ConfigError("role runner needs --model, role gateway takes none")
    os.environ["PIXANO_ROLE"] = f"runner:{options.model}" if options.model else "gateway"
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    # the server's packages are not there in a light install, and --help needs none of them
    from pixano_inference.model_sets import default_config
    from pixano_inference.model_sets.loader import resolve
    from pixano_inference.serving.exposure import warn_when_open
    from pixano_inference.serving.supervisor import serve

    model_set = resolve(options.config or default_config(), options.module_path)
    model_set.store()
    warn_when_open(options.host)
    with tempfile.TemporaryDirectory(prefix="pixano-inference-") as folder:
        return serve(options.host, options.port, strict=not options.no_strict, state_folder=Path(folder))


if __name__ == "__main__":
    raise SystemExit(main())
