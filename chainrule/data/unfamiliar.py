"""What a new table holds that training did not: told, since predictions for it are guesses.

Enters a pipeline and a table; leaves one line for each kind of surprise in each column: words
and categories that are new, numbers and dates far from those of training, cells not read.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from chainrule.data.encode import CategoryEncoder, Encoder, NumericEncoder
from chainrule.data.table import Column, Table
from chainrule.data.unread import Unread

__all__ = ["unfamiliar"]


def unfamiliar(encoders: Iterable[Encoder], table: Table) -> list[str]:
    """Return the lines on what in `table` the training rows of `encoders` did not hold.

    A number, or a date, is far when it lies outside the range of training by more than the
    width of that range.  Raises DataError as `Pipeline.transform` does.
    """
    lines: list[str] = []
    for encoder in encoders:
        column = table[encoder.name]
        if isinstance(encoder, CategoryEncoder) or encoder.levels:
            lines += _new_words(encoder, column)
        else:
            lines += _far_or_unread(encoder, column, table.source)
    return lines


def _new_words(encoder: Encoder, column: Column) -> Iterator[str]:
    cells = column.as_text()[~column.missing].astype(str)
    new = cells[~np.isin(cells, encoder.levels)] if len(encoder.levels) else cells
    if len(new) == 0:
        return
    why = "training did not have"
    if getattr(encoder, "other", False):  # rare words were merged, and this may be one of them
        why = "was rare in training or not there: it counts as 'other'"
    yield f"{_rows(len(new))} a value of `{encoder.name}` that {why}, such as {str(new[0])!r}"


def _far_or_unread(encoder: NumericEncoder, column: Column, where: str) -> Iterator[str]:
    values, missing, unread = encoder.read(column, where)
    if len(unread):
        yield f"`{encoder.name}`: {Unread.of(column, unread)}"
    if not encoder.least:
        return
    # Of a date, the days since an epoch, the last part; the others repeat, or follow from it.
    last, least, greatest = values[:, -1], encoder.least[-1], encoder.greatest[-1]
    span = greatest - least
    far = ~missing & ((last < least - span) | (last > greatest + span))
    rows = np.flatnonzero(far)
    if len(rows) == 0:
        return
    shown = [f"{number:g}" for number in (least, greatest, last[rows[0]])]
    if encoder.parts:
        shown = [str(np.datetime64(int(day), "D")) for day in (least, greatest, last[rows[0]])]
    yield (
        f"{_rows(len(rows))} a value of `{encoder.name}` far from the {shown[0]} to {shown[1]} "
        f"of training, such as {shown[2]} in row {column.row_number(rows[0])}"
    )


def _rows(count: int) -> str:
    return f"{count:,} row{' has' if count == 1 else 's have'}"
