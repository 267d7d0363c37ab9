"""The default network for tables: an ensemble trained as one, by the effort that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import OptionError
from chainrule.tabular.build import build_model, check_settings
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import EFFORTS, choose_settings
from chainrule.tabular.table_training import build, fit_table, settings_for


def kinds(problem: Problem, **asked: Any) -> list[str]:
    settings = settings_for(problem, **asked)
    return [type(layer).__name__ for layer in build(settings, problem).model.layers]


def test_more_effort_is_more_of_everything() -> None:
    for rows in (200, 5_000, 60_000):
        found = [choose_settings(rows, effort=effort) for effort in EFFORTS]
        for name in ("members", "hidden", "epochs"):
            values = [getattr(settings, name) for settings in found]
            assert values == sorted(values)
            assert values[0] < values[-1]
    assert choose_settings(200) == choose_settings(200, effort="normal")
    with pytest.raises(OptionError, match=r"unknown effort 'bst'\. Did you mean 'best'"):
        choose_settings(200, effort="bst")


def test_what_is_given_replaces_its_part_and_leaves_the_others() -> None:
    usual = choose_settings(500)
    assert (usual.members, usual.bins, usual.optimizer) == (8, 8, "adamw")
    one = choose_settings(500, members=3, bins=0, activation="tanh", dropout=0.0)
    assert (one.members, one.bins, one.activation, one.dropout) == (3, 0, "tanh", 0.0)
    assert (one.hidden, one.schedule) == (usual.hidden, "cosine")
    plain = choose_settings(500, hidden=[7])
    assert (plain.members, plain.bins, plain.dropout, plain.hidden) == (1, 0, 0.0, (7,))
    assert plain.schedule == "cosine"
    assert choose_settings(500, hidden=[7], members=2).members == 2
    method = choose_settings(500, optimizer="sgd")
    assert (method.members, method.schedule, method.weight_decay) == (8, "constant", None)
    assert choose_settings(500, optimizer="lbfgs").members == 1
    assert choose_settings(500, pixels=True).members == 1
    assert choose_settings(500, activation="maxout").members == 1
    assert choose_settings(500, norm="layer").members == 1
    assert choose_settings(500, features=2_000).bins == 0
    assert settings_for(read_problem("digits")).bins == 0  # 60 pixels


def test_the_network_that_the_settings_describe() -> None:
    assert kinds(read_problem("iris")) == [
        "PiecewiseLinear", "Linear", "ReLU", "Dropout", "MemberLinear", "ReLU", "Dropout",
        "MemberLinear", "AverageMembers",
    ]  # fmt: skip
    words = {"w": [f"w{i % 9}" for i in range(300)], "flag": [i % 2 for i in range(300)],
             "x": np.arange(300) ** 0.5, "y": np.arange(300) % 7 * 0.3}  # fmt: skip
    problem = read_problem(words, "y", roles={"w": "embedded"})
    settings = choose_settings(
        200, task="regression", norm="batch", residual=True, init="he_normal"
    )
    layers = build(settings, problem).model.layers
    assert isinstance(layers[0], nn.EmbedColumns)
    assert isinstance(layers[1], nn.PiecewiseLinear)
    # Of the flag, the number and the learned vector, the number alone is encoded.
    assert [bool(own) for own in layers[1].edges] == [False, True] + [False] * 5
    assert layers[0].outputs == len(layers[1].edges)
    assert isinstance(layers[-1], nn.AverageMembers)
    assert layers[-1].loss == "mse"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hidden": []}, "an ensemble of 3 networks needs hidden layers"),
        ({"activation": "maxout"}, "needs another activation than maxout"),
        ({"density": 0.5}, "needs a density of 1"),
        ({"norm": "layer"}, "needs the norm batch or none, not layer"),
    ],
)
def test_what_members_can_not_share_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_settings(choose_settings(500, members=3, **asked))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("effort", list(EFFORTS))
def test_a_run_of_each_effort_comes_back(effort: str, tmp_path: Path) -> None:
    problem = read_problem("diabetes")
    settings = choose_settings(300, task="regression", effort=effort, epochs=3)
    run = fit_table(problem, settings, progress=False)
    assert run.settings["members"] == EFFORTS[effort].members
    loaded = cr.load(run.save(tmp_path / "run"))
    assert (loaded.outputs(problem.test[0]) == run.outputs(problem.test[0])).all()


def test_the_default_learns_what_a_plain_network_does_not() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(600, 3))
    y = np.floor(5 * X[:, 0]) % 2 + 0.1 * rng.normal(size=600)  # five steps up and down
    problem = read_problem({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": y}, "y")
    found = {}
    for name, asked in {"default": {}, "plain": {"hidden": [64]}}.items():
        settings = choose_settings(400, task="regression", **asked)
        found[name] = fit_table(problem, settings, progress=False).scores["test"]["r2"]
    assert found["default"] > 0.75
    assert found["default"] > found["plain"] + 0.1


def test_rows_are_needed_to_encode_numbers() -> None:
    model = build_model(2, 1, choose_settings(300))
    assert not any(isinstance(layer, nn.PiecewiseLinear) for layer in model.layers)


def test_one_odd_row_does_not_decide_when_to_stop() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 2))
    y = X[:, 0] - X[:, 1] + 0.1 * rng.normal(size=400)
    problem = read_problem({"a": X[:, 0], "b": X[:, 1], "y": y}, "y")
    assert problem.validation is not None
    problem.validation[1][0] = 40.0  # in standard deviations, and nothing in its features tells so
    run = fit_table(problem, choose_settings(272, task="regression"), progress=False)
    assert run.history[-1]["val_mae"] < run.history[0]["val_mae"]
    assert run.best_epoch == int(np.argmin(run.history["val_mae"])) + 1
    assert run.scores["test"]["r2"] > 0.95
    other = fit_table(
        problem,
        choose_settings(272, hidden=[8], task="regression", loss="huber", epochs=2),
        progress=False,
    )
    assert "val_mae" not in other.history[0]
