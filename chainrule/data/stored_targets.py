"""The targets of a table stored on disk, and the split of its rows.

Of each column only the distinct values are in memory, and their places in the rows.

Read next: :mod:`chainrule.data.streaming`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Roles, choose_target, said_writing
from chainrule.data.gaps import with_gaps
from chainrule.data.read import StoredTable
from chainrule.data.splits import split_groups, split_parts, split_times
from chainrule.data.table import Column, column_from_text
from chainrule.data.target import (
    Target,
    check_learnable,
    check_several,
    in_order,
    left_out_of_several,
    make_target,
    order_of,
    settle_task,
    target_names,
    told_if_chosen,
)
from chainrule.data.together import check_named, groups_of, times_of, weights_of

__all__ = ["StoredColumn", "StoredTargets"]

Array = NDArray[Any]
Rows = NDArray[np.intp]
_CELLS_AT_ONCE = 250_000


@dataclass(frozen=True)
class StoredColumn:
    """The sorted `distinct` values of a column, and the place of each row's cell in them.

    A place of -1 is a missing cell; `gaps` of them are words that the user named.
    """

    distinct: Column
    places: NDArray[np.int32]
    gaps: int = 0

    @classmethod
    def read(
        cls, table: StoredTable, name: str, roles: Roles | None = None, na: Sequence[str] = ()
    ) -> StoredColumn:
        """Read the column `name` of `table` in blocks."""
        writing = said_writing(roles).get(name) or table.writing[name]
        seen: dict[str, int] = {}
        pieces, gaps = [], 0
        for start in range(0, len(table), _CELLS_AT_ONCE):
            block = table.block(start, start + _CELLS_AT_ONCE, (name,), (name,))
            column, missing = block[name], with_gaps(block, na)[name].missing
            gaps += int((missing & ~column.missing).sum())
            if column.kind == "text":
                cells = zip(column.values.tolist(), missing.tolist(), strict=True)
                codes = [-1 if gone else seen.setdefault(cell, len(seen)) for cell, gone in cells]
                piece = np.array(codes, np.float64)
            else:
                piece = column.values.astype(np.float64)
            piece[missing] = np.nan
            pieces.append(piece)
        values = np.concatenate(pieces)
        gone = np.isnan(values)
        distinct, places = np.unique(values[~gone], return_inverse=True)
        whole = np.full(len(values), -1, np.int32)
        if column.kind != "text":
            whole[~gone] = places
            kinds: dict[str, Any] = {"boolean": bool, "date": "datetime64[us]"}
            cells_of = distinct.astype(kinds.get(column.kind, float))
            none = np.zeros(len(distinct), bool)
            return cls(Column(name, column.kind, cells_of, none), whole, gaps)
        words = list(seen)
        kept = column_from_text(name, [words[int(code)] for code in distinct], writing)
        order = np.argsort(kept.values.astype(str) if kept.kind == "text" else kept.values)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order))
        whole[~gone] = ranks[places]
        return cls(kept.take(order), whole, gaps)

    def of(self, rows: Rows) -> StoredColumn:
        """Return the column of `rows` alone, which must not miss a cell."""
        _, first, places, _ = np.unique(
            self.places[rows], return_index=True, return_inverse=True, return_counts=True
        )
        distinct = self.distinct.take(self.places[rows[first]].astype(np.intp))
        return StoredColumn(replace(distinct, origin=rows[first]), places.astype(np.int32))


@dataclass(frozen=True)
class StoredTargets:
    """The `rows` of a table with all targets, the `columns` of these, and what they become.

    `gaps` are how many cells of each column that was read are words that mean "no value".
    """

    columns: tuple[StoredColumn, ...]
    rows: Rows
    target: Target
    notes: tuple[str, ...]
    source: str
    gaps: dict[str, int]

    @classmethod
    def read(
        cls,
        table: StoredTable,
        target: str | Sequence[str] | None,
        task: str | None,
        roles: Roles | None,
        na: Sequence[str] = (),
    ) -> StoredTargets:
        """Read the target columns in blocks, and determine the task."""
        first = table.block(0, 1, table.names)
        given = target_names(target, table.names)
        chosen = [choose_target(first, name) for name in given or (None,)]
        several = len(chosen) > 1
        if several:
            check_several(given, task)
        every = [StoredColumn.read(table, name, roles, na) for name, _ in chosen]
        missing = np.any([column.places < 0 for column in every], axis=0)
        rows = np.flatnonzero(~missing)
        notes = [*(left_out_of_several(missing) if several else ())]
        parts, columns = [], []
        for (name, why), whole in zip(chosen, every, strict=True):
            column = whole.of(rows)
            distinct, places = column.distinct, column.places.astype(np.intp)
            order = order_of(name, roles, task)
            wanted = task if order is None else "classification"
            full = distinct.take(places) if distinct.kind == "number" else distinct
            # Each value at most twice: enough to detect classes of one row and invalid targets.
            counts = np.minimum(np.bincount(places), 2)
            few = distinct.take(np.repeat(np.arange(len(counts)), counts))
            with told_if_chosen(why):
                left = 0 if several else len(table) - len(rows)
                settled, told = settle_task(full, left, wanted, table.source)
                made = make_target(few, settled, table.source, whole=not several)
            if order is not None:
                made, note = in_order(made, few, order, table.source)
                told = (*told, note)
            check_learnable(made, distinct, len(rows), table.source)
            notes += [*((why,) if why else ()), *told]
            columns.append(column)
            parts.append(made)
        found = Target(", ".join(given), "several", parts=tuple(parts)) if several else parts[0]
        gaps = {column.distinct.name: column.gaps for column in every}
        return cls(tuple(columns), rows, found, tuple(notes), table.source, gaps)

    def split(
        self,
        table: StoredTable,
        fraction: float,
        seed: int,
        group: str | None,
        time: str | None,
        roles: Roles | None,
        na: Sequence[str],
    ) -> tuple[tuple[Rows, Rows | None, Rows], tuple[str, ...]]:
        """Return (train, validation or None, test), indices into `rows`, and notes."""
        classes = next(
            (
                part.encode(column.distinct, self.source)[column.places]
                for part, column in self._pairs(self.target)
                if part.task == "classification"
            ),
            None,
        )
        if time is not None:
            column = self.feature(table, "time", time, roles, na)
            times, timed, told = times_of(column.distinct, column.places)
            kept = np.flatnonzero(timed)
            train, held, test = split_times(times, fraction)
            return (kept[train], None if held is None else kept[held], kept[test]), (told,)
        if group is not None:
            column = self.feature(table, "group", group, roles, na)
            groups, told = groups_of(column.distinct, column.places)
            return split_groups(groups, classes, fraction, seed), (told,)
        return split_parts(len(self.rows) if classes is None else classes, fraction, seed), ()

    def weights(
        self, table: StoredTable, name: str, roles: Roles | None, na: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return the weight of each of `rows`, from the column `name`."""
        column = self.feature(table, "weight", name, roles, na)
        return weights_of(column.distinct, column.places)

    def feature(
        self, table: StoredTable, option: str, name: str, roles: Roles | None, na: Sequence[str]
    ) -> StoredColumn:
        """Return the column that an option names, with the places of `rows`."""
        check_named(option, name, table.names, self.target.names)
        column = StoredColumn.read(table, name, roles, na)
        self.gaps[name] = column.gaps
        return replace(column, places=column.places[self.rows])

    def fit(self, train: Rows) -> Target:
        """Return the target fitted to the rows `train`."""
        fitted = [
            part.fitted(column.distinct.take(column.places[train].astype(np.intp)), self.source)
            for part, column in self._pairs(self.target)
        ]
        return replace(self.target, parts=tuple(fitted)) if self.target.parts else fitted[0]

    def encode(self, target: Target) -> Array:
        """Return the encoded target of `rows`; several are the columns of a float32 array."""
        found = [
            part.encode(column.distinct, self.source)[column.places]
            for part, column in self._pairs(target)
        ]
        return np.stack([y.astype(np.float32) for y in found], 1) if target.parts else found[0]

    def _pairs(self, target: Target) -> list[tuple[Target, StoredColumn]]:
        return list(zip(target.parts or (target,), self.columns, strict=True))
