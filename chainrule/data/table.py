"""A table in memory: named columns of four kinds, with missing cells marked.

Tables from arrays, files and queries have the same kinds and the same rules for missing cells.

Read next: :mod:`chainrule.data.columns`, which chooses the role of each column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, did_you_mean
from chainrule.core.other_arrays import as_array, is_masked
from chainrule.core.wording import counted
from chainrule.data.dates import ISO
from chainrule.data.frames import frame_columns
from chainrule.data.parse import MISSING, Kind, parse_text
from chainrule.data.writing import UNKNOWN, Writing, infer_writing

__all__ = [
    "Column",
    "Table",
    "column_from_text",
    "find_duplicate",
    "format_number",
    "read_alike",
    "reread",
    "words_from_text",
]


@dataclass(frozen=True)
class Column:
    """One column: its values, whose dtype depends on the kind, and a mask of missing cells.

    `number` is float64 (NaN if missing), `boolean` bool (False if missing), `date`
    datetime64[us] (NaT if missing), `text` an object array of str ("" if missing).
    `cells` keeps the original text of dates with a guessed format (3/4/2024) and of formatted
    numbers, whose format is `spelling` (see :mod:`chainrule.data.spelling`).  `origin` are the
    row indices in the source.  `writing` is how the table writes numbers and dates.
    `categorical` says that the source declared the values to be categories, also if they are
    numbers.
    """

    name: str
    kind: Kind
    values: NDArray[Any]
    missing: NDArray[np.bool_]
    date_format: str = ""
    cells: NDArray[Any] | None = None
    origin: NDArray[np.intp] | None = None
    spelling: str = ""
    writing: Writing = UNKNOWN
    categorical: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.intp] | None) -> Column:
        """Return the column for `rows` only, with its kind inferred again from these rows.

        A column may be text only because of a cell in other rows, and the kind in the training
        set must not depend on rows held out.  Only how cells are written (`writing`) is that of
        the whole table.
        """
        if rows is None:
            return self
        origin = rows if self.origin is None else self.origin[rows]
        text = self.text
        if text is not None:
            taken = column_from_text(self.name, text[rows].tolist(), self.writing)
            return replace(taken, origin=origin, categorical=self.categorical)
        return replace(self, values=self.values[rows], missing=self.missing[rows], origin=origin)

    @property
    def text(self) -> NDArray[Any] | None:
        """The cells as they were written, or None if they were not text."""
        return self.values if self.kind == "text" else self.cells

    def row_number(self, row: int) -> int:
        """Return the number of `row` in the source, counted from 1, for messages."""
        return 1 + int(row if self.origin is None else self.origin[row])

    def as_text(self) -> NDArray[Any]:
        """Return every cell as text, as a person would write it; "" if missing.

        >>> Column("n", "number", np.array([1.0, 2.5]), np.zeros(2, bool)).as_text().tolist()
        ['1', '2.5']
        """
        if self.kind == "text":
            return self.values
        if self.kind == "number" and self.cells is not None:
            cells = [cell.strip() for cell in self.cells.tolist()]
        elif self.kind == "number":
            cells = [format_number(value) for value in self.values.tolist()]
        elif self.kind == "boolean":
            cells = ["true" if value else "false" for value in self.values.tolist()]
        else:  # dates, without a time of day where they have none
            cells = [str(cell) for cell in np.datetime_as_string(self.values, unit="auto")]
        text = np.array(cells, dtype=object)
        text[self.missing] = ""
        return text


def format_number(value: float) -> str:
    """Format `value`, without ``.0`` for whole numbers, so that class names match any source."""
    return str(int(value)) if abs(value) < 1e16 and value == int(value) else repr(value)


@dataclass(frozen=True)
class Table:
    """Columns of equal length in a fixed order; `notes` tell how the file was read.

    >>> table = Table.from_arrays({"size": [1.5, None], "color": ["red", "blue"]})
    >>> table.names, len(table), table["size"].kind, table["size"].missing.tolist()
    (('size', 'color'), 2, 'number', [False, True])
    """

    columns: tuple[Column, ...]
    source: str = "the table"
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(f"{self.source} has no column {name!r}. {did_you_mean(name, self.names)}")

    def take(self, rows: NDArray[np.intp]) -> Table:
        """Return the table for `rows` (indices from 0) only."""
        return replace(self, columns=tuple(column.take(rows) for column in self.columns))

    @classmethod
    def from_arrays(cls, columns: Any, source: str = "the table") -> Table:
        """Build a table from a mapping of names to one-dimensional values.

        `columns` is a dict, a pandas or polars DataFrame, a pyarrow Table, or any object with
        ``keys()`` or ``columns`` whose items are arrays or lists.  None, NaN, NaT and masked
        cells are missing.  A column that a frame declares categorical holds categories, of which
        those without rows are left out.
        Raises DataError if there are no columns or no rows, if lengths differ, or if a column
        is not one-dimensional.
        """
        if isinstance(columns, Table):
            return columns
        frame = frame_columns(columns, source)
        if frame is not None:
            columns = {name: cells for name, (cells, _) in frame.items()}
        names = columns.keys() if hasattr(columns, "keys") else getattr(columns, "columns", None)
        if names is None:
            raise DataError(
                f"{source} must map column names to values, like {{'size': [1, 2]}}; "
                f"got {type(columns).__name__}."
            )
        built = [_from_values(str(name), columns[name], source) for name in names]
        if not built:
            raise DataError(f"{source} has no columns.")
        twice = find_duplicate([column.name for column in built])
        if twice is not None:
            raise DataError(f"{source} has two columns named {twice!r}; rename one.")
        for column in built:
            if len(column) != len(built[0]):
                raise DataError(
                    f"{source}: column {column.name!r} has {counted(len(column), 'row')}, "
                    f"but {built[0].name!r} has {len(built[0])}."
                )
        if len(built[0]) == 0:
            raise DataError(f"{source} has columns but no rows.")
        table = cls(read_alike(built), source)
        grouped = {name for name, (_, is_grouped) in (frame or {}).items() if is_grouped}
        return replace(
            table, columns=tuple(replace(c, categorical=c.name in grouped) for c in table)
        )


def find_duplicate(names: Sequence[str]) -> str | None:
    """Return the first name that occurs twice, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _from_values(name: str, raw: Any, source: str) -> Column:
    """Build a column from an array, a list or a Series."""
    try:
        values = np.asarray(as_array(raw, f"{source}: column {name!r}"))
        if is_masked(raw):  # NumPy returns what is below the mask
            values = raw.astype(object).filled(None)
        if values.dtype.kind in "US" and not hasattr(raw, "dtype"):
            values = np.asarray(raw, dtype=object)  # NumPy would turn [1, "a"] into text
    except ValueError as error:
        raise DataError(f"{source}: column {name!r} has cells of unequal length.") from error
    if values.ndim != 1:
        raise DataError(
            f"{source}: column {name!r} must be one-dimensional; its shape is {values.shape}."
        )
    none_missing = np.zeros(len(values), dtype=bool)
    match values.dtype.kind:
        case "b":
            return Column(name, "boolean", values, none_missing)
        case "i" | "u" | "f":
            numbers = values.astype(np.float64)
            return Column(name, "number", numbers, np.isnan(numbers))
        case "M":
            moments = values.astype("datetime64[us]")
            return Column(name, "date", moments, np.isnat(moments), ISO)
        case "U":
            return column_from_text(name, values.tolist())
        case "O":
            return _from_objects(name, values.tolist(), source)
    raise DataError(
        f"{source}: column {name!r} has dtype {values.dtype}; "
        "give numbers, booleans, dates or text."
    )


