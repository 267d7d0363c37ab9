"""Training ends early for good reasons and keeps the right weights when it does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

RNG = np.random.default_rng(2)
X = RNG.normal(size=(40, 5)).astype("f4")
Y = RNG.integers(0, 2, 40)  # noise: any net overfits, so validation gets worse
XV = RNG.normal(size=(40, 5)).astype("f4")
YV = RNG.integers(0, 2, 40)


def train(model: Any = None, **options: Any) -> cr.Run:
    model = model or net()
    options = {"loss": "cross_entropy", "epochs": 60, "optimizer": optim.Adam(0.02)} | options
    return cr.fit(model, (X, Y), batch_size=8, progress=False, **options)


def net() -> nn.Sequential:
    return nn.Sequential([nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 2)])


def test_early_stopping_restores_the_best_weights() -> None:
    run = train(validation=(XV, YV), early_stopping=cr.EarlyStopping(patience=5))
    losses = [record["val_loss"] for record in run.history]
    assert len(losses) < 60
    assert run.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == run.best_epoch + 5
    assert run.evaluate((XV, YV))["loss"] == min(losses) < losses[-1]
    assert run.stopped == (
        f"val_loss has not improved for 5 epochs; restored epoch {run.best_epoch}"
    )


def test_a_number_is_its_patience() -> None:
    one = train(validation=(XV, YV), early_stopping=5)
    other = train(validation=(XV, YV), early_stopping=cr.EarlyStopping(5))
    assert one.stopped == other.stopped


def test_best_weights_are_restored_when_epochs_run_out() -> None:
    run = train(validation=(XV, YV), early_stopping=1000)
    assert run.stopped is None
    losses = [record["val_loss"] for record in run.history]
    assert run.evaluate((XV, YV))["loss"] == min(losses) < losses[-1]


def test_without_early_stopping_the_last_weights_stay() -> None:
    run = train(validation=(XV, YV))
    assert run.evaluate((XV, YV))["loss"] == run.history[-1]["val_loss"]


def test_min_delta_ends_what_creeps_and_keeps_the_best_of_it() -> None:
    run = train(early_stopping=cr.EarlyStopping(3, min_delta=0.999), optimizer=optim.SGD(0.01))
    losses = [record["loss"] for record in run.history]
    assert len(losses) == run.best_epoch == 4
    assert losses == sorted(losses, reverse=True)
    assert run.stopped == "loss fell less than 99.9 % in 3 epochs; restored epoch 4"


def test_stopping_does_not_depend_on_the_units_of_the_target() -> None:
    """A margin in absolute units ended good regressions at once."""
    y = (X @ np.ones(5, "f4"))[:, None]
    lengths = [
        len(cr.fit(
            nn.Linear(5, 1), (X, y), epochs=60, batch_size=8, progress=False,
            loss=lambda output, target, s=scale: ((output - target) ** 2).mean(1) * s,
            optimizer=optim.SGD(0.02 / scale), early_stopping=cr.EarlyStopping(3, min_delta=0.9),
        ).history)
        for scale in (2.0**-20, 1.0, 2.0**20)
    ]  # fmt: skip
    assert lengths[0] == lengths[1] == lengths[2] < 60


def test_a_table_with_a_clear_rule_is_learned_to_the_end() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 24_000))
    problem = read_problem({"a": a, "b": b, "y": 2 * a + b}, "y")
    settings = choose_settings(
        len(a), task="regression", hidden=(256, 128), optimizer="adam", epochs=30, patience=5
    )
    run = fit_table(problem, settings, progress=False)
    errors = [record["val_mae"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(errors))
    assert min(record["val_loss"] for record in run.history) < 2e-5
    if run.stopped:
        assert run.stopped.startswith("val_mae fell less than 0.1 % in 5 epochs; restored")
        assert min(errors[-5:]) >= min(errors[:-5]) * 0.999
