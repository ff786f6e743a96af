"""The name service of a small cluster: what CoreDNS answers for headless Services, on an address of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import DNSLogger, DNSServer

DOMAIN = "pixano.svc.cluster.local"
"""Where the names of Services of the namespace pixano are."""


class Names:
    """Answers ``SERVICE.pixano.svc.cluster.local`` with one A record for each ready pod; no such name when none is.

    Glibc's resolver can be told the server's address but not its port, so it has to be port 53.

    Args:
        address: Where to listen.

    Attributes:
        broken: Whether it answers that it failed (SERVFAIL), whatever it is asked.
        questions: How often it was asked.
    """

    def __init__(self, address: str) -> None:
        self._pods: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self.broken = False
        self.questions = 0
        self._server = DNSServer(self, address=address, port=53, logger=DNSLogger(logf=lambda _: None))

    def start(self) -> None:
        """Begin to answer."""
        self._server.start_thread()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()
        self._server.server.server_close()

    def publish(self, service: str, addresses: list[str]) -> None:
        """Set the addresses of a Service."""
        with self._lock:
            self._pods[service] = list(addresses)

    def resolve(self, request: DNSRecord, handler: Any) -> DNSRecord:
        """Answer one question; dnslib calls it."""
        reply = request.reply()
        self.questions += 1
        service, _, domain = str(request.q.qname).rstrip(".").partition(".")
        with self._lock:
            addresses = self._pods.get(service, []) if domain == DOMAIN else []
        if self.broken:
            reply.header.rcode = RCODE.SERVFAIL
        elif not addresses:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:
            for address in addresses:
                reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=5, rdata=A(address)))
        return reply


def resolver_of(server: str, folder: Path) -> list[str]:
    """Return a command that runs another one with ``/etc/resolv.conf`` as the kubelet writes it into a pod.

    Only the command sees it: it gets a mount namespace of its own. ``exec`` keeps its process id.
    """
    configuration, order = folder / "resolv.conf", folder / "nsswitch.conf"
    searched = f"{DOMAIN} svc.cluster.local cluster.local"
    configuration.write_text(f"nameserver {server}\nsearch {searched}\noptions ndots:5 timeout:1\n")
    order.write_text("hosts: files dns\n")
    script = f'mount --bind {configuration} /etc/resolv.conf && mount --bind {order} /etc/nsswitch.conf && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def why_impossible(address: str, folder: Path) -> str | None:
    """Return why no name service of its own can be had here, or null when it can."""
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    tried = subprocess.run([*resolver_of(address, folder), "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"a mount namespace cannot be made here: {tried.stderr.strip()}"
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 53))
        except OSError as error:
            return f"port 53 of {address} cannot be had: {error}"
    return None
