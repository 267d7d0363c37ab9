"""``cured.toml`` trains the cured network: the change of the best remedy is made in the options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from chainrule.cli.cured_config import cured_options
from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.tabular.build import build_optimizer
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Call = Callable[..., Result]


def test_the_file_trains_the_cured_network(call: Call, place: Path) -> None:
    answer = call("train", "digits", "--hidden", 32, "--lr", 1, "--cure", "--out", "wrong")
    assert answer.exit_code == 0
    file = Path("wrong") / "cured.toml"
    assert f"chainrule train --config {file}" in answer.stderr
    assert answer.stdout.endswith(f"next     chainrule train --config {file}\n")
    run = json.loads((place / "wrong/run.json").read_text())
    best = run["remedies"][0]
    assert best["confirmed"]
    entries, before = (
        tomllib.loads((place / "wrong" / name).read_text())
        for name in ("cured.toml", "config.toml")
    )
    factor = best["change"]["learning_rate"]
    assert entries == before | {"lr": pytest.approx(factor)}
    again = call("train", "--config", file, "--no-report", "--json", "--out", "cured")
    assert again.exit_code == 0, again.output
    summary = json.loads(again.stdout)
    assert summary["settings"]["learning_rate"] == pytest.approx(factor)
    history = (place / "cured" / "history.jsonl").read_text().splitlines()
    reached = json.loads(history[summary["best_epoch"] - 1])["val_loss"]
    assert reached == pytest.approx(best["errors"][0], rel=1e-3)  # the trial's first seed
    assert (place / "wrong" / "report.html").exists()


def test_without_a_run_the_options_are_told(call: Call) -> None:
    answer = call(
        "train", "digits", "--hidden", "128,64", "--optimizer", "sgd", "--lr", "1000", "--cure"
    )
    assert "cured.toml" not in answer.stderr
    assert "give chainrule train --lr 0.1." in answer.stderr


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"learning_rate": 1.0}, {"learning_rate": 0.1}),
        ({"optimizer": "sgd"}, {"learning_rate": 0.1}),
        ({"optimizer": "sgd", "weight_decay": 0.01}, {"learning_rate": 0.1}),
        ({"schedule": "cosine", "warmup": 2.0, "weight_decay": 0.01, "optimizer": "sgd"},
         {"learning_rate": 10.0}),
        ({"epochs": 7}, {"epochs": 4}),
        ({}, {"batch_size": 8}),
        ({"hidden": [8, 8], "activation": "sigmoid"}, {"activation": "relu"}),
        ({"init": "zeros", "bias_init": -3.0}, {"init": None}),
        ({"bias_init": -3.0}, {"bias_init": 0.0}),
        ({"dropout": 0.9}, {"dropout": 0.3}),
        ({"loss": "kl_divergence"}, {"loss": "cross_entropy"}),
        ({"schedule": "cosine", "warmup": 2.0}, {"schedule": None}),
        ({"schedule": "one_cycle", "learning_rate": 0.1}, {"schedule": None}),
        ({"optimizer": "sgd", "learning_rate": 3.0, "weight_decay": 0.1, "clip_norm": 1.0,
          "schedule": "cosine"}, {"optimizer": "adam"}),
        ({"hidden": [4, 64, 8]}, {"width": 32}),
    ],
)  # fmt: skip
def test_the_options_make_the_change_of_the_cure(
    asked: dict[str, Any], change: dict[str, Any]
) -> None:
    problem = read_problem("iris")
    settings = choose_settings(102, **asked)
    new, names = cured_options(change, settings, problem, None)
    assert names is None
    assert new != settings
    made, mended = build(settings, problem), build(new, problem)
    wanted = cured(
        Case(made.model, problem.train, made.loss, made.optimizer, settings.epochs,
             settings.batch_size), change,
    )  # fmt: skip
    networks = [repr(model).replace("'zeros'", "0.0") for model in (mended.model, wanted.model)]
    assert networks[0] == networks[1]
    assert mended.loss == wanted.loss
    assert (new.epochs, new.batch_size) == (wanted.epochs, wanted.batch_size)
    method = optimizer_of(wanted.optimizer)
    plans = [m.planned(100, 10).hyper() for m in (build_optimizer(new), method)]
    assert plans[0] == pytest.approx(plans[1])


def test_settings_without_a_counterpart_in_the_network() -> None:
    problem, settings = read_problem("iris"), choose_settings(102, patience=0)
    assert cured_options({"early_stopping": 10}, settings, problem, None)[0].patience == 10
    weighted, _ = cured_options({"class_weight": "balanced"}, settings, problem, None)
    assert weighted.class_weight == "balanced"
    _, names = cured_options({"preprocess": "standardize"}, settings, problem, ["none"])
    assert names == ["standardize"]


@pytest.mark.parametrize(
    "change",
    [{"momentum": 0.9}, {"output": None}, {"target": "standardize"}, {"loss": "mse"},
     {"preprocess": "standardize"}, {"learning_rate": 0.1, "output": None}],
)  # fmt: skip
def test_a_change_without_an_option_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{list(change)[-1]} = .* by hand"):
        cured_options(change, choose_settings(102), read_problem("iris"), None)


def test_a_decay_with_a_schedule_of_its_own_has_no_option() -> None:
    settings = choose_settings(102, optimizer="sgd", weight_decay=0.1, schedule="cosine")
    with pytest.raises(OptionError, match=r"schedule = None .* by hand"):
        cured_options({"schedule": None}, settings, read_problem("iris"), None)
