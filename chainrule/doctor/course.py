"""How a training went: its losses, and its layers at the end beside those at the start.

Read next: :mod:`chainrule.doctor.rules.ending`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.core.errors import DivergedError
from chainrule.doctor.survey import Array, LayerFacts, Survey
from chainrule.train.fit import fit

__all__ = ["Course", "follow"]


@dataclass
class Course:
    """A training from its `survey` to its end.

    `history` is that of the run; `layers` are those of the trained network, on the rows of the
    survey; `diverged` says how training broke off, "" where it did not.
    """

    survey: Survey
    history: Sequence[Mapping[str, Any]]
    layers: list[LayerFacts] = field(default_factory=list)
    diverged: str = ""

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


def follow(survey: Survey) -> Course:
    """Train the case of `survey` by :func:`chainrule.fit`, and return its course.

    The model of the case is trained; a training that diverges is a course, too.
    """
    case, history = survey.case, []

    def keep(_: Any, record: dict[str, Any]) -> None:
        history.append(record)

    diverged = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is for the doctor to say
        try:
            fit(case.model, case.data, **case.options(), progress=False, on_epoch=keep)
        except DivergedError as error:
            diverged = str(error)
    layers = [] if diverged else survey.measure(case.model)[0]
    if any(not math.isfinite(float(np.abs(f.product).max())) for f in layers):
        layers = []
    return Course(survey, history, layers, diverged)
