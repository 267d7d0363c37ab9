"""The course of a training: its losses, and its layers now beside those at the start.

Read next: :mod:`chainrule.doctor.watch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.doctor.finding import Finding
from chainrule.doctor.survey import Array, LayerFacts, Survey

__all__ = ["Course"]


@dataclass
class Course:
    """A training from its `survey` to where it is now.

    `history` holds the records of the epochs that have ended; `layers` are those of the network as
    it was seen last, on the rows of the survey; `diverged` says how training broke off, and
    `stopped` why it ended early, "" where it did not.  `found` is what was found before its end.
    """

    survey: Survey
    history: list[Mapping[str, Any]] = field(default_factory=list)
    layers: list[LayerFacts] = field(default_factory=list)
    diverged: str = ""
    stopped: str = ""
    found: list[Finding] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """The steps taken in the epochs that have ended."""
        return self.survey.steps // self.survey.case.epochs * len(self.history)

    @property
    def by_hand(self) -> bool:
        """Whether the user ended the training, so that its length was intended."""
        return self.stopped == "interrupted" or self.stopped.startswith("on_epoch")

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping was asked for: it keeps the best weights."""
        return self.survey.case.more.get("early_stopping") is not None

    @property
    def losses(self) -> Array:
        """The training loss of each epoch."""
        return np.array([record["loss"] for record in self.history], np.float64)

    @property
    def learned(self) -> float | None:
        """The share of the best constant's loss that was overcome, None where that is not known.

        0 is no better than the best constant, 1 is a loss of zero.
        """
        guess = self.survey.guess_loss
        if guess is None or not guess > 0 or not len(self.losses):
            return None
        return 1 - float(self.losses[-1]) / guess
