"""Report values of a new table that differ from the training data.

Predictions for such rows are not reliable.  Reported are, for each column, new categories,
numbers and dates far outside the training range, cells that can't be read, missing cells where
training had none, and columns whose values are distributed otherwise.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chainrule.data.encode import CategoryEncoder, Encoder, NumericEncoder
from chainrule.data.table import Column, Table
from chainrule.data.unread import Unread

__all__ = ["Unfamiliar", "unfamiliar"]

_FEWEST = 50  # rows with a value, from which the distribution of a column is compared
_CHANGED = 0.25  # change of the share of rows that is told


@dataclass
class _Seen:
    """What differs in one column so far: rows, and the first of them where there is one."""

    missing: int = 0
    new: int = 0
    word: str = ""
    unread: Unread | None = None
    far: int = 0
    value: float = 0.0
    row: int = 0
    present: int = 0  # rows with a value that can be read
    # How many of them have each level, or are below each decile of training and up to it.
    counts: NDArray[np.int64] | None = None

    def count(self, values: int, counts: NDArray[np.int64]) -> None:
        """Add the rows of a block to those of the earlier ones."""
        self.present += values
        self.counts = counts if self.counts is None else self.counts + counts


class Unfamiliar:
    """The values of a table, read block by block, that differ from the training rows.

    A number or date is far if it is outside the training range by more than the width of that
    range.  A column is distributed otherwise if the shares of rows below a decile of training, or
    of one category, differ by a quarter, or by more where there are too few rows to know.
    """

    def __init__(self, encoders: Iterable[Encoder]):
        self._seen = [(encoder, _Seen()) for encoder in encoders]

    def add(self, table: Table) -> None:
        """Look at the next rows; raises DataError as `Pipeline.transform` does."""
        for encoder, seen in self._seen:
            column = table[encoder.name]
            seen.missing += int(column.missing.sum())
            if isinstance(encoder, CategoryEncoder) or encoder.levels:
                _look_for_new_words(encoder, column, seen)
            else:
                _look_for_far(encoder, column, table.source, seen)

    def lines(self) -> list[str]:
        """Return a line on each difference, column by column."""
        return [line for encoder, seen in self._seen for line in _lines(encoder, seen)]


def unfamiliar(encoders: Iterable[Encoder], table: Table) -> list[str]:
    """Return lines on the values of `table` that differ from the training rows of `encoders`.

    Raises DataError as `Pipeline.transform` does.
    """
    found = Unfamiliar(encoders)
    found.add(table)
    return found.lines()


def _look_for_new_words(encoder: Encoder, column: Column, seen: _Seen) -> None:
    known = set(encoder.levels)
    cells = column.as_text()[~column.missing].tolist()
    new = [cell for cell in cells if cell not in known]
    if new and not seen.new:
        seen.word = new[0]
    seen.new += len(new)
    if isinstance(encoder, CategoryEncoder) and encoder.shares:
        found = Counter(cells)
        seen.count(len(cells), np.array([found[level] for level in encoder.levels]))


def _look_for_far(encoder: NumericEncoder, column: Column, where: str, seen: _Seen) -> None:
    encoder = replace(encoder, parts=encoder.parts[-1:])
    values, missing, unread = encoder.read(column, where)
    if len(unread):
        more = Unread.of(column, unread)
        seen.unread = more if seen.unread is None else seen.unread + more
    if encoder.deciles:
        present = np.sort(values[~missing, -1])
        sides = [np.searchsorted(present, encoder.deciles, side) for side in ("left", "right")]
        seen.count(len(present), np.array(sides))
    if not encoder.least:
        return
    # For a date, the last part, days since 1970; the other parts repeat or follow from it.
    last, least, greatest = values[:, -1], encoder.least[-1], encoder.greatest[-1]
    span = greatest - least
    rows = np.flatnonzero(~missing & ((last < least - span) | (last > greatest + span)))
    if len(rows) and not seen.far:
        seen.value, seen.row = float(last[rows[0]]), column.row_number(rows[0])
    seen.far += len(rows)


def _lines(encoder: Encoder, seen: _Seen) -> list[str]:
    name, lines = encoder.name, []
    numeric = isinstance(encoder, NumericEncoder)
    known = encoder.indicator if isinstance(encoder, NumericEncoder) else encoder.missing
    if seen.missing and not known:
        taken = "the median of training is used" if numeric else "no category is used"
        lines.append(
            f"{_rows(seen.missing)} no value of `{name}`, which training always had; {taken}"
        )
    if seen.new:
        why = "was not in training"
        if getattr(encoder, "other", False):  # rare words were merged, and this may be one of them
            why = "was rare or absent in training and counts as 'other'"
        lines.append(f"{_rows(seen.new)} a value of `{name}` that {why}, such as {seen.word!r}")
    if seen.unread is not None:
        lines.append(f"`{name}`: {seen.unread}")
    if seen.far and isinstance(encoder, NumericEncoder):
        numbers = (encoder.least[-1], encoder.greatest[-1], seen.value)
        shown = [f"{number:g}" for number in numbers]
        if encoder.parts:
            shown = [str(np.datetime64(int(day), "D")) for day in numbers]
        lines.append(
            f"{_rows(seen.far)} a value of `{name}` far from the training range {shown[0]} to "
            f"{shown[1]}, such as {shown[2]} in row {seen.row}"
        )
    return lines + _drifted(encoder, seen)


def _drifted(encoder: Encoder, seen: _Seen) -> list[str]:
    """Return a line if the values of many rows are distributed otherwise than in training."""
    if seen.counts is None or seen.present < _FEWEST:
        return []
    # Chance alone exceeds the second in hardly any column.
    least = max(_CHANGED, 2 / np.sqrt(seen.present))
    told = f"`{encoder.name}` is distributed otherwise than in training: "
    now = seen.counts / seen.present
    if isinstance(encoder, CategoryEncoder):
        change = np.abs(now - encoder.shares)
        most = int(change.argmax())
        told += (
            f"{encoder.levels[most]!r} is in {now[most]:.0%} of the rows, and was in "
            f"{encoder.shares[most]:.0%}"
        )
    else:
        expected = np.arange(1, 10) / 10
        # A decile that many rows share has a range of shares: those below it, and up to it.
        below, up_to = now
        change = np.maximum(below - expected, expected - up_to)
        most = int(change.argmax())
        more = below[most] > expected[most]
        limit = encoder.deciles[most]
        shown = str(np.datetime64(int(limit), "D")) if encoder.parts else f"{limit:g}"
        told += (
            f"{(below if more else up_to)[most]:.0%} of the rows are "
            f"{'below' if more else 'up to'} {shown}, and {expected[most]:.0%} were"
        )
    return [told] if change[most] > least else []


def _rows(count: int) -> str:
    return f"{count:,} row{' has' if count == 1 else 's have'}"
