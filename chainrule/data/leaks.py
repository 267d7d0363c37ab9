"""Find columns that give the target away: alone, by their missing cells, or as a copy of it.

Such a column is often known only after the target, so that scores with it are too good: the date
on which a contract was ended, where the target is whether it was.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.encode import Encoder, NumericEncoder
from chainrule.data.table import Table
from chainrule.data.target import Target

__all__ = ["Leak", "find_leaks"]

Array = NDArray[Any]

PERFECT = 0.99  # balanced accuracy on rows held out, of a column alone
PERFECT_FIT = 0.999  # the same for numbers: the share of the variance explained
_MOST_ROWS = 20_000
_MOST_CELLS = 4_000_000
_FEWEST_ROWS = 40
_FEWEST = 10  # rows held out that are not of the largest class; rows with and without a value
_MOST_CLASSES = 100
_FIRST = 400  # rows that a column is tried on first
_PROMISING = 0.9  # score on these of a column that is tried on all


@dataclass(frozen=True)
class Leak:
    """A column that gives the target away, how, and the score that shows it.

    `kind` is "copy", "recoding", "order" (it numbers rows that are sorted by the target),
    "missing" or "alone"; `score` is the balanced accuracy, or the share of the variance explained.
    """

    column: str
    kind: str
    score: float
    least: float
    rows: int
    what: str

    def __str__(self) -> str:
        return (
            f"`{self.column}` gives the target away: {self.what}; unless it is known before the "
            f"target, leave it out with --role '{self.column}=dropped'"
        )


def find_leaks(
    table: Table,
    encoders: Sequence[Encoder],
    rows: NDArray[np.intp],
    y: Array,
    given: Sequence[str] = (),
    parts: Sequence[Target] = (),
) -> tuple[Leak, ...]:
    """Return the leaks among the columns of `encoders`, measured on `rows` of `table`.

    `y` is the encoded target of these rows: class indices or numbers, or a column of these for
    each of the `parts` of several targets.  Columns in `given`, whose roles the user chose, are
    left out.  A table with a single feature column has none: all that can be learned is in it.

    >>> from chainrule.data.pipeline import Pipeline
    >>> words = ["no", "yes"] * 50
    >>> paid = [word == "yes" for word in words]
    >>> table = Table.from_arrays({"x": [k % 7 for k in range(100)], "paid": paid, "y": words})
    >>> pipeline = Pipeline.fit(table, "y")
    >>> [leak.kind for leak in find_leaks(table, pipeline.encoders, pipeline.rows,
    ...                                   pipeline.encode_target(table))]
    ['recoding']
    """
    if parts:
        each = [
            column.astype(np.int64) if part.classes else column
            for part, column in zip(parts, y.T, strict=True)
        ]
        leaks = [leak for one in each for leak in find_leaks(table, encoders, rows, one, given)]
        return tuple({leak.column: leak for leak in leaks}.values())
    classes = int(y.max()) + 1 if y.dtype.kind in "iu" and len(y) else 0
    if len(rows) < _FEWEST_ROWS or len(encoders) < 2 or classes > _MOST_CLASSES:
        return ()
    most = min(_MOST_ROWS, max(1_000, _MOST_CELLS // len(encoders)))
    order = np.random.Generator(np.random.Philox(0)).permutation(len(rows))[:most]
    rows, y = rows[order], y[order]
    found: list[Leak] = []
    for encoder in encoders:
        if encoder.name not in given:
            found += _leaks_of(table, encoder, rows, y, classes)
    return tuple(found)


def _leaks_of(
    table: Table, encoder: Encoder, rows: NDArray[np.intp], y: Array, classes: int
) -> Iterator[Leak]:
    """Yield the first way in which the column of `encoder` gives the target `y` away."""
    x, missing, ordered = _read(table, encoder, rows[:_FIRST])
    score = _alone(x, missing, ordered, y[:_FIRST], classes)
    absent = _by_missing(missing, y[:_FIRST], classes)[0]
    sorting = _sorted_alike(rows[:_FIRST], x, y[:_FIRST]) if ordered else 0.0
    if max(score, absent, sorting) < _PROMISING:
        return
    x, missing, ordered = _read(table, encoder, rows)
    score, least = _alone(x, missing, ordered, y, classes), PERFECT if classes else PERFECT_FIT
    count = len(rows)
    absent, what = _by_missing(missing, y, classes)
    if absent >= PERFECT:
        yield Leak(encoder.name, "missing", absent, PERFECT, count, what)
        return
    sorting = _sorted_alike(rows, x, y) if ordered else 0.0
    if sorting >= PERFECT_FIT:
        what = "it numbers the rows, and they are sorted by the target (rank correlation "
        yield Leak(encoder.name, "order", sorting, PERFECT_FIT, count, f"{what}{sorting:.4f})")
        return
    if score >= least:
        kind, what = _describe(table, encoder, rows, x, missing, ordered, y, classes, score)
        yield Leak(encoder.name, kind, score, least, count, what)


def _sorted_alike(rows: NDArray[np.intp], x: Array, y: Array) -> float:
    """Return how nearly the target is sorted, from 0 to 1, if `x` rises or falls with the rows."""
    by_row = np.argsort(rows)
    steps = np.diff(x[by_row])
    if len(x) < 2 or not ((steps > 0).all() or (steps < 0).all()):
        return 0.0
    # The correlation of the rows with those in the order of the target; equal targets in order.
    place = np.empty(len(y))
    place[np.argsort(y[by_row], kind="stable")] = np.arange(len(y))
    upwards = float(np.corrcoef(place, np.arange(len(y)))[0, 1])
    place[np.argsort(-y[by_row], kind="stable")] = np.arange(len(y))
    return max(upwards, float(np.corrcoef(place, np.arange(len(y)))[0, 1]))


def _read(
    table: Table, encoder: Encoder, rows: NDArray[np.intp]
) -> tuple[Array, NDArray[np.bool_], bool]:
    """Return (values of the column or codes of its words, missing, whether they have an order)."""
    column = table[encoder.name].take(rows)
    if isinstance(encoder, NumericEncoder):
        values, missing, _ = encoder.read(column, table.source)
        return np.where(missing, np.nan, values[:, -1]), missing, True
    seen: dict[str, int] = {}
    codes = [seen.setdefault(cell, len(seen)) for cell in column.as_text().tolist()]
    return np.array(codes, np.float64), column.missing, False


def _alone(x: Array, missing: NDArray[np.bool_], ordered: bool, y: Array, classes: int) -> float:
    """Return how well `x` alone predicts `y`, learned from each half of the rows, on the other.

    It is the balanced accuracy of the class of the rows with the nearest value, or R² of the
    straight lines between the means of rows with one value.
    """
    one = _alone_on_half(x, missing, ordered, y, classes)
    if one < _PROMISING:
        return one
    return (one + _alone_on_half(x[::-1], missing[::-1], ordered, y[::-1], classes)) / 2


def _alone_on_half(
    x: Array, missing: NDArray[np.bool_], ordered: bool, y: Array, classes: int
) -> float:
    half = len(y) // 2
    fitted = np.flatnonzero(~missing[:half])
    if len(fitted) < 2:
        return 0.0
    known, place = np.unique(x[:half][fitted], return_inverse=True)
    if len(known) < 2 or (not ordered and len(known) > half // 2):
        return 0.0
    held, true, gone = x[half:], y[half:], missing[half:]
    filled = np.where(gone, known[0], held)
    if not classes:
        means = np.bincount(place, y[:half][fitted]) / np.bincount(place)
        if ordered:
            guess = np.interp(filled, known, means)
        else:
            at = np.minimum(np.searchsorted(known, filled), len(known) - 1)
            guess = np.where(known[at] == filled, means[at], y[:half].mean())
        guess = np.where(gone, _or_mean(y[:half][missing[:half]], y[:half]), guess)
        spread = float(((true - true.mean()) ** 2).sum())
        return 1 - float(((true - guess) ** 2).sum()) / spread if spread > 0 else 0.0
    counts = np.zeros((len(known), classes))
    np.add.at(counts, (place, y[:half][fitted]), 1)
    at = np.minimum(np.searchsorted(known, filled), len(known) - 1)
    before = np.maximum(at - 1, 0)
    at = np.where(np.abs(known[before] - filled) < np.abs(known[at] - filled), before, at)
    told = counts.argmax(axis=1)[at]
    usual = np.bincount(y[:half], minlength=classes).argmax()
    if not ordered:
        told = np.where(known[at] == filled, told, usual)
    absent = y[:half][missing[:half]]
    told = np.where(gone, np.bincount(absent).argmax() if len(absent) else usual, told)
    return _balanced(told, true, classes)


def _or_mean(some: Array, every: Array) -> float:
    return float(some.mean() if len(some) else every.mean())


def _balanced(told: Array, true: Array, classes: int) -> float:
    """Return the mean recall over the classes; 0 if too few rows are not of the largest class."""
    size = np.bincount(true, minlength=classes)
    if len(true) - size.max() < min(_FEWEST, len(true) // 20):
        return 0.0
    right = np.bincount(true[told == true], minlength=classes)
    return float((right[size > 0] / size[size > 0]).mean())


def _by_missing(missing: NDArray[np.bool_], y: Array, classes: int) -> tuple[float, str]:
    """Return how well the missing cells alone tell one class from the others, or low from high."""
    count = int(missing.sum())
    if min(count, len(y) - count) < min(_FEWEST, len(y) // 40):
        return 0.0, ""
    if not classes:
        ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
        area = (ranks[missing].sum() - count * (count - 1) / 2) / (count * (len(y) - count))
        side = "highest" if area > 0.5 else "lowest"
        return max(area, 1 - area), f"the rows without a value are those with the {side} targets"
    size = np.bincount(y, minlength=classes)
    within = np.bincount(y[missing], minlength=classes)
    others = (count - within) / np.maximum(1, len(y) - size)
    accuracy = (within / np.maximum(1, size) + 1 - others) / 2
    accuracy = np.where(np.minimum(size, len(y) - size) < min(_FEWEST, len(y) // 40), 0.5, accuracy)
    best = int(np.abs(accuracy - 0.5).argmax())
    score = float(max(accuracy[best], 1 - accuracy[best]))
    return score, (
        f"whether it has a value tells one class from the others with a balanced accuracy of "
        f"{score:.1%}"
    )


def _describe(
    table: Table,
    encoder: Encoder,
    rows: NDArray[np.intp],
    x: Array,
    missing: NDArray[np.bool_],
    ordered: bool,
    y: Array,
    classes: int,
    score: float,
) -> tuple[str, str]:
    """Return (kind, what is wrong) of a column that predicts the target alone."""
    present = ~missing
    known = np.unique(x[present])
    if classes:
        pairs = len(np.unique(np.column_stack([x[present], y[present]]), axis=0))
        if pairs == len(known) == len(np.unique(y[present])):
            return "recoding", "it is the target in other words, value by value"
    elif ordered and np.ptp(x[present]) > 0:
        slope, offset = np.polyfit(x[present], y[present], 1)
        error = np.abs(y[present] - (slope * x[present] + offset)).max()
        if error < 1e-5 * np.ptp(y[present]):
            return "copy", "it is the target, or the target in another unit"
    return "alone", f"alone it has {_share(score, classes)} on rows held out from training"


def _share(score: float, classes: int) -> str:
    return f"a balanced accuracy of {score:.1%}" if classes else f"an R² of {score:.4f}"
