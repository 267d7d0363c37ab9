"""Compare the engine on XLA with a hand-written JAX scan of the same network.

Run `python bench/xla.py [--steps N] [--seconds S] [--only TEXT]`.  Processes take turns as in
`bench/speed.py`: the step on XLA, the scan, and the native engine.  Each is shown by its faster
thread setting, one or all.  A ratio is the median over rounds of the ratio within a round, in which
both ran one after the other.  "first" is the time from a workload to the end of its first epoch,
which includes tracing, compiling and one epoch.

Read next: `bench/contestants/jax_scan.py`.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from speed import Options, Process, measure_workload
from workloads import WORKLOADS, shortened

NAMES = ("xla/1", "xla/all", "jax/1", "jax/all", "chainrule")


def faster(found: dict[str, Any], kind: str) -> str | None:
    """Return the process of a kind with the lowest median, None if it could not run."""
    ran = {n: statistics.median(f["turns"]) for n, f in found.items()
           if n.partition("/")[0] == kind and f["turns"]}  # fmt: skip
    return min(ran, key=lambda name: ran[name]) if ran else None


def row(name: str, found: dict[str, Any], steps: int) -> str:
    cells, chosen = [name], {kind: faster(found, kind) for kind in ("xla", "jax", "chainrule")}
    for process in chosen.values():
        if process is None:
            cells.append("-")
            continue
        each = 1e6 * statistics.median(found[process]["turns"]) / steps
        cells.append(f"{each:,.1f} ({process.partition('/')[2] or 'chosen'})")
    for other in ("jax", "chainrule"):
        pair = chosen["xla"], chosen[other]
        turns = [found[process]["turns"] for process in pair if process is not None]
        ratio = statistics.median(a / b for a, b in zip(*turns, strict=False))
        cells.append(f"{ratio:.2f}" if len(turns) == 2 else "-")
    for process in chosen.values():
        cells.append(f"{found[process]['seconds']:.1f}" if process is not None else "-")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="most steps of an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--seconds", type=float, default=5, help="at least, for a workload")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    options = parser.parse_args()
    chosen = [w for name, w in WORKLOADS.items() if options.only in name]
    heads = ("workload", "xla µs/step", "JAX µs/step", "native µs/step", "xla/JAX", "xla/native",
             "xla first s", "JAX first s", "native first s")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    processes = [Process(name) for name in NAMES]
    try:
        for workload in chosen:
            short = shortened(workload, options.steps)
            found = measure_workload(
                workload, processes, Options(options.steps, options.rounds, options.seconds)
            )
            skipped = {n: f["skip"] for n, f in found.items() if "skip" in f}
            print(row(workload.name, found, short.steps), *skipped.items(), flush=True)
    finally:
        for process in processes:
            process.close()


if __name__ == "__main__":
    main()
