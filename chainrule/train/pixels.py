"""The pipeline of image sets: every pixel a feature of 0 to 255, left as uint8.

Enters a table with one column a pixel, leaves uint8 rows, which
:func:`chainrule.train.step.forward` scales by 1/255.  It stands where a
:class:`~chainrule.data.pipeline.Pipeline` stands for other tables, so that a run
trained on image files predicts for a CSV file all the same.

Read next: :mod:`chainrule.train.table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, Task

__all__ = ["PixelPipeline"]

_VERSION = 1


@dataclass(frozen=True)
class PixelPipeline:
    """Names of the pixels in order, and the classes.

    >>> pipeline = PixelPipeline(("a", "b"), Target("label", "classification", ("no", "yes")))
    >>> pipeline.transform(Table.from_arrays({"b": [0, 255], "a": [1, 2]})).tolist()
    [[1, 0], [2, 255]]
    """

    feature_names: tuple[str, ...]
    target: Target
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The task, classification."""
        return self.target.task

    @property
    def classes(self) -> tuple[str | int | float, ...]:
        """The classes in the order of their numbers."""
        return self.target.classes

    def transform(self, table: Table) -> NDArray[np.uint8]:
        """Return the pixels of `table`, uint8 of shape (rows, pixels), matched by name.

        Raises DataError on a missing column, and on a cell that is no whole number
        from 0 to 255, with row and column.
        """
        columns = {column.name: column for column in table}
        absent = [name for name in self.feature_names if name not in columns]
        if absent:
            raise DataError(
                f"{table.source} lacks {len(absent)} of the {len(self.feature_names)} pixel "
                f"columns the model was trained on, {absent[0]!r} first. "
                f"{did_you_mean(absent[0], table.names)}"
            )
        out = np.empty((len(table), len(self.feature_names)), np.uint8)
        for i, name in enumerate(self.feature_names):
            out[:, i] = _pixels(columns[name], table.source)
        return out

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the pipeline exactly."""
        return {
            "version": _VERSION,
            "kind": "pixels",
            "target": {**asdict(self.target), "classes": list(self.target.classes)},
            "features": list(self.feature_names),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> PixelPipeline:
        """Restore what `to_json` returned; DataError when it is something else."""
        if saved.get("version") != _VERSION:
            raise DataError(
                f"This pixel pipeline has version {saved.get('version')!r}; this chainrule reads "
                f"version {_VERSION}. Read it with the release that wrote it."
            )
        try:
            fields = saved["target"]
            target = Target(**{**fields, "classes": tuple(fields["classes"])})
            return cls(tuple(saved["features"]), target, tuple(saved["notes"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"The saved pipeline is damaged: {error!r}.") from error


def _pixels(column: Column, where: str) -> NDArray[np.uint8]:
    if column.kind != "number":
        raise DataError(
            f"{where}: column {column.name!r} holds {column.kind}; a pixel is a number of 0 to 255."
        )
    values = column.values
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values >= 0) & (values <= 255) & (values == np.floor(values))))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: row {column.row_number(row)} of column {column.name!r} is "
            f"{'missing' if column.missing[row] else values[row]}; a pixel is a whole number "
            "of 0 to 255."
        )
    return values.astype(np.uint8)
