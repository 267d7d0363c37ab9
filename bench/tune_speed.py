"""How many small trainings a minute a search does on two cores, in processor time.

Every search is in a process of its own with an empty cache of machine code, so that each network
is compiled.  Two jobs train at once; the processor time is that of the search and its workers,
and a minute on two cores has 120 seconds of it.

Usage: python bench/tune_speed.py [--trials 100] [DATA ...]

Read next: docs/tune.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

SEARCH = """
import sys
import chainrule as cr
found = cr.tune(sys.argv[1], trials=int(sys.argv[2]), jobs=2, file=sys.argv[3])
print(found.summary())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", default=["iris", "wine", "breast-cancer", "digits"])
    parser.add_argument("--trials", type=int, default=100)
    asked = parser.parse_args()
    for name in asked.data:
        with tempfile.TemporaryDirectory() as folder:
            before, began = _spent(), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", SEARCH, name, str(asked.trials), f"{folder}/study.db"],
                env={**os.environ, "CHAINRULE_CACHE": f"{folder}/cache"},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            spent, took = _spent() - before, time.perf_counter() - began
        rate = 120 / (spent / asked.trials)
        print(
            f"{done.stdout.strip()}\n  {spent:.1f} s of processor time and {took:.1f} s on the "
            f"clock in all: {rate:.0f} trainings a minute of two cores"
        )


def _spent() -> float:
    used: Any = getrusage(RUSAGE_CHILDREN)
    return float(used.ru_utime + used.ru_stime)


if __name__ == "__main__":
    main()
