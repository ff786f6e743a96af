"""Starting everything: this process becomes BentoML's supervisor of gateway and runners."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet

from .environment import ROLE_VARIABLE, prepare_environment
from .gpu_plan import plan_this_machine
from .strict import FAILURE_FILE_VARIABLE, STRICT_VARIABLE, SUPERVISOR_VARIABLE

ENTRY = "pixano_inference.serving.entry:service"

RESPAWN_CHECK_S = 1.0
"""How often the supervisor looks for dead processes; Bento's own default is ten seconds."""


def serve(host: str, port: int, *, strict: bool, state_folder: Path) -> int:
    """Serve the stored model set until a signal ends it.

    Args:
        host: Address that the gateway (or the single role) listens on.
        port: Its port.
        strict: Stop when a model cannot be loaded.
        state_folder: A folder of this run.

    Returns:
        The exit status: 0, or 1 when a model could not be loaded.

    Raises:
        ConfigError: The port is taken, or the models ask for more GPUs than there are.
    """
    model_set = ModelSet.stored()
    if model_set is not None:
        plan_this_machine(model_set, os.environ.get(ROLE_VARIABLE, "all"))
    _check_port(host, port)
    prepare_environment()
    failure = state_folder / "failure"
    os.environ.update({
        STRICT_VARIABLE: "1" if strict else "0",
        SUPERVISOR_VARIABLE: str(os.getpid()),
        FAILURE_FILE_VARIABLE: str(failure),
        # of the whole run, so that a gateway that is restarted finds its jobs
        "PIXANO_DATA_DIR": os.environ.get("PIXANO_DATA_DIR", str(state_folder / "data")),
        # apart from other servers on this machine
        "BENTOML_HOME": os.environ.get("BENTOML_HOME", str(state_folder / "bentoml")),
    })  # fmt: skip
    _look_for_dead_processes_often()
    from _bentoml_impl.loader import load
    from _bentoml_impl.server import serve_http

    # as "bentoml serve" does it
    load(ENTRY).inject_config()
    serve_http(ENTRY, working_dir=os.getcwd(), host=host, port=port)
    if failure.exists():
        sys.stderr.write(f"pixano-inference: {failure.read_text()}\n")
        return 1
    return 0


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _look_for_dead_processes_often() -> None:
    from bentoml._internal.utils import circus

    original = circus.create_standalone_arbiter

    def create(*args: object, **kwargs: object) -> object:
        kwargs.setdefault("check_delay", RESPAWN_CHECK_S)
        return original(*args, **kwargs)

    circus.create_standalone_arbiter = create  # Bento has no setting for it
