"""Measure the costs of the native engine other than steps: compiling, fitting, and watching.

Started as `python bench/engine.py`; prints a JSON line.  Compilation is timed from a recorded
graph to a program that can run, with LLVM loaded: first with an empty cache, then from the cache.
Fitting is `cr.fit` of 4-16-3 on 150 rows, in a process that has fitted it before: one epoch, of
which nearly all is overhead, and what each of 100 epochs adds beside its steps.  The first of a
new architecture is another width, with an empty cache.
Watching is the time of an epoch with the statistics of `fit(watch=True)` relative to one without;
the two take turns.

Read next: `bench/costs.py`.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from contestants.ours import network, optimizer
from workloads import MARKED, Workload, shortened

import chainrule as cr
from chainrule import nn
from chainrule.run.program import Program, prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

TURNS = 15


def program(workload: Workload, watch: bool = False) -> tuple[Program, float]:
    """Return the compiled step, and the seconds to compile it."""
    X, y = workload.data()
    aim = objective(workload.loss)
    target = y.astype(np.int32) if aim.kind == "classes" else y
    step = record_step(
        network(workload), aim, optimizer(workload), [], Part(X, target), watch=watch
    )
    began = time.perf_counter()
    made = prepare(step.graph, step.state, {"x": X, "y": target}, workload.batch, engine="native")
    return made, time.perf_counter() - began


def compiling(workload: Workload) -> list[dict[str, Any]]:
    """Return how long it takes to compile a step, and to load it from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHAINRULE_CACHE"] = folder
        seconds = [program(workload)[1] for _ in range(2)]
    return [
        {"what": f"compile the step of {workload.name}", "who": who, "value": taken, "unit": "s"}
        for who, taken in zip(("empty cache", "from the cache"), seconds, strict=True)
    ]


def fitting(times: int = 30) -> list[dict[str, Any]]:
    """Return what `cr.fit` of a tiny network costs, in wall time and in processor time."""
    X, y = np.random.default_rng(0).normal(size=(150, 4)).astype("float32"), np.arange(150) % 3

    def fit(epochs: int, width: int = 16) -> tuple[float, float, float]:
        model = nn.Sequential([nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)])
        began, work = time.perf_counter(), time.process_time()
        run = cr.fit(model, (X, y), loss="cross_entropy", epochs=epochs, batch_size=16,
                     progress=False, threads=1)  # fmt: skip
        steps = sum(record["seconds"] for record in run.history)
        return time.perf_counter() - began, time.process_time() - work, steps

    def row(what: str, seconds: float) -> dict[str, Any]:
        return {"what": what, "who": "chainrule", "value": 1000 * seconds, "unit": "ms"}

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHAINRULE_CACHE"] = folder
        fit(1)
        for epochs in (1, 100):
            name = f"fit 4-16-3, {epochs} epoch{'s' * (epochs > 1)}"
            taken = [
                statistics.median(each)
                for each in zip(*(fit(epochs) for _ in range(times)), strict=True)
            ]
            rows += [row(name, taken[0]), row(f"{name}, processor", taken[1])]
            rows.append(row(f"{name}, in its epochs", taken[2]))
        new = [
            statistics.median(each)
            for each in zip(*(fit(1, w) for w in range(17, 24)), strict=True)
        ]
        rows.append(row("fit a new 4-n-3, empty cache", new[0]))
        rows.append(row("fit a new 4-n-3, empty cache, processor", new[1]))
    return rows


def watching(workload: Workload) -> dict[str, Any]:
    """Return how much longer a watched epoch takes, in percent."""
    programs = [program(workload, watch)[0] for watch in (False, True)]
    order = np.random.default_rng(0).permutation(workload.rows)
    for made in programs:
        made.run(order, workload.batch)
    ratios = []
    for turn in range(TURNS):
        taken = [0.0, 0.0]
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            programs[which].run(order, workload.batch)
            taken[which] = time.perf_counter() - began
        ratios.append(taken[1] / taken[0])
    cost = 100 * (statistics.median(ratios) - 1)
    return {"what": f"watch {workload.name}", "who": "chainrule", "value": cost, "unit": "%"}


def main() -> None:
    program(shortened(MARKED[0], 1))  # loads LLVM
    rows = [row for workload in MARKED for row in compiling(shortened(workload, 1))]
    print(json.dumps({"rows": rows + fitting() + [watching(workload) for workload in MARKED]}))


if __name__ == "__main__":
    main()
