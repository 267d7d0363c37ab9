"""The pipeline: what it decides, that nothing leaks into it, that it comes back from JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.core.errors import DataError, OptionError
from chainrule.data import Pipeline, Table, choose_target, inspect_target, split

N = 40
HOUSES = Path(__file__).parents[2] / "examples" / "houses.csv"


def columns() -> dict[str, list[Any]]:
    """A table with one column of each sort, and a target."""
    rng = np.random.default_rng(3)
    return {
        "id": [f"k{i}" for i in range(N)],
        "row": list(range(1, N + 1)),
        "land": ["x"] * N,
        "void": [None] * N,
        "size": [None if i % 7 == 3 else float(v) for i, v in enumerate(rng.normal(5, 2, N))],
        "color": [["red", "blue", "green", ""][i % 4] for i in range(N)],
        "flag": [bool(i % 3) for i in range(N)],
        "when": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(N)],
        "price": rng.normal(100, 10, N).tolist(),
    }


def test_decisions_are_recorded() -> None:
    pipeline = Pipeline.fit(Table.from_arrays(columns()), "price")
    assert set(pipeline.notes) >= {
        "dropped `id`: every value differs",
        "dropped `row`: every value differs",
        "dropped `land`: every value is 'x'",
        "dropped `void`: no row has a value",
        "target `price`: real numbers, so regression",
    }
    assert pipeline.feature_names == (
        *("size", "size=missing", "color=blue", "color=green", "color=red", "color=missing"),
        *("flag", "when.month", "when.day", "when.weekday", "when.days"),
    )


def test_features_are_what_they_say() -> None:
    table = Table.from_arrays(columns())
    X = Pipeline.fit(table, "price").transform(table)
    assert X.dtype == np.float32
    size = table["size"]
    filled = np.where(size.missing, np.median(size.values[~size.missing]), size.values)
    assert np.allclose(X[:, 0], (filled - filled.mean()) / filled.std(), atol=1e-6)
    assert np.array_equal(X[:, 1], size.missing)
    assert np.array_equal(X[:, 4], [float(cell == "red") for cell in columns()["color"]])
    assert (X[:, 2:6].sum(axis=1) == 1).all()
    month = np.array([1 + i % 12 for i in range(N)])
    assert np.allclose(X[:, 7], (month - month.mean()) / month.std(), atol=1e-5)
    days = X[:, [0, *range(6, 11)]]
    assert np.allclose(days.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(days.std(axis=0), 1, atol=1e-5)


def test_weekday_and_hour_are_the_calendars() -> None:
    when = ["2024-02-28 06:30", "2024-02-29 18:00", "2024-03-01 00:00", ""]
    table = Table.from_arrays({"t": when, "y": [1.5, 2.5, 3.5, 4.5]})
    encoder = Pipeline.fit(table, "y").encoders[0]
    raw = encoder.encode(table["t"], "t")
    values = encoder.scaling.inverse(raw[:3, :-1])  # type: ignore[union-attr]
    named = dict(zip(encoder.parts, values.T, strict=True))  # type: ignore[union-attr]
    assert np.allclose(named["weekday"], [2, 3, 4])
    assert np.allclose(named["hour"], [6.5, 18, 0])
    assert np.allclose(named["day"], [28, 29, 1])
    assert np.allclose(named["month"], [2, 2, 3])


@pytest.mark.parametrize("seed", range(5))
def test_nothing_leaks_from_the_test_rows(seed: int) -> None:
    """Whatever stands in the test rows, even text among numbers, the fit is the same."""
    train, test = split(N, 0.3, seed)
    original = columns()
    fitted = Pipeline.fit(Table.from_arrays(original), "price", rows=train)
    changed = columns()
    strange = {"size": "oops", "when": "31/12/2020", "color": "pink", "flag": "?", "row": "9e9"}
    strange |= {"land": "y", "void": "1", "id": "k0", "price": "none"}
    for row in test:
        for name in changed:
            changed[name][row] = strange[name]
    again = Pipeline.fit(Table.from_arrays(changed), "price", rows=train)
    assert again.to_json() == fitted.to_json()
    same = fitted.transform(Table.from_arrays(original), train)
    assert np.array_equal(again.transform(Table.from_arrays(changed), train), same)


def test_json_round_trip_is_exact() -> None:
    table = Table.from_arrays(columns())
    for target in ("price", "flag"):
        fitted = Pipeline.fit(table, target)
        back = Pipeline.from_json(json.loads(json.dumps(fitted.to_json())))
        assert back == fitted
        assert np.array_equal(back.transform(table), fitted.transform(table))
        y = fitted.encode_target(table)
        assert np.array_equal(back.encode_target(table), y)
        assert np.array_equal(back.target.decode(y), fitted.target.decode(y))
    with pytest.raises(DataError, match="version None"):
        Pipeline.from_json({})
    with pytest.raises(DataError, match="damaged"):
        Pipeline.from_json({"version": 2, "target": {}})


def test_houses_are_learnable() -> None:
    pytest.importorskip("duckdb", reason="reading files needs duckdb")
    from chainrule.data import read_table

    table = read_table(HOUSES)
    train, test = split(len(table), 0.25, seed=0)
    pipeline = Pipeline.fit(table, rows=train)
    assert pipeline.target.name == "price"
    assert "dropped `id`: every value differs" in pipeline.notes
    assert "dropped `country`: every value is 'Freedonia'" in pipeline.notes
    X, y = pipeline.transform(table, train), pipeline.encode_target(table, train)
    weights, *_ = np.linalg.lstsq(np.c_[X, np.ones(len(X))], y, rcond=None)
    Z, z = pipeline.transform(table, test), pipeline.encode_target(table, test)
    error = np.c_[Z, np.ones(len(Z))] @ weights - z
    assert error.var() < 0.1 * z.var()


def test_new_tables_meet_the_fitted_columns_by_name() -> None:
    table = Table.from_arrays(columns())
    pipeline = Pipeline.fit(table, "price")
    want = pipeline.transform(table)
    shuffled = dict(reversed(list(columns().items()))) | {"extra": ["?"] * N}
    del shuffled["price"], shuffled["id"]
    assert np.array_equal(pipeline.transform(Table.from_arrays(shuffled)), want)


def test_unseen_and_unknown_cells_are_zeros_or_medians() -> None:
    fit = {"c": ["a", "b"] * 5, "n": [1.0, 2.0] * 5, "y": [0.5 * i for i in range(10)]}
    pipeline = Pipeline.fit(Table.from_arrays(fit), "y")
    X = pipeline.transform(Table.from_arrays({"c": ["zzz", None], "n": [None, None]}))
    assert np.array_equal(X, np.zeros((2, 3), np.float32))


def test_many_categories_keep_the_frequent_ones() -> None:
    words = ["top"] * 50 + ["mid"] * 20 + [f"w{i}" for i in range(40)]
    table = Table.from_arrays({"c": words, "y": np.arange(110) * 0.5})
    pipeline = Pipeline.fit(table, "y")
    assert pipeline.feature_names == ("c=top", "c=mid", "c=other")
    assert any("kept the 2 most frequent of 42 values (64%" in note for note in pipeline.notes)
    new = Table.from_arrays({"c": ["never seen", "mid"]})
    assert pipeline.transform(new).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_categories_that_differ_in_case_alone_are_told() -> None:
    cities = ["Berlin", "Köln", "berlin", "Bonn"] * 5
    pipeline = Pipeline.fit(Table.from_arrays({"city": cities, "y": range(20)}), "y")
    told = "`city`: 4 categories; 'Berlin' and 'berlin', different in case alone, count as two"
    assert told in pipeline.notes
    assert len(pipeline.feature_names) == 4
    cities = [city.lower() for city in cities]
    pipeline = Pipeline.fit(Table.from_arrays({"city": cities, "y": range(20)}), "y")
    assert not any("case alone" in note for note in pipeline.notes)


def test_ambiguous_dates_follow_training() -> None:
    fit = Table.from_arrays({"d": ["13/4/2024", "2/4/2024", "5/6/2024"], "y": [1.5, 2.5, 3.5]})
    pipeline = Pipeline.fit(fit, "y")
    new = pipeline.transform(Table.from_arrays({"d": ["2/4/2024"]}))
    assert np.array_equal(new, pipeline.transform(fit)[1:2])
    with pytest.raises(DataError, match=r"row 2 of column 'd' holds '2/14/2024'"):
        pipeline.transform(Table.from_arrays({"d": ["1/1/2024", "2/14/2024"]}))


def test_roles_can_be_asked_for() -> None:
    data = {"zip": [1, 2, 3, 1], "id": [4, 9, 7, 1], "y": [1.5, 2.5, 3.5, 4.5]}
    table = Table.from_arrays(data)
    pipeline = Pipeline.fit(table, "y", roles={"zip": "category", "id": "number"})
    assert pipeline.feature_names == ("zip=1", "zip=2", "zip=3", "id")
    with pytest.raises(DataError, match="Did you mean 'zip'"):
        Pipeline.fit(table, "y", roles={"zipp": "category"})
    with pytest.raises(OptionError, match="Did you mean 'category'"):
        Pipeline.fit(table, "y", roles={"zip": "categories"})
    with pytest.raises(DataError, match="'zip' can't have the role 'date'"):
        Pipeline.fit(table, "y", roles={"zip": "date"})


def test_row_numbers_are_dropped_and_years_are_not() -> None:
    rng = np.random.default_rng(0)
    data = {
        "n": np.arange(30),
        "year": np.arange(1990, 2020),
        "size": rng.permutation(30),
        "y": rng.normal(size=30),
    }
    train, _ = split(30, 0.3, seed=1)
    pipeline = Pipeline.fit(Table.from_arrays(data), "y", rows=train)
    assert pipeline.feature_names == ("year", "size")
    assert "dropped `n`: it numbers the rows" in pipeline.notes


def test_lone_counter_is_a_feature() -> None:
    table = Table.from_arrays({"x": np.arange(20), "y": np.sin(np.arange(20))})
    assert Pipeline.fit(table, "y").feature_names == ("x",)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["a", "b"] * 5, "classification"),
        ([True, False] * 5, "classification"),
        ([0, 1] * 5, "classification"),
        ([1, 2, 3, 4, 5] * 2, "classification"),
        (list(range(10)), "regression"),
        ([0.5, 1.0] * 5, "regression"),
        ([i % 25 for i in range(100)], "regression"),
    ],
)
def test_task_is_inferred(y: list[Any], task: str) -> None:
    table = Table.from_arrays({"x": np.random.default_rng(0).normal(size=len(y)), "y": y})
    target, rows, notes = inspect_target(table)
    assert target.task == task
    assert len(rows) == len(y)
    assert any(task in note for note in notes)
    other = "regression" if task == "classification" else "classification"
    if not isinstance(y[0], str) and task == "classification":
        assert inspect_target(table, "y", other)[0].task == other


def test_targets_encode_and_decode() -> None:
    x = [0.1 * i for i in range(6)]
    words = Table.from_arrays({"x": x, "y": ["b", "a", "c", "a", "b", "c"]})
    pipeline = Pipeline.fit(words, "y")
    y = pipeline.encode_target(words)
    assert y.dtype == np.int64
    assert y.tolist() == [1, 0, 2, 0, 1, 2]
    assert pipeline.target.decode(y).tolist() == ["b", "a", "c", "a", "b", "c"]
    codes = Table.from_arrays({"x": x, "y": [10, 2, 10, 2, 10, 2]})
    pipeline = Pipeline.fit(codes, "y")
    assert pipeline.classes == (2, 10)
    assert pipeline.target.decode([1, 0]).tolist() == [10, 2]
    prices = Table.from_arrays({"x": x, "y": [1.5, 2.5, 3.5, 9.5, 0.5, 1.0]})
    pipeline = Pipeline.fit(prices, "y")
    y = pipeline.encode_target(prices)
    assert y.dtype == np.float32
    assert abs(float(y.mean())) < 1e-6
    assert np.allclose(y * pipeline.target.scale + pipeline.target.mean, prices["y"].values)
    assert np.allclose(pipeline.target.decode(y), prices["y"].values, atol=1e-5)


def test_rows_without_a_target_are_left_out() -> None:
    table = Table.from_arrays({"x": [0.5, 1.5, 2.5, 3.5, 99.0], "y": ["a", "b", "a", "b", "?"]})
    pipeline = Pipeline.fit(table, "y")
    assert "left out 1 row without a value of `y`" in pipeline.notes
    assert pipeline.rows is not None
    assert pipeline.rows.tolist() == [0, 1, 2, 3]
    assert pipeline.transform(table, pipeline.rows).mean() == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match="row 5 of target 'y' has no value"):
        pipeline.encode_target(table)


def test_target_is_chosen() -> None:
    table = Table.from_arrays({"Label": [1], "b": [2]})
    assert choose_target(table)[0] == "Label"
    name, note = choose_target(Table.from_arrays({"a": [1], "b": [2]}))
    assert name == "b"
    assert "last column" in note


@pytest.mark.parametrize(
    ("data", "target", "words"),
    [
        ({"x": [1, 2], "price": [1, 2]}, "prise", "Did you mean 'price'"),
        ({"x": [1, 2], "y": ["a", "a"]}, "y", "target 'y' is 'a' in every row"),
        ({"x": [1, 2, 3], "y": ["a", "a", "b"]}, "y", r"class 'b' .* one row \(row 3\)"),
        ({"x": [1, 1], "y": ["a", "b"] * 1}, "y", "has one row"),
        ({"x": [1] * 4, "y": ["a", "b"] * 2}, "y", "no usable feature.*dropped `x`: every value"),
        ({"y": ["a", "b"] * 2}, "y", "no usable feature"),
        ({"x": [1, 2, 3], "y": [0.5, np.inf, 1.5]}, "y", "row 2 of target 'y' is infinite"),
        ({"x": [1, 2], "y": [None, None]}, "y", "'y' has no value in any row"),
        (
            {"x": [1, 2], "y": ["2024-01-01", "2024-01-02"]},
            "y",
            "'y' holds dates; predict a number or a class.$",
        ),
        (
            {"x": [1, 2], "z": ["2024-01-01", "2024-01-02"]},
            None,
            r"'z' holds dates.*the last column, as none was named; name another with --target",
        ),
    ],
)
def test_unusable_tables_are_named(data: dict[str, Any], target: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Pipeline.fit(Table.from_arrays(data), target)


def test_faulty_cells_of_new_tables_are_named() -> None:
    fit = {"size": [1.0, 2.5, 3.0, 9.0], "c": ["a", "b", "a", "b"], "y": ["u", "v", "u", "v"]}
    pipeline = Pipeline.fit(Table.from_arrays(fit), "y")
    good = {"size": [1.0, 2.0], "c": ["a", "b"]}
    with pytest.raises(DataError, match=r"does not have the column 'size'.*Did you mean 'Sizes'"):
        pipeline.transform(Table.from_arrays({"Sizes": [1.0], "c": ["a"]}))
    with pytest.raises(DataError, match="row 2 of column 'size' holds 'big'"):
        pipeline.transform(Table.from_arrays(good | {"size": ["1", "big"]}))
    both = Table.from_arrays(good | {"size": ["big", "1"], "y": ["u", "w"]})
    with pytest.raises(DataError, match="row 1 of column 'size' holds 'big'"):
        pipeline.transform(both, rows=[1, 0])
    with pytest.raises(DataError, match="row 2 of target 'y' is 'w'"):
        pipeline.encode_target(both)
    with pytest.raises(DataError, match="row 1 of target 'y' holds 'u'; regression needs numbers"):
        inspect_target(Table.from_arrays(fit), "y", "regression")
    with pytest.raises(OptionError, match="Did you mean 'regression'"):
        inspect_target(Table.from_arrays(fit), "y", "regresion")


def test_many_missing_columns_are_counted_not_listed() -> None:
    columns = {f"c{i}": [1.0, 2.5, 4.0] for i in range(9)}
    pipeline = Pipeline.fit(Table.from_arrays({**columns, "y": [0.5, 1.5, 2.0]}), "y")
    with pytest.raises(DataError, match=r"'c1', 'c2', 'c3', 'c4', 'c5' and 3 more, needed"):
        pipeline.transform(Table.from_arrays({"c0": [1.0]}))


def test_dates_with_the_year_first_are_never_misread() -> None:
    trained = ["13/02/2024", "14/03/2024", "01/04/2024", "20/05/2024"]
    y = ["a", "b", "a", "b"]
    pipeline = Pipeline.fit(Table.from_arrays({"day": trained, "y": y}), "y")
    iso = ["2024-02-13", "2024-03-14", "2024-04-01", "2024-05-20"]
    same = pipeline.transform(Table.from_arrays({"day": iso}))
    assert np.array_equal(same, pipeline.transform(Table.from_arrays({"day": trained})))
    with pytest.raises(DataError, match=r"row 1 .*year first, as in 2024-01-31"):
        pipeline.transform(Table.from_arrays({"day": ["13.02.2024"]}))
