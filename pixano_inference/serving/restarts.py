"""Back-off of a runner whose process keeps ending: the supervisor starts it again at once, so it waits by itself."""

from __future__ import annotations

import time
from pathlib import Path

WINDOW_S = 60.0
"""Starts longer ago than this are forgotten."""
AT_ONCE = 4
"""How often a runner may be started again within the window without a wait."""
LONGEST_S = 30.0


def wait_before_loading(folder: Path, name: str, now: float | None = None) -> float:
    """Note a start of a runner and return the seconds that it should wait before it loads its model.

    Args:
        folder: Where starts are noted, the same for every start of this server.
        name: The runner's service, unique per replica.
        now: Seconds since the epoch; the present when not given.

    Returns:
        0 for the first starts within :data:`WINDOW_S`, then 1, 2, 4, ... up to :data:`LONGEST_S`.
    """
    now = time.time() if now is None else now
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.starts"
    noted = [float(line) for line in file.read_text().split()] if file.exists() else []
    recent = [start for start in noted if now - WINDOW_S < start <= now]
    again = len(recent)
    wait = min(LONGEST_S, 2.0 ** (again - AT_ONCE - 1)) if again > AT_ONCE else 0.0
    # a start counts from when the model is loaded, or the wait itself would end the window
    file.write_text("\n".join(f"{start:.3f}" for start in [*recent, now + wait]))
    return wait
