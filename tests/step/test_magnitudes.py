"""What float32 can't hold, and targets far from the network's outputs, are told before training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.tabular import choose_settings, fit_table, read_problem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3))
NOISE = RNG.normal(size=300)


def net(dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential([nn.Linear(3, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, 1, dtype=dtype)])


def train(X: Any, y: Any, model: Any = None, **options: Any) -> cr.Run:
    options = {"loss": "mse", "epochs": 2, "progress": False, "engine": "reference"} | options
    return cr.fit(net() if model is None else model, (X, y), **options)


@pytest.mark.parametrize(
    "y",
    [
        1e9 + NOISE,
        (1e9 + 20 * NOISE).astype("f4"),
        -1e9 + 9 * NOISE[:, None],
        1_700_000_000 + RNG.integers(0, 60, 300),  # a minute, in seconds since 1970
        2**60 + RNG.integers(0, 9, 300),
        (1e9 + NOISE).tolist(),
        1.0 + 1e-9 * NOISE,
    ],
    ids=["float64", "float32", "column", "seconds", "int64", "list", "ones"],
)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_targets_that_float32_can_not_tell_apart_are_refused(y: Any, loss: str) -> None:
    with pytest.raises(cr.DataError, match=r"float32 numbers there are .* apart.*\(y - y\.mean"):
        train(X, y, loss=loss)


def test_one_column_of_the_targets_is_named() -> None:
    y = np.stack([NOISE, 1e9 + NOISE], axis=1)
    with pytest.raises(cr.DataError, match="y, column 1, varies by"):
        train(X, y, nn.Linear(3, 2))


def test_targets_of_layers_in_float64_are_kept() -> None:
    y = 1e9 + NOISE
    with pytest.warns(UserWarning, match="too far apart to be learned well"):
        train(X, y, net("float64"))
    run = train(X, y, net("float64"), optimizer=optim.LBFGS(), epochs=30)
    assert run.evaluate((X, y))["mse" if "mse" in run.history[0] else "loss"] < 2


LARGE = {
    "float64": X * [1, 1, 0] + [0, 0, 1e9] + NOISE[:, None] * [0, 0, 1],
    "int64": np.stack([NOISE > 0, NOISE > 1, 2**40 + np.arange(300)], axis=1).astype(np.int64),
    "seconds": np.stack([NOISE, NOISE, 1.7e9 + np.arange(300)], axis=1),
}


@pytest.mark.parametrize("kind", [*LARGE, "mapped", "list"])
def test_features_that_float32_can_not_tell_apart_are_told(kind: str, tmp_path: Path) -> None:
    rows: Any = LARGE.get(kind, LARGE["float64"])
    if kind == "mapped":
        np.save(tmp_path / "x.npy", rows)
        rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "list":
        rows = rows.tolist()
    with pytest.warns(UserWarning, match=r"X, column 2, varies by .* most of it is lost") as told:
        train(rows, (NOISE > 0).astype(int), nn.Linear(3, 2), loss="cross_entropy")
    assert told[0].filename == __file__


@pytest.mark.parametrize("far", [1e5, 1990.0, 300.0, 1e-4])
def test_targets_far_from_the_outputs_are_told(far: float) -> None:
    y = far + min(far, 30) * NOISE if far > 1 else far * NOISE
    with pytest.warns(UserWarning, match=r"too far apart to be learned well\. Train on") as told:
        train(X, y)
    assert told[0].filename == __file__


def test_one_far_column_is_named() -> None:
    with pytest.warns(UserWarning, match="y, column 1, is about 2.9.e"):
        train(X, np.stack([NOISE, 3e5 + 1e5 * NOISE], axis=1), nn.Linear(3, 2))


def test_features_of_no_usual_scale_are_named_as_the_cause() -> None:
    with pytest.warns(UserWarning, match=r"learned well\. Train on \(X - X\.mean"):
        train(X * [1, 1, 1e5], NOISE)


USUAL = {
    "standard": NOISE,
    "degrees": 20 + 5 * NOISE,
    "thousands of dollars": 22 + 9 * NOISE,
    "shares": RNG.uniform(0, 1, 300),
    "zero or one": (NOISE > 0).astype(float),
    "rare": (NOISE > 2.5).astype(float),
    "mostly zero": np.where(np.arange(300) == 150, 1.0, 0.0),
    "counts": RNG.poisson(4, 300),
    "tenths": 0.1 * NOISE,
    "constant": np.full(300, 2.0),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_data_raise_no_alarm(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(X, USUAL[name])
        train(X, USUAL[name], validation=0.2)


def test_data_that_are_no_matter_raise_no_alarm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far = 3e5 + 1e5 * NOISE
        train(X, far, optimizer=optim.LBFGS())  # takes steps of any length
        model = nn.Linear(3, 1)
        model.weight.value, model.bias.value = np.full((3, 1), 1e5), [3e5]  # type: ignore[union-attr]
        train(X, far, model)  # is there already
        constant = np.full(300, 0.1) + np.where(NOISE > 0, 1e-17, 0.0)
        train(np.stack([X[:, 0], constant, np.full(300, 9)], axis=1), NOISE)
        train(X, RNG.poisson(3000, 300), loss="poisson")
        hardly = np.where(np.arange(300) == 7, 0.01, 0.0)  # a pixel at the border of images
        train(X, np.stack([NOISE, hardly, RNG.uniform(0, 1, 300)], axis=1), nn.Linear(3, 3))
        # Many steps cover some distance.
        train(X, 190 + 180 * NOISE, epochs=300, batch_size=32)


@pytest.mark.parametrize("streamed", [False, True])
def test_tables_are_scaled_in_float64(streamed: bool, tmp_path: Path) -> None:
    table = {"a": X[:, 0], "far": 1e9 + X[:, 1], "y": 1e9 + X[:, 1] - X[:, 0]}
    path = tmp_path / "t.csv"
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    path.write_text("a,far,y\n" + "\n".join(",".join(map(repr, row)) for row in rows) + "\n")
    problem = read_problem(path, "y", stream=streamed)
    run = fit_table(
        problem, choose_settings(200, hidden=[16], epochs=60, task="regression"), progress=False
    )
    assert run.scores["test"]["r2"] > 0.9
    plain = read_problem(path, "y", stream=streamed, preprocess="none")
    told = [note for note in plain.pipeline.notes if "float32" in note]
    assert len(told) == 1
    assert told[0].startswith("`far`: varies by ")
    assert "preprocess" in told[0]
    assert not any("float32" in note for note in problem.pipeline.notes)
