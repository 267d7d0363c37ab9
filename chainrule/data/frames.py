"""Frames of pandas, polars and pyarrow: their columns by name, read by narwhals.

All arrays and frames of other libraries enter here: :func:`read_array` for numbers that a network
is given as they are, :func:`frame_columns` for a table whose columns are encoded first.

Read next: :mod:`chainrule.data.check_arrays`, :mod:`chainrule.data.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean, not_installed
from chainrule.core.other_arrays import as_array

__all__ = ["column_names", "frame_columns", "read_array"]

_LIBRARIES = ("pandas", "polars", "pyarrow", "modin", "cudf")
_TABLES = (
    "chainrule.tabular.read_problem and fit_table encode such columns and fill what is missing."
)
_MOST_NAMED = 5  # columns in one message


def column_names(values: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a frame; None for anything else."""
    frame = _narwhal(values)
    return tuple(map(str, frame.columns)) if hasattr(frame, "columns") else None


def read_array(values: Any, name: str = "X", columns: Sequence[str] | None = None) -> Any:
    """Return an array or a frame of another library as a NumPy array, without a copy if it can be.

    A frame becomes an array (rows, columns) of its numbers and booleans, a series one of (rows,).
    The `columns` of a frame are taken by name in this order, and others are left out (None: all,
    in the order of the frame).  Arrays are read as :func:`chainrule.core.other_arrays.as_array`
    does; what NumPy reads by itself is returned as it is.
    Raises DataError, with the name of the column, for a column that is not there, that holds no
    numbers, or that has missing values.
    """
    found = _narwhal(values)
    if found is None:
        return as_array(values, name)
    if not hasattr(found, "columns"):
        return _numbers(found, name) if _numeric(found) else as_array(values, name)
    series = dict(zip(map(str, found.columns), found.iter_columns(), strict=True))
    for wanted in columns or ():
        if wanted not in series:
            raise DataError(
                f"{name} has no column {wanted!r}, which the network was trained on. "
                f"{did_you_mean(wanted, series)}"
            )
    chosen = series if columns is None else {wanted: series[wanted] for wanted in columns}
    odd = [f"{label!r} ({one.dtype})" for label, one in chosen.items() if not _numeric(one)]
    if odd:
        more = "" if len(odd) <= _MOST_NAMED else f" and {len(odd) - _MOST_NAMED} more"
        raise DataError(
            f"{name} has columns that hold no numbers: {', '.join(odd[:_MOST_NAMED])}{more}. "
            f"{_TABLES}"
        )
    if not chosen:
        raise DataError(f"{name} has no columns.")
    parts = [_numbers(one, f"column {label!r} of {name}") for label, one in chosen.items()]
    whole = np.empty((len(found), len(parts)), np.result_type(*parts))
    for i, part in enumerate(parts):
        whole[:, i] = part
    return whole


def frame_columns(values: Any, where: str) -> dict[str, tuple[NDArray[Any], bool]] | None:
    """Return the cells of each column of a frame, and whether the column is categorical.

    Numbers are float64 with NaN for missing cells, booleans without gaps bool, dates
    datetime64[us] in UTC with NaT; other cells are objects, None where missing.  None for what is
    no frame.  Raises DataError for a column of another type, such as one of lists.
    """
    frame = _narwhal(values)
    if not hasattr(frame, "columns"):
        return None
    assert frame is not None
    found = {}
    for label, series in zip(map(str, frame.columns), frame.iter_columns(), strict=True):
        if label in found:
            raise DataError(f"{where} has two columns named {label!r}; rename one.")
        found[label] = _cells(series, f"{where}: column {label!r}")
    return found


def _cells(series: Any, where: str) -> tuple[NDArray[Any], bool]:
    nw, dtype = _narwhals(), series.dtype
    grouped = dtype in (nw.Categorical, nw.Enum)
    missing = np.asarray(series.is_null().to_numpy(), bool)
    if dtype.is_numeric():
        numbers = np.full(len(series), np.nan)
        numbers[~missing] = series.to_numpy()[~missing].astype(np.float64)
        return numbers, False
    if dtype in (nw.Date, nw.Datetime):  # moments with a time zone are given in UTC
        zoned = dtype == nw.Datetime and dtype.time_zone is not None
        moments = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else series
        return np.asarray(moments.to_numpy(), "datetime64[us]"), False
    if not grouped and dtype not in (nw.Boolean, nw.String, nw.Object, nw.Unknown):
        raise DataError(f"{where} has the type {dtype}; give numbers, booleans, dates or text.")
    cells = np.asarray(series.to_numpy())
    if missing.any():
        cells = cells.astype(object)
        cells[missing] = None
    return cells, grouped


def _numeric(series: Any) -> bool:
    return bool(series.dtype.is_numeric() or series.dtype == _narwhals().Boolean)


def _numbers(series: Any, where: str) -> NDArray[Any]:
    """Return the numbers of a column in its own dtype; raise DataError where one is missing."""
    nw = _narwhals()
    if count := series.null_count():
        row = int(np.argmax(series.is_null().to_numpy()))
        raise DataError(
            f"{where} has {count} missing {'value' if count == 1 else 'values'}, the first in row "
            f"{row}. Fill or drop them first. {_TABLES}"
        )
    plain = series.cast(nw.Float64) if series.dtype == nw.Decimal else series
    return np.asarray(plain.to_numpy())


def _narwhal(values: Any) -> Any:
    """Return a frame or a series as narwhals presents it; None for anything else."""
    kind = type(values)
    ours = kind.__module__.split(".")[0] in _LIBRARIES
    if not ours and not hasattr(kind, "__narwhals_dataframe__"):
        return None
    nw = _narwhals()
    try:
        found = nw.from_native(values, eager_only=True, allow_series=True)
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"a frame has two columns of one name; rename one: {error}") from error
    except TypeError as error:
        if hasattr(kind, "columns") or hasattr(kind, "collect"):
            raise DataError(
                f"a {kind.__module__}.{kind.__qualname__} is not a frame in memory; make it one, "
                "by .collect() of a lazy frame or pyarrow.Table.from_batches([...])."
            ) from error
        return None  # an array
    return found


def _narwhals() -> Any:
    try:
        import narwhals.stable.v2 as nw  # takes a while, and arrays do not need it
    except ImportError as error:
        raise not_installed(
            "a frame of pandas, polars or pyarrow", "narwhals", "narwhals", error, DataError
        ) from error
    return nw
