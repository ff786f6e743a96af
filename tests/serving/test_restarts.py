"""A process that keeps ending is started less and less often."""

from __future__ import annotations

from pathlib import Path

from pixano_inference.serving.restarts import AT_ONCE, LONGEST_S, WINDOW_S, wait_before_loading


def test_the_first_restarts_are_at_once_then_each_waits_twice_as_long(tmp_path: Path) -> None:
    now, waits = 1000.0, []
    for _ in range(AT_ONCE + 8):
        waits.append(wait_before_loading(tmp_path, "runner_a", now))
        now += waits[-1] + 1.0
    assert waits[: AT_ONCE + 1] == [0.0] * (AT_ONCE + 1)
    assert waits[AT_ONCE + 1 : AT_ONCE + 5] == [1.0, 2.0, 4.0, 8.0]
    assert max(waits) <= LONGEST_S


def test_a_runner_that_held_on_is_started_at_once(tmp_path: Path) -> None:
    for second in range(20):
        wait_before_loading(tmp_path, "runner_a", 1000.0 + second)
    assert wait_before_loading(tmp_path, "runner_a", 1000.0 + 20 + LONGEST_S + WINDOW_S) == 0.0


def test_runners_do_not_share_their_waits(tmp_path: Path) -> None:
    for second in range(20):
        wait_before_loading(tmp_path, "runner_a", 1000.0 + second)
    assert wait_before_loading(tmp_path, "runner_b", 1020.0) == 0.0
