"""What every contestant offers to the worker that drives it.

A contestant is made of a workload and the number of threads it may use (None: as it likes).
`reset` takes it back to the first weights and optimizer slots.  `epoch` trains on all rows,
shuffled or in order, and returns the mean of the losses that the steps saw; when it returns, all
work is done.  `turn` times epochs, nothing else, until `seconds` of them have passed.

Read next: `bench/contestants/ours.py`.
"""

from __future__ import annotations

import time

from workloads import Weights, Workload


class CannotRunError(Exception):
    """This contestant can't run this workload, for the reason given."""


class Contestant:
    """Base of contestants."""

    def __init__(self, workload: Workload, threads: int | None):
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def epoch(self, shuffle: bool = True) -> float:
        raise NotImplementedError

    def weights(self) -> Weights:
        """Return the present weights, as (inputs, outputs), and biases of each layer."""
        raise NotImplementedError

    def turn(self, seconds: float) -> list[float]:
        """Return the seconds of each of as many epochs, at least one, as take `seconds`."""
        self.reset()
        taken: list[float] = []
        while not taken or sum(taken) < seconds:
            began = time.perf_counter()
            self.epoch()
            taken.append(time.perf_counter() - began)
        return taken
