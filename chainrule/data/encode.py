"""Encode a column as numeric features.

An encoder is fitted to the training rows of one column.  It encodes any rows as float64 features
of shape (rows, features), without NaN.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Understanding
from chainrule.data.scaling import Scaler, Scaling
from chainrule.data.table import Column
from chainrule.data.unread import read_dates, read_numbers

__all__ = [
    "PERIODS",
    "CategoryEncoder",
    "Encoder",
    "NumericEncoder",
    "fit_encoder",
    "restore_encoder",
    "save_encoder",
]

_DATE_PARTS = ("year", "month", "day", "weekday", "hour", "days")
PERIODS = {"month": 12, "day": 31, "weekday": 7, "hour": 24}
_CYCLIC_PARTS = (
    "year", *(f"{part}.{wave}" for part in PERIODS for wave in ("sin", "cos")), "days",
)  # fmt: skip
_EPOCH = np.datetime64("1970-01-01", "us")


@dataclass(frozen=True)
class NumericEncoder:
    """A number, the rank of a word in `levels`, or the parts of a date, scaled.

    A missing cell, or a word that is not in `levels`, is replaced by the training median of its
    part.  With `indicator`, which is set if the training rows have missing cells, a 0/1 feature
    marks such cells.
    """

    name: str
    parts: tuple[str, ...]  # () for a plain number
    median: tuple[float, ...]
    scaling: Scaling
    indicator: bool
    date_format: str = ""
    spelling: str = ""
    levels: tuple[str, ...] = ()  # lowest rank first; () if the column is not ordinal
    least: tuple[float, ...] = ()  # of the training rows, for each part, before scaling
    greatest: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()  # values that stand for missing cells
    deciles: tuple[float, ...] = ()  # of the last part in the training rows, before scaling

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features this column gives, in order."""
        names = tuple(f"{self.name}.{part}" for part in self.parts) or (self.name,)
        return (*names, f"{self.name}=missing") if self.indicator else names

    def encode(self, column: Column, where: str) -> NDArray[np.float64]:
        """Return the features of `column`, shape (rows, features)."""
        raw, missing, _ = self.read(column, where)
        filled = np.where(missing[:, None], np.array(self.median), raw)
        scaled = self.scaling.transform(filled)
        return np.column_stack([scaled, missing]) if self.indicator else scaled

    def read(
        self, column: Column, where: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
        """Return (unscaled numbers, missing, rows that can't be read as a number or date)."""
        form = self.date_format or self.spelling
        raw, missing, unread = _raw_numbers(column, self.parts, form, self.levels, where)
        if self.gaps:
            missing = missing | np.isin(raw[:, 0], self.gaps)
        return raw, missing, unread


@dataclass(frozen=True)
class CategoryEncoder:
    """One-hot features of the training categories, or one feature of category indices.

    `other` (rare categories were merged) and `missing` (training had missing cells)
    each add a category.  Without them an unseen or missing cell is encoded as zeros, because a
    feature that is never 1 in training would have an untrained weight.  With `embedded`, the
    feature is the index of the category, from 1, and 0 for cells that would be all zeros.
    """

    name: str
    levels: tuple[str, ...]
    other: bool
    missing: bool
    embedded: bool = False
    shares: tuple[float, ...] = ()  # of the levels in the training rows

    @property
    def categories(self) -> int:
        """The number of categories, including other and missing if present in training."""
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
        found = map(place.get, column.as_text().tolist(), repeat(unseen))
        codes = np.fromiter(found, np.intp, len(column))
        codes[column.missing] = self.categories - 1 if self.missing else -1
        if self.embedded:
            return (codes[:, None] + 1).astype(np.float64)
        block = np.zeros((len(column), self.categories))
        rows = np.flatnonzero(codes >= 0)
        block[rows, codes[rows]] = 1.0
        return block


Encoder = NumericEncoder | CategoryEncoder


def fit_encoder(
    column: Column,
    understood: Understanding,
    where: str,
    scaler: Scaler,
    gaps: tuple[float, ...] = (),
) -> Encoder:
    """Fit the encoder of one used column to the training rows in `column`.

    `gaps` are the numbers that stand for missing cells, which are missing in `column` already.
    """
    some_missing, role = bool(column.missing.any()), understood.role
    if role in ("category", "embedded"):
        levels, other = understood.levels, understood.other
        cells = column.as_text()[~column.missing].astype(str)
        counts = dict(zip(*np.unique(cells, return_counts=True), strict=True))
        shares = tuple(float(counts.get(level, 0) / len(cells)) for level in levels)
        return CategoryEncoder(column.name, levels, other, some_missing, role == "embedded", shares)
    order = understood.levels
    parts: tuple[str, ...] = {"date": _DATE_PARTS, "cyclic": _CYCLIC_PARTS}.get(role, ())
    form = column.date_format or column.spelling
    raw, missing, _ = _raw_numbers(column, parts, form, order, where)
    present = raw[~missing]
    if parts:
        # Constant parts are dropped; the last part, elapsed days, always varies with the date.
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
        tuple(present.min(axis=0).tolist()),
        tuple(present.max(axis=0).tolist()),
        () if parts or order else gaps,
        tuple(np.quantile(present[:, -1], np.arange(1, 10) / 10).tolist()),
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
    """Return `encoder` as a plain JSON dict."""
    kind = "category" if isinstance(encoder, CategoryEncoder) else "numeric"
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(encoder).items()}
    if isinstance(encoder, NumericEncoder):
        fields["scaling"] = encoder.scaling.to_json()
    return {"type": kind, **fields}


def _raw_numbers(
    column: Column, parts: tuple[str, ...], form: str, levels: tuple[str, ...], where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Return (numbers, ranks or date parts; missing; rows that could not be read).

    Missing are also cells that can't be read as a number or date, words that are not in
    `levels`, and infinity.
    """
    if levels:
        place = {level: float(i) for i, level in enumerate(levels)}
        ranks = np.array([place.get(cell, np.nan) for cell in column.as_text()], np.float64)
        return ranks[:, None], np.isnan(ranks), np.array([], np.intp)
    if parts:
        column, unread = read_dates(column, form, where)
        return _date_parts(column.values, parts), column.missing, unread
    column, unread = read_numbers(column, form, where)
    gone = column.missing.all()
    numbers = np.full(len(column), np.nan) if gone else column.values.astype(np.float64)
    return numbers[:, None], column.missing, unread


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
    for part, period in PERIODS.items():
        if f"{part}.sin" not in parts and f"{part}.cos" not in parts:
            continue
        angle = 2 * np.pi * (found[part] - (part in ("month", "day"))) / period
        # Rounded: the error of pi would make sin(pi) differ from sin(0).
        found[f"{part}.sin"] = np.round(np.sin(angle), 12)
        found[f"{part}.cos"] = np.round(np.cos(angle), 12)
    block = np.column_stack([found[part] for part in parts]).astype(np.float64)
    block[np.isnat(moments)] = np.nan
    return block
