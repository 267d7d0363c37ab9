"""Saved runs in a terminal, and the report that each training writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import nn
from chainrule.cli import runs as module
from chainrule.core.durable import read_folder, write_folder
from chainrule.insight.report.curves import spark
from chainrule.train.run import Run

Call = Callable[..., Result]


@pytest.fixture
def trained(call: Call, place: Path) -> Path:
    """Return a directory of runs on one table: two on the same rows, one on others."""
    for k, words in enumerate(([], ["--activation", "tanh"], ["--seed", 1])):
        result = call("train", "iris", "--hidden", 4, "--epochs", 3 + k, "--out", f"r{k}", *words)
        assert result.exit_code == 0, result.output
        assert f"report   r{k}/report.html" in result.stdout
    return place


def test_show_tells_scores_curves_settings_network_and_report(call: Call, trained: Path) -> None:
    result = call("show", "r1")
    assert result.exit_code == 0, result.output
    run = cr.load("r1")
    assert f"{100 * run.scores['test']['accuracy']:.1f} %" in result.stdout
    first, last = (run.history[k]["loss"] for k in (0, -1))
    line = next(w for w in result.stdout.splitlines() if w.startswith("loss "))
    begin, blocks, end = line.split()[1:]
    assert (begin, end) == (f"{first:.4g}", f"{last:.4g}")
    assert blocks == spark([record["loss"] for record in run.history])
    assert blocks[0] == "█"
    assert blocks[-1] == "▁"
    assert "Linear(4, 4)" in result.stdout
    assert "activation     tanh" in result.stdout
    assert "dropout" not in result.stdout
    assert "report  r1/report.html" in result.stdout
    told = json.loads(call("show", "r1", "--json").stdout)
    assert told["scores"] == run.scores
    assert told["settings"]["activation"] == "tanh"
    assert told["parameters"] == 35
    assert told["report"] == "r1/report.html"


def test_compare_shows_what_differs_and_stars_the_best(call: Call, trained: Path) -> None:
    losses = [cr.load(f"r{k}").scores["test"]["log_loss"] for k in (0, 1)]
    lines = call("compare", "r0", "r1").stdout.splitlines()
    found = next(line for line in lines if line.startswith("log loss")).split()[2:]
    best = int(np.argmin(losses))
    assert found[best] == f"{losses[best]:.4g}*"
    assert found[1 - best] == f"{losses[1 - best]:.4g}"
    names = [line.split()[0] for line in lines if line]
    assert {"activation", "epochs"} <= set(names)
    assert "seed" not in names
    assert any("▁" in line for line in lines)
    told = json.loads(call("compare", "r0", "r1", "--json").stdout)
    assert [run["run"] for run in told["runs"]] == ["r0", "r1"]
    assert told["differing"] == ["activation", "epochs"]
    assert told["same_test_rows"] is True


def test_runs_on_other_rows_are_not_ranked(call: Call, trained: Path) -> None:
    result = call("compare", "r0", "r2")
    assert "*" not in result.stdout
    assert "not all scored on the same rows" in result.stdout
    assert json.loads(call("compare", "r0", "r2", "--json").stdout)["same_test_rows"] is False


def test_runs_on_arrays_are_shown_and_compared(call: Call, place: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    for k in (0, 1):
        cr.fit(nn.Linear(2, 1), (X, X[:, 0]), loss="mse", epochs=2 + k, progress=False).save(
            f"a{k}"
        )
    shown = call("show", "a0")
    assert shown.exit_code == 0, shown.output
    assert "a0: arrays, mse" in shown.stdout
    assert "report  none was written" in shown.stdout
    compared = call("compare", "a0", "a1")
    assert compared.exit_code == 0, compared.output
    assert json.loads(call("show", "a0", "--json").stdout)["scores"] is None


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["show", "nothing"], "not a saved run"),
        (["compare", "r0"], "two runs or more"),
        (["compare", "r0", "r0"], "two runs or more"),
        (["compare", "r0", "r9"], "Choose from: r0"),
        (["show", "runs"], "Choose from: runs/r1."),
        (["show"], "Missing argument"),
    ],
)
def test_what_is_no_run_is_refused(call: Call, place: Path, words: list[str], wanted: str) -> None:
    cr.fit(nn.Linear(1, 1), ([[1.0]], [1.0]), loss="mse", epochs=1, progress=False).save("r0")
    shutil.copytree("r0", "runs/r1")
    result = call(*words)
    assert result.exit_code == 2
    assert wanted in result.stderr
    assert "Traceback" not in result.output


def test_the_report_is_left_out_when_asked(call: Call, place: Path) -> None:
    result = call("train", "iris", "--epochs", 2, "--no-report", "--out", "plain")
    assert result.exit_code == 0
    assert not (place / "plain/report.html").exists()
    assert "report" not in result.stdout
    assert "report = false" in (place / "plain/config.toml").read_text()
    assert call("train", "--config", "plain/config.toml", "--out", "again").exit_code == 0
    assert not (place / "again/report.html").exists()


def test_a_report_that_fails_costs_no_training(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Run, data: Any) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(module, "report", fail)
    result = call("train", "iris", "--epochs", 2, "--out", "kept")
    assert result.exit_code == 0
    assert "note: there will be no report.html: ValueError: no ink" in result.stderr
    assert cr.load("kept").scores["test"]


def test_full_batch_training_has_a_report_too(call: Call, place: Path) -> None:
    words = ("--optimizer", "lbfgs", "--hidden", 2, "--epochs", 3)
    result = call("train", "diabetes", *words, "--out", "all", "--quiet")
    assert result.exit_code == 0, result.output
    assert "<h2>Result</h2>" in (place / "all/report.html").read_text("utf-8")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("width", [60, 80, 132])
def test_many_runs_fit_the_terminal(
    call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"{'a-run-' * (k % 8)}{k}" for k in range(12)]
    for k, name in enumerate(names):
        shutil.copytree(trained / f"r{k % 3}", trained / name)
    text = call("compare", *names).stdout
    assert text
    assert max(map(len, text.splitlines())) <= width
    heads = [line.split() for line in text.splitlines() if line.startswith(" ")]
    shown = [name for head in heads for name in head]
    assert shown == [name if len(name) <= 28 else f"…{name[-27:]}" for name in names]
    assert text.count("\naccuracy ") == len(heads) > 1


def test_settings_as_nobody_set_them_are_not_compared(call: Call, trained: Path) -> None:
    for name in ("r1", "r2"):
        files = read_folder(trained / name)
        told = json.loads(files["run.json"])
        assert told["settings"].pop("dropout") == 0.0
        write_folder(files | {"run.json": json.dumps(told).encode()}, trained / name)
    result = call("compare", "r0", "r1", "--json")
    assert "dropout" not in json.loads(result.stdout)["differing"]
    assert "dropout" not in call("compare", "r0", "r1").stdout


def test_an_edited_file_is_named_and_a_deleted_one_is_not(call: Call, trained: Path) -> None:
    root = trained / "r0"
    (root / "config.toml").write_text("epochs = 3\n")
    (root / "report.html").unlink(missing_ok=True)
    result = call("show", root)
    assert result.exit_code == 0
    assert result.stderr == "note: config.toml was changed after the run was saved.\n"


def test_sparklines_keep_shape_ends_and_gaps() -> None:
    assert spark(np.linspace(0, 1, 8)) == "▁▂▃▄▅▆▇█"
    assert spark([3, 3, 3]) == "▁▁▁"
    assert spark([1, np.nan, 0]) == "█ ▁"
    assert spark([]) == ""
    assert len(spark(range(1000), 20)) == 20
    assert spark([0.5], ends=(0, 1)) == "▅"
