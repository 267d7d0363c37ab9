"""Cells are read as training read its columns, one by one, and refused with a reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from chainrule.data.encode import CategoryEncoder, NumericEncoder
from chainrule.data.scaling import Scaling
from chainrule.serve.column_cells import CellError, ColumnCells

SCALING = Scaling(np.zeros(1), np.ones(1))


def number(**more: Any) -> NumericEncoder:
    usual: dict[str, Any] = {"least": (0.0,), "greatest": (50.0,)}
    return NumericEncoder("x", (), (2.0,), SCALING, False, **{**usual, **more})


COLOR = CategoryEncoder("color", ("7", "blue", "red", "true"), other=False, missing=True)
RARE = CategoryEncoder("color", ("blue", "red"), other=True, missing=False)
GRADE = NumericEncoder("grade", (), (1.0,), SCALING, False, levels=("low", "mid", "high"))
DAY = NumericEncoder("day", ("days",), (0.0,), SCALING, False, date_format="%d/%m/%Y")
MISSING = math.nan


@pytest.mark.parametrize(
    ("encoder", "cell", "value"),
    [
        (number(), 3, 3.0), (number(), 2.5, 2.5), (number(), " 2.5 ", 2.5), (number(), "1e1", 10.0),
        (number(), None, MISSING), (number(), "", MISSING), (number(), "NA", MISSING),
        (number(gaps=(-999.0,)), -999, MISSING), (number(gaps=(-999.0,)), "-999", MISSING),
        (number(greatest=(1.0,)), True, 1.0), (number(greatest=(1.0,)), "FALSE", 0.0),
        (number(spelling="€1.234,5"), "€1.234,50", 1234.5), (number(spelling="1,234.5%"), 4.5, 4.5),
        (COLOR, "red", 2.0), (COLOR, " red ", 2.0), (COLOR, 7, 0.0), (COLOR, 7.0, 0.0),
        (COLOR, "7.0", 0.0), (COLOR, True, 3.0), (COLOR, "TRUE", 3.0), (COLOR, None, 4.0),
        (COLOR, "?", 4.0), (RARE, "green", 2.0), (RARE, None, -1.0),
        (GRADE, "high", 2.0), (GRADE, None, MISSING),
        (DAY, "2/1/1970", 86_400e6), (DAY, "1970-01-02T00:00:01Z", 86_401e6), (DAY, "", MISSING),
    ],
)  # fmt: skip
def test_a_cell_is_read(encoder: Any, cell: Any, value: float) -> None:
    assert ColumnCells(encoder).read(cell) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("encoder", "cell", "message"),
    [
        (number(), "red", "'red' is not a number."), (number(), True, "true is not a number."),
        (number(), [1], "a list is not a number."), (number(), {}, "an object is not a number."),
        (number(), "inf", "'inf' is not a finite number."), (number(), 10**400, "too large"),
        (number(), 1e400, "too large"), (number(), "1" * 300, "111...' is not a number."),
        (number(spelling="€1.234,5"), "€1,234.5", "in the format €1.234,5, as in training"),
        (COLOR, "rde", "'rde' is not a value known from training. Did you mean 'red'?"),
        (COLOR, "RED", "Did you mean 'red'?"), (COLOR, 8, "'8' is not a value known"),
        (COLOR, ["red"], "a list is not text."), (GRADE, "hihg", "Did you mean 'high'?"),
        (DAY, 5, "5 is not a date; write it as text"), (DAY, "1970-13-01", "is not a date"),
        (DAY, "0001-01-01T00:00:00+23:59", "is not a date"),
    ],
)  # fmt: skip
def test_a_cell_is_refused(encoder: Any, cell: Any, message: str) -> None:
    with pytest.raises(CellError) as caught:
        ColumnCells(encoder).read(cell)
    assert message in str(caught.value)


def test_words_that_are_said_to_be_missing_are() -> None:
    assert math.isnan(ColumnCells(number(), frozenset({"none", "-1"})).read(-1))
    assert math.isnan(ColumnCells(number(), frozenset({"none", "-1"})).read("None"))
    assert ColumnCells(COLOR, frozenset({"red"})).read("red") == 4.0
