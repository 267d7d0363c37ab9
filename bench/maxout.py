"""Compare the speed of maxout networks with PyTorch's, and with ReLU networks of the same cost.

Run `python bench/maxout.py [--turns N]`.  A maxout unit is the maximum of two weighted sums, so a
maxout layer costs as much as a ReLU layer with twice the units.  All train 784-128-10, batch 64,
Adam, in one process, taking turns, each on one thread and on all; a turn is an epoch of 8,192
rows, and the table shows medians of turns for the faster setting.  PyTorch's maxout is a Linear of
twice the width, a view and a max.  OPENBLAS_* and similar variables are removed, as in
`bench/speed.py`.

Read next: `bench/speed.py`.
"""

# ruff: noqa: E402 - the variables are removed before NumPy reads them

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

for _name in [name for name in os.environ if name.startswith(("OPENBLAS_", "OMP_", "MKL_"))]:
    del os.environ[_name]  # they could select slower code for one of the two

import numpy as np
import torch

from chainrule import nn, optim
from chainrule.run.program import Engine, prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

ROWS, BATCH, SIZES = 8_192, 64, (784, 128, 10)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, SIZES[0]), np.float32)
Y = RNG.integers(0, SIZES[2], ROWS).astype(np.int32)


def ours(hidden: Callable[[], list[Any]], width: int, threads: int) -> Callable[[], None]:
    model = nn.Sequential([*hidden(), nn.Linear(width, SIZES[2])])
    nn.initialize(model, 0)
    step = record_step(model, objective("cross_entropy"), optim.Adam(), [], Part(X, Y))
    program = prepare(step.graph, step.state, {"x": X, "y": Y}, BATCH, Engine("native", threads))
    return lambda: program.run(np.random.default_rng(0).permutation(ROWS), BATCH) and None


class TorchMaxout(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(SIZES[0], 2 * SIZES[1])

    def forward(self, x: Any) -> Any:
        return self.linear(x).view(len(x), SIZES[1], 2).amax(2)


def theirs(hidden: Callable[[], list[Any]], width: int, threads: int) -> Callable[[], None]:
    net = torch.nn.Sequential(*hidden(), torch.nn.Linear(width, SIZES[2]))
    method, loss = torch.optim.Adam(net.parameters()), torch.nn.functional.cross_entropy
    features, target = torch.tensor(X), torch.tensor(Y, dtype=torch.int64)

    def epoch() -> None:
        torch.set_num_threads(threads)
        order = torch.randperm(ROWS)
        for start in range(0, ROWS, BATCH):
            rows = order[start : start + BATCH]
            method.zero_grad()
            loss(net(features[rows]), target[rows]).backward()
            method.step()

    return epoch


NETWORKS: dict[str, tuple[Any, Any, int]] = {
    "maxout, 128 units": (lambda: [nn.Maxout(*SIZES[:2])], lambda: [TorchMaxout()], SIZES[1]),
    "ReLU, 256 units": (
        lambda: [nn.Linear(SIZES[0], 2 * SIZES[1]), nn.ReLU()],
        lambda: [torch.nn.Linear(SIZES[0], 2 * SIZES[1]), torch.nn.ReLU()],
        2 * SIZES[1],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare maxout with PyTorch.")
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    cores = len(os.sched_getaffinity(0))
    runs: dict[tuple[str, str, int], Callable[[], None]] = {}
    for name, (our_layers, their_layers, width) in NETWORKS.items():
        for threads in sorted({1, cores}):
            runs[name, "chainrule", threads] = ours(our_layers, width, threads)
            runs[name, "PyTorch", threads] = theirs(their_layers, width, threads)
    taken: dict[tuple[str, str, int], list[float]] = {key: [] for key in runs}
    for turn in range(turns + 1):
        for key, epoch in runs.items():
            began = time.perf_counter()
            epoch()
            if turn:  # turn 0 is a warm-up
                taken[key].append(time.perf_counter() - began)
    print("| network | chainrule µs a step | PyTorch µs a step | ratio |\n|---|---|---|---|")
    for name in NETWORKS:
        best = {
            who: min(
                statistics.median(t) for (n, w, _), t in taken.items() if (n, w) == (name, who)
            )
            for who in ("chainrule", "PyTorch")
        }
        steps = 1e6 * BATCH / ROWS
        ours_, theirs_ = best["chainrule"] * steps, best["PyTorch"] * steps
        print(f"| {name} | {ours_:,.0f} | {theirs_:,.0f} | {theirs_ / ours_:.1f} |")


if __name__ == "__main__":
    main()
