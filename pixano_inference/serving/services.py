"""The Bento services of a model set.

Bento starts the processes and supervises them. The data does not go through its dependency calls (pickle, recycled
sessions, no cancellation) but over the binary protocol, mounted beside Bento's own endpoints; ``depends()`` is there
so that one ``bentoml serve`` starts everything.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
from starlette.types import ASGIApp

from pixano_inference.configs.server_settings import ServerSettings, server_settings
from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet, ResolvedModel, default_config
from pixano_inference.model_sets.loader import resolve
from pixano_inference.protocol.answers import OIP_PREFIX
from pixano_inference.runner.app import RefuseOtherBodies, RunnerApp
from pixano_inference.runner.host import ModelHost
from pixano_inference.runner.oip import OipRunnerApp

from .allocator import keep_freed_memory
from .bounded_head import bound_heads
from .direct import DirectMount
from .draining import drain_on_signal, leave_on_signal
from .environment import ROLE_VARIABLE, prepare_environment
from .exposure import warn_when_bento_opens
from .gpu_plan import plan_this_machine, take_gpus
from .late import LateApp
from .logs import configure_logging
from .restarts import wait_before_loading
from .strict import report_when_loaded, stop_the_start, stop_when_not_loaded
from .tracing import configure_tracing

GATEWAY_NAME = "gateway"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7463
_RUNNER_KEEPS_MIB, _GATEWAY_KEEPS_MIB = 128, 64
"""Freed memory: several decoded images; the embeddings of one, as they came and as they go."""
_NO_LIMIT_S = 7 * 24 * 3600

_quiet: dict[str, Any] = {
    # our own metrics, log and limits apply; Bento's would be paid for a second time on every request
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "traffic": {"timeout": _NO_LIMIT_S},
    "workers": 1,
}


def current_model_set() -> ModelSet:
    """Return the set that this process serves: its parent's, or the default one.

    Raises:
        ConfigError: The config file is wrong.
    """
    model_set = ModelSet.stored()
    if model_set is None:
        model_set = resolve(default_config())
        model_set.store()
    return model_set


class _DirectService(bentoml.Service[Any]):  # type: ignore[misc]  # bentoml is untyped
    """A service whose mounted application is reached past Bento's middlewares."""

    __slots__ = ()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Make the application that the worker process serves."""
        served: ASGIApp = super().to_asgi(is_main)
        for app, path, _ in self.mount_apps:
            served = DirectMount(served, app, path.rstrip("/"))
        return served


def _reached_directly(service: Any) -> Any:
    service.__class__ = _DirectService  # bentoml.service() makes the object and takes no class to make it of
    return service


def runner_service(model: ResolvedModel, model_set: ModelSet, settings: ServerSettings, replica: int = 0) -> Any:
    """Make the Bento service that runs one replica of ``model``."""
    host = ModelHost(model, model_set, settings.hang_grace_s)
    app = RunnerApp(host, settings.runner_secret)

    async def start(self: object) -> None:
        configure_logging(model.name)
        configure_tracing(model.name)
        take_gpus(name)
        keep_freed_memory(_RUNNER_KEEPS_MIB)
        drain_on_signal(host, app)
        # a pod that keeps ending is held back by Kubernetes
        alone = os.environ.get(ROLE_VARIABLE, "all") != "all"
        starts = None if alone or settings.data_dir is None else settings.data_dir / "starts"
        await host.start(wait_before_loading(starts, name) if starts is not None else 0.0)
        if os.environ.get(ROLE_VARIABLE, "").startswith("runner:"):
            stop_when_not_loaded(host)

    async def ready(self: object) -> bool:
        return host.state == "ready"

    async def stop(self: object) -> None:
        await host.close()

    name = model.replica_service_name(replica)
    body = {
        "start": bentoml.on_startup(start),
        "stop": bentoml.on_shutdown(stop),
        # what /readyz answers: a replica that still loads must not take the place of one that serves
        "__is_ready__": ready,
        "__module__": __name__,
    }
    cls = bentoml.asgi_app(RefuseOtherBodies(app), path="/rpc")(type(name, (), body))
    cls = bentoml.asgi_app(OipRunnerApp(host, settings.runner_secret, settings), path=OIP_PREFIX)(cls)
    resources: dict[str, Any] = {"cpu": str(model.deployment.num_cpus)}
    if model.deployment.num_gpus > 0:
        resources["gpu"] = (
            model.deployment.num_gpus if model.deployment.num_gpus < 1 else int(model.deployment.num_gpus)
        )
    if model.deployment.memory_mb:
        resources["memory"] = f"{model.deployment.memory_mb}Mi"
    service = bentoml.service(name=name, resources=resources, **_quiet)(cls)
    service.add_asgi_middleware(RefuseOtherBodies)  # for Bento's own paths
    return _reached_directly(service)


def gateway_service(model_set: ModelSet, settings: ServerSettings, runners: list[Any]) -> Any:
    """Make the Bento service that speaks the HTTP contract."""
    app = LateApp()

    async def start(self: object) -> None:
        # here, since every runner's process comes by this function and would carry the whole gateway
        from pixano_inference.gateway.app import create_app
        from pixano_inference.gateway.state import GatewayState

        configure_logging(GATEWAY_NAME)
        configure_tracing(GATEWAY_NAME)
        state = GatewayState(model_set, settings)
        app.serve(create_app(state), state.close)
        keep_freed_memory(_GATEWAY_KEEPS_MIB)
        leave_on_signal(state.leaving)
        try:
            await state.start()
        except ConfigError as error:
            stop_the_start(error.message)  # a gateway that is started again would fail again
            raise
        report_when_loaded(state)

    async def stop(self: object) -> None:
        await app.close()

    body: dict[str, Any] = {
        "start": bentoml.on_startup(start),
        "stop": bentoml.on_shutdown(stop),
        "__module__": __name__,
    }
    for index, runner in enumerate(runners):
        body[f"runner_{index}"] = bentoml.depends(runner)
    cls = bentoml.asgi_app(app, path="/")(type("Gateway", (), body))
    # where "bentoml serve" listens when it is not told; its own default is every address of the machine
    http = {"host": DEFAULT_HOST, "port": DEFAULT_PORT}
    return _reached_directly(bentoml.service(name=GATEWAY_NAME, http=http, **_quiet)(cls))


def make_service() -> Any:
    """Make the service of this process's role, its runners included when it is everything.

    Raises:
        ConfigError: The config file or the role is wrong.
    """
    prepare_environment()
    bound_heads()
    settings, model_set = server_settings(), current_model_set()
    role = os.environ.get(ROLE_VARIABLE, "all")
    plan_this_machine(model_set, role)
    warn_when_bento_opens()
    if role.startswith("runner:"):
        return runner_service(model_set.model(role.removeprefix("runner:")), model_set, settings)
    if role == "gateway":
        return gateway_service(model_set, settings, [])
    if role != "all":
        raise ConfigError(f"{ROLE_VARIABLE} must be all, gateway or runner:<model>, got {role!r}")
    runners = [
        runner_service(model, model_set, settings, replica)
        for model in model_set.models
        for replica in range(model.local_replicas)
    ]
    return gateway_service(model_set, settings, runners)
