"""From rows of a request to the features of a run that was trained on a table.

What :mod:`chainrule.serve.column_cells` read is one float64 a cell.  Here all rows that wait are
encoded together, in a few operations on arrays; the result is that of ``Pipeline.transform``.

Read next: :mod:`chainrule.serve.predicting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import did_you_mean
from chainrule.data.dates import ISO
from chainrule.data.encode import CategoryEncoder, NumericEncoder
from chainrule.data.gaps import gap_words
from chainrule.data.pipeline import Pipeline
from chainrule.data.table import Column
from chainrule.serve.column_cells import DAY, CellError, ColumnCells
from chainrule.serve.request_error import RequestError

__all__ = ["TableRows"]

Array = NDArray[Any]


class TableRows:
    """The columns of a run's table, and how rows of them become features.

    >>> from chainrule.data.table import Table
    >>> table = Table.from_arrays({"size": [1.0, 2, 4], "price": [1.5, 2.5, 4.5]})
    >>> rows = TableRows(Pipeline.fit(table, "price"))
    >>> values = rows.read([{"size": 3}])
    >>> values, rows.features(np.array(values)).dtype
    ([[3.0]], dtype('float32'))
    """

    def __init__(self, pipeline: Pipeline):
        self.pipeline, encoders = pipeline, pipeline.encoders
        names = [encoder.name for encoder in encoders]
        everywhere, own = gap_words(names, pipeline.na)
        self.columns = [ColumnCells(e, everywhere | own.get(e.name, frozenset())) for e in encoders]
        self._readers = [(cells.name, cells.read) for cells in self.columns]
        widths = [len(encoder.feature_names) for encoder in encoders]
        self._starts = [sum(widths[:i]) for i in range(len(widths))]
        self._width = sum(widths)
        self._plan_numbers()
        self._plan_categories()
        self._plan_notes()

    def read(self, rows: Sequence[Any]) -> list[list[float]]:
        """Return a float for each cell of `rows`, which are objects by column.

        Raises RequestError for a row that is no object, a missing column and a cell that can't be
        read.
        """
        found = []
        for number, row in enumerate(rows, 1):
            if type(row) is not dict:
                raise RequestError(
                    422, "must be an object with a value for each column.", row=number
                )
            try:
                found.append([read(row[name]) for name, read in self._readers])
            except (KeyError, CellError):
                raise self._refusal(row, number) from None
        return found

    def _refusal(self, row: Mapping[str, Any], number: int) -> RequestError:
        """Return what is wrong with a row: its missing columns first, or a cell."""
        absent = [name for name, _ in self._readers if name not in row]
        if absent:
            more = f", nor are {len(absent) - 1} others" if len(absent) > 1 else ""
            given = [str(name)[:100] for name in list(row)[:200] if name not in dict(self._readers)]
            hint = did_you_mean(absent[0], given).partition(" Choose from")[0] if given else ""
            if hint.startswith("Choose"):
                hint = ""
            told = f"is not there{more}; null is a missing value. {hint}"
            return RequestError(422, told.rstrip(), row=number, column=absent[0])
        for name, read in self._readers:
            try:
                read(row[name])
            except CellError as error:
                return RequestError(422, str(error), row=number, column=name)
        raise AssertionError("every cell can be read")

    def usual(self) -> Array:
        """Return a row of medians and most common words, as :meth:`read` would."""
        return np.array([[cells.read(cells.usual) for cells in self.columns]])

    # --- features ------------------------------------------------------------------------

    def features(self, values: Array) -> Array:
        """Return the features of rows of `values`, as the model takes them."""
        out = np.zeros((len(values), self._width), np.float32)
        with np.errstate(over="ignore"):
            if self._numbers:
                raw = values[:, self._numbers]
                missing = np.isnan(raw)
                if missing.any():
                    raw = np.where(missing, self._medians, raw)
                out[:, self._number_places] = (raw - self._shift) / self._scale + self._offset
                if self._marked:
                    out[:, self._mark_places] = missing[:, self._marked]
            for place in self._dates:
                encoder, start = self.columns[place].encoder, self._starts[place]
                stop = start + len(encoder.feature_names)
                out[:, start:stop] = encoder.encode(_dates(values[:, place]), "the rows")
        if self._words:
            codes = values[:, self._words].astype(np.intp)
            rows, columns = np.nonzero(codes >= 0)
            out[rows, (codes + self._word_places)[rows, columns]] = 1.0
        for place in self._embedded:
            out[:, self._starts[place]] = values[:, place] + 1
        return self.pipeline.project(out)

    def _plan_numbers(self) -> None:
        places = range(len(self.columns))
        self._dates = [i for i in places if self.columns[i].kind == "date"]
        self._numbers = [i for i in places if self.columns[i].kind in ("number", "order")]
        encoders = [e for i in self._numbers if isinstance(e := self.columns[i].encoder,
                                                           NumericEncoder)]  # fmt: skip
        self._number_places = [self._starts[i] for i in self._numbers]
        self._medians = np.array([e.median[0] for e in encoders])
        self._shift = np.array([e.scaling.shift[0] for e in encoders])
        self._scale = np.array([e.scaling.scale[0] for e in encoders])
        self._offset = np.array([e.scaling.offset for e in encoders])
        self._marked = [k for k, e in enumerate(encoders) if e.indicator]
        self._mark_places = [self._number_places[k] + 1 for k in self._marked]

    def _plan_categories(self) -> None:
        categories = [
            (i, cells.encoder)
            for i, cells in enumerate(self.columns)
            if isinstance(cells.encoder, CategoryEncoder)
        ]
        self._words = [i for i, encoder in categories if not encoder.embedded]
        self._embedded = [i for i, encoder in categories if encoder.embedded]
        self._word_places = np.array([self._starts[i] for i in self._words])

    # --- notes ---------------------------------------------------------------------------

    def _plan_notes(self) -> None:
        low, high, other, gone = [], [], [], []
        for cells in self.columns:
            least, greatest = cells.range
            if cells.kind == "category":
                low.append(-0.5 if not cells.had_missing else -math.inf)  # -1 is a missing cell
                high.append(math.inf)
            else:
                span = greatest - least if math.isfinite(least) else math.inf
                unit = DAY if cells.kind == "date" else 1.0
                low.append((least - span) * unit)
                high.append((greatest + span) * unit)
            other.append(float(len(cells.encoder.levels)) if cells.takes_others else math.nan)
            gone.append(cells.kind != "category" and not cells.had_missing)
        self._low, self._high, self._other = np.array(low), np.array(high), np.array(other)
        self._gone = np.array(gone)

    def notes(self, values: Array) -> list[tuple[int, str, str]]:
        """Return (row from 0, column, note) of cells that differ from those of training.

        They are those of :mod:`chainrule.data.unfamiliar`: numbers and dates far out of range,
        words that count as "other", and missing cells where training had none.
        """
        far = (values < self._low) | (values > self._high)
        strange = far | (values == self._other) | (np.isnan(values) & self._gone)
        if not strange.any():
            return []
        rows, places = np.nonzero(strange)
        return [
            (int(row), self.columns[place].name, self._note(int(place), float(values[row, place])))
            for row, place in zip(rows, places, strict=True)
        ]

    def _note(self, place: int, value: float) -> str:
        cells = self.columns[place]
        if math.isnan(value) or (cells.kind == "category" and value < 0):
            used = "no category is" if cells.kind == "category" else "the median of training is"
            return f"no value, which training always had; {used} used"
        if cells.kind == "category":
            return "was rare or absent in training and counts as 'other'"
        told = [*cells.range, value / DAY if cells.kind == "date" else value]
        shown = [f"{number:g}" for number in told]
        if cells.kind == "date":
            shown = [str(np.datetime64(math.floor(day), "D")) for day in told]
        return f"{shown[2]} is far from the training range {shown[0]} to {shown[1]}"

    def column_of(self, feature: int) -> str | None:
        """Return the column that gives a feature, where features are not projected."""
        if self.pipeline.projection is not None:
            return None
        return self.columns[int(np.searchsorted(self._starts, feature, "right")) - 1].name


def _dates(micro: Array) -> Column:
    missing = np.isnan(micro)
    moments = np.where(missing, 0, micro).astype(np.int64).astype("datetime64[us]")
    moments[missing] = np.datetime64("NaT")
    return Column("date", "date", moments, missing, ISO)