def column_from_text(name: str, cells: list[str], writing: Writing = UNKNOWN) -> Column:
    """Build a column of the most specific kind that fits all `cells`, written as `writing` says."""
    kind, values, missing, form = parse_text(cells, writing)
    guessed = np.array(cells, dtype=object) if form not in ("", ISO) else None
    if kind == "number":
        return Column(name, kind, values, missing, cells=guessed, spelling=form, writing=writing)
    return Column(name, kind, values, missing, form, guessed, writing=writing)


def reread(column: Column, writing: Writing) -> Column:
    """Return `column` with its cells, if they were text, read as `writing` says."""
    if column.text is None or writing == column.writing:
        return column
    read = column_from_text(column.name, column.text.tolist(), writing)
    return replace(read, origin=column.origin, categorical=column.categorical)


def read_alike(
    columns: Sequence[Column],
    shown: Mapping[str, tuple[str, str]] | None = None,
    said: Mapping[str, Writing] | None = None,
) -> tuple[Column, ...]:
    """Return the `columns` of one table with what one shows of its writing applied to all.

    `shown` is what the columns of numbers show, see :func:`chainrule.data.writing.infer_writing`;
    `said` is how columns are written by the word of the user.
    """
    texts = {column.name: column.text.tolist() for column in columns if column.text is not None}
    written = infer_writing(texts, shown) | dict(said or {})
    return tuple(reread(column, written.get(column.name, UNKNOWN)) for column in columns)


def words_from_text(name: str, cells: list[str]) -> Column:
    """Build a text column, even if its cells could be read as another kind."""
    words = np.array([cell.strip() for cell in cells], dtype=object)
    missing = np.array([word.lower() in MISSING for word in words], dtype=bool)
    words[missing] = ""
    return Column(name, "text", words, missing)


def _is_missing(value: Any) -> bool:
    # pandas.NA can't be compared, so check the name of its type.
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, Real) and bool(value != value))
    )


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # an int with hundreds of digits; 1e400 in a file is infinity too
        return math.inf if number > 0 else -math.inf


def _from_objects(name: str, cells: list[Any], source: str) -> Column:
    missing = np.array([_is_missing(cell) for cell in cells], dtype=bool)
    present = [cell for cell, gone in zip(cells, missing, strict=True) if not gone]
    if present and all(isinstance(cell, (bool, np.bool_)) for cell in present):
        booleans = np.zeros(len(cells), dtype=bool)
        booleans[~missing] = present
        return Column(name, "boolean", booleans, missing)
    if present and all(isinstance(cell, Real) for cell in present):
        numbers = np.full(len(cells), np.nan)
        numbers[~missing] = [_as_float(cell) for cell in present]
        return Column(name, "number", numbers, missing)
    if present and all(isinstance(cell, (date, datetime)) for cell in present):
        text = ["" if gone else cell.isoformat() for cell, gone in zip(cells, missing, strict=True)]
        return column_from_text(name, text)
    for row, cell in enumerate(cells):
        if not missing[row] and not isinstance(cell, (str, Real, date)):
            raise DataError(
                f"{source}: row {row + 1} of column {name!r} is of type {type(cell).__name__}; "
                "give numbers, booleans, dates or text."
            )
    return column_from_text(
        name, ["" if gone else str(cell) for cell, gone in zip(cells, missing, strict=True)]
    )
