"""Compare the number of threads that chainrule chooses with the best fixed number.

Run `python bench/threads.py [--seconds S] [--turns N] [--only TEXT]`.  Each network of
`bench/workloads.py` is trained from its first step on, for about S seconds and at least three
epochs, with `threads` left unset and with each fixed number, in turns; first alone, and then beside
a program that keeps one core busy.  Prints the time of an epoch with the best fixed number, and
that with the number chosen relative to it: medians over turns, as Markdown.

Read next: `chainrule/run/llvm/pace.py`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from contestants.ours import Ours
from worker import settle
from workloads import WORKLOADS, Workload

from chainrule.run.llvm import recent
from chainrule.run.llvm.machine import available_cores

__all__ = ["main"]


@contextmanager
def neighbor(busy: bool) -> Iterator[None]:
    """Keep one core busy inside the block, if `busy`."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def epoch_seconds(workload: Workload, threads: int | None, seconds: float) -> float:
    """Return the mean time of an epoch of a training that starts anew."""
    for code in recent._codes.values():
        code.fastest.clear()  # what an earlier training has found
    ours = Ours(workload, threads)
    settle()  # NumPy's products, which make the data, leave threads that spin
    epochs, began = 0, time.perf_counter()
    while epochs < 3 or time.perf_counter() - began < seconds:
        ours.epoch(shuffle=False)
        epochs += 1
    return (time.perf_counter() - began) / epochs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each workload, alone and beside a busy program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args(arguments)
    choices: list[int | None] = [None, *range(1, available_cores() + 1)]
    print("| network | beside it | best fixed | threads | chosen / best |\n|---|---|--:|--:|--:|")
    for workload in WORKLOADS.values():
        if options.only not in workload.name:
            continue
        for busy in (False, True):
            found: dict[int | None, list[float]] = {threads: [] for threads in choices}
            with neighbor(busy):
                for turn in range(options.turns):
                    for threads in choices[turn % len(choices) :] + choices[: turn % len(choices)]:
                        found[threads].append(epoch_seconds(workload, threads, options.seconds))
            medians = {threads: statistics.median(times) for threads, times in found.items()}
            best = min((n for n in choices if n is not None), key=lambda n: medians[n])
            beside = "a busy program" if busy else "nothing"
            print(
                f"| {workload.name} | {beside} | {1e3 * medians[best]:.3g} ms | {best} "
                f"| {medians[None] / medians[best]:.2f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
