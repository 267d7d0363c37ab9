"""From a table to what a network eats, learned from the training rows alone.

Enters a table with a target, leaves float32 features and an encoded target; the fitted
pipeline is a plain JSON dict that a prediction years later reads back.  It exists
because the usual leak, a mean taken over the test rows, is a bug of order.

Read next: :mod:`chainrule.data.splits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.check_arrays import FEW, numbers_in_spread
from chainrule.data.columns import Roles, understand
from chainrule.data.encode import (
    CategoryEncoder,
    Encoder,
    NumericEncoder,
    fit_encoder,
    restore_encoder,
    save_encoder,
)
from chainrule.data.fitting import CHUNK
from chainrule.data.preprocess import Preprocessing, plan
from chainrule.data.projection import Projection, Projector
from chainrule.data.scaling import Scaler, Standardize, Unscaled
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, Task, inspect_target
from chainrule.data.unread import Settled, Unread, settle

__all__ = ["CategoryCodes", "Pipeline", "fit_encoders"]

_VERSION = 2
_READ = ("number", "date", "cyclic")  # roles for which a few cells that can't be read are missing
_MOST_NAMED = 5  # columns listed in one error


@dataclass(frozen=True)
class CategoryCodes:
    """A feature that holds category numbers, 0 to ``categories - 1``, for an embedding.

    `feature` is its place among the features.  Number 0 stands for a cell that is empty, or
    holds a category that training did not have, where training had no such cells.
    """

    name: str
    feature: int
    categories: int


@dataclass(frozen=True)
class Pipeline:
    """Encoders for the used columns, a projection of all their features or None, the target.

    The features that a projection gives stand first, and category numbers, which it leaves
    out, last.  `notes` are the decisions, one readable line each.  `rows` are the training
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
    projection: Projection | None = None
    rows: NDArray[np.intp] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fit(
        cls,
        table: Table,
        target: str | Target | None = None,
        task: str | None = None,
        rows: ArrayLike | None = None,
        roles: Roles | None = None,
        preprocess: Preprocessing = None,
    ) -> Pipeline:
        """Fit to `rows` of `table` (indices from 0; None: all).

        `roles` overrides what a column is used as, as in ``{"zip": "category"}``, see
        :func:`chainrule.data.columns.understand`.  `preprocess` is how numbers are scaled,
        "standardize" if not said, and then a projection of all features, if any; see
        :func:`chainrule.data.preprocess.plan`.
        A `target` that was inspected already is fitted to `rows`, which all have one; else
        rows without a target are left out, with a note.  Raises DataError as
        `inspect_target` and `understand` do, and when no usable feature is left.
        """
        planned = plan(preprocess)
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        if isinstance(target, Target):
            kept = np.arange(len(table)) if chosen is None else chosen
            notes: tuple[str, ...] = ()
            found = target.fitted(table[target.name].take(kept), table.source)
        else:
            found, kept, notes = inspect_target(table, target, task, chosen)
        features = [column.take(kept) for column in table if column.name != found.name]
        encoders, read, decided = fit_encoders(
            features, found.name, table.source, roles, planned.scaler
        )
        told = [note for settled in read if (note := settled.note(settled.unread))]
        pipeline = cls(encoders, found, (*notes, *told, *decided), rows=kept)
        if planned.projector is None:
            return pipeline
        return pipeline.with_projection(planned.projector, [pipeline.transform(table, kept)])

    def with_projection(self, projector: Projector, blocks: Iterable[NDArray[Any]]) -> Pipeline:
        """Return the pipeline with `projector` fitted to `blocks` of features that it gave."""
        turned = self._places(codes=False)
        if not turned:
            raise DataError(f"{projector} has nothing to turn: every feature is a category number.")
        fitted = projector.fit_blocks(
            block[i : i + CHUNK, turned] for block in blocks for i in range(0, len(block), CHUNK)
        )
        share = fitted.explained_variance.sum() / fitted.total_variance
        verb = "turned" if fitted.kind == "pca" else "whitened"
        note = (
            f"{len(turned)} features {verb} along {fitted.components} uncorrelated directions, "
            f"which hold {share:.1%} of their variance"
        )
        return replace(self, projection=fitted, notes=(*self.notes, note))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature, in order."""
        names = tuple(name for encoder in self.encoders for name in encoder.feature_names)
        if self.projection is None:
            return names
        turned = self.projection.feature_names(tuple(names[i] for i in self._places(codes=False)))
        return (*turned, *(names[i] for i in self._places(codes=True)))

    @property
    def category_codes(self) -> tuple[CategoryCodes, ...]:
        """The features that hold category numbers, which an embedding is to read."""
        coded = [e for e in self.encoders if isinstance(e, CategoryEncoder) and e.embedded]
        places = self._places(codes=True)
        if self.projection is not None:
            places = list(range(len(self.feature_names) - len(coded), len(self.feature_names)))
        return tuple(
            CategoryCodes(encoder.name, place, encoder.categories + 1)
            for encoder, place in zip(coded, places, strict=True)
        )

    def _places(self, codes: bool) -> list[int]:
        """Return which of the encoders' features are category numbers, or are not."""
        coded = [
            isinstance(encoder, CategoryEncoder) and encoder.embedded
            for encoder in self.encoders
            for _ in encoder.feature_names
        ]
        return [i for i, code in enumerate(coded) if code == codes]

    @property
    def task(self) -> Task:
        """The task, classification or regression."""
        return self.target.task

    @property
    def classes(self) -> tuple[str | int | float, ...]:
        """The classes in the order of their numbers; () for regression."""
        return self.target.classes

    def transform(self, table: Table, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the features of `rows` of `table`, float32 of shape (rows, features).

        Columns are matched by name; others are ignored.  A few cells that are no number or
        date where training had them count as missing, see `unread`.  Raises DataError on a
        missing column, a column that can't be read, and a number too large for float32, with
        row and column.
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
        width = sum(len(encoder.feature_names) for encoder in self.encoders)
        out = np.empty((count, width), dtype=np.float32)
        start = 0
        for encoder in self.encoders:
            stop = start + len(encoder.feature_names)
            column = table[encoder.name].take(chosen)
            with np.errstate(over="ignore"):
                out[:, start:stop] = encoder.encode(column, table.source)
            _check_finite(out[:, start:stop], column, table.source)
            start = stop
        return self.project(out)

    def unread(self, table: Table, rows: ArrayLike | None = None) -> dict[str, Unread]:
        """Return, by column, the cells of `rows` that are no number or date and count as missing.

        Raises DataError as `transform` does.
        """
        if rows is not None:
            chosen = np.asarray(rows, dtype=np.intp)
            names = [e.name for e in self.encoders]
            table = Table(tuple(table[name].take(chosen) for name in names), table.source)
        found = self.unread_rows(table)
        return {name: Unread.of(table[name], slips) for name, slips in found.items()}

    def unread_rows(self, table: Table) -> dict[str, NDArray[np.intp]]:
        """Return, by column, the rows whose cells `unread` tells of."""
        found = {
            encoder.name: encoder.read(table[encoder.name], table.source)[2]
            for encoder in self.encoders
            if isinstance(encoder, NumericEncoder)
        }
        return {name: slips for name, slips in found.items() if len(slips)}

    def project(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the features `X` that the encoders gave, turned by the projection if any."""
        if self.projection is None:
            return X
        turned = self.projection.transform(X[:, self._places(codes=False)])
        return np.concatenate([turned, X[:, self._places(codes=True)]], axis=1)

    def encode_target(self, table: Table, rows: ArrayLike | None = None) -> NDArray[Any]:
        """Return the target of `rows`: int64 class numbers, or standardized float32 values."""
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        return self.target.encode(table[self.target.name].take(chosen), table.source)

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the pipeline exactly."""
        return {
            "version": _VERSION,
            "target": self.target.to_json(),
            "columns": [save_encoder(encoder) for encoder in self.encoders],
            "projection": None if self.projection is None else self.projection.to_json(),
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
            target = Target.from_json(saved["target"])
            encoders = tuple(restore_encoder(column) for column in saved["columns"])
            turned = saved["projection"]
            projection = None if turned is None else Projection.from_json(turned)
            return cls(encoders, target, tuple(saved["notes"]), projection)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The saved pipeline is damaged: {error!r}.") from error


def _check_finite(block: NDArray[np.float32], column: Column, where: str) -> None:
    """Raise DataError naming the first number that float32 can't hold once it is scaled."""
    rows = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(rows):
        raise DataError(
            f"{where}: row {column.row_number(rows[0])} of column {column.name!r} holds "
            f"{column.as_text()[rows[0]]}, too large for float32, in which features are kept; "
            "correct or clear the cell."
        )


def fit_encoders(
    features: list[Column],
    target: str,
    where: str,
    roles: Roles | None = None,
    scaler: Scaler | None = None,
) -> tuple[tuple[Encoder, ...], list[Settled], tuple[str, ...]]:
    """Return an encoder for each column of use, how these were read, and all decisions."""
    read = [
        settle(column) if (roles or {}).get(column.name, "date") in _READ else Settled(column)
        for column in features
    ]
    features = [settled.column for settled in read]
    understood = understand(features, roles)
    used = [settled for settled, item in zip(read, understood, strict=True) if item.used]
    decided = tuple(item.note for item in understood if item.note)
    if not any(item.used for item in understood):
        raise DataError(
            f"{where}: no usable feature is left beside the target {target!r}"
            + (f": {'; '.join(decided)}." if decided else ".")
        )
    encoders = tuple(
        fit_encoder(column, item, where, scaler or Standardize())
        for column, item in zip(features, understood, strict=True)
        if item.used
    )
    if isinstance(scaler, Unscaled):  # any other scaling leaves numbers that float32 tells apart
        fitted = zip(used, encoders, strict=True)
        lost = (_lost(settled.column, encoder, where) for settled, encoder in fitted)
        decided = (*decided, *(note for note in lost if note))
    return encoders, used, decided


def _lost(column: Column, encoder: Encoder, where: str) -> str:
    """Return the line on a column whose unscaled numbers float32 can't tell apart, or ""."""
    if not isinstance(encoder, NumericEncoder):
        return ""
    values = encoder.encode(column, where)
    if (numbers_in_spread(values, np.dtype(np.float32)) >= FEW).all():
        return ""
    return (
        f"`{column.name}`: varies by {values[:, 0].std():.3g} about {values[:, 0].mean():.6g}, "
        "which float32 can't tell apart; let preprocess be 'standardize'"
    )
