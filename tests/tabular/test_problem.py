"""The careful steps from a table to a scored run, and image sets beside them."""

from __future__ import annotations

import gzip
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.cli.commands import command_line
from chainrule.core.errors import DataError, OptionError
from chainrule.data.pixels import PixelPipeline
from chainrule.data.target import Target
from chainrule.nn.normalize import NORMS
from chainrule.tabular.build import build_model, build_optimizer, check_settings
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_prediction import predict_table
from chainrule.tabular.table_training import fit_table


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a directory of 2x3 images whose brighter side tells the class."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "tiny-images"
    folder.mkdir()
    for part, rows in (("train", 300), ("t10k", 60)):
        y = np.arange(rows) % 2
        X = rng.integers(0, 100, (rows, 2, 3))
        X[y == 0, :, 0] += 150
        X[y == 1, :, 2] += 150
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", X)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", y)
    return folder


def test_parts_share_no_row_and_classes_keep_their_shares() -> None:
    problem = read_problem("wine", seed=4)
    X = np.concatenate([part[0] for part in (problem.train, problem.validation, problem.test)])  # type: ignore[index]
    assert sum(problem.rows.values()) == 178 == len(np.unique(X, axis=0))
    for part in (problem.train, problem.validation, problem.test):
        shares = np.bincount(part[1]) / len(part[1])  # type: ignore[index]
        assert np.allclose(shares, [59 / 178, 71 / 178, 48 / 178], atol=0.06)


def test_features_are_standardized_on_the_training_rows() -> None:
    problem = read_problem("wine")
    assert np.allclose(problem.train[0].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(problem.train[0].std(axis=0), 1, atol=1e-5)
    assert not np.allclose(problem.test[0].mean(axis=0), 0, atol=1e-3)


def test_few_rows_are_not_held_out_to_validate() -> None:
    columns = {"x": np.arange(20.0) ** 2, "y": np.array(["a", "b"] * 10)}
    problem = read_problem(data.Table.from_arrays(columns))
    assert problem.rows == {"train": 16, "validation": 0, "test": 4}
    settings = choose_settings(16, hidden=[16], validated=False, epochs=3)
    assert settings.patience is None
    assert len(fit_table(problem, settings, progress=False).history) == 3


def test_two_rows_of_each_of_many_classes_can_be_learned_from() -> None:
    columns = {"x": np.arange(100.0) ** 2, "y": [f"k{i % 50}" for i in range(100)]}
    problem = read_problem(data.Table.from_arrays(columns))
    assert problem.rows["train"] == 50
    assert len(problem.pipeline.classes) == 50


def test_scores_are_of_the_test_rows_and_come_back() -> None:
    problem = read_problem("diabetes")
    run = fit_table(
        problem, choose_settings(300, hidden=[16], task="regression", epochs=20), progress=False
    )
    true = problem.pipeline.target.decode(problem.test[1])
    predicted = problem.pipeline.target.decode(run.outputs(problem.test[0])[:, 0])
    assert run.scores["test"]["mae"] == pytest.approx(np.abs(true - predicted).mean())
    guess = problem.pipeline.target.mean
    assert run.scores["baseline"]["mae"] == pytest.approx(np.abs(true - guess).mean())
    assert run.scores["test"]["mae"] < run.scores["baseline"]["mae"]


def test_a_run_holds_its_pipeline(tmp_path: Path) -> None:
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, hidden=[16], epochs=5), progress=False)
    loaded = cr.load(run.save(tmp_path / "run"))
    table = data.load("iris").to_table()
    assert loaded.scores == run.scores
    for name, column in predict_table(run, table).items():
        assert (predict_table(loaded, table)[name] == column).all()


