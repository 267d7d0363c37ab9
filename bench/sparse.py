"""Compare the speed of sparse layers with that of dense layers and of PyTorch's alternatives.

Run `python bench/sparse.py [--rounds N] [--only TEXT] [--without NAME,...]`.  Contestants are
chainrule with sparse and with dense layers, and PyTorch with dense layers, with dense layers and
a mask, and with torch.sparse; PyTorch on one thread and on all.  Processes and turns are those
of `bench/speed.py`.  All start from the same weights, and those that train only the present
edges must agree on the loss after an epoch in order.  Prints medians over turns as Markdown, and
exits with 1 if chainrule's sparse layers disagree.

Read next: `bench/speed.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from typing import Any

from speed import Options, Process, describe_machine, disagreements, measure_workload
from workloads import SPARSE, Workload, shortened

COLUMNS = {
    "chainrule sparse": ("sparse",),
    "chainrule dense": ("chainrule",),
    "PyTorch dense": ("pytorch/1", "pytorch/all"),
    "PyTorch masked": ("masked/1", "masked/all"),
    "torch.sparse": ("torch_sparse/1", "torch_sparse/all"),
}
ALIKE = ("sparse", "masked/1", "masked/all", "torch_sparse/1", "torch_sparse/all")


def table_line(workload: Workload, found: dict[str, Any]) -> str:
    """Return the row of the table: microseconds per step, and relative to our sparse layers."""
    medians = {}
    for column, names in COLUMNS.items():
        turns = [found[n]["turns"] for n in names if n in found and found[n]["turns"]]
        medians[column] = min(map(statistics.median, turns), default=0.0)
    ours = medians["chainrule sparse"]
    cells = [
        f"{1e6 * m / workload.steps:,.0f} ({m / ours:.1f}x)" if m else "–" for m in medians.values()
    ]
    return f"| {workload.name} | {' | '.join(cells)} | {len(found['sparse']['turns'])} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare sparse layers with dense layers.")
    parser.add_argument("--rounds", type=int, default=7, help="minimum turns of each contestant")
    parser.add_argument("--steps", type=int, default=10**9, help="maximum steps of an epoch")
    parser.add_argument("--only", default="", help="only workloads whose name contains this text")
    parser.add_argument("--without", default="", metavar="NAMES", help="pytorch, masked, ...")
    given = parser.parse_args()
    without = set(given.without.split(","))
    machine = describe_machine()
    loads = ", ".join(f"{load:.1f}" for load in machine["load_before"])
    print(f"{machine['cpu']}, {machine['cores']} cores, load average {loads}.\n")
    names = [name for column in COLUMNS.values() for name in column]
    processes = [Process(name) for name in names if name.split("/")[0] not in without]
    lines, right = [], True
    try:
        for workload in (shortened(w, given.steps) for w in SPARSE if given.only in w.name):
            options = Options(steps=given.steps, rounds=given.rounds, seconds=0.0)
            found = measure_workload(workload, processes, options)
            words, wrong = disagreements({name: found[name] for name in ALIKE if name in found})
            right = right and "sparse" not in wrong
            print(f"- {workload.name}: {words}", flush=True)
            for name, entry in found.items():
                if "skip" in entry:
                    print(f"  - {name} left out: {entry['skip']}", flush=True)
            lines.append(table_line(workload, found))
    finally:
        for process in processes:
            process.close()
    print("\n| workload | " + " | ".join(f"{column} µs" for column in COLUMNS) + " | turns |")
    print("|" + "---|" * (len(COLUMNS) + 2))
    print("\n".join(lines))
    print(f"\nLoad average at the end: {', '.join(f'{x:.1f}' for x in os.getloadavg())}.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
