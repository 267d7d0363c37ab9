"""Columns that say which rows belong together: groups, and times.

Read next: :mod:`chainrule.data.splits`, which splits the rows by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.core.wording import counted
from chainrule.data.table import Column

__all__ = ["IN_TIME", "check_named", "groups_of", "times_of", "weights_of"]

IN_TIME = "the rows are in the order of"  # how the note of a split by time begins


def check_named(option: str, name: str, names: Sequence[str], targets: Sequence[str]) -> None:
    """Raise DataError unless the column `name` that an option gives is one of the features."""
    others = [other for other in names if other not in targets]
    if name not in others:
        raise DataError(f"{option}: {name!r} is not a feature column. {did_you_mean(name, others)}")


def groups_of(column: Column, places: NDArray[Any] | None = None) -> tuple[NDArray[Any], str]:
    """Return the group of each row, a row without one being its own, and the note.

    The rows are those of `column`, or, with `places`, the positions in it of the cells of rows, -1
    for a missing one.

    >>> groups_of(Column("id", "number", np.array([7.0, 5]), np.array([False, True])))[1]
    'the rows of one `id` are in one part: 2 groups, 1 row without a group each alone'
    """
    codes = np.unique(column.as_text().astype(str), return_inverse=True)[1]
    gone, more = column.missing, 1 + codes.max(initial=-1)
    if places is not None:
        codes, gone = np.append(codes, 0)[places], places < 0
    codes = np.where(gone, more + np.arange(len(codes)), codes)
    count = len(np.unique(codes))
    told = f", {counted(int(gone.sum()), 'row')} without a group each alone" if gone.any() else ""
    return codes, f"the rows of one `{column.name}` are in one part: {count:,} groups{told}"


def times_of(
    column: Column, places: NDArray[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Return the time of each row that has one, which rows these are, and the note.

    The rows are as in :func:`groups_of`.  Raises DataError unless the column holds numbers or
    dates.
    """
    if column.kind not in ("number", "date"):
        raise DataError(
            f"time: column {column.name!r} holds {column.kind}, not dates or numbers; write all "
            "dates in one way, or give another column."
        )
    every = column.values.astype("datetime64[us]" if column.kind == "date" else float)
    timed = ~column.missing if places is None else places >= 0
    values = every[timed] if places is None else every[places[timed]]
    left = int((~timed).sum())
    told = f"{IN_TIME} `{column.name}`: the last are for testing, those before"
    more = f"; {counted(left, 'row')} without a value of `{column.name}` left out" if left else ""
    return values.astype(np.float64), timed, f"{told} them for validation{more}"


def weights_of(column: Column, places: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return the weight of each row, which are as in :func:`groups_of`.

    Raises DataError unless each is a number.
    """
    gone = column.missing if places is None else places < 0
    if column.kind not in ("number", "boolean") or gone.any():
        raise DataError(f"weight: column {column.name!r} must have a number in every row.")
    values = np.asarray(column.values, np.float64)
    return values if places is None else values[places]