def test_a_mapping_of_columns_is_a_table() -> None:
    columns = {"x": np.arange(40.0) % 7, "word": ["a", "b"] * 20, "y": ["p", "q"] * 20}
    problem = read_problem(columns, "y")
    assert sum(problem.rows.values()) == 40
    run = fit_table(problem, choose_settings(30, hidden=[16], epochs=2), progress=False)
    found = predict_table(run, columns)
    table = data.Table.from_arrays(columns)
    assert np.array_equal(found["probability_p"], predict_table(run, table)["probability_p"])
    with pytest.raises(DataError, match="map column names to values"):
        read_problem(np.ones((3, 2)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="map column names to values"):
        predict_table(run, np.ones((3, 2)))  # type: ignore[arg-type]


def test_a_query_is_told_from_a_name() -> None:
    with pytest.raises(DataError, match="the source is empty"):
        read_problem("")
    with pytest.raises(DataError, match="Did you mean 'select' for 'selec'"):
        read_problem("selec a from t")


def test_image_files_keep_their_own_test_part(images: Path, tmp_path: Path) -> None:
    problem = read_problem(images)
    assert problem.own_test
    assert problem.rows == {"train": 270, "validation": 30, "test": 60}
    assert problem.train[0].dtype == np.uint8
    run = fit_table(problem, choose_settings(270, hidden=[16], epochs=30), progress=False)
    assert run.scores["test"]["accuracy"] > 0.95
    loaded = cr.load(run.save(tmp_path / "run"))
    X = problem.test[0]
    names = problem.pipeline.feature_names
    table = data.Table.from_arrays({name: X[:, i] for i, name in enumerate(names)})
    assert (predict_table(loaded, table)["prediction"] == run.predict(X).astype(str)).all()


def test_images_are_no_table(images: Path) -> None:
    with pytest.raises(DataError, match="can't be used for regression"):
        read_problem(images, task="regression")
    with pytest.raises(DataError, match="column 'pixel_0_0'"):
        read_problem(images, "pixel_0_0")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, 2.0]}, "does not have 1 of the 2 pixel columns"),
        ({"a": [1.0, 2.0], "b": [0.0, 256.0]}, "row 2 of column 'b' is 256"),
        ({"a": [1.0, 0.5], "b": [0.0, 2.0]}, "row 2 of column 'a' is 0.5"),
        ({"a": [1.0, None], "b": [0.0, 2.0]}, "row 2 of column 'a' is missing"),
        ({"a": ["x", "y"], "b": [0.0, 2.0]}, "column 'a' holds text"),
    ],
)
def test_what_is_no_pixel_is_named(columns: dict[str, list[object]], message: str) -> None:
    pipeline = PixelPipeline(("a", "b"), Target("label", "classification", ("no", "yes")))
    with pytest.raises(DataError, match=message):
        pipeline.transform(data.Table.from_arrays(columns))


