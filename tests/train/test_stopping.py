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


def test_another_entry_of_the_history_can_be_watched() -> None:
    watch = cr.EarlyStopping(4, monitor="val_mse")
    model = nn.Sequential([nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1)])
    y, yv = Y[:, None].astype("f4"), YV[:, None].astype("f4")
    run = cr.fit(
        model, (X, y), loss="mse", optimizer=optim.Adam(0.02), epochs=60, batch_size=8,
        validation=(XV, yv), metrics=["mse"], early_stopping=watch, progress=False,
    )  # fmt: skip
    scores = [record["val_mse"] for record in run.history]
    assert run.best_epoch == 1 + int(np.argmin(scores))
    with pytest.raises(cr.OptionError, match=r"no 'val_acc' to .* mean 'val_accuracy'"):
        train(validation=(XV, YV), early_stopping=cr.EarlyStopping(4, monitor="val_acc"))


def test_a_fraction_holds_out_that_share_of_every_class() -> None:
    model, seen = net(), []
    run = train(model, validation=0.25, epochs=2, on_epoch=lambda run, record: seen.append(record))
    assert run.settings["rows"] == 30
    assert [set(record) >= {"val_loss", "val_accuracy"} for record in seen] == [True, True]
    again = train(validation=0.25, epochs=2)
    assert again.history[-1]["val_loss"] == run.history[-1]["val_loss"]


def test_diverging_training_stops_and_keeps_the_best_weights() -> None:
    model = nn.Linear(5, 1)
    kept: list[Any] = []

    def push(run: cr.Run, record: dict[str, Any]) -> None:
        kept.append(model.weight.value.copy())

    y = (X @ np.ones(5))[:, None]
    options: dict[str, Any] = {"loss": "mse", "batch_size": 40, "progress": False}
    with pytest.raises(cr.DivergedError, match=r"loss became (inf|nan) in epoch \d+") as caught:
        cr.fit(model, (X, y), optimizer=optim.SGD(50.0), epochs=200, on_epoch=push, **options)
    assert "the weights of epoch 1 are kept" in str(caught.value)
    assert "Lower the learning rate" in str(caught.value)
    assert len(kept) > 1
    np.testing.assert_array_equal(model.weight.value, kept[0])


def test_diverging_in_the_first_epoch_keeps_the_first_weights() -> None:
    model = nn.Linear(5, 1)
    nn.initialize(model, 0)
    before = model.weight.value.copy()
    y = (X @ np.ones(5))[:, None]
    with pytest.raises(cr.DivergedError, match="no epoch was completed"):
        cr.fit(model, (X, y), loss="mse", optimizer=optim.SGD(1e6), batch_size=1, progress=False)
    np.testing.assert_array_equal(model.weight.value, before)


def test_weights_that_give_no_finite_score_are_never_the_best() -> None:
    """The last step of an epoch may blow up after its loss was computed."""
    model = nn.Linear(5, 1)
    nn.initialize(model, 0)
    y = (X @ np.ones(5))[:, None]
    with pytest.raises(cr.DivergedError) as caught:
        cr.fit(
            model, (X, y), loss="mse", optimizer=optim.SGD(1e30), epochs=5, batch_size=40,
            validation=(X, y), progress=False,
        )  # fmt: skip
    assert "no epoch was completed" in str(caught.value)


def test_interruption_keeps_the_best_weights() -> None:
    def interrupt(run: cr.Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 30:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"^interrupted in epoch 30 of \d+; the weights of epoch"):
        run = train(validation=(XV, YV), on_epoch=interrupt)
    assert run.stopped == "interrupted"
    assert len(run.history) == 30
    losses = [record["val_loss"] for record in run.history]
    assert run.evaluate((XV, YV))["loss"] == min(losses) < losses[-1]


def test_interruption_without_validation_keeps_the_last_weights() -> None:
    def interrupt(run: cr.Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"the weights of its last step are kept\.$"):
        run = train(on_epoch=interrupt)
    straight = train(epochs=3)
    np.testing.assert_array_equal(run.outputs(X), straight.outputs(X))


def test_on_epoch_sees_present_weights_and_may_stop() -> None:
    seen: list[float] = []

    def watch(run: cr.Run, record: dict[str, Any]) -> bool:
        seen.append(run.evaluate((X, Y))["loss"])
        assert record is run.history[-1]
        return len(seen) == 4

    run = train(on_epoch=watch)
    assert run.stopped == "on_epoch asked to stop at epoch 4"
    assert len(run.history) == len(set(seen)) == 4
    assert run.evaluate((X, Y))["loss"] == seen[-1]


def test_an_error_of_ones_own_passes_through() -> None:
    def fail(run: cr.Run, record: dict[str, Any]) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        train(on_epoch=fail)


def test_a_metric_that_is_better_when_higher_keeps_its_highest_epoch() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4)).astype("f4")
    y = (X[:, 0] > 0).astype(int)
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)])
    stopping = cr.EarlyStopping(5, monitor="val_accuracy")
    run = cr.fit(
        model, (X[:60], y[:60]), loss="cross_entropy", epochs=60, batch_size=10,
        validation=(X[60:], y[60:]), early_stopping=stopping, progress=False,
    )  # fmt: skip
    scores = [record["val_accuracy"] for record in run.history]
    assert scores[-1] > scores[0] or max(scores) == scores[0]
    assert run.best_epoch == 1 + int(np.argmax(scores))
    assert run.evaluate((X[60:], y[60:]))["accuracy"] == max(scores)


