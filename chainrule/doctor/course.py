"""The course of a training: its losses, and its layers now beside those at the start.

Read next: :mod:`chainrule.doctor.watch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.core.parameter import Parameter
from chainrule.doctor.finding import EXPLAINS, Finding
from chainrule.doctor.layer_facts import LayerFacts
from chainrule.doctor.survey import Array, Survey
from chainrule.nn.layer import Sequential, parameters
from chainrule.nn.maxout import Maxout

__all__ = ["Course"]

MOST_ELEMENTS = 2**10  # of a weight that are followed; their length is known to 3 % then
AT_ONCE = 2**14  # elements that are copied before they are compared


@dataclass
class Course:
    """A training from its `survey` to where it is now.

    `history` holds the records of the epochs that have ended; `layers` are those of the network as
    it was seen last, on the rows of the survey; `diverged` says how training broke off, and
    `stopped` why it ended early, "" where it did not; `found` is what was found until now.
    `tell` prints a line for the person who waits.
    """

    survey: Survey
    history: list[Mapping[str, Any]] = field(default_factory=list)
    layers: list[LayerFacts] = field(default_factory=list)
    diverged: str = ""
    stopped: str = ""
    found: list[Finding] = field(default_factory=list)
    tell: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        found = parameters(self.survey.model).items()
        trains = self.survey.optimizer.trains  # frozen weights stay where they are on purpose
        weights = {
            path: p
            for path, p in found
            if p.is_weight and p.trainable and trains(p) and p.value.size
        }
        self.followed = list(weights)  # their paths, in the order of an entry of `moves`
        self._parameters = list(weights.values())
        self._every = [_every(p) for p in self._parameters]
        self._starts = np.cumsum([0, *map(len, self._elements())])
        self._losses = np.zeros(0)
        self._moves: list[list[float]] = []
        self._turns: list[float] = []
        # An epoch of a small network takes less than a millisecond.  So its end only copies the
        # weights; what they say is computed for many epochs at once.
        kind = np.result_type(np.float32, *(p.value for p in self._parameters))
        size = self._starts[-1]
        self._copies = np.empty((2 + AT_ONCE // max(size, 1), size), kind)
        self._begin()

    def _begin(self) -> None:
        self._filled = 0
        self._copy()
        self._change = np.zeros((0, *self._starts[1:2]))  # of the first weights, in the last epoch

    def _elements(self) -> list[Array]:
        """Return the elements of each weight; of a large one, some that are spread over it."""
        pairs = zip(self._parameters, self._every, strict=True)
        return [parameter.value.ravel()[::step] for parameter, step in pairs]

    def _copy(self) -> None:
        """Copy the elements of all weights, one after the other."""
        if self.followed:
            np.concatenate(self._elements(), out=self._copies[self._filled])
            self._filled += 1

    def _lengths(self, x: Array) -> Array:
        """Return the length of the part of each row of `x` that belongs to each weight."""
        squares = np.multiply(x, x, dtype=np.float64)
        return np.sqrt(np.add.reduceat(squares, self._starts[:-1], axis=1))

    def _compare(self) -> None:
        """Compare the copies of each epoch with those of the epoch before."""
        if self._filled < 2:
            return
        copies = self._copies[: self._filled]
        with np.errstate(all="ignore"):  # weights may be on their way to infinity
            changes = np.diff(copies, axis=0)
            moved, lengths = self._lengths(changes), self._lengths(copies[1:])
            self._moves += (moved / np.maximum(lengths, 1e-12)).tolist()
            first = np.concatenate([self._change, changes[:, : self._starts[1]]], dtype=np.float64)
            both = np.linalg.norm(first[1:], axis=1) * np.linalg.norm(first[:-1], axis=1)
            turns = np.einsum("ij,ij->i", first[1:], first[:-1]) / np.maximum(both, 1e-30)
            self._turns += turns.tolist()
        self._change = first[-1:]
        copies[0] = copies[-1]
        self._filled = 1

    @property
    def moves(self) -> list[list[float]]:
        """For each epoch, how far it moved each weight of `followed`, relative to the weight."""
        self._compare()
        return self._moves

    @property
    def turns(self) -> list[float]:
        """The cosine between an epoch's change of the first weights and that of the epoch before.

        It starts with the second epoch: 1 goes on in one direction, -1 goes back.
        """
        self._compare()
        return self._turns

    def keep(self) -> dict[str, Any]:
        """Return what a training that is resumed has to know, as plain JSON values."""
        # Copies, because a thread writes them while the training goes on.
        return {"moves": list(self.moves), "turns": list(self.turns)}

    def go_on(self, history: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]) -> None:
        """Continue the course of which :meth:`keep` returned `kept`."""
        self.history = list(history)
        self._moves, self._turns = list(kept["moves"]), list(kept["turns"])
        self._begin()

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Take down the `record` of an epoch that has ended, and copy its weights."""
        self.history.append(record)
        if self._filled == len(self._copies):
            self._compare()
        self._copy()

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
        new = [record["loss"] for record in self.history[len(self._losses) :]]
        self._losses = np.append(self._losses, new)
        return self._losses

    @property
    def learned(self) -> float | None:
        """The share of the best constant's loss that was overcome, None where that is not known.

        0 is no better than the best constant, 1 is a loss of zero.
        """
        guess = self.survey.guess_loss
        if guess is None or not guess > 0 or not self.history:
            return None
        return 1 - float(self.history[-1]["loss"]) / guess

    def explains(self, cause: str) -> Finding | None:
        """Return what was found that `cause` follows from, but not from steps that are too short.

        Where there is one, longer steps are no remedy.
        """
        for f in self.found:
            longer = f.change.get("learning_rate", 0) > 1
            if f.level != "note" and cause in EXPLAINS.get(f.cause, ()) and not longer:
                return f
        return None

    @property
    def overcame(self) -> str:
        """How much of the best constant's loss was overcome, in words."""
        learned = self.learned or 0.0
        if learned < 0:
            return f"the network is {-100 * learned:.0f} % worse than a constant"
        return f"training overcame {100 * learned:.0f} % of a constant's loss"


def _every(parameter: Parameter) -> int:
    """Return of how many elements of a weight one is followed."""
    step = max(1, -(-parameter.value.size // MOST_ELEMENTS))
    while math.gcd(step, parameter.value.shape[-1]) > 1:  # else some units would not be seen
        step += 1
    return step
