"""New tables whose columns are distributed otherwise than in training."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.data import Pipeline, Table
from chainrule.data.unfamiliar import unfamiliar

RNG = np.random.default_rng(0)
ROWS = 500


def draw(rows: int, shift: float = 0.0, red: float = 0.5, days: int = 0) -> dict[str, object]:
    grades = RNG.integers(1, 4, rows)
    return {
        "size": RNG.normal(shift, 1, rows),
        "grade": grades + (2 if shift else 0),
        "color": np.where(RNG.random(rows) < red, "red", "blue"),
        "day": (np.datetime64("2020-01-01") + RNG.integers(0, 900, rows) + days).astype(str),
    }


def drifted(new: dict[str, object]) -> dict[str, str]:
    columns = {**draw(ROWS), "y": RNG.normal(size=ROWS)}
    pipeline = Pipeline.fit(Table.from_arrays(columns), "y")
    again = Pipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    lines = unfamiliar(again.encoders, Table.from_arrays(new))
    return {line.split("`")[1]: line for line in lines if "otherwise" in line}


def test_what_has_changed_is_told() -> None:
    told = drifted(draw(200, shift=1.5, red=0.9, days=800))
    assert set(told) == {"size", "grade", "color", "day"}
    assert told["color"].startswith("`color` is distributed otherwise than in training: '")
    assert "% of the rows are up to" in told["size"]
    assert "2021-" in told["day"] or "2022-" in told["day"]


@pytest.mark.parametrize("rows", [50, 100, 400])
def test_chance_is_not_told(rows: int) -> None:
    for _ in range(20):
        assert drifted(draw(rows)) == {}


def test_few_rows_show_no_distribution() -> None:
    assert drifted(draw(40, shift=3.0)) == {}
