"""Tables from arrays, and the rules that give text its kind."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.core.errors import DataError
from chainrule.data import Table
from chainrule.data.parse import parse_date, parse_text
from chainrule.data.table import Column


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2.5, None], "number"),
        (np.array([1, 2], np.uint8), "number"),
        ([True, None, False], "boolean"),
        (["1", " ", "N/A", "2"], "number"),
        (["1", "x"], "text"),
        (["true", "False"], "boolean"),
        (["2024-01-05", "2024/2/6"], "date"),
        (["3/4/2024", "13/4/2024"], "date"),
        (["007", "012"], "text"),
        ([None, None], "text"),
        ([date(2024, 1, 1), None], "date"),
        (np.array(["2024-01-01", "NaT"], "datetime64[D]"), "date"),
        ([1, "a", None], "text"),
    ],
)
def test_kind_of_cells(cells: Any, kind: str) -> None:
    assert Table.from_arrays({"c": cells})["c"].kind == kind


class Frame:
    """What pandas and polars have in common."""

    columns = ("a", "b")

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return np.array([1.0, np.nan]) if name == "a" else np.array(["x", None], dtype=object)


def test_frame_like_objects() -> None:
    table = Table.from_arrays(Frame())
    assert table["a"].missing.tolist() == [False, True]
    assert table["b"].missing.tolist() == [False, True]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "no columns"),
        ({"a": []}, "no rows"),
        ({"a": [1, 2], "b": [1]}, "'b' has 1 row, but 'a' has 2"),
        ({"a": [[1, 2], [3, 4]]}, r"'a' must be one-dimensional"),
        ({"a": [1j]}, "'a' has dtype complex128"),
        ({"a": [1, object()]}, "row 2 of column 'a' is of type object"),
        ({1: [1], "1": [2]}, "two columns named '1'"),
        ([1, 2], "must map column names"),
    ],
)
def test_faulty_arrays_are_named(columns: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Table.from_arrays(columns)


def test_unknown_column_suggests() -> None:
    with pytest.raises(DataError, match="Did you mean 'price'"):
        Table.from_arrays({"price": [1]})["prize"]


def test_taken_rows_find_their_own_kind() -> None:
    column = Table.from_arrays({"c": ["1", "2", "oops"]})["c"]
    assert column.kind == "text"
    assert column.take(np.array([0, 1])).kind == "number"
    assert column.take(np.array([1, 2])).row_number(1) == 3


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_numbers_survive_text(numbers: list[float]) -> None:
    kind, values, missing, _ = parse_text([repr(number) for number in numbers])
    assert kind == "number"
    assert values.tolist() == numbers
    assert not missing.any()


@given(st.datetimes())
def test_dates_survive_text(moment: Any) -> None:
    assert parse_date(moment.isoformat()) == moment
    assert parse_date(moment.isoformat(sep=" ") + "Z") == moment


def test_dates_are_written_without_a_time_of_day_they_do_not_have() -> None:
    moments = np.array(["2024-01-02", "2024-03-04T10:30", "NaT"], "datetime64[us]")
    column = Column("when", "date", moments, np.isnat(moments), "iso")
    assert column.as_text().tolist() == ["2024-01-02", "2024-03-04T10:30", ""]
