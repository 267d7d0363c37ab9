"""The base of optimizers that use all rows for each step.

Their steps are not one graph, because each takes as many evaluations as it needs.  Their graph
only sums the gradient over all rows, batch by batch; the rest is computed in float64.

Read next: :mod:`chainrule.optim.lbfgs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from chainrule.core.errors import DivergedError
from chainrule.core.parameter import Parameter
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim
from chainrule.core.tensor import Tensor, record
from chainrule.optim.optimizer import Optimizer, Slots

__all__ = ["ROUNDING", "Descent", "FullBatch", "Point", "check_start", "iterates"]

Array = np.ndarray[Any, Any]
ROUNDING = "rounding hides any further improvement"
ROWS = Dim("n")  # of a batch
P = TypeVar("P", bound="Point", covariant=True)


class Point(Protocol):
    """A point of a minimization; `reason` says why the minimization stops here, or is None."""

    @property
    def point(self) -> Array:
        """The parameters (p,)."""
        ...

    @property
    def reason(self) -> str | None:
        """Why the minimization stops here, or None."""
        ...


class Descent(Protocol[P]):
    """A minimization on its way."""

    @property
    def here(self) -> P:
        """The current point."""
        ...

    def advance(self) -> None:
        """Take one step, or set the reason why there is none."""
        ...

    def keep(self) -> dict[str, Array]:
        """Return, beside the point, what the steps to come depend on."""
        ...


def iterates(descent: Descent[P]) -> Iterator[P]:
    """Yield the current point and the point after each step; the last one has a `reason`."""
    while descent.here.reason is None:
        yield descent.here
        descent.advance()
    yield descent.here


@dataclass(frozen=True)
class FullBatch(Optimizer):
    """Base of optimizers that use all rows for each step, in :func:`chainrule.fit` or alone.

    The compiled step is ``gradient = gradient + rows * g`` and does not change parameters.
    """

    def hyper(self) -> dict[str, float]:
        return {}

    def slots(self) -> tuple[str, ...]:
        return ("gradient",)

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        rows = record(lookup("count"), lengths=(ROWS,), dtype=g.dtype.name)
        return p * 0.0, {"gradient": slots["gradient"] + rows * g}


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
