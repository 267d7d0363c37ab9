"""Report values of a new table that differ from the training data.

Predictions for such rows are not reliable.  Reported are, for each column, new categories,
numbers and dates far outside the training range, cells that can't be read, missing cells where
training had none, and columns whose values are distributed otherwise.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from chainrule.data.encode import CategoryEncoder, Encoder, NumericEncoder
from chainrule.data.table import Column, Table
from chainrule.data.unread import Unread

__all__ = ["unfamiliar"]

_FEWEST = 50  # rows with a value, from which the distribution of a column is compared
_CHANGED = 0.25  # change of the share of rows that is told


def unfamiliar(encoders: Iterable[Encoder], table: Table) -> list[str]:
    """Return lines on the values of `table` that differ from the training rows of `encoders`.

    A number or date is far if it is outside the training range by more than the width of that
    range.  Raises DataError as `Pipeline.transform` does.
    """
    lines: list[str] = []
    for encoder in encoders:
        column = table[encoder.name]
        lines += _newly_missing(encoder, column)
        if isinstance(encoder, CategoryEncoder) or encoder.levels:
            lines += _new_words(encoder, column)
        else:
            lines += _far_or_unread(encoder, column, table.source)
        if len(column) >= _FEWEST:
            lines += _drifted(encoder, column, table.source)
    return lines


def _drifted(encoder: Encoder, column: Column, where: str) -> Iterator[str]:
    """Yield a line if the values of many rows are distributed otherwise than in training.

    It is told if the shares of rows below a decile of training, or of one category, differ by a
    quarter, or by more where there are too few rows to know.
    """
    name = encoder.name
    if isinstance(encoder, CategoryEncoder):
        cells = column.as_text()[~column.missing].astype(str)
        if len(cells) < _FEWEST or not encoder.shares:
            return
        now = np.array([float((cells == level).mean()) for level in encoder.levels])
        change = np.abs(now - encoder.shares)
        most = int(change.argmax())
        if change[most] > _least_change(len(cells)):
            yield (
                f"`{name}` is distributed otherwise than in training: {encoder.levels[most]!r} is "
                f"in {now[most]:.0%} of the rows, and was in {encoder.shares[most]:.0%}"
            )
        return
    values, missing, _ = encoder.read(column, where)
    present = np.sort(values[~missing, -1])
    if len(present) < _FEWEST or not encoder.deciles:
        return
    expected = np.arange(1, 10) / 10
    # A decile that many rows share has a range of shares: those below it, and those up to it.
    below = np.searchsorted(present, encoder.deciles, "left") / len(present)
    up_to = np.searchsorted(present, encoder.deciles, "right") / len(present)
    change = np.maximum(below - expected, expected - up_to)
    most = int(change.argmax())
    if change[most] > _least_change(len(present)):
        more = below[most] > expected[most]
        now = below[most] if more else up_to[most]
        limit = encoder.deciles[most]
        shown = str(np.datetime64(int(limit), "D")) if encoder.parts else f"{limit:g}"
        word = "below" if more else "up to"
        yield (
            f"`{name}` is distributed otherwise than in training: {now:.0%} of the rows are {word} "
            f"{shown}, and {expected[most]:.0%} were"
        )


def _least_change(rows: int) -> float:
    """Return the change of a share that is told; chance alone exceeds it in hardly any column."""
    return float(max(_CHANGED, 2 / np.sqrt(rows)))


def _newly_missing(encoder: Encoder, column: Column) -> Iterator[str]:
    numeric = isinstance(encoder, NumericEncoder)
    known = encoder.indicator if isinstance(encoder, NumericEncoder) else encoder.missing
    count = int(column.missing.sum())
    if count and not known:
        taken = "the median of training is used" if numeric else "no category is used"
        yield f"{_rows(count)} no value of `{encoder.name}`, which training always had; {taken}"


def _new_words(encoder: Encoder, column: Column) -> Iterator[str]:
    cells = column.as_text()[~column.missing].astype(str)
    new = cells[~np.isin(cells, encoder.levels)] if len(encoder.levels) else cells
    if len(new) == 0:
        return
    why = "was not in training"
    if getattr(encoder, "other", False):  # rare words were merged, and this may be one of them
        why = "was rare or absent in training and counts as 'other'"
    yield f"{_rows(len(new))} a value of `{encoder.name}` that {why}, such as {str(new[0])!r}"


def _far_or_unread(encoder: NumericEncoder, column: Column, where: str) -> Iterator[str]:
    values, missing, unread = encoder.read(column, where)
    if len(unread):
        yield f"`{encoder.name}`: {Unread.of(column, unread)}"
    if not encoder.least:
        return
    # For a date, the last part, days since 1970; the other parts repeat or follow from it.
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
        f"{_rows(len(rows))} a value of `{encoder.name}` far from the training range {shown[0]} to "
        f"{shown[1]}, such as {shown[2]} in row {column.row_number(rows[0])}"
    )


def _rows(count: int) -> str:
    return f"{count:,} row{' has' if count == 1 else 's have'}"
