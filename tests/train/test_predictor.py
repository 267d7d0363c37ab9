"""A predictor says what its run says, for rows and for single rows, and refuses what it refuses."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn
from chainrule.core.errors import ChainruleError, DataError, OptionError
from chainrule.data.pixels import PixelPipeline
from chainrule.data.preprocess import plan
from chainrule.data.target import Target
from chainrule.tabular import choose_settings, fit_table, read_problem

RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 4)).astype("f4")
CLASSES = X[:, :3].argmax(axis=1)
ENGINES = ("native", "reference")


def train(X: Any = X, y: Any = CLASSES, loss: str = "cross_entropy", **options: Any) -> cr.Run:
    width, outputs = X.shape[1], 3 if loss == "cross_entropy" else 1
    dtype = "float64" if X.dtype == np.float64 else "float32"
    layers = [nn.Linear(width, 7, dtype=dtype), nn.Tanh(), nn.Linear(7, outputs, dtype=dtype)]
    return cr.fit(nn.Sequential(layers), (X, y), loss=loss, epochs=1, progress=False, **options)


@cache
def trained(engine: str) -> cr.Run:
    return train(engine=engine)


@pytest.fixture
def run() -> cr.Run:
    return trained("native")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("cross_entropy", CLASSES),
        ("binary_cross_entropy", X[:, 0] > 0),
        ("mse", X[:, :1]),
        ("poisson", np.abs(X[:, 0])),
    ],
)
def test_it_predicts_what_the_run_predicts(engine: str, loss: str, y: Any) -> None:
    run = train(loss=loss, y=y, engine=engine)
    predict = run.predictor()
    for rows in (X, X[:1], X[::-2], np.asfortranarray(X), X.astype("f8"), X[:3].tolist()):
        for ours, theirs in ((predict, run.predict), (predict.outputs, run.outputs)):
            got, wanted = ours(rows), theirs(rows)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    for row in (X[7], X[7].tolist(), X[7].astype("f8")):
        np.testing.assert_array_equal(predict(row), run.predict(X[7:8])[0])
        np.testing.assert_array_equal(predict.outputs(row), run.outputs(X[7:8])[0])
    if "entropy" not in loss:
        with pytest.raises(OptionError, match="trains no probabilities"):
            predict.probabilities(X)
        return
    np.testing.assert_array_equal(predict.probabilities(X), run.predict_proba(X))
    np.testing.assert_array_equal(predict.probabilities(X[0]), run.predict_proba(X[:1])[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_any_number_of_rows(engine: str) -> None:
    run = trained(engine)
    many = np.random.default_rng(0).normal(size=(5000, 4)).astype("f4")
    # Around the most that are copied, and around what is taken at once.
    for rows in (1023, 1024, 1025, 5000, 2):
        np.testing.assert_array_equal(
            run.predictor().outputs(many[:rows]), run.outputs(many[:rows])
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 3, 2000])
def test_numbers_that_are_none_are_refused(engine: str, bad: float, rows: int) -> None:
    predict = trained(engine).predictor()
    X = np.zeros((rows, 4), "f4")
    X[-1, 2] = bad
    for ask in (predict, predict.outputs, predict.probabilities):
        with pytest.raises(DataError, match=rf"row {rows - 1}, column 2\) is (NaN|infinite)"):
            ask(X)
    with pytest.raises(DataError, match="column 2"):
        predict(X[-1])
    X[-1, 2] = 3e38  # large, and finite: so large that the outputs need not be
    predict.outputs(X)


@pytest.mark.parametrize(
    "bad",
    [
        X[:, :3], X[0, :3], np.zeros((2, 2, 4), "f4"), np.zeros((0, 4), "f4"), np.float32(1),
        np.zeros((2, 4), complex), np.full((2, 4), 1e300),
        np.array([["a"] * 4]), [[1.0], [1.0, 2.0]], None, "row", {"a": 1},
    ],
)  # fmt: skip
def test_what_the_run_refuses_is_refused_in_its_words(run: cr.Run, bad: Any) -> None:
    with pytest.raises(ChainruleError) as theirs:
        run.predict(bad)
    predict = run.predictor()
    warnings.simplefilter("error")  # pytest puts it back
    with pytest.raises(type(theirs.value)) as ours:
        predict(bad)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_keeps_the_weights_it_was_made_with(engine: str) -> None:
    run = train(engine=engine)
    predict, before = run.predictor(), run.outputs(X)
    weight = run.model[0].weight  # type: ignore[index]
    weight.value = weight.value + 1
    weight.value[...] += 1  # in place, too
    assert (run.outputs(X) != before).any()
    np.testing.assert_array_equal(predict.outputs(X), before)
    np.testing.assert_array_equal(run.predictor().outputs(X), run.outputs(X))
    more = {"loss": "cross_entropy", "epochs": 1, "progress": False, "engine": engine}
    cr.fit(run.model, (X, CLASSES), **more)
    np.testing.assert_array_equal(predict.outputs(X), before)


def test_large_weights_are_arranged_once_and_change_no_bit() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1100, 70)).astype(np.float32)
    shared = nn.Linear(100, 100)
    model = nn.Sequential([nn.Linear(70, 100), nn.ReLU(), nn.Linear(100, 100), shared, shared])
    run = cr.fit(model, (X, X[:, 0].repeat(100).reshape(-1, 100)), loss="mse", epochs=1,
                 engine="native", progress=False)  # fmt: skip
    predict = run.predictor()
    code = predict._function.code  # type: ignore[attr-defined]
    assert [node.inputs[1].spec.shape for node in code.packed] == [(70, 100), (100, 100)]
    copied = pickle.loads(pickle.dumps(predict))
    for rows in (1, 2, 3, 33, 1100):
        wanted = run.outputs(X[:rows]).tobytes()
        assert predict.outputs(X[:rows]).tobytes() == wanted
        assert copied.outputs(X[:rows]).tobytes() == wanted


def test_rows_too_long_to_copy_are_read_where_they_are() -> None:
    X = np.random.default_rng(4).normal(size=(70, 5000)).astype(np.float32)
    run = train(X, X[:, :3].argmax(axis=1), engine="native")
    predict = run.predictor()
    for rows in (X[:1], X[5:6], X[::2], np.asfortranarray(X[:9]), X, X[:2]):
        assert predict.outputs(rows).tobytes() == run.outputs(rows).tobytes()
    X[1, 4999] = np.nan
    with pytest.raises(DataError, match="row 1, column 4999"):
        predict.outputs(X[:2])


def test_what_it_returns_is_the_callers_own(run: cr.Run) -> None:
    predict = run.predictor()
    first = predict.outputs(X[0])
    kept = first.copy()
    predict.outputs(X[1])
    np.testing.assert_array_equal(first, kept)
    row = X[2].copy()
    row.flags.writeable = False
    predict(row)


def test_threads_may_share_one(run: cr.Run) -> None:
    predict, expected = run.predictor(), run.outputs(X)

    def ask(i: int) -> bool:
        return bool((predict.outputs(X[i % 50]) == expected[i % 50]).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(2000)))


def test_doubles_are_computed_in_doubles() -> None:
    run = train(X.astype("f8"), engine="native")
    predict = run.predictor()
    assert predict.dtype == predict.outputs(X[0]).dtype == np.float64
    np.testing.assert_array_equal(predict.outputs(X.astype("f8")), run.outputs(X.astype("f8")))


def test_pixels_and_category_numbers() -> None:
    pixels = RNG.integers(0, 256, (40, 2, 3), dtype=np.uint8)
    images = nn.Sequential([nn.Flatten(), nn.Linear(6, 3)])
    run = cr.fit(images, (pixels, CLASSES[:40]), loss="cross_entropy", epochs=1, progress=False)
    predict = run.predictor()
    assert predict.dtype == np.uint8
    np.testing.assert_array_equal(predict.outputs(pixels[:5]), run.outputs(pixels[:5]))
    assert predict(pixels[3]) == run.predict(pixels)[3]
    with pytest.raises(DataError, match="scaled by 1/255"):
        predict(pixels[3] / 255)
    model = nn.Sequential([nn.Embedding(5, 2), nn.Linear(4, 3)])
    codes = RNG.integers(0, 5, (50, 2))
    run = cr.fit(model, (codes, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    predict = run.predictor()
    np.testing.assert_array_equal(predict.outputs(codes), run.outputs(codes))
    np.testing.assert_array_equal(predict.outputs(codes[0]), run.outputs(codes)[0])
    for wrong in ([0, 5], np.array([0.5, 1], "f4")):
        with pytest.raises(DataError, match="whole numbers from 0 to 4"):
            predict(wrong)


@pytest.mark.parametrize("preprocess", [None, data.Whiten(components=3)], ids=["plain", "whiten"])
def test_a_run_of_images_takes_pixels(preprocess: Any) -> None:
    pixels = RNG.integers(0, 256, (50, 4), dtype=np.uint8)
    pipeline = PixelPipeline(tuple("abcd"), Target("y", "classification", ("p", "q", "r")))
    if preprocess is not None:
        pipeline = pipeline.fit(plan(preprocess), pixels)
    encoded = pipeline.encode(pixels)
    layers = [nn.Scale(1 / 255)] if preprocess is None else []
    model = nn.Sequential([*layers, nn.Linear(encoded.shape[1], 3)])
    run = cr.fit(model, (encoded, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    run.pipeline = pipeline
    predict = run.predictor()
    np.testing.assert_array_equal(predict(pixels), run.predict(pixels))
    np.testing.assert_array_equal(
        predict.probabilities(pixels[9]), run.predict_proba(pixels[9:10])[0]
    )
    with pytest.raises(DataError, match=r"uint8|scaled by 1/255"):
        predict(pixels[0] / 255)


def test_a_run_of_a_table_predicts_from_features() -> None:
    table = {"size": np.arange(40.0), "color": ["red", "blue"] * 20, "y": np.arange(40) // 20}
    problem = read_problem(table, "y")
    run = fit_table(problem, choose_settings(32, hidden=[16], epochs=1), progress=False)
    assert run.pipeline is not None
    features, predict = run.pipeline.transform(data.Table.from_arrays(table)), run.predictor()
    np.testing.assert_array_equal(predict.outputs(features), run.outputs(features))
    for ask in (predict, predict.probabilities):
        with pytest.raises(DataError, match="predict_table"):
            ask(features[0])
