"""Train on a name, a file and a query; what is shown, and what is saved."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule.cli import train as command
from chainrule.cli.show import _ending
from chainrule.core import durable

Call = Callable[..., Result]


def test_digits_needs_no_option(call_default: Call, place: Path) -> None:
    result = call_default("train", "digits")
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert "digits: predict `target`, 10 classes" in shown
    assert "dropped `pixel_0_0`" in shown
    assert "always `1`" in shown
    assert re.search(r"^ accuracy +9[6-9]\.\d % +[\d.]+ to [\d.]+ % +10\.0 %$", shown, re.MULTILINE)
    assert "\n\n\n" not in shown
    assert "saved    runs/digits-1" in shown
    assert "\x1b" not in result.output
    assert max(map(len, shown.splitlines())) <= 80
    run = cr.load("runs/digits-1")
    assert run.scores["test"]["accuracy"] >= 0.96
    assert run.scores["baseline"]["accuracy"] < 0.12
    assert np.sum(run.scores["confusion_matrix"]) == run.scores["rows"]["test"]
    assert sorted(p.name for p in (place / "runs/digits-1").iterdir()) == [
        "config.toml", "history.jsonl", "manifest.json", "metrics.json", "pipeline.json",
        "report.html", "run.json", "weights.safetensors",
    ]  # fmt: skip


def test_a_table_no_one_prepared(call: Call, repository: Path) -> None:
    houses = repository / "examples" / "houses.csv"
    result = call("train", houses, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["target"] == "price"
    assert summary["task"] == "regression"
    assert summary["test"]["r2"] > 0.85
    # In the target's own units: prices are hundreds of thousands, errors tens.
    assert 10_000 < summary["test"]["mae"] < 40_000 < summary["baseline"]["mae"]
    assert summary["error_quantiles"]["0.5"] < summary["baseline_error_quantiles"]["0.5"]
    assert any("`id`" in note for note in summary["notes"])
    assert summary["run"] == "runs/houses-1"


def test_runs_are_numbered_and_repeatable(call: Call, colors: Path) -> None:
    first = json.loads(call("train", colors, "--epochs", 3, "--json").stdout)
    again = json.loads(call("train", colors, "--epochs", 3, "--json").stdout)
    other = json.loads(call("train", colors, "--epochs", 3, "--json", "--seed", 1).stdout)
    assert [s["run"] for s in (first, again, other)] == [f"runs/colors-{k}" for k in (1, 2, 3)]
    assert first["test"] == again["test"] != other["test"]


def test_the_pipeline_learns_from_training_rows_alone(call: Call, place: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},{'yes' if x > 0 else 'no'}" for x in rng.normal(size=200)]
    (place / "t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    call("train", "t.csv", "--epochs", 1, "--out", "a")
    (encoder,) = cr.load("a").pipeline.encoders  # type: ignore[union-attr]
    whole = np.mean([float(row.split(",")[0]) for row in rows])
    assert encoder.scaling.shift[0] != pytest.approx(whole, abs=1e-6)
    assert encoder.scaling.shift[0] == pytest.approx(whole, abs=0.3)


def test_sql_is_a_source(call: Call, colors: Path) -> None:
    query = f"select size, kind from '{colors.name}' where weight <> 50"
    result = call("train", query, "--target", "kind", "--epochs", 2, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert sum(summary["rows"].values()) == 7
    assert summary["run"] == "runs/query-1"


def test_quiet_prints_the_place_alone(call: Call, colors: Path) -> None:
    result = call("train", colors, "--epochs", 2, "--quiet", "--no-check")
    assert (result.stdout, result.stderr) == ("runs/colors-1\n", "")


def test_options_reach_the_network(call: Call, colors: Path) -> None:
    words = "--hidden 5,3 --activation tanh --optimizer momentum --lr 0.02 --batch-size 2 --out a"
    result = call("train", colors, "--epochs", 2, *words.split())
    assert result.exit_code == 0, result.output
    run = cr.load("a")
    assert run.settings["hidden"] == [5, 3]
    assert run.settings["batch_size"] == 2
    assert "momentum=0.9" in run.settings["optimizer"]
    assert "0.02" in run.settings["optimizer"]
    assert "Tanh()" in repr(run.model)
    assert len(run.history) == 2


def test_a_linear_model(call: Call, colors: Path) -> None:
    assert call("train", colors, "--hidden", "none", "--epochs", 2, "--out", "a").exit_code == 0
    assert len(cr.load("a").model) == 1  # type: ignore[arg-type]


def test_a_task_can_be_asked_for(call: Call, colors: Path) -> None:
    words = ("train", colors, "--target", "weight", "--epochs", 2, "--json", "--task")
    assert json.loads(call(*words, "regression").stdout)["task"] == "regression"


def test_a_batch_larger_than_the_data_works_and_is_noted(call: Call, colors: Path) -> None:
    result = call("train", colors, "--batch-size", 1000, "--epochs", 2)
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "batches of all 6 rows, fewer than the requested 1,000" in said


def test_a_full_batch_method_is_said_to_take_all_rows(call: Call, colors: Path) -> None:
    result = call("train", colors, "--optimizer", "lbfgs", "--epochs", 2)
    assert result.exit_code == 0
    assert "LBFGS, all 6 rows in each step, 2 epochs" in " ".join(result.stdout.split())


def test_many_classes_show_the_worst(call: Call, place: Path) -> None:
    rows = [f"{k + j / 10},{j},k{k:02}" for k in range(30) for j in range(6)]
    (place / "many.csv").write_text("x,z,kind\n" + "\n".join(rows) + "\n")
    result = call("train", "many.csv", "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert "Classes with the lowest recall" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_finished_run_is_refused_before_training(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("train", colors, "--epochs", 1, "--out", "a").exit_code == 0
    before = Path("a/weights.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(command, "fit_table", None)  # calling it would be a TypeError
        result = call("train", colors, "--seed", 5, "--out", "a")
    assert result.exit_code == 2
    assert "already holds a finished run" in result.stderr
    assert "replace it with --force." in result.stderr
    assert "--force" in result.stderr
    assert Path("a/weights.safetensors").read_bytes() == before
    assert call("train", colors, "--seed", 5, "--epochs", 1, "--out", "a", "--force").exit_code == 0
    assert Path("a/weights.safetensors").read_bytes() != before


def test_what_is_no_run_is_never_replaced(call: Call, colors: Path, place: Path) -> None:
    (place / "thesis").mkdir()
    (place / "thesis" / "chapter").write_text("one")
    result = call("train", colors, "--out", "thesis", "--force", "--epochs", 1)
    assert result.exit_code == 2
    assert (place / "thesis" / "chapter").read_text() == "one"


def test_a_directory_that_can_not_be_written_is_refused_before_training(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "fit_table", None)
    result = call("train", colors, "--out", colors / "a")
    assert result.exit_code == 2
    assert "is a file" in result.stderr
    # Root may write anywhere but here.
    result = call("train", colors, "--out", "/proc/runs/a")
    assert result.exit_code == 2
    assert "no directory can be made in '/proc'" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_the_default_place_is_checked_too(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "fit_table", None)
    colors.parent.chmod(0o500)
    result = call("train", colors)
    colors.parent.chmod(0o700)
    assert result.exit_code == 2
    assert "no directory can be made in" in result.stderr


def test_a_full_disk_loses_no_results(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", fail)
    result = call("train", colors, "--epochs", 2)
    assert result.exit_code == 1
    assert "accuracy" in result.stdout
    assert "saved" not in result.stdout
    assert "trained but not saved" in result.stderr
    assert "No space left" in result.stderr
    assert not Path("runs").exists()


def test_divergence_is_told_with_what_to_do(call: Call, place: Path) -> None:
    rows = [f"{k},{k * k / 7}" for k in range(60)]
    (place / "t.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    result = call("train", "t.csv", "--optimizer", "sgd", "--lr", 1e9, "--activation", "relu")
    assert result.exit_code == 1
    assert "Lower the learning rate" in result.stderr
    assert not (place / "runs").exists()


@pytest.mark.filterwarnings("default:interrupted in")
def test_ctrl_c_keeps_and_saves_the_best_so_far(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def interrupt(self: object, record: dict[str, object]) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.train.progress.Progress.finish_epoch", interrupt)
    result = call("train", colors)
    assert result.exit_code == 130
    assert "interrupted; kept the weights of epoch" in result.stdout
    assert cr.load("runs/colors-1").stopped == "interrupted"


@pytest.mark.filterwarnings("default:interrupted in")
def test_ctrl_c_before_the_first_epoch_saves_nothing(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, epoch: int, rows: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.train.progress.Progress.advance", interrupt)
    result = call("train", colors)
    assert result.exit_code == 130
    assert "nothing was saved" in result.stderr
    assert not Path("runs").exists()


def test_ctrl_c_elsewhere_saves_nothing(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*words: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read_problem", interrupt)
    result = call("train", colors)
    assert result.exit_code == 130
    assert result.stderr.strip() == "interrupted; nothing was saved."


def test_the_next_step_works(call: Call, colors: Path) -> None:
    assert "chainrule predict 'my run' NEW.csv" in call("train", colors, "--out", "my run").stdout
    named = colors.rename(colors.with_name("wine.csv"))  # as a built-in data set is
    assert "chainrule predict w NEW.csv" in call("train", named, "--out", "w").stdout
    result = call("train", "iris", "--epochs", 1, "--out", "a b")
    assert "next     in Python, chainrule.load('a b')\n" in result.stdout


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_a_network_no_better_than_the_plain_guess_is_warned_of(
    call: Call, mode: tuple[str, ...]
) -> None:
    result = call("train", "diabetes", "--lr", "1000", "--optimizer", "adam", "--hidden", "64",
                  "--epochs", 2, *mode)  # fmt: skip
    assert "warning: On 88 rows not seen in training the network is worse than" in result.stderr
    assert "learned nothing" not in result.output
    sound = call("train", "iris", "--optimizer", "adam", "--epochs", 60, *mode)
    assert "warning" not in sound.stderr


def test_a_run_whose_layers_died_is_warned_of_and_says_which(call: Call) -> None:
    words = ("--hidden", "32,32", "--bias-init", "-30", "--epochs", 10, "--out", "dead")
    told = call("train", "digits", *words).stderr
    assert "no better than the plain guess" in told
    assert "100 % of 32 units are dead before training starts" in " ".join(told.split())
    shown = call("show", "dead").stdout
    assert "inf times" not in shown
    assert "100 % of 32 units are dead" in " ".join(shown.split())


def test_a_score_on_two_rows_carries_its_uncertainty(call: Call, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("x,y\n" + "".join(f"{i},{2 * i}\n" for i in range(10)))
    shown = call("train", tmp_path / "few.csv", "--out", "few").stdout
    assert "Scores on 2 test rows" in shown
    assert "95 % interval" in shown
    assert "95 % interval" in call("show", "few").stdout


def test_a_training_of_a_moment_took_some_time() -> None:
    model = cr.nn.Linear(2, 1)
    X = np.zeros((4, 2), "f4")
    run = cr.fit(model, (X, X[:, :1]), loss="mse", epochs=20, progress=False)
    for record in run.history:
        record["seconds"] = 0.0001
    assert ("trained", "20 epochs in 0.002 s, 40,000 rows/s") in _ending(run, None)
