"""A saved run comes back bit for bit; nothing is overwritten, half written or misread."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data.table import Table
from chainrule.nn import layer_config
from chainrule.tabular import choose_settings, fit_table, read_problem

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 4)).astype("f4")
CLASSES = X[:, :3].argmax(axis=1)
FILES = ["history.jsonl", "manifest.json", "metrics.json", "run.json", "weights.safetensors"]


def train(
    loss: Any = "cross_entropy", y: Any = CLASSES, outputs: int = 3, **options: Any
) -> cr.Run:
    hidden = nn.Linear(4, 6, weight_init="he_normal")
    model = nn.Sequential([hidden, nn.LeakyReLU(0.2), nn.Linear(6, outputs)])
    return cr.fit(model, (X, y), loss=loss, epochs=2, validation=0.2, progress=False, **options)


@pytest.fixture(scope="module")
def run() -> cr.Run:
    return train(early_stopping=3)


@pytest.fixture
def saved(run: cr.Run, tmp_path: Path) -> Path:
    return run.save(tmp_path / "deep" / "a")


def test_a_run_comes_back_bit_for_bit(run: cr.Run, saved: Path) -> None:
    back = cr.load(saved)
    np.testing.assert_array_equal(back.outputs(X), run.outputs(X))
    np.testing.assert_array_equal(back.predict(X), run.predict(X))
    np.testing.assert_array_equal(back.predict_proba(X), run.predict_proba(X))
    assert back.evaluate((X, CLASSES)) == run.evaluate((X, CLASSES))
    for name, parameter in nn.parameters(run.model).items():
        again = nn.parameters(back.model)[name]
        assert again.value.dtype == parameter.value.dtype
        np.testing.assert_array_equal(again.value, parameter.value)
    for name in ("history", "settings", "stopped", "best_epoch", "scores", "features", "metrics"):
        assert getattr(back, name) == getattr(run, name)


def test_the_files_are_few_and_readable(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == FILES
    about = json.loads((saved / "run.json").read_text())
    assert about["loss"] == "cross_entropy"
    assert about["model"]["layers"][1] == {"type": "LeakyReLU", "slope": 0.2}
    lines = (saved / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_loaded_run_trains_on(saved: Path) -> None:
    back = cr.load(saved)
    before = back.evaluate((X, CLASSES))["loss"]
    more = cr.fit(back.model, (X, CLASSES), loss="cross_entropy", epochs=30, progress=False)
    assert more.evaluate((X, CLASSES))["loss"] < before


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("mse", X[:, 0] * 2), ("mse", X[:, :1]), ("mse", X[:, :3]),
        ("binary_cross_entropy", (X[:, 0] > 0).astype(int)),
        ("binary_cross_entropy", (X[:, :2] > 0).astype(int)),
        ("hinge", (X[:, :2] > 0).astype(int)), ("poisson", CLASSES), ("mae", X[:, 0]),
        (nn.Huber(0.5), X[:, :2]),
    ],
)  # fmt: skip
def test_every_kind_of_target_comes_back(loss: Any, y: Any, tmp_path: Path) -> None:
    run = train(loss, y, 1 if y.ndim == 1 else y.shape[1], metrics=["mse", "accuracy"])
    back = cr.load(run.save(tmp_path / "a"))
    np.testing.assert_array_equal(back.predict(X), run.predict(X))
    assert back.predict(X).shape == y.shape
    assert back.evaluate((X, y)) == run.evaluate((X, y))


@pytest.mark.parametrize("loss", [nn.CrossEntropy(0.2), "multiclass_hinge"], ids=str)
def test_a_loss_comes_back_with_its_options(loss: Any, tmp_path: Path) -> None:
    run = train(loss)
    back = cr.load(run.save(tmp_path / "a"))
    assert back.objective == run.objective
    assert back.evaluate((X, CLASSES)) == run.evaluate((X, CLASSES))
    about = json.loads((tmp_path / "a" / "run.json").read_text())
    assert about["custom_loss"] is False
    assert about["loss"] == (loss if isinstance(loss, str) else nn.to_config(loss))


def test_float64_and_images_come_back(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (30, 2, 2), dtype=np.uint8)
    model = nn.Sequential([nn.Flatten(), nn.Linear(4, 2, dtype="float64")])
    run = cr.fit(model, (images, images[:, 0, 0] % 2), loss="cross_entropy", progress=False)
    back = cr.load(run.save(tmp_path / "a"))
    assert back.outputs(images).dtype == np.float64
    np.testing.assert_array_equal(back.outputs(images), run.outputs(images))


def test_sizes_counted_with_numpy_are_saved(tmp_path: Path) -> None:
    model = nn.Linear(4, CLASSES.max() + 1)
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    np.testing.assert_array_equal(cr.load(run.save(tmp_path / "a")).outputs(X), run.outputs(X))


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(4, 3), nn.Dropout(np.float32(0.25)), nn.Linear(3, 3)])
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    assert cr.load(run.save(tmp_path / "a")).model[1].rate == 0.25  # type: ignore[attr-defined]


def test_a_parameter_that_is_one_number_comes_back(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(4, 3), nn.PReLU()])
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    np.testing.assert_array_equal(cr.load(run.save(tmp_path / "a")).outputs(X), run.outputs(X))


def test_what_was_frozen_stays_frozen(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 3)])
    model[0].weight.trainable = False  # type: ignore[attr-defined]
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    again = cr.load(run.save(tmp_path / "a")).model
    told = {name: p.trainable for name, p in nn.parameters(again).items()}
    assert told == {name: p.trainable for name, p in nn.parameters(model).items()}
    assert not told["0.weight"]
    assert told["0.bias"]


def absolute(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return cr.abs(output - target).mean(1)


def test_a_loss_of_ones_own_is_given_again(tmp_path: Path) -> None:
    y = X[:, :1]
    run = train(absolute, y, 1)
    path = run.save(tmp_path / "a")
    back = cr.load(path)
    np.testing.assert_array_equal(back.predict(X), run.predict(X))
    with pytest.raises(cr.OptionError, match=r"'absolute' was a function of your own.*loss="):
        back.evaluate((X, y))
    assert cr.load(path, loss=absolute).evaluate((X, y)) == run.evaluate((X, y))


def test_a_metric_of_ones_own_is_given_again(tmp_path: Path) -> None:
    y = X[:, :1]
    run = train("mse", y, 1, metrics=["mae", absolute])
    path = run.save(tmp_path / "a")
    back = cr.load(path)
    assert set(back.evaluate((X, y))) == {"loss", "mae"}
    assert "absolute" in back.history[0]
    again = cr.load(path, metrics=["mae", absolute])
    assert again.evaluate((X, y)) == run.evaluate((X, y))


def test_a_finished_run_is_not_overwritten(run: cr.Run, saved: Path) -> None:
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(cr.RunError, match=r"already holds a finished run; .* with force=True\.$"):
        run.save(saved)
    assert before == {p.name: p.read_bytes() for p in saved.iterdir()}
    other = train(seed=5)
    other.save(saved, force=True)
    np.testing.assert_array_equal(cr.load(saved).outputs(X), other.outputs(X))
    assert os.listdir(saved.parent) == ["a"]


def test_what_is_no_run_is_never_replaced(run: cr.Run, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(cr.RunError, match="exists and is not a chainrule run"):
            run.save(tmp_path / "thesis", force=force)
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(cr.RunError, match="is a file; give a directory"):
        run.save(tmp_path / "note.txt", force=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    cr.load(run.save(tmp_path / "empty"))


def test_a_place_that_can_not_be_written_is_named(run: cr.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.RunError, match=r"file' is a file, so no directory"):
        run.save(tmp_path / "file" / "a")
    with pytest.raises(cr.RunError, match=r"made in '/proc', so nothing can be saved there\.$"):
        run.save("/proc/chainrule-run")  # not even root makes directories there


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_permission_is_named(run: cr.Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(cr.RunError, match="no directory can be made in"):
        run.save(tmp_path / "a")
    tmp_path.chmod(0o700)


@dataclass(eq=False)
class Twice:
    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return x * 2.0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: x * 2.0, "can't be saved: .*lambda.* Write it as a dataclass with __call__"),
        (cr.tanh, r"can't be saved: .*tanh.* Use the layer nn\.Tanh\(\)"),
        (Twice(), "can't be saved: Twice.* decorate it with chainrule.nn.register_layer"),
    ],
)
def test_what_can_not_be_saved_is_said_before_training(layer: Any, message: str) -> None:
    seen: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda text, *more: seen.append(f"{text} {more[1]}")
        model = nn.Sequential([nn.Linear(4, 3), layer])
        cr.fit(
            model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False,
            on_epoch=lambda run, record: seen.append("an epoch"),
        )  # fmt: skip
    assert len(seen) == 2
    assert re.search(message, seen[0])
    assert seen[0].endswith(__file__)  # where the user called fit


def test_a_layer_of_another_module_is_asked_for_by_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(layer_config._registry, "Twice", Twice)
        model = nn.Sequential([nn.Linear(4, 3), Twice()])
        run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
        run.save(tmp_path / "a")
        cr.load(tmp_path / "a")
    with pytest.raises(cr.OptionError, match="import the module that registers it"):
        cr.load(tmp_path / "a")


def test_a_model_that_can_not_be_saved_writes_nothing(tmp_path: Path) -> None:
    model = nn.Sequential([nn.Linear(4, 3), lambda x: x * 2.0])
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", epochs=1, progress=False)
    with pytest.raises(cr.OptionError, match="lambda"):
        run.save(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_a_layer_used_twice_can_not_be_saved_and_is_named(tmp_path: Path) -> None:
    """It would come back as two layers with weights of their own."""
    twice = nn.Linear(4, 4)
    model = nn.Sequential([twice, nn.ReLU(), twice])
    run = cr.fit(model, (X, X), loss="mse", epochs=1, progress=False)
    with pytest.raises(cr.OptionError, match=r"more than one place.*2\.bias, 2\.weight"):
        run.save(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_no_run_is_named_with_the_nearest(saved: Path) -> None:
    saved.rename(saved.parent / "digits")
    with pytest.raises(
        cr.RunError, match=r"not a saved run: it has no run.json. Did you mean '.*digits'"
    ):
        cr.load(saved.parent / "digit")
    with pytest.raises(cr.RunError, match="not a saved run"):
        cr.load(saved.parent)
    with pytest.raises(cr.RunError, match="not a saved run"):
        cr.load(saved.parent / "none" / "there")


def test_replacing_a_run_keeps_files_that_are_not_its_own(tmp_path: Path) -> None:
    run = train()
    run.save(tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    run.save(tmp_path / "a", force=True)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_files_hold_json_even_where_a_score_is_no_number(tmp_path: Path) -> None:
    run = train()
    run.history[-1]["r2"] = float("nan")
    run.scores = {"test": {"r2": float("inf"), "all": [1.0, float("nan")]}}
    root = run.save(tmp_path / "a")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for line in (root / "history.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    scores = json.loads((root / "metrics.json").read_text(), parse_constant=refuse)
    assert scores == {"test": {"r2": None, "all": [1.0, None]}}
    assert cr.load(root).history[-1]["r2"] is None
    assert "r2" not in repr(cr.load(root))


def test_a_run_is_told_in_a_few_lines() -> None:
    run = train()
    run.stopped = "interrupted"
    told = repr(run)
    assert told.startswith("Run of Sequential([Linear(4, 6), ")
    assert f"cross_entropy, {len(run.history)} epochs" in told
    assert f"loss {run.history[-1]['loss']:.4g}" in told
    assert told.endswith("stopped: interrupted")
    assert len(told) < 300
    assert "0x" not in told


def test_the_engine_a_run_is_loaded_for_is_used(tmp_path: Path) -> None:
    root = train().save(tmp_path / "a")
    run = cr.load(root, engine="reference", threads=1)
    run.predict(X)
    assert [f.engine for f in run._functions.values()] == ["reference"]
    assert "reference" not in (root / "run.json").read_text()


def test_raw_numbers_are_not_taken_for_a_tables_features(tmp_path: Path) -> None:
    problem = read_problem("iris")
    trained = fit_table(problem, choose_settings(102, hidden=[16], epochs=2), progress=False)
    raw = np.array([[5.1, 3.5, 1.4, 0.2]])
    for run in (trained, cr.load(trained.save(tmp_path / "a"))):
        evaluate = lambda X, run=run: run.evaluate((X, [0]))  # noqa: E731
        for ask in (run.predict, run.predict_proba, evaluate):
            for rows in (raw, raw.tolist(), raw.astype(np.float32), {"sepal length": [5.1]}):
                with pytest.raises(cr.DataError, match=r"scale and encode .*predict_table\(run"):
                    ask(rows)
        features = problem.test[0]
        assert isinstance(problem.raw, tuple)
        table, rows = problem.raw
        scored = run.evaluate(Table(tuple(column.take(rows) for column in table), "iris"))
        assert scored["accuracy"] == trained.scores["test"]["accuracy"]
        with pytest.raises(cr.DataError, match=r"run\.evaluate\(table\).*run\.probabilities"):
            run.predict_proba(features)
        outputs = run.outputs(features)
        np.testing.assert_array_equal(run.decide(outputs), outputs.argmax(axis=1))
        np.testing.assert_allclose(run.probabilities(outputs).sum(axis=1), 1, rtol=1e-6)


def test_the_history_has_columns_by_name() -> None:
    X = np.linspace(-1, 1, 20, dtype="float32")[:, None]
    run = cr.fit(nn.Linear(1, 1), (X, 2 * X), loss="mse", epochs=3, progress=False)
    assert run.history["loss"] == [record["loss"] for record in run.history]
    assert [record["epoch"] for record in run.history[1:]] == [2, 3]
    with pytest.raises(cr.OptionError, match=r"no 'los'. Did you mean 'loss'"):
        run.history["los"]


@pytest.mark.parametrize(
    ("name", "place"), [("Sequential", "nn"), ("Adam", "optim"), ("read_table", "data")]
)
def test_a_name_of_a_package_says_where_it_is(name: str, place: str) -> None:
    with pytest.raises(AttributeError, match=rf"It is chainrule\.{place}\.{name}\."):
        getattr(cr, name)


def test_the_ways_to_score_lead_to_evaluate() -> None:
    X = np.linspace(-1, 1, 20, dtype="float32")[:, None]
    run = cr.fit(nn.Linear(1, 1), (X, 2 * X), loss="mse", epochs=1, progress=False)
    with pytest.raises(AttributeError, match=r"run\.evaluate\(\(X, y\)\)"):
        run.score((X, 2 * X))
    with pytest.raises(cr.OptionError, match=r"Features and targets go together: run\.evaluate"):
        run.evaluate(X, 2 * X)
