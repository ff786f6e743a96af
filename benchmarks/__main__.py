"""``python -m benchmarks``: run the cases and write the report."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import report
from .cases import CASES
from .results import Outcome, Result, Setup
from .servers import ROOT


def main() -> int:
    """Run; returns 1 when a case could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the server on this machine.")
    parser.add_argument("--quick", action="store_true", help="few requests, to see that everything works")
    parser.add_argument("--scale", type=float, default=1.0, help="share of a full run's requests (default: all)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where SAM2 computes")
    parser.add_argument("--case", action="append", choices=list(CASES), help="run this case alone; may be repeated")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where benchmarks.md is written")
    parser.add_argument("--remark", default="", help="what to know about the machine, for the report")
    options = parser.parse_args()
    described = report.machine(options.remark)
    outcomes: dict[str, Outcome] = {}
    failed = False
    with tempfile.TemporaryDirectory(prefix="pixano-benchmarks-") as folder:
        setup = Setup(Path(folder), options.quick, options.device, options.scale)
        for name in options.case or CASES:
            began = time.monotonic()
            try:
                outcomes[name] = CASES[name](setup)
            except Exception as error:  # a case that fails is a line of the report, and the exit status
                traceback.print_exc()
                reason = f"not run: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
                outcomes[name] = Outcome([Result(name, "", None, note=reason)])
                failed = True
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
            for result in outcomes[name].results:
                print("  " + report.row(result), flush=True)
    print(f"written: {report.write(outcomes, options.docs, described)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
