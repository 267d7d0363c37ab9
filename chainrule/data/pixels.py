"""The pipeline of image data sets, whose features are uint8 pixels of 0 to 255.

The network scales them by 1/255 in its first layer, a :class:`chainrule.nn.Scale`.  Pixels have
the same range already, so further preprocessing is optional.  The class has the methods of
:class:`~chainrule.data.pipeline.Pipeline` that prediction needs, so that a run trained on image
files can predict for a table with one column per pixel.

Read next: :mod:`chainrule.tabular.problem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.fitting import Fitted
from chainrule.data.preprocess import Plan, restore_fitted
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, Task

__all__ = ["PixelPipeline"]

_VERSION = 2


@dataclass(frozen=True)
class PixelPipeline:
    """The names of the pixels in order, the target, and `steps`, the fitted preprocessing.

    >>> pipeline = PixelPipeline(("a", "b"), Target("label", "classification", ("no", "yes")))
    >>> pipeline.transform(Table.from_arrays({"b": [0, 255], "a": [1, 2]})).tolist()
    [[1, 0], [2, 255]]
    """

    feature_names: tuple[str, ...]
    target: Target
    notes: tuple[str, ...] = ()
    steps: tuple[Fitted, ...] = ()

    def fit(self, planned: Plan, pixels: NDArray[np.uint8]) -> PixelPipeline:
        """Return the pipeline with the steps of `planned`, fitted to the training rows `pixels`."""
        steps: list[Fitted] = []
        X: NDArray[Any] = _to_unit(pixels)
        for wanted in (planned.scaler, planned.projector):
            if wanted is not None:
                steps.append(wanted.fit(X))
                X = steps[-1].transform(X)
        notes = [f"pixels: {w!r}, as given" for w in (planned.scaler, planned.projector) if w]
        return replace(self, steps=tuple(steps), notes=(*self.notes, *notes))

    @property
    def task(self) -> Task:
        """The task, always classification."""
        return self.target.task

    @property
    def classes(self) -> tuple[str | int | float, ...]:
        """The classes in the order of their indices."""
        return self.target.classes

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model input for rows of `pixels`: uint8, or float32 if there are steps."""
        X: NDArray[Any] = _to_unit(pixels) if self.steps else pixels
        for step in self.steps:
            X = step.transform(X)
        return X

    def transform(self, table: Table) -> NDArray[Any]:
        """Return the features of `table`, whose columns are matched by name.

        They are uint8 of shape (rows, pixels), or float32 if there are steps.  Raises DataError
        on a missing column and, with row and column, on a cell that is not a whole number from 0
        to 255.
        """
        columns = {column.name: column for column in table}
        absent = [name for name in self.feature_names if name not in columns]
        if absent:
            raise DataError(
                f"{table.source} does not have {len(absent)} of the {len(self.feature_names)} "
                f"pixel columns needed by the model; the first is {absent[0]!r}. "
                f"{did_you_mean(absent[0], table.names)}"
            )
        out = np.empty((len(table), len(self.feature_names)), np.uint8)
        for i, name in enumerate(self.feature_names):
            out[:, i] = _pixels(columns[name], table.source)
        return self.encode(out)

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the pipeline exactly."""
        return {
            "version": _VERSION,
            "kind": "pixels",
            "target": self.target.to_json(),
            "features": list(self.feature_names),
            "notes": list(self.notes),
            "steps": [step.to_json() for step in self.steps],
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> PixelPipeline:
        """Restore a pipeline from what `to_json` returned; raise DataError on anything else."""
        if saved.get("version") != _VERSION:
            raise DataError(
                f"This pixel pipeline has version {saved.get('version')!r}; this chainrule reads "
                f"version {_VERSION}. Read it with the release that wrote it."
            )
        try:
            target = Target.from_json(saved["target"])
            steps = tuple(restore_fitted(step) for step in saved["steps"])
            return cls(tuple(saved["features"]), target, tuple(saved["notes"]), steps)
        except (KeyError, TypeError) as error:
            raise DataError(f"The saved pipeline is damaged: {error!r}.") from error


def _to_unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels * np.float32(1 / 255)


def _pixels(column: Column, where: str) -> NDArray[np.uint8]:
    if column.kind != "number":
        raise DataError(
            f"{where}: column {column.name!r} holds {column.kind}; pixels are numbers of 0 to 255."
        )
    values = column.values
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values >= 0) & (values <= 255) & (values == np.floor(values))))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: row {column.row_number(row)} of column {column.name!r} is "
            f"{'missing' if column.missing[row] else values[row]}; pixels are whole numbers "
            "of 0 to 255."
        )
    return values.astype(np.uint8)
