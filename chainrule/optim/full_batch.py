"""Optimizers that look at all rows before each step, and search along it; what they share.

They are no graph: a step of theirs takes as many evaluations as it needs.  They call a
compiled function for the numbers that cost, and do the rest in float64.

Read next: :mod:`chainrule.optim.lbfgs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import DivergedError, OptionError

__all__ = ["ROUNDING", "FullBatch", "check_count", "check_start"]

Array = np.ndarray[Any, Any]
ROUNDING = "rounding hides any further improvement"


@dataclass(frozen=True)
class FullBatch:
    """Base of optimizers that see all rows at once; for :func:`chainrule.fit` and by themselves."""


def check_count(owner: object, name: str) -> None:
    """Raise OptionError unless ``owner.name`` is a whole number from 1 on."""
    value = getattr(owner, name)
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        raise OptionError(
            f"{type(owner).__name__}: {name} must be a whole number from 1 on, not {value!r}."
        )


def check_start(owner: object, what: str, values: Any) -> None:
    """Raise DivergedError unless all `values` at the start are finite."""
    found = np.atleast_1d(np.asarray(values, np.float64))
    if not np.isfinite(found).all():
        place = np.argwhere(~np.isfinite(found))[0]
        where = f"[{', '.join(map(str, place))}]" if found.size > 1 else ""
        raise DivergedError(
            f"{type(owner).__name__}: {what}{where} is {found[tuple(place)]} at the start; start "
            "where it is finite."
        )
