"""What the benchmark report says about a figure and its bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import Measured
from benchmarks.report import row, write
from benchmarks.results import Bar, Outcome, Result


@pytest.mark.parametrize(
    ("result", "ratio", "met"),
    [
        (Result("c", "m", 5.0, 4.0, bar=Bar(1.25)), 1.25, True),
        (Result("c", "m", 5.1, 4.0, bar=Bar(1.25)), 1.275, False),
        (Result("c", "m", 160.0, 100.0, bar=Bar(1.6, at_least=True)), 1.6, True),
        (Result("c", "m", 159.0, 100.0, bar=Bar(1.6, at_least=True)), 1.59, False),
        (Result("c", "m", 5.0, bar=Bar(6.0)), None, True),
        (Result("c", "m", 5.0), None, None),
        (Result("c", "m", None, bar=Bar(6.0), note="no GPU"), None, None),
    ],
)
def test_a_bar_is_held_against_the_ratio_where_there_is_one(
    result: Result, ratio: float | None, met: bool | None
) -> None:
    assert result.ratio == pytest.approx(ratio) if ratio else result.ratio is None
    assert result.met is met


def test_a_missed_bar_is_plain_to_see_and_what_was_not_run_says_why(tmp_path: Path) -> None:
    missed = Result("case", "seconds", 2.0, 1.0, bar=Bar(1.5))
    absent = Result("case", "seconds", None, bar=Bar(1.5), note="not run: no GPU")
    assert "≤ 1.5 **missed**" in row(missed)
    assert "not run: no GPU" in row(absent)
    page = write({"case": Outcome([missed, absent])}, tmp_path, "a machine").read_text()
    assert row(missed) in page
    assert "a machine" in page


def test_quantiles_and_rate_come_from_the_sorted_latencies() -> None:
    measured = Measured(2.0, [0.1, 0.2, 0.3, 0.4], 10, {}, [])
    assert measured.quantile(0.5) == 0.3
    assert measured.quantile(0.99) == 0.4
    assert measured.per_second == 2.0
