"""What a pipeline makes of columns when told: scalings, projections, order, codes, circles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn import decomposition

from chainrule.core.errors import DataError, OptionError
from chainrule.data import CategoryCodes, Pipeline, Table, split
from chainrule.data.streaming import stream
from chainrule.tabular.problem import read_problem

N = 60
PLANS: list[Any] = [
    None, "none", "center", "minmax", "robust", "pca", "whiten", "zca", ["robust", "whiten"]
]  # fmt: skip


def columns(seed: int = 3) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    size = rng.normal(5, 2, N)
    return {
        "size": [None if i % 7 == 3 else float(v) for i, v in enumerate(size)],
        "twice": (2 * size + 1).tolist(),
        "color": [["red", "blue", "green", ""][i % 4] for i in range(N)],
        "grade": [["grade 2", "grade 10", "grade 1"][i % 3] for i in range(N)],
        "when": [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(N)],
        "price": rng.normal(100, 10, N).tolist(),
    }


@pytest.mark.parametrize("preprocess", PLANS, ids=str)
@pytest.mark.parametrize("roles", [None, {"color": "embedded", "grade": "ordinal"}])
def test_nothing_leaks_from_the_test_rows(preprocess: Any, roles: Any) -> None:
    train, test = split(N, 0.3, seed=2)
    fitted = Pipeline.fit(
        Table.from_arrays(columns()), "price", rows=train, roles=roles, preprocess=preprocess
    )
    wild = columns()
    strange: dict[str, Any] = {"size": 1e30, "twice": None, "color": "pink", "grade": "grade 99"}
    for row in test:
        for name, cell in (strange | {"when": "1850-01-01", "price": -1e9}).items():
            wild[name][row] = cell
    table = Table.from_arrays(wild)
    again = Pipeline.fit(table, "price", rows=train, roles=roles, preprocess=preprocess)
    assert json.dumps(again.to_json()) == json.dumps(fitted.to_json())
    assert again == fitted
    back = Pipeline.from_json(json.loads(json.dumps(fitted.to_json())))
    assert back == fitted
    X = fitted.transform(table)
    assert X.shape == (N, len(fitted.feature_names))
    np.testing.assert_array_equal(back.transform(table), X)


def test_numbers_are_scaled_as_asked() -> None:
    table = Table.from_arrays({"x": [1.0, 2, 3, 4, 10], "y": [0.5, 1, 2, 3, 4]})

    def scaled(preprocess: Any) -> list[float]:
        pipeline = Pipeline.fit(table, "y", preprocess=preprocess)
        return pipeline.transform(table)[:, 0].tolist()  # type: ignore[no-any-return]

    assert scaled("none") == [1, 2, 3, 4, 10]
    assert scaled("center") == [-3, -2, -1, 0, 6]
    assert scaled("robust") == [-1, -0.5, 0, 0.5, 3.5]
    assert scaled("minmax") == pytest.approx([0, 1 / 9, 2 / 9, 3 / 9, 1])
    assert (
        scaled(None)
        == scaled("standardize")
        == pytest.approx([-0.948683, -0.632456, -0.316228, 0, 1.897367], abs=1e-6)
    )


@pytest.mark.parametrize("preprocess", ["whiten", "zca", ["minmax", "whiten"]], ids=str)
def test_whitened_features_have_the_identity_as_covariance(preprocess: Any) -> None:
    """Words and the marks of gaps are turned too; the dependent ones lose a direction."""
    table = Table.from_arrays(columns())
    train, _ = split(N, 0.3, seed=1)
    plain = Pipeline.fit(table, "price", rows=train)
    pipeline = Pipeline.fit(table, "price", rows=train, preprocess=preprocess)
    covariance = np.cov(pipeline.transform(table, train).T.astype(float))
    rank = np.linalg.matrix_rank(np.cov(plain.transform(table, train).T), tol=1e-6)
    assert rank < len(plain.feature_names)
    values = np.linalg.eigvalsh(covariance)
    np.testing.assert_allclose(values[-rank:], 1, atol=1e-5)
    np.testing.assert_allclose(values[:-rank], 0, atol=1e-5)
    if preprocess != "zca":
        assert pipeline.feature_names == tuple(f"component {i + 1}" for i in range(rank))
    assert f"whitened along {rank} uncorrelated directions" in pipeline.notes[-1]


def test_components_of_features_are_those_of_scikit_learn() -> None:
    table = Table.from_arrays(columns())
    X = Pipeline.fit(table, "price").transform(table).astype(float)
    pipeline = Pipeline.fit(table, "price", preprocess="pca")
    found = pipeline.transform(table)
    oracle = decomposition.PCA(found.shape[1], svd_solver="full").fit(X)
    assert pipeline.projection is not None
    signs = np.sign((pipeline.projection.axes * oracle.components_.T).sum(axis=0))
    np.testing.assert_allclose(found, oracle.transform(X) * signs, atol=1e-5)


def test_category_numbers_stand_last_and_are_left_alone() -> None:
    table = Table.from_arrays(columns())
    roles = {"color": "embedded", "grade": "embedded"}
    pipeline = Pipeline.fit(table, "price", roles=roles)
    names = pipeline.feature_names
    places = names.index("color"), names.index("grade")
    assert pipeline.category_codes == (
        CategoryCodes("color", places[0], 5),  # three words, the gap, and none of them
        CategoryCodes("grade", places[1], 4),
    )
    X = pipeline.transform(table)
    words = [w for e in pipeline.encoders if e.name == "color" for w in (*e.levels, "")]  # type: ignore[union-attr]
    assert [words[int(code) - 1] for code in X[:, places[0]]] == columns()["color"]
    new = Table.from_arrays({k: v[:2] for k, v in columns().items()} | {"color": ["pink", "red"]})
    assert pipeline.transform(new)[0, places[0]] == 0
    turned = Pipeline.fit(table, "price", roles=roles, preprocess="whiten")
    Z = turned.transform(table)
    width = Z.shape[1]
    assert [c.feature for c in turned.category_codes] == [width - 2, width - 1]
    assert turned.feature_names[-2:] == ("color", "grade")
    np.testing.assert_array_equal(Z[:, -2:], X[:, places])
    np.testing.assert_allclose(np.cov(Z[:, :-2].T), np.eye(width - 2), atol=1e-5)
    alone = Table.from_arrays({"c": ["a", "b"] * 4, "y": np.arange(8.0) / 3})
    with pytest.raises(DataError, match="all are category indices"):
        Pipeline.fit(alone, "y", roles={"c": "embedded"}, preprocess="pca")


def test_many_words_are_embedded_and_few_are_merged() -> None:
    words = [f"w{i % 100}" for i in range(400)]
    table = Table.from_arrays({"w": words, "y": np.arange(400.0) / 3})
    assert Pipeline.fit(table, "y", roles={"w": "embedded"}).category_codes[0].categories == 101
    assert len(Pipeline.fit(table, "y", roles={"w": "category"}).feature_names) == 33
    lone = table["w"].values.copy()
    lone[7] = "lone"
    table = Table.from_arrays({"w": lone, "y": np.arange(400.0) / 3})
    pipeline = Pipeline.fit(table, "y", roles={"w": "embedded"})
    assert pipeline.category_codes[0].categories == 102
    found = pipeline.transform(Table.from_arrays({"w": ["lone", "new", "w7"]}))[:, 0]
    assert found[0] == found[1] != found[2]  # what is new is what was rare


def test_words_are_ranked() -> None:
    table = Table.from_arrays(columns())

    def ranks(role: Any, preprocess: Any = "none") -> list[float]:
        pipeline = Pipeline.fit(table, "price", roles={"grade": role}, preprocess=preprocess)
        place = pipeline.feature_names.index("grade")
        return pipeline.transform(table)[:3, place].tolist()  # type: ignore[no-any-return]

    assert ranks("ordinal") == [1, 2, 0]
    assert ranks(["grade 10", "grade 2", "grade 1"]) == [1, 0, 2]
    assert ranks(["grade 10", "grade 2", "grade 1"], "minmax") == [0.5, 0, 1]
    pipeline = Pipeline.fit(table, "price", roles={"grade": "ordinal"})
    assert "`grade`: grade 1 < grade 2 < grade 10, as given" in pipeline.notes
    numbers = {"n": [10, 9, -1, 2, 2.5, 9] * 2, "y": np.arange(12.0) / 3}
    ranked = Pipeline.fit(
        Table.from_arrays(numbers), "y", roles={"n": "ordinal"}, preprocess="none"
    )
    assert ranked.transform(Table.from_arrays(numbers))[:6, 0].tolist() == [4, 3, 0, 1, 2, 3]


def test_a_word_without_a_rank_counts_as_missing() -> None:
    sizes = ["small", None, "large", "mid"] * 5
    table = Table.from_arrays({"s": sizes, "y": np.arange(20.0) / 3})
    pipeline = Pipeline.fit(table, "y", roles={"s": ["small", "mid", "large"]}, preprocess="none")
    assert pipeline.feature_names == ("s", "s=missing")
    new = Table.from_arrays({"s": ["huge", "large", None]})
    assert pipeline.transform(new).tolist() == [[1, 1], [2, 0], [1, 1]]


def test_the_year_is_a_circle() -> None:
    when = [f"{year}-{month:02}-01" for year in (2023, 2024) for month in range(1, 13)]
    table = Table.from_arrays({"t": when, "y": np.arange(24.0) / 3})
    pipeline = Pipeline.fit(table, "y", roles={"t": "cyclic"}, preprocess="none")
    X = dict(zip(pipeline.feature_names, pipeline.transform(table).T, strict=True))
    assert set(X) == {
        "t.year", "t.month.sin", "t.month.cos", "t.weekday.sin", "t.weekday.cos", "t.days",
    }  # fmt: skip
    angle = 2 * np.pi * (np.arange(24) % 12) / 12
    np.testing.assert_allclose(X["t.month.sin"], np.sin(angle), atol=1e-6)
    np.testing.assert_allclose(X["t.month.cos"], np.cos(angle), atol=1e-6)
    december = np.hypot(X["t.month.sin"][11] - X["t.month.sin"][12], 1 - X["t.month.cos"][11])
    assert december == pytest.approx(np.hypot(np.sin(np.pi / 6), 1 - np.cos(np.pi / 6)), abs=1e-6)
    two = Table.from_arrays({"t": ["2024-01-05", "2024-07-05"] * 4, "y": np.arange(8.0) / 3})
    names = Pipeline.fit(two, "y", roles={"t": "cyclic"}).feature_names
    assert "t.month.cos" in names
    assert "t.month.sin" not in names  # 0 in both, but for the error of pi


@pytest.mark.parametrize(
    ("roles", "error", "message"),
    [
        (
            {"color": "ordinl"},
            OptionError,
            "'ordinl' of 'color' is unknown. Did you mean 'ordinal'",
        ),
        ({"color": ["red"]}, OptionError, "order of 'color' must list two or more"),
        ({"color": ["red", "red"]}, OptionError, "different words"),
        (
            {"color": ["red", "blue", "gren"]},
            DataError,
            r"Row 3 of column 'color' is 'green'.*gren",
        ),
        ({"size": "cyclic"}, DataError, "'size' can't have the role 'cyclic': its kind is number"),
        ({"color": "number"}, DataError, "'color' can't have the role 'number': its kind is text"),
        ({"colour": "embedded"}, DataError, "no feature 'colour'. Did you mean 'color'"),
        ({"void": "ordinal"}, DataError, "'void' has no values in the training rows"),
    ],
)
def test_wrong_roles_are_named(roles: Any, error: Any, message: str) -> None:
    table = Table.from_arrays(columns() | {"void": [None] * N})
    with pytest.raises(error, match=message):
        Pipeline.fit(table, "price", roles=roles)


def test_a_wrong_plan_is_refused_before_reading() -> None:
    for preprocess in ("whitten", ["pca", "center"]):
        with pytest.raises(OptionError, match="preprocess"):
            read_problem("no-such-file.csv", preprocess=preprocess)
        with pytest.raises(OptionError, match="preprocess"):
            stream("no-such-file.csv", preprocess=preprocess)


@pytest.mark.parametrize("preprocess", ["robust", "pca", ["center", "zca"]], ids=str)
def test_a_streamed_table_is_prepared_as_in_memory(
    tmp_path: Path, preprocess: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.data.streaming._BLOCK_CELLS", 1)  # blocks of the fewest rows
    path = tmp_path / "t.parquet"
    duckdb.sql(
        f"""COPY (SELECT sin(i) * 10 AS a, cos(i) + sin(i) AS b,
        ['x', 'y', 'z 10', 'z 9'][1 + CAST(hash(i) % 4 AS INT)] AS c,
        ['10', '9', '8'][1 + CAST(hash(i * 7) % 3 AS INT)] AS d,
        DATE '2020-01-01' + CAST(hash(i * 3) % 900 AS INT) AS e, i * 0.5 + sin(i * i) AS target
        FROM range(6000) AS r(i)) TO '{path}'"""
    )
    options: Any = {
        "preprocess": preprocess,
        "roles": {"c": "embedded", "d": "ordinal", "e": "cyclic"},
    }
    whole = read_problem(path, stream=False, **options)
    streamed = read_problem(path, stream=True, **options)
    assert streamed.pipeline.to_json() == whole.pipeline.to_json()
    assert isinstance(streamed.train[0], np.memmap)
    for ours, theirs in ((streamed.train, whole.train), (streamed.test, whole.test)):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert list(tmp_path.iterdir()) == [path]
