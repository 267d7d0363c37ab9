"""The rows that each training of :func:`chainrule.fit_many` learns from, and those it is scored on.

All trainings share the arrays; a part of them is row numbers, and weights where rows count
differently.

Read next: :mod:`chainrule.train.many`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.options import is_number
from chainrule.nn.layer import Layer
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.read_parts import hold_out, read_parts
from chainrule.step.record import model_dtype
from chainrule.step.weighting import ClassWeight, class_weights, row_weights
from chainrule.train.variations import Variation

__all__ = ["Divider", "take_rows"]

Array = np.ndarray[Any, Any]


def take_rows(given: Any, rows: Array | None) -> Any:
    """Return the `rows` of what a user gave as data, all of it for None."""
    if rows is None:
        return given
    return (given if isinstance(given, np.ndarray) else np.asarray(given))[rows]


def _in_order(part: Part) -> Part:
    """Return `part` with arrays in the order that machine code reads."""
    return replace(part, x=np.ascontiguousarray(part.x), y=np.ascontiguousarray(part.y))


class Divider:
    """The data of :func:`chainrule.fit_many`, checked; :meth:`divide` returns the parts of one.

    `whole` are all rows, and `fraction` is the share of them to hold out, if validation is one.
    """

    def __init__(
        self,
        model: Layer,
        data: tuple[Any, Any],
        validation: Any,
        aim: Objective,
        sample_weight: Any,
        class_weight: ClassWeight | None,
        seed: int,
    ):
        train, held = read_parts(model, data, validation, aim, sample_weight, class_weight, seed)
        self.whole = _in_order(replace(train, rows=None))
        share = is_number(validation) and validation is not None
        self.fraction = float(validation) if share else None
        self.other = None if share or held is None else _in_order(held)
        self.data, self.validation, self.aim = data, validation, aim
        self.sample_weight, self.class_weight = sample_weight, class_weight
        self.dtype = model_dtype(model)
        self.known: dict[Any, tuple[Part, Part | None]] = {}

    def divide(self, one: Variation) -> tuple[Part, Part | None]:
        """Return the part that trains and the part that is scored; those of equal rows are one."""
        if one.held_out is not None and self.validation is not None:
            raise OptionError("fit_many: give either validation or 'held_out' rows, not both.")
        # Variations that share rows hold the same array.
        key = id(one.rows), id(one.held_out), one.seed if self.fraction is not None else None
        if key not in self.known:
            self.known[key] = self._divided(one)
        return self.known[key]

    def _divided(self, one: Variation) -> tuple[Part, Part | None]:
        target = self.whole.y if one.rows is None else self.whole.y[one.rows]
        by_class = None
        if self.class_weight is not None:
            by_class = class_weights(self.class_weight, target)
        train = self.whole
        if one.rows is not None:
            given = self.sample_weight
            given = None if given is None else take_rows(given, one.rows)
            own = row_weights(given, by_class, target, self.dtype, self.aim.elementwise)
            train = self._weighted(one.rows, own)
        if self.fraction is not None:
            rows = np.arange(len(train.x)) if train.rows is None else train.rows
            answers = take_rows(self.data[1], rows)
            first, second = hold_out(answers, self.fraction, self.aim, one.seed)
            return replace(train, rows=rows[first]), replace(train, rows=rows[second])
        if one.held_out is not None:
            target = self.whole.y[one.held_out]
            own = row_weights(None, by_class, target, self.dtype, self.aim.elementwise)
            return train, self._weighted(one.held_out, own)
        if self.other is None or by_class is None:
            return train, self.other
        own = self.validation[2] if len(self.validation) == 3 else None
        weight = row_weights(own, by_class, self.other.y, self.dtype, self.aim.elementwise)
        return train, replace(self.other, weight=weight)

    def _weighted(self, rows: Array, weights: Array | None) -> Part:
        """Return the part of `rows`, which have these `weights`; a row given twice has one."""
        if weights is None:
            return replace(self.whole, rows=rows, weight=None)
        whole = np.zeros((len(self.whole), *weights.shape[1:]), weights.dtype)
        whole[rows] = weights
        return replace(self.whole, rows=rows, weight=whole)
