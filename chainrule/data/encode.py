"""Encoders: one used column becomes its block of numeric features.

Enters a column (the training rows to fit, any rows to encode), leaves a float64
block (rows, features) without NaN.  It exists so that the pipeline is a list of such
encoders and nothing more.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.columns import Understanding
from chainrule.data.scaling import Scaler, Scaling
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
_PERIODS = {"month": 12, "day": 31, "weekday": 7, "hour": 24}
_CYCLIC_PARTS = (
    "year", *(f"{part}.{wave}" for part in _PERIODS for wave in ("sin", "cos")), "days",
)  # fmt: skip
_EPOCH = np.datetime64("1970-01-01", "us")


@dataclass(frozen=True)
class NumericEncoder:
    """A number, the rank of a word in `levels`, or the parts of a date, scaled.

    A missing cell, or a word that is none of the `levels`, takes the training median of its
    part; `indicator` adds a 0/1 feature that marks it, present when training rows had
    missing cells.
    """

    name: str
    parts: tuple[str, ...]  # () for a plain number
    median: tuple[float, ...]
    scaling: Scaling
    indicator: bool
    date_format: str = ""
    spelling: str = ""
    levels: tuple[str, ...] = ()  # from the first to the last; () where no words are ranked

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features this column gives, in order."""
        names = tuple(f"{self.name}.{part}" for part in self.parts) or (self.name,)
        return (*names, f"{self.name}=missing") if self.indicator else names

    def encode(self, column: Column, where: str) -> NDArray[np.float64]:
        """Return the features of `column`, shape (rows, features)."""
        form = self.date_format or self.spelling
        raw, missing = _raw_numbers(column, self.parts, form, self.levels, where)
        filled = np.where(missing[:, None], np.array(self.median), raw)
        scaled = self.scaling.transform(filled)
        return np.column_stack([scaled, missing]) if self.indicator else scaled


@dataclass(frozen=True)
class CategoryEncoder:
    """One 0/1 feature per category seen in training, or one feature of category numbers.

    `other` (rare categories were merged) and `missing` (training had missing cells)
    each add a category.  Without them an unseen or missing cell is all zeros: a
    feature that is never 1 in training would bring an untrained weight.  `embedded` gives
    the number of the category from 1, and 0 to what would be all zeros, for an embedding.
    """

    name: str
    levels: tuple[str, ...]
    other: bool
    missing: bool
    embedded: bool = False

    @property
    def categories(self) -> int:
        """The number of categories, with other and missing where training had them."""
        return len(self.levels) + self.other + self.missing

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features this column gives, in order."""
        if self.embedded:
            return (self.name,)
        extra = ("other",) * self.other + ("missing",) * self.missing
        return tuple(f"{self.name}={level}" for level in (*self.levels, *extra))

    def encode(self, column: Column, where: str) -> NDArray[np.float64]:
        """Return the features of `column`, shape (rows, features)."""
        place = {level: i for i, level in enumerate(self.levels)}
        unseen = len(self.levels) if self.other else -1
        codes = np.array([place.get(cell, unseen) for cell in column.as_text()], dtype=np.intp)
        codes[column.missing] = self.categories - 1 if self.missing else -1
        if self.embedded:
            return (codes[:, None] + 1).astype(np.float64)
        block = np.zeros((len(column), self.categories))
        rows = np.flatnonzero(codes >= 0)
        block[rows, codes[rows]] = 1.0
        return block


Encoder = NumericEncoder | CategoryEncoder


def fit_encoder(column: Column, understood: Understanding, where: str, scaler: Scaler) -> Encoder:
    """Fit the encoder of one used column to the training rows in `column`."""
    some_missing, role = bool(column.missing.any()), understood.role
    if role in ("category", "embedded"):
        levels, other = understood.levels, understood.other
        return CategoryEncoder(column.name, levels, other, some_missing, role == "embedded")
    order = understood.levels
    parts: tuple[str, ...] = {"date": _DATE_PARTS, "cyclic": _CYCLIC_PARTS}.get(role, ())
    form = column.date_format or column.spelling
    raw, missing = _raw_numbers(column, parts, form, order, where)
    present = raw[~missing]
    if parts:
        # A part that never varies teaches nothing; elapsed days always vary with the date.
        kept = [i for i in range(len(parts)) if np.ptp(present[:, i]) > 0] or [len(parts) - 1]
        parts, raw, present = tuple(parts[i] for i in kept), raw[:, kept], present[:, kept]
    median = np.median(present, axis=0)
    return NumericEncoder(
        column.name,
        parts,
        tuple(median.tolist()),
        scaler.fit(np.where(missing[:, None], median, raw)),
        some_missing,
        column.date_format if parts else "",
        "" if parts or order else column.spelling,
        order,
    )


def restore_encoder(saved: dict[str, Any]) -> Encoder:
    """Restore an encoder from its JSON dict."""
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k != "type"
    }
    if saved["type"] == "category":
        return CategoryEncoder(**fields)
    return NumericEncoder(**{**fields, "scaling": Scaling.from_json(saved["scaling"])})


def save_encoder(encoder: Encoder) -> dict[str, Any]:
    """Return the encoder as a plain JSON dict."""
    kind = "category" if isinstance(encoder, CategoryEncoder) else "numeric"
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(encoder).items()}
    if isinstance(encoder, NumericEncoder):
        fields["scaling"] = encoder.scaling.to_json()
    return {"type": kind, **fields}


def _raw_numbers(
    column: Column, parts: tuple[str, ...], form: str, levels: tuple[str, ...], where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (numbers, ranks or date parts, missing).

    A cell that is no number or date where one should be is an error with its row; a word
    that is none of the `levels` is missing.
    """
    if levels:
        place = {level: float(i) for i, level in enumerate(levels)}
        ranks = np.array([place.get(cell, np.nan) for cell in column.as_text()], np.float64)
        return ranks[:, None], np.isnan(ranks)
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
    found: dict[str, Any] = {
        "year": moments.astype("datetime64[Y]").astype(float) + 1970,
        "month": month.astype(float) % 12 + 1,
        "day": (day - month.astype("datetime64[D]")) / np.timedelta64(1, "D") + 1,
        "weekday": (np.floor(days) + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "hour": (moments - day) / np.timedelta64(1, "h"),
        "days": days,
    }
    for part, period in _PERIODS.items():
        angle = 2 * np.pi * (found[part] - (part in ("month", "day"))) / period
        # Rounded, or July would stand apart from January by the error of pi.
        found[f"{part}.sin"] = np.round(np.sin(angle), 12)
        found[f"{part}.cos"] = np.round(np.cos(angle), 12)
    block = np.column_stack([found[part] for part in parts]).astype(np.float64)
    block[np.isnat(moments)] = np.nan
    return block
