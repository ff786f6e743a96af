"""A small cluster of processes: Deployments, a headless Service for each model, and what the kubelet does with pods."""

from __future__ import annotations

import concurrent.futures
import functools
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pixano_inference.kubernetes.options import RenderOptions
from pixano_inference.kubernetes.render import Rendered, render
from pixano_inference.model_sets.loader import resolve
from tests.containers import Container, wait_for
from tests.servers import MODEL_SETS
from tests.system.paced import Diary

from .names import Names, resolver_of

CONFIG = MODEL_SETS / "cluster.py"
_PROBE_S = 0.25
"""The manifests probe every 5 s; a cluster in a test has less time."""
_PRE_STOP_SHARE = 0.1
"""Of the manifests' preStop; waiting less before SIGTERM is the stricter test."""
GATEWAY = ("Deployment", "gateway")
_RUNNER_PORT = 3000
_GATEWAY_PORT = 7463


class Pod:
    """One replica: a container with an address of its own."""

    def __init__(self, container: Container, address: str, pre_stop_s: float, diary: Path) -> None:
        self.container = container
        self.diary = Diary(diary)
        self.address = address
        self.deleted = False
        self.passes = False
        self._pre_stop_s = pre_stop_s

    def probe(self) -> None:
        """Look whether the pod passes its readiness probe."""
        self.passes = self.container.process.poll() is None and self.container.answers("readinessProbe")

    def end(self) -> None:
        """Run the preStop hook, then SIGTERM. The pod has left the Service before.

        Raises:
            AssertionError: It did not end with status 0.
        """
        time.sleep(self._pre_stop_s)
        status = self.container.stop()
        assert status == 0, f"exit status {status}:\n{self.container.log.read_text()[-5000:]}"


