"""Encoders: one used column becomes its block of numeric features.

Enters a column (the training rows to fit, any rows to encode), leaves a float64
block (rows, features) without NaN.  It exists so that the pipeline is a list of such
encoders and nothing more.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.columns import Understanding
from chainrule.data.scaling import Standardize
from chainrule.data.spelling import parse_spelled
from chainrule.data.table import Column
from chainrule.data.text import ISO, parse_date, parse_number

__all__ = [
    "CategoryEncoder",
    "Encoder",
    "NumericEncoder",
    "fit_encoder",
    "respell",
    "restore_encoder",
    "save_encoder",
]

_DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")
_EPOCH = np.datetime64("1970-01-01", "us")


@dataclass(frozen=True)
class NumericEncoder:
    """A number, or the parts of a date, standardized: ``(x - mean) / scale``.

    A missing cell takes the training median of its part; `indicator` adds a 0/1
    feature that marks it, present when training rows had missing cells.
    """

    name: str
    parts: tuple[str, ...]  # () for a plain number
    median: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    indicator: bool
    date_format: str = ""
    spelling: str = ""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features this column gives, in order."""
        names = tuple(f"{self.name}.{part}" for part in self.parts) or (self.name,)
        return (*names, f"{self.name}=missing") if self.indicator else names

    def encode(self, column: Column, where: str) -> NDArray[np.float64]:
        """Return the features of `column`, shape (rows, features)."""
        raw, missing = _raw_numbers(column, self.parts, self.date_format or self.spelling, where)
        filled = np.where(missing[:, None], np.array(self.median), raw)
        scaled = (filled - np.array(self.mean)) / np.array(self.scale)
        return np.column_stack([scaled, missing]) if self.indicator else scaled


@dataclass(frozen=True)
class CategoryEncoder:
    """One 0/1 feature per category seen in training.

    `other` (rare categories were merged) and `missing` (training had missing cells)
    each add a feature.  Without them an unseen or missing cell is all zeros: a
    feature that is never 1 in training would bring an untrained weight.
    """

    name: str
    levels: tuple[str, ...]
    other: bool
    missing: bool

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features this column gives, in order."""
        extra = ("other",) * self.other + ("missing",) * self.missing
        return tuple(f"{self.name}={level}" for level in (*self.levels, *extra))

    def encode(self, column: Column, where: str) -> NDArray[np.float64]:
        """Return the features of `column`, shape (rows, features)."""
        block = np.zeros((len(column), len(self.feature_names)))
        place = {level: i for i, level in enumerate(self.levels)}
        unseen = len(self.levels) if self.other else -1
        codes = np.array([place.get(cell, unseen) for cell in column.as_text()], dtype=np.intp)
        codes[column.missing] = block.shape[1] - 1 if self.missing else -1
        rows = np.flatnonzero(codes >= 0)
        block[rows, codes[rows]] = 1.0
        return block


Encoder = NumericEncoder | CategoryEncoder


def fit_encoder(column: Column, understood: Understanding, where: str) -> Encoder:
    """Fit the encoder of one used column to the training rows in `column`."""
    some_missing = bool(column.missing.any())
    if understood.role == "category":
        return CategoryEncoder(column.name, understood.levels, understood.other, some_missing)
    parts: tuple[str, ...] = _DATE_PARTS if understood.role == "date" else ()
    raw, missing = _raw_numbers(column, parts, column.date_format or column.spelling, where)
    present = raw[~missing]
    if parts:
        # A part that never varies teaches nothing; elapsed days always vary with the date.
        kept = [i for i in range(len(parts)) if np.ptp(present[:, i]) > 0] or [len(parts) - 1]
        parts, raw, present = tuple(parts[i] for i in kept), raw[:, kept], present[:, kept]
    median = np.median(present, axis=0)
    scaler = Standardize.fit(np.where(missing[:, None], median, raw))
    return NumericEncoder(
        column.name,
        parts,
        tuple(median.tolist()),
        tuple(scaler.mean.tolist()),
        tuple(scaler.scale.tolist()),
        some_missing,
        column.date_format if parts else "",
        "" if parts else column.spelling,
    )


def restore_encoder(saved: dict[str, Any]) -> Encoder:
    """Restore an encoder from its JSON dict."""
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k != "type"
    }
    return CategoryEncoder(**fields) if saved["type"] == "category" else NumericEncoder(**fields)


def save_encoder(encoder: Encoder) -> dict[str, Any]:
    """Return the encoder as a plain JSON dict."""
    kind = "category" if isinstance(encoder, CategoryEncoder) else "numeric"
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(encoder).items()}
    return {"type": kind, **fields}


def _raw_numbers(
    column: Column, parts: tuple[str, ...], form: str, where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (numbers or date parts, missing); a cell that is neither is an error with its row."""
    if parts:
        moments = _dates(column, form, where)
        return _date_parts(moments, parts), column.missing
    column = respell(column, form, where)
    if column.kind == "text" and not column.missing.all():
        _reject(column, "number", where, lambda cell: parse_number(cell) is not None)
    if column.kind == "date":
        raise DataError(
            f"{where}: column {column.name!r} held numbers in training and holds dates here."
        )
    gone = column.missing.all()
    numbers = np.full(len(column), np.nan) if gone else column.values.astype(np.float64)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(
            f"{where}: row {column.row_number(infinite[0])} of column {column.name!r} is infinite "
            f"({len(infinite)} in all); correct or clear the cell."
        )
    return numbers[:, None], column.missing


