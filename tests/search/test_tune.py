"""Searches: what is tried, pruned, kept and found; skipped where Optuna is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule.cli.commands import command_line
from chainrule.search.space import Choices, Range, default_space, parse_space, space_of
from chainrule.search.trials import Outcome, Worker
from chainrule.search.tune import tune
from chainrule.search.tuned import Tuned
from chainrule.tabular import Settings, choose_settings, fit_table, read_problem

pytestmark = pytest.mark.oracle

SMALL: dict[str, Any] = {
    "space": {"learning_rate": (1e-3, 0.1), "hidden": [(4,), (8, 4)], "activation": ["tanh"]},
    "optimizer": "adam",
    "epochs": 24,
}


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna", reason="needs Optuna: pip install optuna")


def test_the_best_settings_train_to_the_loss_of_their_trial(optuna: Any) -> None:
    found = tune("iris", trials=6, **SMALL)
    assert len(found.trials) == 6
    complete = [t for t in found.trials if not t.pruned]
    assert found.best.loss == min(t.loss for t in complete if t.loss is not None)
    assert found.settings.learning_rate == found.best.params["learning_rate"]
    assert found.settings.hidden == found.best.params["hidden"]
    run = fit_table(read_problem("iris"), found.settings, progress=False)
    assert min(run.history["val_loss"]) == pytest.approx(found.best.loss, rel=1e-4)
    rates = [t.params["learning_rate"] for t in found.trials]
    assert all(1e-3 <= rate <= 0.1 for rate in rates)
    assert len(set(rates)) == 6
    assert {t.params["hidden"] for t in found.trials} == {(4,), (8, 4)}


def test_losses_are_compared_on_the_same_validation_rows(optuna: Any) -> None:
    for space in ({"members": [5, 8]}, {"optimizer": ["adamw", "lbfgs"]}):
        assert tune("iris", trials=1, epochs=1, space=space).settings.cross_fit == 1
    assert tune("iris", trials=1, epochs=1, space={"dropout": (0.0, 0.3)}).settings.cross_fit == 4


def test_a_search_is_repeated_by_its_seed(optuna: Any) -> None:
    one, same, other = (tune("iris", trials=4, seed=s, **SMALL) for s in (1, 1, 2))
    assert [t.loss for t in one.trials] == [t.loss for t in same.trials]
    assert [t.loss for t in one.trials] != [t.loss for t in other.trials]


def test_optuna_opens_the_study_and_the_search_goes_on(optuna: Any, tmp_path: Path) -> None:
    file = tmp_path / "a folder" / "study.db"
    first = tune("iris", trials=5, file=file, **SMALL)
    study = optuna.load_study(study_name="chainrule", storage=f"sqlite:///{file}")
    assert study.best_value == first.best.loss
    assert [t.number for t in study.trials] == [0, 1, 2, 3, 4]
    best = study.best_trial
    assert best.params["learning_rate"] == first.settings.learning_rate
    assert best.params["hidden"] in ("4", "8,4")
    assert set(best.intermediate_values) == set(range(1, 24))
    assert min(best.intermediate_values.values()) >= best.value
    counts: list[tuple[int, int]] = []
    more = tune("iris", trials=7, file=file, watch=lambda *n: counts.append(n), **SMALL)
    assert more.trials[:5] == first.trials
    assert counts == [(6, 7), (7, 7)]
    assert len({t.params["learning_rate"] for t in more.trials}) == 7
    assert tune("iris", trials=7, file=file, **SMALL).trials == more.trials
    assert not list(file.parent.glob(".*.lock"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 25}, "its epochs is 24, and that of this search 25"),
        ({"space": {"learning_rate": (1e-3, 0.2)}}, "its range of learning_rate is 0.001..0.1"),
        ({"seed": 1}, "its (training data|seed) is"),
    ],
)
def test_the_file_of_another_search_is_refused(
    optuna: Any, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    tune("iris", trials=1, file=tmp_path / "s.db", **SMALL)
    with pytest.raises(cr.RunError, match=words):
        tune("iris", trials=2, file=tmp_path / "s.db", **{**SMALL, **change})
    (tmp_path / "text.db").write_text("no database, but some text that is long enough for a page")
    with pytest.raises(cr.RunError, match="can't be used as a study"):
        tune("iris", trials=1, file=tmp_path / "text.db", **SMALL)


def test_hopeless_trainings_are_pruned_and_diverged_ones_do_not_win(
    optuna: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []

    def train(problem: Any, settings: Settings, threads: Any, report: Any) -> Outcome:
        """Pretend to train: bad at first, then good ones, so that a median exists."""
        asked.append(settings)
        if len(asked) == 3:
            return Outcome(float("inf"), 1, False, 0.0, {})
        level = 9.0 if len(asked) == 12 else 1.0 + len(asked) / 100
        for epoch in range(1, settings.epochs + 1):
            if report(epoch, level / epoch):
                return Outcome(level / epoch, epoch, True, 0.0, {})
        return Outcome(level / settings.epochs, settings.epochs, False, 0.0, {})

    monkeypatch.setattr("chainrule.search.tune.train_trial", train)
    found = tune("iris", trials=12, **SMALL)
    pruned = [t.number for t in found.trials if t.pruned]
    assert pruned[0] == 2  # the one that diverged
    assert 11 in pruned
    assert 3 <= found.trials[11].epochs < 24
    assert found.best.number == 0
    text = repr(found)
    assert "diverged" in text
    assert "pruned" in text.splitlines()[0]


def test_all_diverging_is_an_error(optuna: Any) -> None:
    space = {"learning_rate": [1e30, 1e31]}
    with pytest.raises(cr.DivergedError, match="none of 2 trainings ended with a finite"):
        tune("iris", trials=2, space=space, hidden=(4,), optimizer="sgd", epochs=3)


def test_workers_find_what_one_process_finds_for_the_same_settings(
    optuna: Any, tmp_path: Path
) -> None:
    found = tune("iris", trials=5, jobs=2, file=tmp_path / "s.db", **SMALL)
    assert [t.number for t in found.trials] == [0, 1, 2, 3, 4]
    run = fit_table(read_problem("iris"), found.settings, progress=False)
    assert min(run.history["val_loss"]) == pytest.approx(found.best.loss, rel=1e-4)


def test_a_worker_needs_no_main_guard_and_prints_nothing(optuna: Any, repository: Path) -> None:
    code = (
        "import chainrule as cr\n"
        "found = cr.tune('iris', trials=3, jobs=2, space=['learning_rate'], hidden=(4,), epochs=2)"
        "\nprint(len(found.trials))\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, cwd=repository,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_the_end_of_a_worker_and_its_errors_are_told() -> None:
    worker = Worker(read_problem("iris"))
    bad = choose_settings(100, hidden=[4], epochs=1, loss="mse")
    with pytest.raises(cr.OptionError, match="mse"):
        worker.train(bad, 1, lambda epoch, loss: False)
    good = choose_settings(100, hidden=[4], epochs=5)
    outcome = worker.train(good, 1, lambda epoch, loss: epoch == 2)
    assert (outcome.epochs, outcome.pruned) == (2, True)
    worker.process.kill()
    with pytest.raises(cr.RunError, match="a worker has ended with status -9"):
        worker.train(good, 1, lambda epoch, loss: False)
    worker.close()


def test_ctrl_c_keeps_the_trials_so_far(optuna: Any, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    file = tmp_path / "s.db"
    found = tune("iris", trials=9, file=file, watch=interrupt, **SMALL)
    assert len(found.trials) == 2
    assert len(tune("iris", trials=3, file=file, **SMALL).trials) == 3


def test_the_default_space_is_limited_by_rows_and_given_settings() -> None:
    space = default_space(100)
    assert space["batch_size"] == Choices((16,))
    assert default_space(10_000)["batch_size"] == Choices((16, 32, 64, 128, 256))
    assert "hidden_units" not in default_space(100, ["hidden"])
    assert isinstance(space["learning_rate"], Range)


def test_a_search_by_default_draws_all_settings(optuna: Any) -> None:
    found = tune("iris", trials=2, epochs=2)
    assert set(found.best.params) == set(default_space(102))
    assert found.settings.hidden == (
        (found.best.params["hidden_units"],) * found.best.params["hidden_layers"]
    )
    assert found.settings.schedule == "cosine"


@pytest.mark.parametrize(
    ("texts", "space"),
    [
        (["lr=1e-4..1e-1"], {"learning_rate": (1e-4, 0.1)}),
        (["batch-size=16|64"], {"batch_size": [16, 64]}),
        (["members=2..8"], {"members": (2, 8)}),
        (["hidden=64|128,64|none"], {"hidden": [(64,), (128, 64), ()]}),
        (["activation=relu|leaky-relu", "dropout"],
         {"activation": ["relu", "leaky_relu"], "dropout": None}),
    ],
)  # fmt: skip
def test_spaces_are_read_as_they_are_written(texts: list[str], space: dict[str, Any]) -> None:
    assert parse_space(texts) == space
    assert space_of(parse_space(texts), 1000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {"learning_rat": None}}, "no 'learning_rat'. Did you mean 'learning_rate'"),
        ({"space": {"learning_rate": (1.0, 0.1)}}, "a lower end first"),
        ({"space": {"norm": None}}, "norm has no default range"),
        ({"space": {"activation": "relu"}}, "a pair .* or a list of choices"),
        ({"space": {"activation": ["relu", "rellu"]}}, "Did you mean 'relu'"),
        ({"space": {"dropout": (0.0, 2.0)}}, "dropout must be in"),
        ({"space": {}}, "at least one setting"),
        ({"space": ["dropout"], "dropout": 0.1}, "dropout is given and searched"),
        ({"trials": 0}, "trials must be a positive"),
        ({"epoks": 3}, "epoks"),
    ],
)
def test_what_cant_be_searched_is_refused(optuna: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(cr.OptionError, match=words):
        tune("iris", **options)


def test_too_few_rows_for_validation_are_refused() -> None:
    table = {"a": np.arange(9.0), "b": np.arange(9.0)}
    with pytest.raises(cr.DataError, match="too few rows"):
        tune(table, "b")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(cr.OptionError, match="pip install optuna"):
        tune("iris")


def test_the_page_has_both_charts_and_the_settings(optuna: Any, tmp_path: Path) -> None:
    found: Tuned = cr.tune("iris", trials=8, **SMALL)
    text = found.save(tmp_path / "tune.html").read_text("utf-8")
    assert text.count("<svg") == 2
    assert sum(found.importances.values()) == pytest.approx(1.0)
    for name in ("learning_rate", "Best settings", "best so far", f"{found.best.loss:.4g}"):
        assert name in text
    assert found.svg().startswith("<svg")
    assert repr(found).splitlines()[1].split()[:3] == ["trial", "val_loss", "val_accuracy"]


def test_the_command_writes_a_config_that_train_takes(
    optuna: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [f"{x:.3f},{z:.3f},{x - z:.3f}" for x, z in rng.normal(size=(120, 2))]
    Path("some.csv").write_text("\n".join(["x,z,y", *lines]), "utf-8")
    words = [
        "tune", "some.csv", "--target", "y", "--test-fraction", "0.4", "--trials", "4", "--epochs",
        "8", "--space", "lr=1e-3..0.1", "--space", "hidden=4|4,4", "--activation", "tanh", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(command_line, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    best = next(t for t in told["trials"] if t["number"] == told["best"])
    folder = Path("runs") / "some-tune"
    assert {p.name for p in folder.iterdir()} == {"config.toml", "study.db", "tune.html"}
    trained = CliRunner().invoke(
        command_line, ["train", "--config", str(folder / "config.toml"), "--quiet", "--no-report"]
    )
    assert trained.exit_code == 0, trained.output
    history = cr.load(trained.stdout.strip()).history
    assert min(history["val_loss"]) == pytest.approx(best["loss"], rel=1e-4)
    assert "test_fraction = 0.4" in (folder / "config.toml").read_text("utf-8")
    again = CliRunner().invoke(command_line, [*words[:-1], "--trials", "5"])
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("5 trials on some")
    assert "chainrule train --config runs/some-tune/config.toml" in again.output


def test_a_table_on_disk_is_searched_in_one_process(
    optuna: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [f"{x:.3f},{x * x:.3f}" for x in rng.normal(size=300)]
    Path("some.csv").write_text("\n".join(["x,y", *lines]), "utf-8")
    words = ["tune", "some.csv", "--stream", "--trials", "2", "--epochs", "3", "--space", "lr"]
    done = CliRunner().invoke(command_line, words)
    assert done.exit_code == 0, done.output
    assert "stream = true" in Path("runs/some-tune/config.toml").read_text("utf-8")
    refused = CliRunner().invoke(command_line, [*words, "--jobs", "2"])
    assert refused.exit_code == 2
    assert "--jobs needs the rows in memory" in refused.output
