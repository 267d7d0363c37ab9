"""What checkpoints cost: a training with one a minute beside the same training without.

A network of 10 million parameters with Adam is trained for a few seconds at a time, with and
without a checkpoint in the middle, in turns.  The cost of one is the median difference; it is
given as a share of a minute.  Then the last checkpoint is resumed, and the time is taken to the end
of the epoch under way, less that of the steps in it, beside that of reading its files.

    python bench/checkpoint_cost.py [--turns 7] [--seconds 6]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.train.checkpoint import Saver, steps

SIZES = (784, 2304, 2304, 1152, 10)  # 9.8 million parameters


def network() -> Any:
    layers: list[Any] = []
    for inputs, outputs in pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(layers[:-1])


SAVE = Saver.save


class Clock:
    """Let one checkpoint be due, after some seconds, or none; and take times."""

    def __init__(self, after: float | None):
        self.after, self.started = after, time.perf_counter()

    def due(self, saver: Saver, epoch: int | None = None) -> bool:
        if self.after is None or time.perf_counter() - self.started < self.after:
            return False
        self.after = None
        return True


def train(data: Any, epochs: int, folder: str, after: float | None) -> float:
    """Return the seconds of a training, with a checkpoint after some of them or without any."""
    clock = Clock(after)
    Saver.due = lambda self, epoch=None: clock.due(self, epoch)  # type: ignore[method-assign]
    Saver.save = lambda self, kept: None if kept.about["ended"] else SAVE(self, kept)  # type: ignore[method-assign]
    model, begun = network(), []

    def note(run: cr.Run, record: dict[str, Any]) -> None:
        if not begun:
            begun.append(time.perf_counter())
            clock.started = begun[0]

    plan = cr.Checkpoint(folder, every="1h", at_end=False)
    cr.fit(model, data, loss="cross_entropy", epochs=epochs, batch_size=128, progress=False,
           checkpoint=plan, on_epoch=note)  # fmt: skip
    return time.perf_counter() - begun[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=6.0)
    asked = parser.parse_args()
    generator = np.random.default_rng(0)
    X = generator.normal(size=(1280, SIZES[0])).astype(np.float32)
    data = (X, generator.integers(0, 10, len(X)))
    count = sum(p.value.size for p in nn.parameters(network()).values())
    with tempfile.TemporaryDirectory() as place:
        took = train(data, 4, f"{place}/warm", None) / 3
        epochs = 1 + max(4, round(asked.seconds / took))
        pairs = []
        for turn in range(asked.turns):
            order = (None, asked.seconds / 3) if turn % 2 else (asked.seconds / 3, None)
            found = {
                after: train(data, epochs, f"{place}/{turn}-{after}", after) for after in order
            }
            pairs.append((found[None], found[asked.seconds / 3]))
        last = Path(f"{place}/{asked.turns - 1}-{asked.seconds / 3}")
        (step,) = steps(last)
        size = sum(path.stat().st_size for path in step.iterdir())
        cost = statistics.median(with_ - without for without, with_ in pairs)
        spread = statistics.median(abs(a - b) for (a, _), (b, _) in pairwise(pairs))
        print(f"{count:,} parameters, Adam: a checkpoint of {size / 1e6:.0f} MB")
        print(f"  costs {cost:.2f} s, {100 * cost / 60:.2f} % at one a minute (two trainings "
              f"without one differ by {spread:.2f} s)")  # fmt: skip
        started = time.perf_counter()
        for path in (*step.iterdir(), *(last / "training").iterdir()):
            path.read_bytes()
        reading = time.perf_counter() - started
        # The seconds of an epoch include those before it was interrupted.
        before = json.loads((step / "progress.json").read_bytes())["seconds"]
        first: list[float] = []
        started = time.perf_counter()

        def stop(run: cr.Run, record: dict[str, Any]) -> bool:
            first.append(time.perf_counter() - started - (record["seconds"] - before))
            return True

        kept = Saver.due
        cr.resume(last, data, on_epoch=stop, progress=False)
        Saver.due = kept  # type: ignore[method-assign]
        print(f"  resuming takes {first[0]:.2f} s to the end of the first epoch, less its own "
              f"steps; reading the files {reading:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
