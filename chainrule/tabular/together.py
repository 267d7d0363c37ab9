"""Columns that say which rows belong together: groups, and times.

Read next: :mod:`chainrule.tabular.problem`, which splits the rows by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.core.wording import counted
from chainrule.data.table import Column, Table

__all__ = ["groups_of", "times_of"]


def _used_column(table: Table, option: str, name: str, target: str) -> Column:
    """Return the column that an option names; DataError if there is none."""
    others = [other for other in table.names if other != target]
    if name not in others:
        raise DataError(f"{option}: {name!r} is not a feature column. {did_you_mean(name, others)}")
    return table[name]


def groups_of(
    table: Table, name: str, target: str, kept: NDArray[np.intp]
) -> tuple[NDArray[Any], str]:
    """Return the group of each row in `kept`, a row without one being its own, and the note."""
    column = _used_column(table, "group", name, target)
    words = column.as_text()[kept].astype(str)
    gone = column.missing[kept]
    codes = np.unique(words, return_inverse=True)[1]
    codes = np.where(gone, len(kept) + np.arange(len(kept)), codes)
    count = len(np.unique(codes))
    told = f", {counted(int(gone.sum()), 'row')} without a group each alone" if gone.any() else ""
    return codes, f"the rows of one `{name}` are in one part: {count:,} groups{told}"


def times_of(
    table: Table, name: str, target: str, kept: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp], str]:
    """Return the time of each row that has one, these rows, and the note."""
    column = _used_column(table, "time", name, target)
    if column.kind not in ("number", "date"):
        raise DataError(
            f"time: column {name!r} holds {column.kind}, not dates or numbers; write all dates in "
            "one way, or give another column."
        )
    late = kept[~column.missing[kept]]
    values = column.values[late].astype("datetime64[us]" if column.kind == "date" else float)
    left = counted(len(kept) - len(late), "row")
    told = f"the rows are in the order of `{name}`: the last are for testing, those before them for"
    more = f"; {left} without a value of `{name}` left out" if len(late) < len(kept) else ""
    return values.astype(np.float64), late, f"{told} validation{more}"
