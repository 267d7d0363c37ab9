"""The preprocessing of a table as a graph, from inputs of its columns to the features.

Each encoder of the pipeline becomes operations that compute, in float64, what it computes with
NumPy.  Numbers are float64, in which NaN and infinity are missing values; dates are int64
microseconds since 1970-01-01, as in NumPy's datetime64[us], whose "not a time" is missing; words
are text, in which an empty string is missing.  If all columns are numbers, they are one input.

Read next: :mod:`chainrule.interop.export`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.core.tensor import Tensor, input
from chainrule.data.encode import PERIODS, CategoryEncoder, Encoder, NumericEncoder
from chainrule.data.fitting import Fitted
from chainrule.data.pipeline import Pipeline
from chainrule.data.projection import Projection
from chainrule.data.scaling import Scaling
from chainrule.data.table import Table
from chainrule.data.unread import read_dates
from chainrule.interop.onnx_writer import Words
from chainrule.ops.arithmetic import abs, floor, where
from chainrule.ops.elementary import sin
from chainrule.ops.index import one_hot, take
from chainrule.ops.shape import concat, expand_dims
from chainrule.step.record import ROWS

__all__ = ["column_arrays", "column_inputs", "features_of", "transformed", "words_of"]

Array = np.ndarray[Any, Any]
NOT_A_TIME = int(np.iinfo(np.int64).min)  # of NumPy's datetime64
DAY, HOUR = 86_400e6, 3_600e6  # microseconds


def column_inputs(pipeline: Pipeline) -> dict[str, Tensor]:
    """Return the input of each column that the pipeline reads, by its name.

    Columns of numbers alone are one input, ``x`` of shape (n, columns).
    """
    if _numbers_alone(pipeline):
        return {"x": input("x", (ROWS, len(pipeline.encoders)), "float64")}
    return {
        e.name: input(e.name, (ROWS,), "float64" if _is_plain(e) else "int64")
        for e in pipeline.encoders
    }


def _numbers_alone(pipeline: Pipeline) -> bool:
    return all(map(_is_plain, pipeline.encoders))


def _is_plain(encoder: Encoder) -> bool:
    return isinstance(encoder, NumericEncoder) and not encoder.levels and not encoder.parts


def words_of(pipeline: Pipeline) -> dict[str, Words]:
    """Return the codes of the words of each column of words; -1 is none that is known."""
    found = {}
    for encoder in pipeline.encoders:
        codes = {word: i for i, word in enumerate(encoder.levels)}
        if isinstance(encoder, CategoryEncoder):
            codes[""] = encoder.categories - 1 if encoder.missing else -1
            found[encoder.name] = Words(codes, len(encoder.levels) if encoder.other else -1)
        elif encoder.levels:
            found[encoder.name] = Words(codes, -1)
    return found


def column_arrays(pipeline: Pipeline, table: Table) -> dict[str, Array]:
    """Return the columns of `table` as the exported model takes them."""
    found: dict[str, Array] = {}
    for encoder in pipeline.encoders:
        column = table[encoder.name]
        if isinstance(encoder, CategoryEncoder) or encoder.levels:
            found[encoder.name] = np.where(column.missing, "", column.as_text()).astype(object)
        elif encoder.parts:
            dates = read_dates(column, encoder.date_format, table.source)[0]
            found[encoder.name] = dates.values.astype("datetime64[us]").astype(np.int64)
        else:
            found[encoder.name] = encoder.read(column, table.source)[0][:, 0]
    if _numbers_alone(pipeline):
        return {"x": np.stack(list(found.values()), axis=1)}
    return found


def features_of(pipeline: Pipeline, columns: Mapping[str, Tensor]) -> Tensor:
    """Return the features, float32 of shape (n, features), as ``pipeline.transform`` does."""
    blocks: list[Tensor] = []
    codes: list[Tensor] = []
    if _numbers_alone(pipeline):
        blocks = [_all_numbers(pipeline, columns["x"]).astype("float32")]
    for encoder in () if blocks else pipeline.encoders:
        x = columns[encoder.name]
        if isinstance(encoder, NumericEncoder):
            block = _numbers(encoder, x)
        elif encoder.embedded:
            block = expand_dims(x + 1, 1)
        else:
            block = one_hot(x, encoder.categories)
        coded = isinstance(encoder, CategoryEncoder) and encoder.embedded
        last = codes if coded and pipeline.projection is not None else blocks
        last.append(block.astype("float32"))
    if pipeline.projection is not None:
        blocks = [transformed(pipeline.projection, concat(blocks, axis=1))]
    return concat([*blocks, *codes], axis=1)


def transformed(step: Fitted, x: Tensor) -> Tensor:
    """Return what ``step.transform`` does to features, computed in float64, in their dtype."""
    wide = x.astype("float64")
    if isinstance(step, Scaling):
        found = (wide - step.shift) / step.scale + step.offset
    else:
        assert isinstance(step, Projection)
        found = (wide - step.mean) @ step.forward
    return found.astype(x.dtype)


def _all_numbers(pipeline: Pipeline, x: Tensor) -> Tensor:
    """Return the features of columns of numbers, all at once."""
    encoders = [e for e in pipeline.encoders if isinstance(e, NumericEncoder)]
    shift, scale = (
        np.concatenate([getattr(e.scaling, name) for e in encoders]) for name in ("shift", "scale")
    )
    offset = np.array([e.scaling.offset for e in encoders])
    missing = ~(abs(x) < math.inf)
    most = max(len(e.gaps) for e in encoders)
    for k in range(most):  # numbers that stand for missing cells
        missing = missing | (x == np.array([[*e.gaps, *(math.nan,) * most][k] for e in encoders]))
    median = np.array([e.median[0] for e in encoders])
    scaled = (where(missing, median, x) - shift) / scale + offset
    marked = [i for i, e in enumerate(encoders) if e.indicator]
    if not marked:
        return scaled
    both = concat([scaled, take(missing, marked, axis=1).astype("float64")], axis=1)
    # The mark of a column comes next to its number.
    order = np.argsort([*range(len(encoders)), *(i + 0.5 for i in marked)])
    return take(both, order, axis=1)


def _numbers(encoder: NumericEncoder, x: Tensor) -> Tensor:
    """Return the features of numbers, ranks or dates."""
    if encoder.parts:
        missing = x == NOT_A_TIME
        parts = _date_parts(where(missing, 0, x), encoder.parts)
    else:
        missing = x < 0 if encoder.levels else ~(abs(x) < math.inf)
        for gap in encoder.gaps:
            missing = missing | (x == gap)
        parts = [x.astype("float64")]
    raw = concat([expand_dims(part, 1) for part in parts], axis=1)
    gone = expand_dims(missing, 1)
    scaled = transformed(encoder.scaling, where(gone, np.array(encoder.median), raw))
    return concat([scaled, gone.astype("float64")], axis=1) if encoder.indicator else scaled


def _date_parts(moments: Tensor, names: tuple[str, ...]) -> list[Tensor]:
    """Return the parts of dates, as ``chainrule.data.encode`` does.

    Year, month and day are found from the number of days by the calendar's cycles of 400, 100, 4
    and 1 years, which begin in March.  Source: Howard Hinnant, "chrono-compatible low-level date
    algorithms", civil_from_days, 2013.
    """
    micro = moments.astype("float64")
    date = floor(micro / DAY)
    from_march = date + 719_468  # days since 0000-03-01
    era = floor(from_march / 146_097)
    day = from_march - era * 146_097
    past = floor(day / 1460) - floor(day / 36_524) + floor(day / 146_096)  # leap days
    year = floor((day - past) / 365)
    day = day - (365 * year + floor(year / 4) - floor(year / 100))
    month = floor((5 * day + 2) / 153)
    found = {
        "day": day - floor((153 * month + 2) / 5) + 1,
        "month": where(month < 10, month + 3, month - 9),
        "weekday": date + 3 - floor((date + 3) / 7) * 7,  # 1970-01-01 was a Thursday
        "hour": (micro - date * DAY) / HOUR,
        "days": micro / DAY,
    }
    found["year"] = year + era * 400 + where(month < 10, 0.0, 1.0)
    for part, period in PERIODS.items():
        angle = (found[part] - (part in ("month", "day"))) * (2 * math.pi / period)
        found[f"{part}.sin"], found[f"{part}.cos"] = sin(angle), sin(angle + math.pi / 2)
    return [found[name] for name in names]
