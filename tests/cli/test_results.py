"""What people ask of a result: folds, thresholds, a model card, and reasons, from the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import data
from chainrule.core.errors import OptionError
from chainrule.tabular.problem import fold_problems

Call = Callable[..., Result]


@pytest.fixture
def noisy(place: Path) -> Path:
    """Return a file of two classes, one of them rare, that can't be told apart with certainty."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).round(3)
    kind = np.where(x[:, 0] + rng.normal(size=300) > 1.2, "yes", "no")
    rows = [f"{a},{b},{k}" for (a, b), k in zip(x.tolist(), kind, strict=True)]
    (place / "noisy.csv").write_text("a,b,kind\n" + "\n".join(rows) + "\n")
    return place / "noisy.csv"


def test_folds_test_every_row_once_and_the_network_is_trained_as_without(
    call: Call, noisy: Path
) -> None:
    words = ("train", noisy, "--epochs", 5, "--no-report")
    assert call(*words, "--out", "plain", "--quiet").exit_code == 0
    result = call(*words, "--out", "run", "--folds", 3)
    assert result.exit_code == 0, result.output
    assert "Scores over 3 folds, which test every row once" in result.stdout
    assert "the saved network was trained after the folds, on 204 rows" in result.stdout
    crossed = json.loads(Path("run/metrics.json").read_text())["cross_validation"]
    values = crossed["scores"]["accuracy"]["values"]
    assert crossed["folds"] == len(values) == 3
    assert crossed["scores"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert crossed["scores"]["accuracy"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert Path("run/weights.safetensors").read_bytes() == (
        Path("plain/weights.safetensors").read_bytes()
    )
    again = call("train", "--config", "run/config.toml", "--out", "again", "--quiet")
    assert again.exit_code == 0, again.output
    assert Path("run/metrics.json").read_bytes() == Path("again/metrics.json").read_bytes()


def test_folds_of_a_streamed_table_are_refused_with_what_to_do_instead(
    call: Call, noisy: Path
) -> None:
    result = call("train", noisy, "--stream", "--folds", 3, "--out", "run")
    assert result.exit_code != 0
    assert "leave --folds out, give --no-stream, or train on some rows" in result.output
    assert not Path("run").exists()


def test_ctrl_c_in_a_fold_says_what_is_lost(
    call: Call, noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = []

    def interrupt(self: object, record: object) -> None:
        epochs.append(record)
        if len(epochs) == 8:  # the third of the second fold
            raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.train.progress.Progress.finish_epoch", interrupt)
    result = call("train", noisy, "--epochs", 5, "--folds", 3, "--quiet")
    assert result.exit_code == 130
    assert result.stderr.strip() == (
        "interrupted in fold 2 of 3; nothing was saved, as the network to save is trained after "
        "the folds."
    )
    assert not Path("runs").exists()


def test_folds_of_times_are_refused_before_the_table_is_read(call: Call, place: Path) -> None:
    result = call("train", "missing.csv", "--folds", 3, "--time", "when")
    assert result.exit_code == 2
    assert "--folds can't be combined with --time" in result.stderr


def test_folds_keep_the_classes_and_leave_no_row_out(noisy: Path) -> None:
    problems = fold_problems(str(noisy), folds=4)
    tested = np.concatenate([problem.raw[1] for problem in problems])  # type: ignore[index]
    assert sorted(tested.tolist()) == list(range(300))
    shares = [problem.test[1].mean() for problem in problems]
    assert np.ptp(shares) < 0.02
    for problem in problems:
        assert problem.train_rows is not None
        assert not set(problem.train_rows.tolist()) & set(problem.raw[1].tolist())  # type: ignore[index]


def test_folds_keep_groups_and_copies_together(place: Path) -> None:
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(60), 4)
    x = rng.normal(size=240).round(6)
    columns = {"who": who, "x": x, "y": np.where(x + rng.normal(size=240) > 0, "a", "b")}
    for problem in fold_problems(columns, "y", folds=3, group="who"):
        tested = set(who[problem.raw[1]].tolist())  # type: ignore[index]
        trained = set(who[problem.train_rows].tolist())
        assert tested
        assert not tested & trained
        assert "who" not in problem.pipeline.feature_names
    rows = np.r_[np.arange(200), np.arange(40)]  # 40 are copies
    twice = {"x": x[rows], "z": rng.normal(size=240)[rows], "y": columns["y"][rows]}
    for problem in fold_problems(twice, "y", folds=3):
        tested = set(rows[problem.raw[1]].tolist())  # type: ignore[index]
        assert not tested & set(rows[problem.train_rows].tolist())
    with pytest.raises(OptionError, match="folds can't be combined with time"):
        fold_problems(columns, "y", folds=3, time="x")


def test_all_rows_are_trained_on_without_scores(call: Call, noisy: Path) -> None:
    result = call("train", noisy, "--epochs", 5, "--test-fraction", 0, "--out", "run")
    assert result.exit_code == 0, result.output
    assert "255 rows to train, 45 to validate, none to test" in result.stdout
    assert "on no row, so this network has no scores of its own" in result.stdout
    run = cr.load("run")
    assert "test" not in run.scores
    assert run.scores["rows"] == {"train": 255, "validation": 45, "test": 0}
    assert "<h2>Training curves</h2>" in Path("run/report.html").read_text()
    assert call("show", "run").exit_code == 0
    assert "not tested on any" in call("show", "run", "--card").stdout
    assert call("predict", "run", noisy).exit_code == 0
    assert call("compare", "run", "run/").exit_code == 0
    assert call("train", noisy, "--test-fraction", 1).exit_code == 2


def test_a_threshold_is_chosen_told_and_used(call: Call, noisy: Path) -> None:
    words = ("train", noisy, "--hidden", "64", "--optimizer", "adam", "--epochs", 30, "--no-report")
    result = call(*words, "--threshold", "balanced", "--out", "run")
    assert result.exit_code == 0, result.output
    assert "threshold" in result.stdout
    assert "chosen by balanced" in " ".join(result.stdout.split())
    run = cr.load("run")
    assert run.threshold is not None
    assert 0 < run.threshold < 0.5  # the rare class is predicted more often
    assert call("predict", "run", noisy, "--out", "p.parquet").exit_code == 0
    found = data.read_table("p.parquet")
    expected = np.where(found["probability_yes"].values >= run.threshold, "yes", "no")
    assert found["prediction"].values.tolist() == expected.tolist()
    assert "chosen by balanced" in call("show", "run").stdout
    refused = call(*words, "--threshold", "best")
    assert refused.exit_code == 2
    assert "threshold must be balanced" in refused.stderr


def test_the_card_has_the_data_the_scores_and_the_limits(call: Call, noisy: Path) -> None:
    words = ("train", noisy, "--epochs", 30, "--no-report", "--quiet")
    assert call(*words, "--out", "run").exit_code == 0
    card = call("show", "run", "--card").stdout
    assert card.startswith("# Model card: noisy\n")
    assert "predicts `kind`, one of 2 classes (`no`, `yes`)" in card
    assert re.search(r"^\| a \| number \| -\d.* to \d", card, re.MULTILINE)
    auc = cr.load("run").scores["test"]["auc"]
    assert f"| AUC | {auc:.4g} | " in card
    assert "60 test rows: the scores are uncertain" in card
    assert "- versions: chainrule " in card
    assert call("show", "run", "--card", "--json").exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "The rows to test were drawn from the same table: on rows from elsewhere, or from a"),
        (("--time", "a"), "The rows to test are the last of the same table: on rows from elsewher"),
        (("--time", "a", "--stream"), "The rows to test are the last of the same table"),
        (("--target", "b,kind", "--test-fraction", 0), ""),
        (("--test-fraction", 0), ""),
    ],
)
def test_the_card_tells_which_rows_were_tested(
    words: tuple[object, ...], told: str, call: Call, noisy: Path
) -> None:
    quick = ("--epochs", 1, "--no-report", "--quiet", "--out", "run")
    result = call("train", noisy, *words, *quick)
    assert result.exit_code == 0, result.output
    card = call("show", "run", "--card").stdout
    assert told in card
    assert ("The rows to test" in card) == bool(told)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_reasons_are_columns(form: str, call: Call, noisy: Path) -> None:
    words = ("train", noisy, "--epochs", 30, "--no-report", "--quiet", "--out", "run")
    assert call(*words).exit_code == 0
    assert call("predict", "run", noisy, "--explain", "--out", f"p.{form}").exit_code == 0
    if form == "json":
        first = json.loads(Path("p.json").read_text())["reason_1"][0]
    else:
        table = data.read_table("p.csv")
        assert table.names[-2:] == ("reason_1", "reason_2")  # there are two columns
        first = table["reason_1"].as_text()[0]
    assert first[:2] in ("a=", "b=")
