"""uint8 holds pixels where it has the shape of images; everywhere else it keeps its value."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
HOT = np.eye(5, dtype=np.uint8)[RNG.integers(0, 5, 60)]
PIXELS = RNG.integers(0, 256, (60, 3, 4), dtype=np.uint8)
CLASSES = RNG.integers(0, 3, 60)


def train(layers: list[Any], X: Any, **options: Any) -> cr.Run:
    options = {"loss": "cross_entropy", "epochs": 3, "progress": False} | options
    return cr.fit(nn.Sequential(layers), (X, CLASSES), **options)


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_one_hot_columns_keep_their_value(engine: str, tmp_path: Path) -> None:
    runs = [
        train([nn.Linear(5, 3)], X, validation=0.2, engine=engine)
        for X in (HOT, HOT.astype("f4"), HOT.astype(bool))
    ]
    expected = [record["loss"] for record in runs[1].history]
    for run in runs:
        assert [record["loss"] for record in run.history] == expected
        back = cr.load(run.save(tmp_path / "run", force=True))
        # Values mean the same in every dtype, so each may stand for the others.
        for X in (HOT, HOT.astype("f4"), HOT.astype("int64"), HOT.tolist()):
            np.testing.assert_array_equal(back.outputs(X), runs[1].outputs(HOT.astype("f4")))
            np.testing.assert_array_equal(back.predictor()(X), runs[1].predict(HOT))


def test_small_numbers_keep_their_value() -> None:
    ages = RNG.integers(0, 90, (60, 2), dtype=np.uint8)
    found = [train([nn.Linear(2, 3)], X).outputs(ages) for X in (ages, ages.astype("f4"))]
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("shape", [(60, 3, 4), (60, 3, 2, 2)], ids=["grey", "channels"])
def test_images_are_scaled(shape: tuple[int, ...]) -> None:
    X = PIXELS.reshape(shape)
    runs = [train([nn.Flatten(), nn.Linear(12, 3)], given) for given in (X, X / 255)]
    assert runs[0].history[-1]["loss"] == pytest.approx(runs[1].history[-1]["loss"], rel=1e-5)
    for run, other in zip(runs, (X / 255, X), strict=True):
        with pytest.raises(cr.DataError, match="can't stand for each other"):
            run.predict(other)


def test_a_scale_of_the_model_comes_first(tmp_path: Path) -> None:
    flat = PIXELS.reshape(60, 12)
    plain = train([nn.Linear(12, 3)], flat.astype("f4") * np.float32(1 / 255))
    run = train([nn.Scale(1 / 255), nn.Linear(12, 3)], flat)
    nested = nn.Sequential([nn.Scale(1 / 255), nn.Flatten()])
    images = train([nested, nn.Linear(12, 3)], PIXELS)  # once, not by 1/255 twice
    for found in (run, images, cr.load(run.save(tmp_path / "run"))):
        X = PIXELS if found is images else flat
        np.testing.assert_allclose(
            found.outputs(X), plain.outputs(flat / 255), rtol=1e-5, atol=1e-6
        )
    with pytest.raises(cr.DataError, match="holds float64 but the model was trained on uint8"):
        run.predict(flat / 255)


def test_images_of_zeros_and_ones_are_asked_about() -> None:
    steps = np.eye(4, dtype=np.uint8)[RNG.integers(0, 4, (60, 3))]  # one-hot, step by step
    with pytest.raises(cr.DataError, match=r"holds only 0 and 1\. Give X\.astype\(bool\)"):
        train([nn.Flatten(), nn.Linear(12, 3)], steps)
    found = [
        train([*first, nn.Flatten(), nn.Linear(12, 3)], X).outputs(X)
        for first, X in (([], steps.astype(bool)), ([nn.Scale(1)], steps))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


@pytest.mark.parametrize("factor", [0, np.inf, "2", True])
def test_a_scale_is_a_number(factor: Any) -> None:
    with pytest.raises(cr.OptionError, match="factor must be a finite number other than 0"):
        nn.Scale(factor)


def test_flat_pixels_that_are_not_scaled_are_told() -> None:
    flat = RNG.integers(0, 256, (60, 64), dtype=np.uint8)
    with pytest.warns(UserWarning, match=r"start the model with nn\.Scale\(1 / 255\)") as told:
        train([nn.Linear(64, 3)], flat)
    assert told[0].filename.endswith("test_bytes.py")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train([nn.Scale(1 / 255), nn.Linear(64, 3)], flat)
        train([nn.Linear(64, 3)], flat // 4)
        train([nn.Flatten(), nn.Linear(64, 3)], flat.reshape(60, 8, 8))
