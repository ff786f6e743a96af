"""Asks for ``/health`` from a process of its own, where the load's threads do not hold it up, until stdin is closed.

``python -m tests.system.health_probe PORT`` prints the 99th percentile in seconds.
"""

from __future__ import annotations

import http.client
import select
import sys
import time


def main(port: int) -> None:
    """Ask every 20 ms."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    times: list[float] = []
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        began = time.monotonic()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        if answer.status != 200 or b"healthy" not in answer.read():
            sys.exit(f"/health answered {answer.status}")
        times.append(time.monotonic() - began)
    print(sorted(times)[int(len(times) * 0.99)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
