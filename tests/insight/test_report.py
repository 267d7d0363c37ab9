"""The report tells the true numbers, of any kind of run, safely and in one small file."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

import chainrule as cr
from chainrule import data, nn
from chainrule.core.errors import DataError, RunError
from chainrule.data.pixels import PixelPipeline
from chainrule.data.target import Target
from chainrule.insight.report.overview import overview
from chainrule.insight.report.predictions import predictions_on
from chainrule.insight.report.remarks import Remark, remarks_on
from chainrule.insight.report.weights import first_weights
from chainrule.nn.layer import parameters
from chainrule.tabular.conformal import intervals_of
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

VOID = {"meta", "img", "br"}
HOSTILE = '<script>alert("x")</script>&'


class Read(HTMLParser):
    """A page taken apart: sections by heading, texts, links; elements must nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.section = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.section = text
        if self.open and text.strip() and "style" not in self.open and "title" not in self.open:
            self.texts.append((self.section, text.strip()))

    def words(self, section: str) -> list[str]:
        return [text for where, text in self.texts if where == section]

    def told(self, section: str) -> str:
        return " ".join(self.words(section))


def read(html: str) -> Read:
    page = Read(html)
    assert all(link.startswith(("#s", "data:image/png;base64,")) for link in page.links)
    assert "url(" not in html
    assert "@import" not in html
    assert "<script" not in html
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert len(html) < 3e6
    return page


def pixels_of(uri: str) -> np.ndarray:
    """Return the gray pixels of a PNG, all of whose lines are unfiltered."""
    raw = base64.b64decode(uri.split(",")[1])
    width, height = struct.unpack(">II", raw[16:24])
    length = struct.unpack(">I", raw[33:37])[0]
    lines = np.frombuffer(zlib.decompress(raw[41 : 41 + length]), np.uint8)
    return lines.reshape(height, width + 1)[:, 1:]


@pytest.fixture(scope="module")
def wine() -> tuple[cr.Run, Problem]:
    problem = read_problem("wine", seed=3)
    settings = choose_settings(120, hidden=[3], epochs=4, learning_rate=0.003)
    return fit_table(problem, settings, progress=False), problem


def test_the_numbers_of_a_classifier_are_those_numpy_finds(wine: tuple[cr.Run, Problem]) -> None:
    run, problem = wine
    X, y = problem.test
    z = run.outputs(X).astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    said = p.argmax(axis=1)
    page = read(cr.report(run, problem).html())
    assert f"{100 * (said == y).mean():.1f} %" in page.told("Result")
    ends = binomtest(int((said == y).sum()), len(y)).proportion_ci(method="wilson")
    assert f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %" in page.told("Result")
    matrix = [[int(((y == i) & (said == j)).sum()) for j in range(3)] for i in range(3)]
    cells = [int(w) for w in page.words("Predictions") if w.isdigit()][:9]
    assert cells == np.ravel(matrix).tolist()
    # The mistakes, the surest first, each with its place and its values in the table.
    wrong = np.flatnonzero(said != y)
    margin = p[wrong, said[wrong]] - p[wrong, y[wrong]]
    expected = wrong[np.argsort(-margin, kind="stable")][:12]
    assert len(expected) >= 3
    assert problem.raw is not None
    table, rows = problem.raw
    assert isinstance(table, data.Table)
    told = page.told("Largest errors")
    shown = [int(n.replace(",", "")) for n in re.findall(r"row ([\d,]+)", told)]
    assert shown == (rows[expected] + 1).tolist()
    first = table["alcohol"].values[rows[expected[0]]]
    assert f"alcohol {first:g}" in told
    assert "target" not in told


