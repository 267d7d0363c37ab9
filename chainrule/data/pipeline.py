"""From a table to what a network eats, learned from the training rows alone.

Enters a table with a target, leaves float32 features and an encoded target; the fitted
pipeline is a plain JSON dict that a prediction years later reads back.  It exists
because the usual leak, a mean taken over the test rows, is a bug of order.

Read next: :mod:`chainrule.data.splits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.columns import understand
from chainrule.data.encode import Encoder, fit_encoder, restore_encoder, save_encoder
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, Task, inspect_target

__all__ = ["Pipeline", "fit_encoders"]

_VERSION = 1
_MOST_NAMED = 5  # columns listed in one error


@dataclass(frozen=True)
class Pipeline:
    """Encoders for the used columns, and the target.

    `notes` are the decisions, one readable line each.  `rows` are the training
    rows used (those with a target); they are not saved.

    >>> table = Table.from_arrays({"size": [1.0, 2, None, 4], "sold": ["no", "no", "yes", "yes"]})
    >>> pipeline = Pipeline.fit(table, "sold")
    >>> pipeline.feature_names, pipeline.task, pipeline.classes
    (('size', 'size=missing'), 'classification', ('no', 'yes'))
    >>> pipeline.encode_target(table).tolist()
    [0, 0, 1, 1]
    """

    encoders: tuple[Encoder, ...]
    target: Target
    notes: tuple[str, ...] = ()
    rows: NDArray[np.intp] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fit(
        cls,
        table: Table,
        target: str | None = None,
        task: str | None = None,
        rows: ArrayLike | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> Pipeline:
        """Fit to `rows` of `table` (indices from 0; None: all).

        `roles` overrides what a column is used as, as in ``{"zip": "category"}``.
        Rows without a target are left out, with a note.  Raises DataError as
        `inspect_target` and `understand` do, and when no usable feature is left.
        """
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        found, kept, notes = inspect_target(table, target, task, chosen)
        features = [column.take(kept) for column in table if column.name != found.name]
        encoders, decided = fit_encoders(features, found.name, table.source, roles)
        return cls(encoders, found, (*notes, *decided), kept)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature, in order."""
        return tuple(name for encoder in self.encoders for name in encoder.feature_names)

    @property
    def task(self) -> Task:
        """The task, classification or regression."""
        return self.target.task

    @property
    def classes(self) -> tuple[str | int | float, ...]:
        """The classes in the order of their numbers; () for regression."""
        return self.target.classes

    @property
    def target_mean(self) -> float:
        """The training mean of a regression target; 0 for classification."""
        return self.target.mean

    @property
    def target_scale(self) -> float:
        """The training standard deviation of a regression target; 1 for classification."""
        return self.target.scale

    def transform(self, table: Table, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the features of `rows` of `table`, float32 of shape (rows, features).

        Columns are matched by name; others are ignored.  Raises DataError on a missing
        column, text in a numeric column, and infinity, with row and column.
        """
        absent = [e.name for e in self.encoders if e.name not in table]
        if absent:
            named = ", ".join(repr(name) for name in absent[:_MOST_NAMED])
            if len(absent) > _MOST_NAMED:
                named += f" and {len(absent) - _MOST_NAMED} more"
            raise DataError(
                f"{table.source} lacks {'column' if len(absent) == 1 else 'columns'} {named}, "
                f"which the model was trained on. {did_you_mean(absent[0], table.names)}"
            )
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        count = len(table) if chosen is None else len(chosen)
        out = np.empty((count, len(self.feature_names)), dtype=np.float32)
        start = 0
        for encoder in self.encoders:
            stop = start + len(encoder.feature_names)
            out[:, start:stop] = encoder.encode(table[encoder.name].take(chosen), table.source)
            start = stop
        return out

    def encode_target(self, table: Table, rows: ArrayLike | None = None) -> NDArray[Any]:
        """Return the target of `rows`: int64 class numbers, or standardized float32 values."""
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        return self.target.encode(table[self.target.name].take(chosen), table.source)

    def decode_target(self, predicted: ArrayLike) -> NDArray[Any]:
        """Undo `encode_target`: class numbers to classes, standardized values to values."""
        return self.target.decode(predicted)

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the pipeline exactly."""
        return {
            "version": _VERSION,
            "target": {**asdict(self.target), "classes": list(self.target.classes)},
            "columns": [save_encoder(encoder) for encoder in self.encoders],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Pipeline:
        """Restore what `to_json` returned; DataError when it is something else."""
        if saved.get("version") != _VERSION:
            raise DataError(
                f"This pipeline has version {saved.get('version')!r}; this chainrule reads "
                f"version {_VERSION}. Read it with the release that wrote it."
            )
        try:
            fields = saved["target"]
            target = Target(**{**fields, "classes": tuple(fields["classes"])})
            encoders = tuple(restore_encoder(column) for column in saved["columns"])
            return cls(encoders, target, tuple(saved["notes"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"The saved pipeline is damaged: {error!r}.") from error


def fit_encoders(
    features: list[Column], target: str, where: str, roles: Mapping[str, str] | None = None
) -> tuple[tuple[Encoder, ...], tuple[str, ...]]:
    """Return an encoder for each column that is of use, and a note on each decision."""
    understood = understand(features, roles)
    decided = tuple(item.note for item in understood if item.note)
    if not any(item.used for item in understood):
        raise DataError(
            f"{where}: no usable feature is left beside the target {target!r}"
            + (f": {'; '.join(decided)}." if decided else ".")
        )
    encoders = tuple(
        fit_encoder(column, item, where)
        for column, item in zip(features, understood, strict=True)
        if item.used
    )
    return encoders, decided
