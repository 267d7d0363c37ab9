"""Compare the engine on XLA with a hand-written JAX scan of the same network, on one thread.

Run `python bench/xla.py [--steps N] [--turns N] [--only TEXT]`.  The step on XLA, the scan and the
native engine take turns of an epoch in one process.  All times are processor time, which other
programs on the machine affect least.  A ratio is the median over turns of the ratio within a turn.
"first" is the time until the first epoch is done: recording, compiling and one epoch.  The losses
must agree after it.

Read next: `bench/contestants/jax_scan.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from typing import Any

from workloads import WORKLOADS, mean_loss, shortened

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="most steps of an epoch")
    parser.add_argument("--turns", type=int, default=15, help="epochs of each")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = ONE_THREAD  # before JAX is imported
    from contestants.jax_scan import Scan
    from contestants.ours import OnXla, Ours

    kinds = {"xla": OnXla, "JAX": Scan, "native": Ours}
    heads = [f"{name} µs" for name in kinds] + ["xla/JAX", "xla/native"]
    heads += [f"{name} first s" for name in kinds]
    print(f"| workload | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    wrong = 0
    for workload in (w for name, w in WORKLOADS.items() if options.only in name):
        short = shortened(workload, options.steps)
        X, y = short.data()
        made: dict[str, Any] = {}
        first, losses = {}, {}
        for name, kind in kinds.items():
            began = time.process_time()
            made[name] = kind(short, 1)
            made[name].epoch(shuffle=False)
            first[name] = time.process_time() - began
            losses[name] = mean_loss(short, made[name].weights(), X[:1024], y[:1024])
        wrong += max(losses.values()) - min(losses.values()) > 1e-3 * losses["JAX"]
        turns: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(options.turns):
            for name, one in made.items():
                began = time.process_time()
                one.epoch()
                turns[name].append(time.process_time() - began)
        cells = [f"{1e6 * statistics.median(t) / short.steps:,.1f}" for t in turns.values()]
        for other in ("JAX", "native"):
            pairs = zip(turns["xla"], turns[other], strict=True)
            cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
        cells += [f"{seconds:.1f}" for seconds in first.values()]
        print(f"| {workload.name} | {' | '.join(cells)} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