class Cluster:
    """Runs Deployments of the model set ``cluster.py``; every pod listens on the port that its manifest says.

    Stands for the Deployment and endpoints controllers, the kubelet, and the name service.

    Args:
        folder: Where the processes work.
        network: The first three numbers of the addresses of its pods.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self._folder = folder
        self._network = network
        options = RenderOptions(image="pixano:1", overlays=("keda",))
        self.rendered: Rendered = render(resolve(CONFIG), CONFIG.read_text(), options)
        self._manifests = {m["metadata"]["name"]: m for m in self.rendered.manifests(()) if m["kind"] == "Deployment"}
        self.pods: dict[str, list[Pod]] = {name: [] for name in self._manifests}
        self.names = Names(f"{network}.53")
        self._next = {"runner": 100, "gateway": 10}
        self._starts = 0
        self._closing = threading.Event()
        self._endpoints = threading.Thread(target=self._keep_endpoints, name="endpoints")

    def __enter__(self) -> Cluster:
        self.names.start()
        self._endpoints.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._endpoints.join()
        for pods in self.pods.values():
            for pod in pods:
                pod.container.kill()
        self.names.stop()

    def _keep_endpoints(self) -> None:
        while not self._closing.wait(_PROBE_S):
            for name in self.pods:
                self._publish(name)

    def _publish(self, name: str) -> None:
        for pod in list(self.pods[name]):
            pod.probe()
        self.names.publish(name, [pod.address for pod in self.endpoints(name)])

    def endpoints(self, name: str) -> list[Pod]:
        """Return the pods of a Service that are ready and not being deleted."""
        return [pod for pod in list(self.pods[name]) if pod.passes and not pod.deleted]

    def scaled_object(self, name: str) -> dict[str, Any]:
        """Return the ScaledObject of a Deployment."""
        (found,) = [
            manifest
            for manifest in self.rendered.manifests()
            if manifest["kind"] == "ScaledObject" and manifest["spec"]["scaleTargetRef"]["name"] == name
        ]
        return found

    @property
    def wake_hold_s(self) -> str:
        """How long the gateway of the keda overlay holds a request."""
        (gateway,) = [m for m in self.rendered.manifests() if (m["kind"], m["metadata"]["name"]) == GATEWAY]
        (container,) = gateway["spec"]["template"]["spec"]["containers"]
        return str(next(entry["value"] for entry in container["env"] if entry["name"] == "PIXANO_WAKE_HOLD_S"))

    def pre_stop_s(self, name: str) -> float:
        """Return the seconds between the deletion of a pod and its SIGTERM."""
        (container,) = self._manifests[name]["spec"]["template"]["spec"]["containers"]
        return float(container["lifecycle"]["preStop"]["sleep"]["seconds"]) * _PRE_STOP_SHARE

    def add(self, name: str, address: str | None = None, **environment: str) -> Pod:
        """Start a pod of a Deployment; it becomes an endpoint once it is ready."""
        kind, port = ("gateway", _GATEWAY_PORT) if name == "gateway" else ("runner", _RUNNER_PORT)
        if address is None:
            address = f"{self._network}.{self._next[kind]}"
            self._next[kind] += 1
        self._starts += 1
        folder = self._folder / f"{self._starts}-{name}"
        folder.mkdir()
        wrapper = resolver_of(f"{self._network}.53", folder)
        container = Container(
            self._manifests[name],
            CONFIG,
            folder,
            (address, port),
            wrapper=wrapper,
            POD_IP=address,
            PACED_LOG=str(folder / "diary"),
            **environment,
        )
        pod = Pod(container, address, self.pre_stop_s(name), folder / "diary")
        self.pods[name].append(pod)
        return pod

    def wait_until_ready(self, *pods: Pod) -> None:
        """Return when these pods are ready."""
        for pod in pods:
            wait_for(functools.partial(getattr, pod, "passes"), pod.container)

    def delete(self, name: str, *pods: Pod) -> concurrent.futures.Future[None]:
        """Delete pods as the API server does: they leave the Service, and end after their preStop hook.

        Returns:
            Done when they have ended; holds the error of one that did not end well.
        """
        for pod in pods:
            pod.deleted = True
        self.names.publish(name, [pod.address for pod in self.endpoints(name)])
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def end() -> None:
            try:
                for pod in pods:
                    pod.end()
                    self.pods[name].remove(pod)
            except BaseException as error:  # raised again where the result is awaited
                done.set_exception(error)
            else:
                done.set_result(None)

        threading.Thread(target=end, name=f"delete pods of {name}").start()
        return done

    def scale(self, name: str, replicas: int) -> None:
        """Bring a Deployment to a number of pods, and return when they are ready and the surplus has ended.

        A pod that was killed is gone for good, as after the loss of its node.
        """
        for pod in list(self.pods[name]):
            if pod.container.process.poll() is not None:
                self.pods[name].remove(pod)
        alive = [pod for pod in self.pods[name] if not pod.deleted]
        leaving = self.delete(name, *alive[replicas:])
        self.wait_until_ready(*[self.add(name) for _ in range(replicas - len(alive))])
        leaving.result()

    def roll(self, name: str, **environment: str) -> None:
        """Replace every pod as a rolling update with ``maxSurge: 1, maxUnavailable: 0`` does."""
        leaving = []
        for old in [pod for pod in self.pods[name] if not pod.deleted]:
            self.wait_until_ready(self.add(name, **environment))
            leaving.append(self.delete(name, old))
        for done in leaving:
            done.result()

    def kill(self, pod: Pod) -> None:
        """Kill a pod's processes."""
        pod.container.kill()

    def restart(self, name: str, pod: Pod, **environment: str) -> Pod:
        """Start a dead pod's container again, on the same address, as the kubelet does."""
        self.pods[name].remove(pod)
        return self.add(name, pod.address, **environment)


def replicas_up(gateway: Pod, model: str) -> int:
    """Return how many replicas of a model a gateway counts as ready."""
    return int(metric(gateway, "pixano_runner_up", model=model))


def metric(gateway: Pod, name: str, **labels: str) -> float:
    """Return the sum of a gateway's samples of a metric that have these labels."""
    return sum_samples(httpx.get(f"{gateway.container.url}/metrics", timeout=10, verify=False).text, name, labels)


def sum_samples(text: str, name: str, labels: dict[str, str]) -> float:
    """Return the sum of the samples of a metric that have these labels, in Prometheus' text format."""
    from prometheus_client.parser import text_string_to_metric_families

    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def until(condition: Callable[[], Any], seconds: float = 30.0) -> float:
    """Wait for a condition and return the seconds that it took.

    Raises:
        AssertionError: It did not come true in time.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not come true in time"
        time.sleep(0.05)
    return time.monotonic() - started


def free_network() -> str:
    """Return three numbers of loopback addresses that no other cluster is likely to use."""
    return f"127.{random.randrange(64, 250)}.{random.randrange(1, 250)}"