def test_the_numbers_of_a_regression_are_those_numpy_finds() -> None:
    problem = read_problem("diabetes")
    run = fit_table(
        problem, choose_settings(300, hidden=[16], task="regression", epochs=3), progress=False
    )
    target = problem.pipeline.target
    true = problem.test[1] * target.scale + target.mean
    said = run.outputs(problem.test[0])[:, 0] * target.scale + target.mean
    page = read(html := cr.report(run, problem).html())
    assert f"{np.abs(said - true).mean():.4g}" in page.told("Result")
    outputs = run.outputs(problem.test[0])
    assert run.pipeline is not None
    low, high = intervals_of(run.pipeline.target, run.objective, outputs, 0.9)
    inside = 100 * ((low <= true) & (true <= high)).mean()
    assert f"90 % intervals contain {inside:.1f} % " in page.told("Result")
    assert f"their mean width {(high - low).mean():.4g}" in page.told("Result")
    assert problem.raw is not None
    worst = np.argsort(-np.abs(said - true))[:12]
    shown = re.findall(r"row ([\d,]+)", page.told("Largest errors"))
    assert [int(n) for n in shown] == (problem.raw[1][worst] + 1).tolist()
    assert html.count("a row: ") == len(true)


def test_the_calibration_is_of_the_most_probable_class_whatever_the_threshold() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    columns = {"x": x, "y": np.where(x + rng.normal(size=400) > 1, "yes", "no")}
    problem = read_problem(columns, "y")
    settings = choose_settings(280, hidden=[8], epochs=20)
    run = fit_table(problem, settings, progress=False)

    def told() -> list[str]:
        words = read(cr.report(run, problem).html()).words("Predictions")
        return words[words.index("Calibration") :]

    before, decided = told(), run.decide(run.outputs(problem.test[0]))
    run.threshold = 0.05
    assert (run.decide(run.outputs(problem.test[0])) != decided).any()
    assert told() == before


def test_hostile_names_and_cells_stay_text() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    table = {
        HOSTILE: x,
        "word": rng.choice([f"</style>{HOSTILE}", "plain", "<b>"], 60),
        f"t{HOSTILE}": np.where(x + rng.normal(size=60) > 0, HOSTILE, "<img src=x onerror=a>"),
    }
    problem = read_problem(data.Table.from_arrays(table), f"t{HOSTILE}")
    run = fit_table(problem, choose_settings(40, hidden=[16], epochs=3), progress=False)
    run.settings["data"] = HOSTILE
    page = read(html := cr.report(run, problem).html())
    assert "onerror=a>" not in html
    assert HOSTILE in page.told("Largest errors")
    assert "<script>alert" in page.told("Predictions")


def test_embedded_categories_and_few_rows_without_validation() -> None:
    rng = np.random.default_rng(1)
    table = {"city": rng.choice(["a", "b", "c", "d"], 30), "x": rng.normal(size=30),
             "y": rng.normal(size=30)}  # fmt: skip
    problem = read_problem(data.Table.from_arrays(table), "y", roles={"city": "embedded"})
    assert problem.validation is None
    settings = choose_settings(24, hidden=[16], task="regression", validated=False, epochs=3)
    run = fit_table(problem, settings, progress=False)
    page = read(cr.report(run, problem).html())
    assert re.search(r"city [abcd]", page.told("Largest errors"))
    assert "EmbedColumns" in page.told("The network")


