"""The course of a training: its losses, and its layers now beside those at the start.

Read next: :mod:`chainrule.doctor.watch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.doctor.finding import Finding
from chainrule.doctor.survey import Array, LayerFacts, Survey
from chainrule.nn.layer import Sequential, parameters
from chainrule.nn.maxout import Maxout

__all__ = ["Course"]

MOST_ELEMENTS = 2**16  # of a weight whose moves are followed


@dataclass
class Course:
    """A training from its `survey` to where it is now.

    `history` holds the records of the epochs that have ended; `layers` are those of the network as
    it was seen last, on the rows of the survey; `diverged` says how training broke off, and
    `stopped` why it ended early, "" where it did not.  `moves` holds for each of these epochs how
    far it moved each trained weight, relative to the weight; `turns` the cosine between an epoch's
    change of the first weights and that of the epoch before, from the second epoch on: 1 goes on
    in one direction, -1 goes back.  `found` is what was found before its end.
    """

    survey: Survey
    history: list[Mapping[str, Any]] = field(default_factory=list)
    layers: list[LayerFacts] = field(default_factory=list)
    diverged: str = ""
    stopped: str = ""
    found: list[Finding] = field(default_factory=list)
    moves: list[dict[str, float]] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = parameters(self.survey.model).items()
        self._parameters = {path: p for path, p in found if p.is_weight and p.trainable}
        self._weights = self._copies()
        self._change: Array | None = None

    def _copies(self) -> dict[str, Array]:
        """Return copies of the trained weights; of large ones, of elements spread over them."""
        return {
            path: p.value.ravel()[:: -(-p.value.size // MOST_ELEMENTS)].copy()
            for path, p in self._parameters.items()
        }

    def keep(self) -> dict[str, Any]:
        """Return what a training that is resumed has to know, as plain JSON values."""
        return {"moves": self.moves, "turns": self.turns}

    def go_on(self, history: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]) -> None:
        """Continue the course of which :meth:`keep` returned `kept`."""
        self.history, self.moves, self.turns = list(history), kept["moves"], kept["turns"]
        self._weights = self._copies()

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Take down the `record` of an epoch that has ended, and how far it moved the weights."""
        self.history.append(record)
        before, self._weights = self._weights, self._copies()
        with np.errstate(all="ignore"):  # weights may be on their way to infinity
            changes = {path: w - before[path] for path, w in self._weights.items()}
            self.moves.append(
                {k: _length(w) / max(_length(self._weights[k]), 1e-12) for k, w in changes.items()}
            )
            last, self._change = self._change, next(iter(changes.values()), None)
            if last is not None and self._change is not None:
                both = _length(last) * _length(self._change)
                self.turns.append(float(np.dot(last, self._change)) / max(both, 1e-30))

    @property
    def maxout_pieces(self) -> dict[str, list[int]]:
        """For each Maxout layer of a Sequential, the places of its pieces in `layers`."""
        model = self.survey.model
        parts = model.layers if isinstance(model, Sequential) else ()
        found: dict[str, list[int]] = {}
        for i, layer in enumerate(self.layers):
            path = layer.path.split("#")[0]
            if path.isdigit() and int(path) < len(parts) and isinstance(parts[int(path)], Maxout):
                found.setdefault(path, []).append(i)
        return found

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


def _length(x: Array) -> float:
    return math.sqrt(float(np.dot(x, x)))
