"""The few paths of a Kubernetes API server that our commands use: it stores what it gets.

It checks nothing that a real one checks (the schemas do that elsewhere) and runs nothing: a Deployment is ready when
a test says so.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "v1": {
        "Namespace": "namespaces",
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "Pod": "pods",
        "PersistentVolumeClaim": "persistentvolumeclaims",
    },
    "apps/v1": {"Deployment": "deployments"},
    "batch/v1": {"Job": "jobs"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
}


class ApiServer:
    """A server on a free port of the loopback address."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[str] = []
        self.runs = True
        server = self

        class Handler(_Handler):
            api = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}).start()

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()

    def seen(self, plural: str, name: str) -> dict[str, Any]:
        """Return an object as it is read: with the status that controllers would give it."""
        stored = self.objects[plural, name]
        if plural != "deployments":
            return stored
        replicas = stored["spec"].get("replicas", 1)
        ready = replicas if self.runs else 0
        status = {"readyReplicas": ready, "updatedReplicas": replicas, "observedGeneration": 1}
        spec = {**stored["spec"], "replicas": replicas}
        return {**stored, "spec": spec, "status": status, "metadata": {**stored["metadata"], "generation": 1}}


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path == "version":
            return self._send({"major": "1", "minor": "34"})
        if path == "api":
            return self._send({"kind": "APIVersions", "versions": ["v1"]})
        if path == "apis":
            groups = [version.split("/") for version in KINDS if "/" in version]
            return self._send({"kind": "APIGroupList", "groups": [_group(name, version) for name, version in groups]})
        version = path.removeprefix("apis/").removeprefix("api/")
        if version in KINDS:
            return self._send({"kind": "APIResourceList", "resources": _resources(version)})
        plural, name = self._target()
        if plural is None:
            return self._send({"reason": "NotFound"}, 404)
        if name is None:
            items = [self.api.seen(*key) for key in self.api.objects if key[0] == plural]
            return self._send({"kind": "List", "apiVersion": "v1", "items": items})
        if (plural, name) not in self.api.objects:
            return self._send({"reason": "NotFound"}, 404)
        return self._send(self.api.seen(plural, name))

    def do_POST(self) -> None:
        body = self._body()
        plural, _ = self._target()
        self.api.objects[str(plural), body["metadata"]["name"]] = body
        self._send(body, 201)

    def do_PATCH(self) -> None:
        change = self._body()
        plural, name = self._target()
        key = (str(plural), str(name))
        self.api.requests.append(f"{self.headers['Content-Type']} {plural}/{name}?{self.path.partition('?')[2]}")
        if "apply" in self.headers["Content-Type"]:
            self.api.objects[key] = change
        elif key not in self.api.objects:
            return self._send({"reason": "NotFound"}, 404)
        else:
            self.api.objects[key]["spec"].update(change["spec"])
        return self._send(self.api.objects[key])

    def do_DELETE(self) -> None:
        self._body()
        plural, name = self._target()
        self._send(self.api.objects.pop((str(plural), str(name)), {}))

    def _target(self) -> tuple[str | None, str | None]:
        parts = self.path.partition("?")[0].strip("/").split("/")
        plurals = {plural for kinds in KINDS.values() for plural in kinds.values()} - {"namespaces"}
        for index, part in enumerate(parts):
            if part in plurals:
                return part, parts[index + 1] if len(parts) > index + 1 else None
        if "namespaces" in parts:
            index = parts.index("namespaces")
            return "namespaces", parts[index + 1] if len(parts) > index + 1 else None
        return None, None

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        return body

    def _send(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _group(name: str, version: str) -> dict[str, Any]:
    preferred = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


def _resources(version: str) -> list[dict[str, Any]]:
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    return [
        {"name": plural, "kind": kind, "namespaced": kind != "Namespace", "singularName": kind.lower(), "verbs": verbs}
        for kind, plural in KINDS[version].items()
    ]