def pictures(test_rows: int) -> Problem:
    """Return images as large as those of Fashion-MNIST, whose brighter half tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(400 + test_rows) % 10
    X = rng.integers(0, 180, (len(y), 28, 28), np.uint8)
    X[np.arange(len(y)), y * 2] += 40
    X = X.reshape(len(y), 784)
    names = tuple(f"pixel{i}" for i in range(784))
    classes = tuple(f"kind {k}" for k in range(10))
    pipeline = PixelPipeline(names, Target("label", "classification", classes))
    return Problem("pictures", pipeline, (X[:400], y[:400]), None, (X[400:], y[400:]),
                   own_test=True, raw=(X[400:], np.arange(test_rows)))  # fmt: skip


def test_mistakes_of_images_are_shown_as_images_in_a_small_file() -> None:
    problem = pictures(10_000)
    settings = choose_settings(400, hidden=[256, 128], validated=False, epochs=2)
    run = fit_table(problem, settings, progress=False)
    html = cr.report(run, problem).html()
    page = read(html)
    predictions = predictions_on(run, problem)
    assert predictions is not None
    worst = predictions.mistakes(24)
    section = html[html.index("Largest errors</h2>") :]
    uris = re.findall(r'<img src="(data:[^"]+)"', section)[: len(worst)]
    assert len(worst) == len(uris) == 24
    X, y = problem.test
    np.testing.assert_array_equal(pixels_of(uris[0]).ravel(), X[worst[0]])
    p = run.predict_proba(X)
    assert (run.predict(X)[worst] != y[worst]).all()
    margin = p.max(axis=1) - p[np.arange(len(y)), y]
    np.testing.assert_allclose(margin[worst], np.sort(margin)[::-1][:24])
    assert f"kind {y[worst[0]]}" in page.told("Largest errors")


def interrupt(run: Any, record: dict[str, Any]) -> None:
    if record["epoch"] == 3:
        raise KeyboardInterrupt


def poisson(rng: Any, X: Any) -> tuple[str, Any, int]:
    return "poisson", rng.poisson(np.exp(X[:, 0])), 1


LEARNED: dict[str, Callable[[Any, Any], tuple[Any, Any, int]]] = {
    "classes": lambda rng, X: ("cross_entropy", (X[:, 0] > 0) * 1, 2),
    "one-hot": lambda rng, X: ("cross_entropy", np.eye(2)[(X[:, 0] > 0) * 1], 2),
    "margins": lambda rng, X: ("multiclass_hinge", (X[:, 0] > 0) * 1, 2),
    "yes or no": lambda rng, X: ("binary_cross_entropy", (X[:, 0] > 0) * 1, 1),
    "hinge": lambda rng, X: ("hinge", np.where(X[:, 0] > 0, 1, -1), 1),
    "labels": lambda rng, X: ("binary_cross_entropy", (X[:, :3] > 0) * 1, 3),
    "values": lambda rng, X: ("mse", X[:, 0] + 1, 1),
    "columns": lambda rng, X: ("huber", X[:, :2], 2),
    "counts": poisson,
    "own": lambda rng, X: (lambda p, t: ((p - t) ** 4).mean(axis=1), X[:, :2], 2),
}


@pytest.mark.parametrize("kind", LEARNED)
def test_runs_on_arrays_of_any_kind_are_reported(kind: str) -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(80, 4)).astype(np.float32)
    loss, y, outputs = LEARNED[kind](rng, X)
    model = nn.Sequential([nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, outputs)])
    run = cr.fit(model, (X, y), loss=loss, epochs=2, progress=False, engine="reference")
    page = read(cr.report(run, (X, y)).html())
    found = predictions_on(run, (X, y))
    assert found is not None
    assert len(found) == 80
    assert page.told("Training curves")
    assert page.told("Predictions")
    if kind not in ("values", "columns", "counts", "own"):
        share = (run.predict(X).reshape(80, -1) == (np.argmax(y, axis=1) if kind == "one-hot" else
                 np.asarray(y) > 0).reshape(80, -1)).all(axis=1).mean()  # fmt: skip
        assert f"{100 * share:.1f} %" in page.told("Result")
    read(cr.report(run).html())  # of what the run knows alone


def test_values_of_several_columns_are_measured_each_by_its_own() -> None:
    X = np.eye(4, dtype=np.float32)
    run = cr.fit(nn.Linear(4, 2), (X, X[:, :2]), loss="mse", epochs=1, progress=False)
    predictions = predictions_on(run, (X, X[:, :2] * [1, 1e6]))
    assert predictions is not None
    error = predictions.predicted - X[:, :2] * [1, 1e6]
    sizes = (np.abs(error) / np.sqrt((error**2).mean(axis=0))).max(axis=1)
    assert predictions.mistakes(4) == np.argsort(-sizes, kind="stable").tolist()


def test_an_interrupted_run_says_so_and_images_on_arrays_are_seen() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    model = nn.Sequential([nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)])
    with pytest.warns(UserWarning, match="interrupted in epoch 3 of 9"):
        run = cr.fit(
            model, (X, y), loss="cross_entropy", epochs=9, validation=0.2, on_epoch=interrupt,
            watch=True, progress=False,
        )  # fmt: skip
    page = read(html := cr.report(run, (X, y)).html())
    assert "interrupted after epoch 3 of 9" in page.told("Result")
    assert 'class="image"' in html
    assert page.told("Layers during training")


def test_a_saved_run_is_reported_on_a_table_with_its_target(
    wine: tuple[cr.Run, Problem], tmp_path: Path
) -> None:
    run, problem = wine
    assert problem.raw is not None
    table, rows = problem.raw
    run.save(tmp_path / "run")
    again = cr.load(tmp_path / "run")
    assert isinstance(table, data.Table)
    report = cr.report(again, table.take(rows))
    here = predictions_on(run, problem)
    there = predictions_on(again, table.take(rows))
    assert here is not None
    assert there is not None
    np.testing.assert_array_equal(here.true, there.true)
    assert here.mistakes(9) == there.mistakes(9)
    file = report.save(tmp_path / "run.html")
    assert file.read_text("utf-8") == report.html()
    assert "srcdoc=" in report._repr_html_()
    assert "kB of HTML" in repr(report)


def test_what_does_not_fit_is_refused(wine: tuple[cr.Run, Problem], tmp_path: Path) -> None:
    run, problem = wine
    with pytest.raises(RunError, match="report: run must be a Run"):
        cr.report(run.model)
    with pytest.raises(DataError, match="not int"):
        cr.report(cr.fit(nn.Linear(1, 1), ([[1.0]], [1.0]), loss="mse", progress=False), 3)
    with pytest.raises(DataError, match="trained on a table"):
        cr.report(run, problem.test)
    with pytest.raises(RunError, match="can't write"):
        cr.report(run).save(tmp_path / "no" / "report.html")


# --- what stands out ------------------------------------------------------------------------


def test_weights_before_training_are_those_it_began_with() -> None:
    problem = read_problem("iris")
    settings = choose_settings(
        102, hidden=[16], optimizer="sgd", learning_rate=1e-12, epochs=1, norm="batch"
    )
    run = fit_table(problem, settings, progress=False)
    before = first_weights(run)
    for path, parameter in parameters(run.model).items():
        if parameter.trainable:
            np.testing.assert_allclose(before[path], parameter.value, atol=1e-9, err_msg=path)


def told(run: cr.Run, **curves: list[float]) -> list[Remark]:
    run.best_epoch = 0
    run.history = [
        {"epoch": i + 1, **{name: values[i] for name, values in curves.items()}}
        for i in range(len(next(iter(curves.values()))))
    ]
    run.stopped, run.scores = None, {}
    return remarks_on(run)


def test_remarks_are_made_where_numbers_leave_no_doubt_and_nowhere_else() -> None:
    run = cr.fit(nn.Linear(1, 1), ([[1.0], [2.0]], [1.0, 0.0]), loss="mse", progress=False)
    falling = [float(v) for v in 2.0 ** -np.arange(20)]
    assert told(run, loss=falling, val_loss=[v + 0.1 for v in falling]) == []
    turning = [v + 0.02 * i for i, v in enumerate(falling)]
    once = [*falling[:-1], 0.5]  # worse in one epoch alone
    assert told(run, loss=falling, val_loss=once) == []
    [over] = told(run, loss=falling, val_loss=turning)
    best = int(np.argmin(turning))
    assert f"Overfitting: after epoch {best + 1} the training loss kept falling" in over.text
    [more] = told(run, loss=falling, val_loss=falling)
    assert "more epochs may improve it" in more.text
    [stuck] = told(run, loss=[1.0] * 10)
    assert "hardly changed" in stuck.text


@pytest.mark.parametrize(("ratio", "word"), [(1e-4, "vanish"), (1.0, ""), (1e4, "explode")])
def test_gradients_that_vanish_or_explode_are_told(ratio: float, word: str) -> None:
    run = cr.fit(nn.Linear(1, 1), ([[1.0], [2.0]], [1.0, 0.0]), loss="mse", progress=False)
    layers = {str(k): {"gradient_rms": g} for k, g in enumerate((ratio, 1.0, 1.0))}
    run.history = [{"epoch": 1, "loss": 1.0, "layers": layers}]
    texts = [f.text for f in remarks_on(run)]
    assert len(texts) == bool(word)
    assert all(f"Gradients {word}" in text and "10,000 times" in text for text in texts)


def test_a_layer_that_died_is_named_and_no_infinite_ratio_is_told() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    dead = nn.Linear(6, 5, bias_init=nn.Constant(-50.0))
    model = nn.Sequential([nn.Linear(4, 6), nn.ReLU(), dead, nn.ReLU(), nn.Linear(5, 2)])
    run = cr.fit(model, (X, (X[:, 0] > 0) * 1), loss="cross_entropy", epochs=10, watch=True,
                 progress=False)  # fmt: skip
    texts = [finding.text for finding in remarks_on(run)]
    assert any(text.startswith("Layer 3 (ReLU): all 5 units dead.") for text in texts)
    assert not any("inf" in text for text in texts)
    for record in run.history:  # the same without a layer whose output is 0
        for layer in record.get("layers", {}).values():
            layer["input_zeros"] = 0.5
    assert any("No gradient reaches layer 0" in finding.text for finding in remarks_on(run))


@pytest.mark.parametrize("count", [1, 2])
def test_counts_agree_with_their_nouns(count: int) -> None:
    x = np.arange(8.0)[:, None]
    problem = read_problem({"x": x[:, 0], "y": x[:, 0] * 2}, "y", test_fraction=count / 8)
    assert problem.rows["test"] == count
    run = fit_table(problem, choose_settings(6, task="regression", epochs=1, hidden=[],
                                             validated=False), progress=False)  # fmt: skip
    page = read(cr.report(run, problem).html())
    for text in (str(overview(run, "here")), page.told("Result"), page.told("Data")):
        assert not re.search(r"\b1 (rows|epochs|units|features|parameters)\b", text)
        assert count == 2 or not text or "1 row" in text or "1 epoch" in text


def test_dead_units_are_told_and_layers_are_seen_on_training_rows() -> None:
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, hidden=[8], epochs=2), progress=False)
    bias = parameters(run.model)["0.bias"]
    bias.value = np.where(np.arange(8) < 3, -1e3, bias.value)
    page = read(cr.report(run, problem).html())
    assert "In layer 1 (ReLU) 3 of 8 units are dead" in page.told("Result")
    inside = page.told("Hidden layers")
    assert "Measured on 102 training rows." in inside
    assert "two principal components" in inside
    bias.value = np.where(np.arange(8) < 1, -1e3, 1e3)
    assert "are dead" not in read(cr.report(run, problem).html()).told("Result")


def test_a_model_that_is_one_function_is_reported_without_its_layers() -> None:
    weight = cr.Parameter((3, 1), lambda shape, generator: np.zeros(shape))

    class Bare:
        def __init__(self) -> None:
            self.weight = weight

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return x @ self.weight

    X = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
    run = cr.fit(Bare(), (X, X[:, 0]), loss="mse", epochs=2, progress=False)
    page = read(cr.report(run, (X, X[:, 0])).html())
    assert "3 parameters" in page.told("Result")


def test_where_all_is_right_the_rows_of_least_certainty_are_shown() -> None:
    X = np.array([[-3.0], [-1.0], [0.2], [2.0]], np.float32)
    layer = nn.Linear(1, 2)
    layer.weight.value = [[-1.0, 1.0]]
    run = cr.fit(layer, (X, [0, 0, 1, 1]), loss="cross_entropy", epochs=1, progress=False,
                 optimizer="sgd")  # fmt: skip
    layer.weight.value, layer.bias.value = [[-1.0, 1.0]], [0.0, 0.0]
    page = read(cr.report(run, (X, [0, 0, 1, 1])).html())
    told = page.told("Largest errors")
    assert "Every row is predicted correctly" in told
    assert told.count(", correct") == 4
    assert re.findall(r"index (\d)", told) == ["2", "1", "3", "0"]


def test_first_best_and_last_epoch_stand_in_numbers() -> None:
    X = np.linspace(-1, 1, 40, dtype="float32")[:, None]
    model = nn.Sequential([nn.Linear(1, 1)])
    run = cr.fit(model, (X, 2 * X), loss="mse", epochs=3, progress=False, engine="reference")
    told = read(cr.report(run).html()).told("Epochs in numbers")
    assert "epoch 1" in told
    assert "epoch 3" in told
    assert f"{run.history[0]['loss']:.4g}" in told
    run.history, run.best_epoch = run.history[:1], 1
    assert "Epochs in numbers" not in cr.report(run).html()
