"""Turn a table into float32 features and an encoded target.

The pipeline is fitted to the training rows only, so that nothing leaks from the test rows.  It is
saved as JSON with the run, and encodes new tables for prediction.

Read next: :mod:`chainrule.data.splits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.data.check_arrays import FEW, numbers_in_spread
from chainrule.data.columns import Roles, as_said, choose_target, understand
from chainrule.data.encode import (
    CategoryEncoder,
    Encoder,
    NumericEncoder,
    fit_encoder,
    restore_encoder,
    save_encoder,
)
from chainrule.data.fitting import CHUNK
from chainrule.data.gaps import with_gaps
from chainrule.data.preprocess import Preprocessing, plan
from chainrule.data.projection import Projection, Projector
from chainrule.data.scaling import Scaler, Standardize, Unscaled
from chainrule.data.spelling import decimal_mark
from chainrule.data.table import Column, Table
from chainrule.data.target import Target, Task, inspect_target
from chainrule.data.unread import Settled, Unread, settle
from chainrule.data.writing import Writing

__all__ = ["CategoryCodes", "Pipeline", "fit_encoders"]

_VERSION = 2
_READ = ("number", "date", "cyclic")  # roles for which a few unreadable cells count as missing
_MOST_NAMED = 5  # columns listed in one error


@dataclass(frozen=True)
class CategoryCodes:
    """A feature of category indices, 0 to ``categories - 1``, for an embedding layer.

    `feature` is its position among the features.  Index 0 stands for missing cells and unseen
    categories, unless training had such cells.
    """

    name: str
    feature: int
    categories: int


@dataclass(frozen=True)
class Pipeline:
    """The encoders of the feature columns, an optional projection of their features, the target.

    With a projection, projected features come first; category indices, which are not projected,
    come last.  `notes` report the decisions made, one line each.  Cells that are one of `na` are
    missing.  `rows` are the training rows with a target; they are not saved.

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
    na: tuple[str, ...] = ()
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
        na: Sequence[str] = (),
    ) -> Pipeline:
        """Fit to `rows` of `table` (indices from 0; None: all).

        `roles` overrides the role of a column, as in ``{"zip": "category"}``, see
        :func:`chainrule.data.columns.understand`.  `preprocess` is the scaling of numbers
        (default "standardize"), optionally followed by a projection of all features, see
        :func:`chainrule.data.preprocess.plan`.  Cells that are one of the words `na` are missing,
        see :func:`chainrule.data.gaps.with_gaps`.
        A `Target` is fitted to `rows`, which must all have a target; otherwise rows without a
        target are left out, with a note.  Raises DataError as `inspect_target` and
        `understand` do, and if no usable feature is left.
        """
        planned = plan(preprocess)
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        named = target.name if isinstance(target, Target) else choose_target(table, target)[0]
        table, roles = as_said(with_gaps(table, na), roles, named)
        if isinstance(target, Target):
            kept = np.arange(len(table)) if chosen is None else chosen
            notes: tuple[str, ...] = ()
            found = target.fitted_to(table, kept)
        else:
            found, kept, notes = inspect_target(table, target, task, chosen)
        features = [column.take(kept) for column in table if column.name not in found.names]
        encoders, read, decided = fit_encoders(
            features, found.name, table.source, roles, planned.scaler
        )
        told = [note for settled in read if (note := settled.note(settled.unread))]
        pipeline = cls(encoders, found, (*notes, *told, *decided), na=tuple(na), rows=kept)
        if planned.projector is None:
            return pipeline
        return pipeline.with_projection(planned.projector, [pipeline.transform(table, kept)])

    def with_projection(self, projector: Projector, blocks: Iterable[NDArray[Any]]) -> Pipeline:
        """Return the pipeline with `projector` fitted to `blocks` of its features."""
        turned = self._places(codes=False)
        if not turned:
            raise DataError(f"{projector} has no features to project: all are category indices.")
        fitted = projector.fit_blocks(
            block[i : i + CHUNK, turned] for block in blocks for i in range(0, len(block), CHUNK)
        )
        share = fitted.explained_variance.sum() / fitted.total_variance
        verb = "projected" if fitted.kind == "pca" else "whitened"
        note = (
            f"{len(turned)} features {verb} along {fitted.components} uncorrelated directions, "
            f"which explain {share:.1%} of their variance"
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
    def writing(self) -> dict[str, Writing]:
        """How the columns with formatted numbers are written, for reading another table."""
        spelled = {e.name: e.spelling for e in self.encoders if isinstance(e, NumericEncoder)}
        spelled |= {self.target.name: self.target.spelling}
        return {
            name: Writing(decimal_mark(form), why="as in training")
            for name, form in spelled.items()
            if form
        }

    @property
    def category_codes(self) -> tuple[CategoryCodes, ...]:
        """The features of category indices, which an embedding layer reads."""
        coded = [e for e in self.encoders if isinstance(e, CategoryEncoder) and e.embedded]
        places = self._places(codes=True)
        if self.projection is not None:
            places = list(range(len(self.feature_names) - len(coded), len(self.feature_names)))
        return tuple(
            CategoryCodes(encoder.name, place, encoder.categories + 1)
            for encoder, place in zip(coded, places, strict=True)
        )

    def _places(self, codes: bool) -> list[int]:
        """Return the positions of the encoders' features that are category indices, or are not."""
        coded = [
            isinstance(encoder, CategoryEncoder) and encoder.embedded
            for encoder in self.encoders
            for _ in encoder.feature_names
        ]
        return [i for i, code in enumerate(coded) if code == codes]

    @property
    def task(self) -> Task:
        """The task: classification, regression, or several for several targets."""
        return self.target.task

    @property
    def classes(self) -> tuple[str | int | float, ...]:
        """The classes in the order of their indices; () for regression."""
        return self.target.classes

    def transform(self, table: Table, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the features of `rows` of `table`, float32 of shape (rows, features).

        Columns are matched by name; others are ignored.  A few cells that can't be read as the
        numbers or dates of the column count as missing, see `unread`.  Raises DataError on a
        missing column, a column that can't be read, and a number too large for float32, with
        row and column.
        """
        absent = [e.name for e in self.encoders if e.name not in table]
        if absent:
            named = ", ".join(repr(name) for name in absent[:_MOST_NAMED])
            if len(absent) > _MOST_NAMED:
                named += f" and {len(absent) - _MOST_NAMED} more"
            raise DataError(
                f"{table.source} does not have the {'column' if len(absent) == 1 else 'columns'} "
                f"{named}, needed by the model. {did_you_mean(absent[0], table.names)}"
            )
        table = with_gaps(table, self.na)
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
        """Return, by column, the cells of `rows` that can't be read and count as missing.

        Raises DataError as `transform` does.
        """
        if rows is not None:
            chosen = np.asarray(rows, dtype=np.intp)
            names = [e.name for e in self.encoders]
            table = Table(tuple(table[name].take(chosen) for name in names), table.source)
        found = self.unread_rows(table)
        return {name: Unread.of(table[name], slips) for name, slips in found.items()}

    def unread_rows(self, table: Table) -> dict[str, NDArray[np.intp]]:
        """Return, by column, the rows whose cells can't be read."""
        table = with_gaps(table, self.na)
        found = {
            encoder.name: encoder.read(table[encoder.name], table.source)[2]
            for encoder in self.encoders
            if isinstance(encoder, NumericEncoder)
        }
        return {name: slips for name, slips in found.items() if len(slips)}

    def project(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the encoders' features `X`, projected if the pipeline has a projection."""
        if self.projection is None:
            return X
        turned = self.projection.transform(X[:, self._places(codes=False)])
        return np.concatenate([turned, X[:, self._places(codes=True)]], axis=1)

    def encode_target(self, table: Table, rows: ArrayLike | None = None) -> NDArray[Any]:
        """Return the target of `rows`: int64 class indices, or standardized float32 values.

        Several targets are the columns of a float32 array.
        """
        chosen = None if rows is None else np.asarray(rows, dtype=np.intp)
        return self.target.encode_from(with_gaps(table, self.na), chosen)

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores the pipeline exactly."""
        return {
            "version": _VERSION,
            "target": self.target.to_json(),
            "columns": [save_encoder(encoder) for encoder in self.encoders],
            "projection": None if self.projection is None else self.projection.to_json(),
            "notes": list(self.notes),
            "na": list(self.na),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Pipeline:
        """Restore a pipeline from what `to_json` returned; raise DataError on anything else."""
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
            na = tuple(saved.get("na", ()))
            return cls(encoders, target, tuple(saved["notes"]), projection, na)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The saved pipeline is damaged: {error!r}.") from error


def _check_finite(block: NDArray[np.float32], column: Column, where: str) -> None:
    """Raise DataError, with row and column, if a scaled number overflows float32."""
    finite = np.isfinite(block)
    if not finite.all():
        rows = np.flatnonzero(~finite.all(axis=1))
        raise DataError(
            f"{where}: row {column.row_number(rows[0])} of column {column.name!r} is "
            f"{column.as_text()[rows[0]]}, which is too large for a float32 feature; "
            "correct or clear the cell."
        )


def fit_encoders(
    features: list[Column],
    target: str,
    where: str,
    roles: Roles | None = None,
    scaler: Scaler | None = None,
) -> tuple[tuple[Encoder, ...], list[Settled], tuple[str, ...]]:
    """Return the encoders of the columns used, how these were read, and the notes."""
    read = [
        settle(column).without_sentinels()
        if (roles or {}).get(column.name, "date") in _READ
        else Settled(column)
        for column in features
    ]
    features = [settled.column for settled in read]
    understood = understand(features, roles)
    used = [settled for settled, item in zip(read, understood, strict=True) if item.used]
    decided = tuple(item.note for item in understood if item.note)
    if not any(item.used for item in understood):
        raise DataError(
            f"{where}: no usable feature is left besides the target {target!r}"
            + (f": {'; '.join(decided)}." if decided else ".")
        )
    encoders = tuple(
        fit_encoder(settled.column, item, where, scaler or Standardize(), settled.gaps)
        for settled, item in zip(read, understood, strict=True)
        if item.used
    )
    if isinstance(scaler, Unscaled):  # other scalings do not lose values to float32
        fitted = zip(used, encoders, strict=True)
        lost = (_lost(settled.column, encoder, where) for settled, encoder in fitted)
        decided = (*decided, *(note for note in lost if note))
    return encoders, used, decided


def _lost(column: Column, encoder: Encoder, where: str) -> str:
    """Return the note on a column whose unscaled numbers float32 can't distinguish, or ""."""
    if not isinstance(encoder, NumericEncoder):
        return ""
    values = encoder.encode(column, where)
    if (numbers_in_spread(values, np.dtype(np.float32)) >= FEW).all():
        return ""
    return (
        f"`{column.name}`: varies by {values[:, 0].std():.3g} about {values[:, 0].mean():.6g}, "
        "which float32 can't distinguish; use preprocess='standardize'"
    )
