"""A script that stands in for Prometheus and KEDA: it asks a ScaledObject's query and sets the replicas."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from .pods import Cluster, sum_samples

_QUERY = re.compile(
    r"\(sum\((?P<gauge>\w+)\{(?P<gauge_labels>[^}]*)\}\) or vector\(0\)\)\s*\+\s*"
    r"\(sum\(increase\((?P<counter>\w+)\{(?P<counter_labels>[^}]*)\}\[1m\]\)\)\s*or vector\(0\)\)"
)
_POLL_S = 0.25
_WINDOW_S = 5.0
_COOLDOWN_S = 2.0


class Autoscaler:
    """Scales one Deployment by the metrics of its gateways, as the ScaledObject says.

    It is not KEDA. It evaluates the rendered query, and no other PromQL; it takes minimum, maximum, threshold and
    activation threshold from the manifest; it looks four times a second instead of every 5 s, over 5 s instead of a
    minute, and cools down for 2 s instead of the manifest's time, since a test has less time than a cluster.

    Args:
        cluster: Where the pods run.
        scaled_object: The manifest.
        gateways: Tells the URLs of the gateways.
    """

    def __init__(self, cluster: Cluster, scaled_object: dict[str, Any], gateways: Callable[[], Sequence[str]]) -> None:
        spec = scaled_object["spec"]
        (trigger,) = spec["triggers"]
        found = _QUERY.fullmatch(trigger["metadata"]["query"])
        assert found, f"this stand-in cannot evaluate {trigger['metadata']['query']}"
        self._gauge = found["gauge"], _labels(found["gauge_labels"])
        self._counter = found["counter"], _labels(found["counter_labels"])
        self._threshold = float(trigger["metadata"]["threshold"])
        self._activation = float(trigger["metadata"]["activationThreshold"])
        self._bounds = spec["minReplicaCount"], spec["maxReplicaCount"]
        self._name = spec["scaleTargetRef"]["name"]
        self._cluster = cluster
        self._gateways = gateways
        self._history: deque[tuple[float, float]] = deque()
        self._active_at = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler")

    def __enter__(self) -> Autoscaler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(_POLL_S):
            value, now = self.value(), time.monotonic()
            if value > self._activation:
                self._active_at = now
            wanted = min(self._bounds[1], max(1, self._bounds[0], math.ceil(value / self._threshold)))
            if now - self._active_at > _COOLDOWN_S:
                wanted = self._bounds[0]
            alive = [pod for pod in self._cluster.pods[self._name] if not pod.deleted]
            for _ in range(wanted - len(alive)):
                self._cluster.add(self._name)
            # one replica more or less is not worth a cold cache: only the end of all use takes replicas away
            if wanted == 0 and alive:
                self._cluster.delete(self._name, *alive).result()

    def value(self) -> float:
        """Return what the query says now."""
        texts = [httpx.get(f"{url}/metrics", timeout=10, verify=False).text for url in self._gateways()]
        now = time.monotonic()
        self._history.append((now, sum(sum_samples(text, *self._counter) for text in texts)))
        while self._history[0][0] < now - _WINDOW_S:
            self._history.popleft()
        increase = self._history[-1][1] - self._history[0][1]
        return sum(sum_samples(text, *self._gauge) for text in texts) + increase


def _labels(selector: str) -> dict[str, str]:
    labels = dict(re.findall(r'(\w+)="([^"]*)"', selector))
    del labels["namespace"]  # Prometheus puts it on what it scrapes
    return labels