def test_a_misspelled_monitor_is_told_before_any_training() -> None:
    model = net()
    with pytest.raises(cr.OptionError, match=r"no 'val_los' .*Without validation=.*no val_ entr"):
        train(model, early_stopping=cr.EarlyStopping(3, monitor="val_los"))
    assert not model.layers[0].weight.assigned  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", [math.nan, -1.0, math.inf, "small"])
def test_a_least_progress_without_meaning_is_refused(wrong: Any) -> None:
    with pytest.raises(cr.OptionError, match=r"EarlyStopping: min_delta must be in \[0, 1\)"):
        cr.EarlyStopping(3, min_delta=wrong)


def test_accuracy_of_labels_is_better_when_higher() -> None:
    model = nn.Sequential([nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1)])
    run = cr.fit(
        model, (X, Y), loss="binary_cross_entropy", epochs=30, batch_size=8, metrics=["accuracy"],
        optimizer=optim.Adam(0.02), early_stopping=cr.EarlyStopping(99, monitor="accuracy"),
        progress=False,
    )  # fmt: skip
    scores = [record["accuracy"] for record in run.history]
    assert min(scores) < max(scores)
    assert run.best_epoch == 1 + int(np.argmax(scores))


def test_weights_that_the_last_update_blew_up_are_told_and_put_back() -> None:
    model = nn.Linear(5, 1)
    nn.initialize(model, 0)
    before = model.weight.value.copy()
    y = 1e6 * (X @ np.ones(5))[:, None]
    options: dict[str, Any] = {"epochs": 1, "batch_size": 40, "progress": False, "loss": "mse"}
    message = r"weight became -?(inf|nan) in epoch 1, step 1 \(rows 15, .*\); no epoch"
    with (
        pytest.warns(UserWarning, match="far apart"),
        pytest.raises(cr.DivergedError, match=message),
    ):
        cr.fit(model, (X, y), optimizer=optim.SGD(1e38), **options)
    np.testing.assert_array_equal(model.weight.value, before)


def test_a_score_that_is_monitored_must_be_a_number() -> None:
    model = nn.Linear(5, 1)
    with pytest.raises(cr.DivergedError, match=r"val_loss became (inf|nan) in epoch 1"):
        cr.fit(
            model, (X, X[:, :1]), loss="mse", optimizer=optim.SGD(1e-3), epochs=2,
            validation=(X * 1e30, X[:, :1]), progress=False,
        )  # fmt: skip
    assert np.isfinite(model.weight.value).all()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_weight_set_between_epochs_is_what_training_goes_on_from(engine: str) -> None:
    def zero(run: cr.Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            model.weight.value = np.full((5, 1), 3.0)

    model = nn.Linear(5, 1)
    train(
        model, loss="binary_cross_entropy", epochs=2, on_epoch=zero, engine=engine,
        optimizer=optim.SGD(1e-9),
    )  # fmt: skip
    np.testing.assert_allclose(model.weight.value, 3.0, atol=1e-6)


def test_after_an_error_of_ones_own_the_model_keeps_weights_of_its_own() -> None:
    def fail(run: cr.Run, record: dict[str, Any]) -> None:
        raise LookupError

    model = nn.Linear(5, 2)
    with pytest.raises(LookupError):
        train(model, on_epoch=fail)
    assert model.weight.value.base is None


@pytest.mark.parametrize("answer", [Path("runs/a"), 1, "no", [0], None, False])
def test_only_true_from_on_epoch_ends_training(answer: Any) -> None:
    run = train(epochs=3, on_epoch=lambda run, record: answer)
    assert (len(run.history), run.stopped) == (3, None)


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_from_on_epoch_ends_training(answer: Any) -> None:
    run = train(epochs=3, on_epoch=lambda run, record: answer)
    assert (len(run.history), run.stopped) == (1, "on_epoch asked to stop at epoch 1")


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1])
@pytest.mark.parametrize("monitor", ["val_r2", "r2"])
@pytest.mark.parametrize("plateau", [False, True])
def test_r2_of_targets_that_do_not_vary_can_not_be_monitored(
    value: float, monitor: str, plateau: bool
) -> None:
    y, same = X[:, :1], np.full((40, 1), value, "f4")
    data = ((X, y), (XV, same)) if monitor == "val_r2" else ((X, same), (XV, y))
    plan = optim.ReduceOnPlateau(0.1, monitor=monitor) if plateau else 0.1
    with pytest.raises(cr.DataError, match=rf"{monitor}' can't be monitored, because all 40"):
        cr.fit(
            nn.Linear(5, 1), data[0], loss="mse", validation=data[1], progress=False,
            optimizer=optim.SGD(plan),
            early_stopping=None if plateau else cr.EarlyStopping(3, monitor=monitor),
        )  # fmt: skip


def test_r2_of_targets_that_do_not_vary_is_undefined_and_harmless() -> None:
    same = np.full((40, 1), 0.1, "f4")  # the mean of these is not exactly 0.1
    run = cr.fit(
        nn.Linear(5, 1), (X, X[:, :1]), loss="mse", validation=(XV, same), progress=False,
        early_stopping=3,
    )  # fmt: skip
    assert all(math.isnan(record["val_r2"]) for record in run.history)


def test_a_metric_that_is_undefined_is_not_blamed_on_the_learning_rate() -> None:
    def share(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return (output * 0.0 / (output * 0.0)).mean(1)

    with pytest.raises(cr.DivergedError, match=r"val_share became nan in epoch 1, though") as told:
        train(
            validation=(XV, YV), metrics=[share],
            early_stopping=cr.EarlyStopping(3, monitor="val_share"),
        )  # fmt: skip
    assert "or monitor a loss" in str(told.value)
    assert "learning rate" not in str(told.value)