def respell(column: Column, spelling: str, where: str) -> Column:
    """Return `column` with its numbers read in the `spelling` of training ("": plain).

    Raises DataError on the first cell that is spelled otherwise.
    """
    gone = column.missing
    if column.spelling == spelling or gone.all() or column.kind not in ("number", "text"):
        return column
    if not spelling:
        return replace(column, kind="text", values=column.as_text(), cells=None, spelling="")
    plain = column.kind == "number" and column.cells is None
    cells = column.as_text().tolist()
    values = np.full(len(column), np.nan)
    for row in np.flatnonzero(~gone).tolist():
        value = parse_spelled(cells[row], spelling)
        if value is None or (plain and value != column.values[row]):
            raise DataError(
                f"{where}: row {column.row_number(row)} of column {column.name!r} holds "
                f"{cells[row]!r}, but training wrote its numbers as {spelling}; write them so."
            )
        values[row] = value
    return replace(column, kind="number", values=values, cells=None, spelling=spelling)


def _dates(column: Column, form: str, where: str) -> NDArray[np.datetime64]:
    # Year first is never misread, however training wrote its dates.
    if column.kind == "date" and column.date_format in (form, ISO):
        return cast("NDArray[np.datetime64]", column.values)
    if column.cells is not None:  # the format was guessed from these rows; training knows it
        dates = [parse_date(cell.strip(), form) for cell in column.cells]
        wrong = [i for i, d in enumerate(dates) if d is None and not column.missing[i]]
        if wrong:
            raise DataError(
                f"{where}: row {column.row_number(wrong[0])} of column {column.name!r} holds "
                f"{column.cells[wrong[0]]!r}, but training wrote its dates as {form!r}. "
                "Write them so, or with the year first, as 2024-01-31."
            )
        return np.array(dates, dtype="datetime64[us]")
    if column.kind == "text" and not column.missing.all():
        _reject(column, "date", where, lambda cell: parse_date(cell, form) is not None)
    if column.missing.all():
        return np.full(len(column), np.datetime64("NaT"), dtype="datetime64[us]")
    if column.kind == "date":
        raise DataError(
            f"{where}: column {column.name!r} wrote its dates as {form!r} in training and as "
            f"{column.date_format!r} here. Write them with the year first, as 2024-01-31."
        )
    raise DataError(
        f"{where}: column {column.name!r} held dates in training and holds {column.kind} here."
    )


def _reject(column: Column, wanted: str, where: str, accepts: Any) -> None:
    """Name the first cell that is not a `wanted`."""
    for row, cell in enumerate(column.values.tolist()):
        if not column.missing[row] and not accepts(cell):
            raise DataError(
                f"{where}: row {column.row_number(row)} of column {column.name!r} holds {cell!r}, "
                f"but training had a {wanted} there."
            )
    raise DataError(f"{where}: column {column.name!r} held a {wanted} in training, text here.")


def _date_parts(moments: NDArray[np.datetime64], parts: tuple[str, ...]) -> NDArray[np.float64]:
    day = moments.astype("datetime64[D]")
    month = moments.astype("datetime64[M]")
    days = (moments - _EPOCH) / np.timedelta64(1, "D")
    found = {
        "year": moments.astype("datetime64[Y]").astype(float) + 1970,
        "month": month.astype(float) % 12 + 1,
        "day": (day - month.astype("datetime64[D]")) / np.timedelta64(1, "D") + 1,
        "weekday": (np.floor(days) + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "hour": (moments - day) / np.timedelta64(1, "h"),
        "days": days,
    }
    block = np.column_stack([found[part] for part in parts]).astype(np.float64)
    block[np.isnat(moments)] = np.nan
    return block
