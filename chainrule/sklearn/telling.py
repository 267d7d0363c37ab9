"""What the callbacks of an estimator are told while it trains.

Read next: :mod:`chainrule.train.callbacks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.step.part import Part
from chainrule.train.callbacks import Callbacks, Gradients, Moment, batch_metrics, metrics_in
from chainrule.train.run import Run

__all__ = ["Telling"]

Array = np.ndarray[Any, Any]


@dataclass
class Telling:
    """The callbacks of one call of `fit` or `partial_fit`; `epoch` and `step` go on counting.

    `asked` says which callback asked to stop, and where.
    """

    callbacks: Callbacks
    run: Run
    gradients: Gradients
    epoch: int = 1
    step: int = 0
    asked: str = ""

    def end_steps(
        self,
        steps: int,
        rows: Array,
        sums: tuple[Mapping[str, float], Mapping[str, float]],
        rate: float | None,
    ) -> bool:
        """Tell of `steps` that took the `rows`; return whether to stop.

        If a callback has an `on_step`, it is one step.  `sums` are those before and after.
        """
        self.step += steps
        if self.callbacks.each_step:
            train = self.gradients.training.train
            batch = Part(train.x, train.y, rows, train.weight)
            self._ask("on_step", batch_metrics(*sums, batch, rate), f", step {self.step}")
        return bool(self.asked)

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Tell of an epoch, whose record is the last of the history."""
        if self.callbacks:
            self._ask("on_epoch", metrics_in(record))
        self.epoch += 1

    @contextmanager
    def until_end(self) -> Iterator[None]:
        """Tell the callbacks when what is done in this context, the training, has ended."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        last = self.run.history[-1] if self.run.history else {"epoch": 0}
        metrics, epoch = metrics_in(last), last["epoch"]
        self.callbacks.end(Moment(self.run, epoch, self.step, metrics, error, self.gradients))

    def _ask(self, method: str, metrics: Mapping[str, float], where: str = "") -> None:
        moment = Moment(self.run, self.epoch, self.step, metrics, None, self.gradients)
        if name := self.callbacks.ask(method, moment):
            self.asked = self.asked or f"{name} asked to stop at epoch {self.epoch}{where}"