def test_settings_follow_the_size_unless_asked() -> None:
    small, large = choose_settings(100), choose_settings(60_000)
    assert large.batch_size > small.batch_size
    assert large.epochs < small.epochs
    assert choose_settings(100, hidden=(7,), batch_size=3, epochs=9).hidden == (7,)
    assert choose_settings(100, hidden=()).hidden == ()
    assert choose_settings(100, task="regression", hidden=[8]).activation == "tanh"
    plain = choose_settings(100, task="regression", hidden=[8], activation="relu")
    assert plain.activation == "relu"
    with pytest.raises(OptionError, match="Did you mean 'tanh'"):
        choose_settings(100, activation="tahn")
    with pytest.raises(OptionError, match="units of a layer must be a positive integer, not 0"):
        choose_settings(100, hidden=(3, 0))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("epochs", 0), ("epochs", 2.5), ("batch_size", 0), ("batch_size", "x"), ("patience", -1),
        ("seed", -1), ("seed", 2**63), ("pieces", 1), ("embedding", 0), ("accumulate", math.nan),
        ("learning_rate", 0.0), ("learning_rate", math.inf), ("min_delta", math.nan),
        ("dropout", 1.0), ("noise", -1.0), ("bias_init", math.nan), ("label_smoothing", "x"),
        ("l1", -1.0), ("l2", math.nan), ("warmup", -1.0), ("weight_decay", math.inf),
        ("max_norm", 0.0), ("clip_norm", True), ("clip_value", math.nan), ("average", 1.0),
        ("hidden", 5), ("hidden", "64"), ("activation", 3), ("norm", ["batch"]), ("loss", 0),
        ("residual", 1), ("schedule", 5), ("optimizer", "addam"),
    ],
)  # fmt: skip
def test_a_setting_without_meaning_is_refused_by_its_own_name(setting: str, wrong: Any) -> None:
    with pytest.raises(OptionError, match=rf"^(unknown )?{setting}"):
        check_settings(choose_settings(1000, **{setting: wrong}))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pieces": 3}, "pieces needs the activation maxout, not relu"),
        ({"optimizer": "lbfgs", "warmup": 2.0}, "warmup can't be used with lbfgs"),
        ({"optimizer": "lbfgs", "clip_norm": 1.0}, "clip_norm can't be used with lbfgs"),
        (
            {"weight_decay": 400.0, "optimizer": "adam"},
            "weight_decay 400 times the learning rate 0.003 must be below 1",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_settings(choose_settings(1000, **asked))


def test_settings_that_do_not_fit_the_table_are_refused() -> None:
    with pytest.raises(OptionError, match="class_weight needs classes"):
        check_settings(choose_settings(1000, class_weight="balanced"), "regression")
    with pytest.raises(OptionError, match="embedding: no column is embedded"):
        fit_table(read_problem("iris"), choose_settings(102, embedding=3), progress=False)


def test_weight_decay_is_that_asked_for_and_follows_the_schedule() -> None:
    def built(**asked: Any) -> Any:
        return build_optimizer(choose_settings(1000, learning_rate=0.1, **asked))

    assert built(optimizer="adamw").weight_decay == optim.AdamW().weight_decay
    assert built(optimizer="adamw", weight_decay=0.0).weight_decay == 0.0
    chained = built(optimizer="sgd", weight_decay=0.5, schedule="cosine")
    rate, decay = chained.members[0].learning_rate, chained.members[1].rate
    np.testing.assert_allclose(optim.tabulate(decay, 50), 0.5 * optim.tabulate(rate, 50))


@pytest.mark.parametrize("preprocess", ["robust", "whiten", ["center", "zca"]], ids=str)
def test_a_run_keeps_its_preprocessing(preprocess: Any, tmp_path: Path) -> None:
    problem = read_problem("wine", preprocess=preprocess)
    assert problem.pipeline.notes == read_problem("wine", preprocess=preprocess).pipeline.notes
    settings = choose_settings(120, hidden=[64], epochs=100)
    run = fit_table(problem, settings, progress=False)
    assert run.scores["test"]["accuracy"] > 0.9
    table = data.load("wine").to_table()
    loaded = cr.load(run.save(tmp_path / "run"))
    assert loaded.pipeline == problem.pipeline
    for name, column in predict_table(run, table).items():
        assert (predict_table(loaded, table)[name] == column).all()


def test_images_are_projected_where_asked(images: Path, tmp_path: Path) -> None:
    plain = read_problem(images)
    assert "share one range" in plain.pipeline.notes[0]
    problem = read_problem(images, preprocess=data.Whiten(components=4))
    assert problem.train[0].dtype == np.float32
    np.testing.assert_allclose(np.cov(problem.train[0].T), np.eye(4), atol=1e-5)
    assert not np.allclose(np.cov(problem.test[0].T), np.eye(4), atol=1e-2)
    centered = read_problem(images, preprocess="center").train[0]
    unit = plain.train[0] / 255
    np.testing.assert_allclose(centered, unit - unit.mean(axis=0), atol=1e-6)
    run = fit_table(problem, choose_settings(270, hidden=[16], epochs=30), progress=False)
    assert run.scores["test"]["accuracy"] > 0.95
    loaded = cr.load(run.save(tmp_path / "run"))
    assert loaded.pipeline == problem.pipeline
    pixels = plain.test[0]
    names = plain.pipeline.feature_names
    table = {name: pixels[:, i] for i, name in enumerate(names)}
    predicted = loaded.predict(pixels)
    assert (predicted == run.decide(run.outputs(problem.test[0]))).all()
    assert (predict_table(loaded, table)["prediction"] == predicted.astype(str)).all()
    assert loaded.evaluate((pixels, plain.test[1]))["accuracy"] == (run.scores["test"]["accuracy"])
    with pytest.raises(DataError, match=r"give them as a uint8 array of shape \(rows, 6\)"):
        loaded.predict(pixels / 255)
    with pytest.raises(DataError, match="roles can't be given"):
        read_problem(images, roles={"pixel_0_0": "category"})
    with pytest.raises(DataError, match="it has no column of weights"):
        read_problem(images, weight="pixel_0_0")


def test_ranked_words_that_are_new_are_told() -> None:
    columns = {"s": ["low", "mid", "high", "mid"] * 10, "y": ["a", "b", "b", "a"] * 10}
    problem = read_problem(columns, "y", roles={"s": ["low", "mid", "high"]})
    run = fit_table(problem, choose_settings(30, hidden=[16], epochs=2), progress=False)
    table = data.Table.from_arrays({"s": ["huge", "low"]})
    told: list[str] = []
    assert len(predict_table(run, table, tell=told.append)["prediction"]) == 2
    assert told == ["1 row has a value of `s` that was not in training, such as 'huge'"]


def test_what_training_did_not_have_is_told() -> None:
    days = np.datetime64("2020-01-01") + np.arange(60)
    columns = {
        "age": np.arange(60) % 40 + 20.0,
        "kind": ["gas", "oil", "sun"] * 20,
        "flag": np.arange(60) % 2 == 0,
        "day": days,
        "y": np.arange(60) * 0.5,
    }
    run = fit_table(
        read_problem(columns, "y"),
        choose_settings(30, hidden=[16], epochs=2, task="regression"),
        progress=False,
    )
    usual = {"age": [95.0, 20], "kind": ["gas", "sun"], "flag": [True, False], "day": days[[0, 59]]}
    told: list[str] = []
    predict_table(run, usual | {"day": days[[0, 59]] + 30}, tell=told.append)
    assert told == []
    far = {"age": [1e9, 30], "kind": ["wood", "gas"], "day": ["2020-01-31", "2009-12-31"]}
    with pytest.warns(UserWarning, match="the table: ") as warned:
        predict_table(run, usual | far)
    assert {warning.filename for warning in warned} == {__file__}
    said = [str(warning.message) for warning in warned]
    assert len(said) == 3
    assert re.search(
        r"1 row has a value of `age` far from the training range 20 to 59, such as 1e\+09 in",
        said[0],
    )
    assert "a value of `kind` that was not in training, such as 'wood'." in said[1]
    assert re.search(
        r"a value of `day` far from the training range 2020-01-0\d to 2020-0.-..,", said[2]
    )
    assert said[2].endswith("such as 2009-12-31 in row 2.")
    with pytest.warns(UserWarning, match="1 cell that can't be read counts as missing, 'abc'"):
        predict_table(
            run,
            usual
            | {"age": ["abc", "30"], "flag": [1, 0]}
            | {
                "age": ["abc", "30", "31"],
                "kind": ["gas"] * 3,
                "flag": [True] * 3,
                "day": days[:3],
            },
        )


@pytest.mark.parametrize("preprocess", [None, "whiten"])
def test_embedded_columns_are_learned(
    preprocess: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_ENGINE", "native")  # falling back would be an error
    rng = np.random.default_rng(0)
    codes, x = rng.integers(0, 40, 1200), rng.normal(size=1200)
    effect = rng.permutation(40) / 10
    words = np.array([f"w{code}" for code in codes], object)
    words[:3] = ["lone", "rare", "once"]
    table = {"w": words, "x": x, "z": x + rng.normal(size=1200), "y": effect[codes] + 0.1 * x}
    problem = read_problem(table, "y", roles={"w": "embedded"}, preprocess=preprocess)
    settings = choose_settings(1000, hidden=[16], task="regression", epochs=60)
    run = fit_table(problem, settings, progress=False)
    assert isinstance(run.model, nn.Sequential)
    assert isinstance(run.model.layers[0], nn.EmbedColumns)
    assert run.scores["test"]["r2"] > 0.9
    table["w"][:3] = ["new", "newer", None]
    loaded = cr.load(run.save(tmp_path / "run"))
    told: list[str] = []
    found = predict_table(loaded, table, tell=told.append)["prediction"]
    with (
        pytest.warns(UserWarning, match="a value of `w` that was rare or absent in training"),
        pytest.warns(UserWarning, match="no value of `w`, which training always had"),
    ):
        np.testing.assert_array_equal(found, predict_table(run, table)["prediction"])
    assert any("such as 'new'" in line for line in told)
    assert np.corrcoef(found[3:], table["y"][3:])[0, 1] > 0.95


@pytest.mark.parametrize("name", NORMS)
def test_every_normalization_can_be_chosen_by_its_name(name: str) -> None:
    model = build_model(4, 3, choose_settings(100, hidden=(8,), norm=name))
    assert [type(layer) for layer in model.layers].count(NORMS[name]) == 1  # type: ignore[arg-type]
    shown = CliRunner().invoke(command_line, ["train", "--help"]).output
    assert f"--norm [{'|'.join(NORMS)}]" in shown
