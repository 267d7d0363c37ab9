"""What callbacks cost: microseconds a step of a small network, with and without them.

The contestants take turns, and each figure is the median of the processor time of one step.

Usage: python bench/callback_cost.py [--rounds 9]

Read next: docs/callbacks.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn

ROWS, BATCH, EPOCHS = 32_000, 32, 3


class OnEpoch:
    def on_epoch(self, moment: Any) -> None: ...


class OnStep:
    def on_step(self, moment: Any) -> None: ...


def step_time(callbacks: list[object], X: Any, y: Any) -> float:
    """Return the microseconds of processor time of a step, without the compilation."""
    model = nn.Sequential([nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)])
    marks: list[float] = []

    def mark(run: Any, record: Any) -> None:
        marks.append(time.process_time())

    cr.fit(
        model, (X, y), loss="cross_entropy", epochs=EPOCHS, batch_size=BATCH, threads=1,
        callbacks=callbacks, on_epoch=mark, progress=False,
    )  # fmt: skip
    return 1e6 * (marks[-1] - marks[0]) / ((EPOCHS - 1) * ROWS / BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(ROWS, 16)).astype("f4"), rng.integers(0, 3, ROWS)
    ways: dict[str, list[object]] = {
        "none": [], "on_epoch": [OnEpoch()], "on_step": [OnStep()], "5 on_step": [OnStep()] * 5,
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, callbacks in ways.items():
            taken[name].append(step_time(callbacks, X, y))
    for name, times in taken.items():
        print(f"{name:>10}: {statistics.median(times):6.1f} µs a step")


if __name__ == "__main__":
    main()
