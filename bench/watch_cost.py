"""Measure what `fit(check=True)` costs: the checks before the first step, and watching after it.

Run `python bench/watch_cost.py [--seconds S] [--only TEXT]`.  Each network of `bench/workloads.py`
is trained with and without checks, in turns, each for about S seconds.  Watching is timed from the
end of the first epoch to that of the last one; prints the medians over turns, as Markdown.

Read next: `chainrule/doctor/watch.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence

from contestants.ours import network, optimizer
from workloads import WORKLOADS, Workload

import chainrule as cr

__all__ = ["main"]

TURNS = 15


def timed(workload: Workload, epochs: int, check: bool) -> tuple[float, float]:
    """Return the seconds before the end of the first epoch, and those of the other epochs."""
    ends: list[float] = []
    began = time.perf_counter()
    cr.fit(
        network(workload), workload.data(), loss=workload.loss, optimizer=optimizer(workload),
        epochs=epochs, batch_size=workload.batch, progress=False, check=check,
        on_epoch=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return ends[0] - began, ends[-1] - ends[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each workload."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print("| network | checks before the first step, s | watching |\n|---|--:|--:|")
    for workload in WORKLOADS.values():
        if options.only not in workload.name:
            continue
        _, once = timed(workload, 3, False)
        epochs = 2 + max(2, int(options.seconds / max(once / 2, 1e-6)))
        plain, checked = [], []
        for turn in range(TURNS):
            for check in (False, True) if turn % 2 else (True, False):
                (checked if check else plain).append(timed(workload, epochs, check))
        before = statistics.median(c[0] - p[0] for c, p in zip(checked, plain, strict=True))
        share = statistics.median(c[1] / p[1] - 1 for c, p in zip(checked, plain, strict=True))
        print(f"| {workload.name} | {before:.2f} | {share:+.1%} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
