"""One interface to a model or a run: its network, objective, pipeline and rows.

:func:`subject_of` returns a :class:`Subject`, so that the rest of this package need not
distinguish the two.

Read next: :mod:`chainrule.insight.row_view`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.tensor import Tensor
from chainrule.data.check_arrays import check_same_length
from chainrule.data.pixels import PixelPipeline
from chainrule.data.table import Table
from chainrule.insight.row_view import RowView, row_view
from chainrule.nn.scale import reads_pixels
from chainrule.run.program import Engine
from chainrule.step.objective import Objective, objective
from chainrule.step.record import check_rows, model_dtype
from chainrule.train.run import Run

__all__ = ["Subject", "as_seen", "given_rows", "subject_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Subject:
    """A network and the run that trained it, None for a model."""

    network: Any
    run: Run | None = None

    @property
    def pipeline(self) -> Any:
        """The run's pipeline, None without one."""
        return self.run.pipeline if self.run else None

    @property
    def engine(self) -> Engine | None:
        """The engine that the run was trained with, None for a model."""
        return self.run.engine if self.run else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, () if they are not known."""
        return tuple(map(str, getattr(self.pipeline, "feature_names", ())))

    def title(self, unnamed: str) -> str:
        """Return the name of the run's data, `unnamed` if it has none; for a model its class."""
        if self.run is None:
            return type(self.network).__name__
        return str(self.run.settings.get("data") or unnamed)

    def objective(
        self, loss: str | Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> Objective | None:
        """Return the objective of `loss`, or the run's own; None for a model without a loss."""
        if loss is not None:
            return objective(loss)
        return self.run.objective if self.run else None

    def view(
        self,
        shape: tuple[int, ...],
        rows: Array,
        names: Sequence[str] | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> RowView:
        """Return how to show rows of `shape`; see :func:`row_view`."""
        return row_view(shape, rows, self.pipeline, names, image_shape)


def subject_of(thing: Any, refusal: str) -> Subject:
    """Return the subject of a model or a run.

    Raises OptionError for anything else: `refusal`, which ends in "not a", and its type.
    """
    if isinstance(thing, Run):
        return Subject(thing.model, thing)
    if not callable(thing):
        raise OptionError(f"{refusal} {type(thing).__name__}.")
    return Subject(thing)


def as_seen(network: Any, X: Array) -> Array:
    """Return rows as the first layer of the model sees them: in its dtype, pixels times 1/255."""
    dtype = model_dtype(network)
    scaled: Array = X.astype(dtype)
    return scaled * dtype.type(1 / 255) if reads_pixels(network, X.dtype, X.ndim) else scaled


def given_rows(subject: Subject, X: Any, y: Any) -> tuple[Array, Array | None]:
    """Return rows as the model takes them, and targets; tables are encoded by the pipeline."""
    pipeline = subject.pipeline
    if isinstance(X, (Table, Mapping)):
        if pipeline is None:
            raise DataError(
                "X is a table, but there is no pipeline to encode it: give a run that was trained "
                "on a table, or X as an array."
            )
        frame = Table.from_arrays(X)
        X = pipeline.transform(frame)
        if y is None and set(pipeline.target.names) <= set(frame.names):
            y = pipeline.target.encode_from(frame)
    elif isinstance(pipeline, PixelPipeline) and getattr(X, "dtype", None) == np.uint8:
        X = pipeline.encode(X)
    found = check_rows(X, "X", model_dtype(subject.network))
    if len(found) == 0:
        raise DataError("X has no rows; give at least one.")
    if subject.run is not None:
        subject.run.outputs(found[:1])  # checks that X looks like the training data
    if y is None:
        return found, None
    targets = np.asarray(y)
    check_same_length(found, targets)
    return found, targets
