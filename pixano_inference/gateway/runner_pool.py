"""All replicas of one model: which are up, which gets the next request."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlparse

from pixano_inference.errors import PixanoError, TimedOut, Unavailable
from pixano_inference.model_sets import ResolvedModel

from . import metrics
from .affinity import Affinity
from .replica import BodyMaker, NotBegun, Replica

logger = logging.getLogger(__name__)

_RESOLVE_S = 1.0
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class RunnerPool:
    """Sends requests of one model to its replicas.

    Args:
        model: The model.
        addresses: ``file:///path.sock`` or ``http://host:port``; a host name stands for all its addresses.
        secret: Proves to the runners that the gateway calls.
        wake_hold_s: Seconds that a request waits for a first replica, where runners scale to zero.
    """

    def __init__(
        self, model: ResolvedModel, addresses: list[str], secret: str | None, wake_hold_s: float = 0.0
    ) -> None:
        self.model = model
        self.replicas: dict[str, Replica] = {}
        self._names = [address for address in addresses if _needs_resolving(address)]
        self._fixed = [address for address in addresses if not _needs_resolving(address)]
        self._secret = secret
        self._wake_hold_s = wake_hold_s
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._affinity = Affinity()
        self._lost = 0
        self._lost_by_removed = 0
        self.metadata: dict[str, Any] = {}

    async def start(self) -> None:
        """Connect to the replicas."""
        self._update(set(self._fixed))
        metrics.IN_FLIGHT.labels(self.model.name).set(0)
        metrics.RUNNER_UP.labels(self.model.name).set(0)
        metrics.RUNNER_RESTARTS.labels(self.model.name)  # from 0, or an alert on its growth would miss the first
        if self._names:
            self._task = asyncio.create_task(self._keep_resolving(), name=f"resolve {self.model.name}")

    async def close(self) -> None:
        """Disconnect from all."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(replica.close() for replica in self.replicas.values()))

    async def _keep_resolving(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            found = set(self._fixed)
            failed = False
            for name in self._names:
                parsed = urlparse(name)
                try:
                    infos = await loop.getaddrinfo(parsed.hostname, parsed.port, type=socket.SOCK_STREAM)
                except socket.gaierror as error:
                    # no such name: scaled to zero, or not started yet; all else says nothing about the replicas
                    failed |= error.errno not in _NO_SUCH_NAME
                    continue
                for *_, address in infos:
                    host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
                    found.add(f"{parsed.scheme}://{host}:{parsed.port}")
            self._update(found | self.replicas.keys() if failed else found)
            await asyncio.sleep(_RESOLVE_S)

    def _update(self, addresses: set[str]) -> None:
        for address in addresses - self.replicas.keys():
            replica = Replica(address, self._secret, self._on_change, self.model.name)
            self.replicas[address] = replica
            replica.start()
        for address in self.replicas.keys() - addresses:
            replica = self.replicas[address]
            if replica.in_flight == 0 and not replica.status:
                self._lost_by_removed += replica.losses
                del self.replicas[address]
                # the task ends by itself; closing it is not worth waiting for here
                task = asyncio.create_task(replica.close())
                task.add_done_callback(lambda _: None)
                self._on_change()

    def _on_change(self) -> None:
        lost = self._lost_by_removed + sum(replica.losses for replica in self.replicas.values())
        if lost > self._lost:
            metrics.RUNNER_RESTARTS.labels(self.model.name).inc(lost - self._lost)
            self._lost = lost
        metrics.RUNNER_UP.labels(self.model.name).set(sum(replica.ready for replica in self.replicas.values()))
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def state(self) -> tuple[str, str | None]:
        """State of the model and, when it is not ready, the reason."""
        states = {replica.state: replica for replica in self.replicas.values()}
        for state in ("ready", "starting", "failed", "draining"):
            if state in states:
                return state if state != "draining" else "down", states[state].status.get("reason")
        if self._names and not self.replicas and self.model.deployment.min_replicas == 0:
            return "idle", "scaled to zero; a request wakes it"
        losses = f", lost {self._lost} times" if self._lost else ""
        return "down", f"no runner process answers{losses}"

    async def wait_for_change(self, timeout_s: float) -> None:
        """Return when a state changed, or after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _ranked(self, digest: str | None) -> list[Replica]:
        return self._affinity.rank([replica for replica in self.replicas.values() if replica.ready], digest)

    async def _candidates(self, digest: str | None) -> list[Replica]:
        give_up = time.monotonic() + self._wake_hold_s
        while not (ranked := self._ranked(digest)):
            state, reason = self.state
            left = give_up - time.monotonic()
            if left <= 0 or state == "failed":
                raise Unavailable(f"model {self.model.name!r} is not ready: {reason}", retry_after_s=2)
            await self.wait_for_change(min(left, 1.0))
        return ranked

    async def predict(
        self, plain: dict[str, Any], digest: str | None, timeout_s: float, caller: str = ""
    ) -> dict[str, Any]:
        """Answer one request with one of the replicas; ``digest`` names the image, so that clicks on it stay together.

        Args:
            plain: The plain fields of the input.
            digest: Of the image, or null.
            timeout_s: Seconds that the model may take.
            caller: Opaque id of who sent it; the queue before the model is fair between these.

        Raises:
            PixanoError: What went wrong, for the caller.
        """
        reason: PixanoError | None = None
        with metrics.IN_FLIGHT.labels(self.model.name).track_inprogress():
            for replica in (await self._candidates(digest))[:2]:
                self._affinity.remember(digest, replica)
                try:
                    async with asyncio.timeout(timeout_s + 5):  # the runner's own deadline comes first
                        answer = await replica.predict(plain, timeout_s, caller)
                except NotBegun as not_begun:
                    reason = not_begun.reason
                except TimeoutError:
                    raise TimedOut("the model took longer than its time limit") from None
                else:
                    self._observe(answer)
                    return answer
        raise reason or Unavailable(f"model {self.model.name!r} cannot be reached", retry_after_s=2)

    async def stream(
        self, plain: dict[str, Any] | BodyMaker, digest: str | None, timeout_s: float, caller: str = ""
    ) -> AsyncGenerator[dict[str, Any]]:
        """Answer one request with one of the replicas, message by message; arguments as :meth:`predict` has them.

        Raises:
            PixanoError: What went wrong, for the caller.
        """
        reason: PixanoError | None = None
        with metrics.IN_FLIGHT.labels(self.model.name).track_inprogress():
            for replica in (await self._candidates(digest))[:2]:
                self._affinity.remember(digest, replica)
                try:
                    async with contextlib.aclosing(replica.stream(plain, timeout_s, caller)) as messages:
                        async for message in messages:
                            if message.get("done") and not callable(plain):  # of a job nobody waits for the end
                                self._observe(message)
                            yield message
                    return
                except NotBegun as not_begun:
                    reason = not_begun.reason
        raise reason or Unavailable(f"model {self.model.name!r} cannot be reached", retry_after_s=2)

    def _observe(self, answer: dict[str, Any]) -> None:
        name = self.model.name
        metrics.QUEUE_SECONDS.labels(name).observe(answer.get("queue_seconds", 0.0))
        metrics.MODEL_SECONDS.labels(name).observe(answer.get("model_seconds", 0.0))
        metrics.BATCH_SIZE.labels(name).observe(answer.get("batch_size", 1))


def _needs_resolving(address: str) -> bool:
    parsed = urlparse(address)
    if parsed.scheme not in ("http", "https"):
        return False
    try:
        ipaddress.ip_address(parsed.hostname or "")
    except ValueError:
        return True
    return False
