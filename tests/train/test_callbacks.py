"""Callbacks are told of steps, epochs and the end; they may stop a training, never change it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.run.llvm.native import NativeProgram
from chainrule.step.part import Part
from chainrule.tabular import choose_settings, fit_table, read_problem
from chainrule.train.callbacks import Moment

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 5)).astype("f4")
Y = (X[:, 0] > 0).astype(int)
WEIGHT = np.linspace(0.5, 1.5, 50)


def net() -> nn.Sequential:
    return nn.Sequential([nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)])


def train(*callbacks: object, model: Any = None, **options: Any) -> cr.Run:
    options = {"loss": "cross_entropy", "epochs": 4, "batch_size": 16, **options}
    return cr.fit(model or net(), (X, Y), callbacks=callbacks, progress=False, **options)


class Notes:
    """Notes all that it is told, and asks to stop, or fails, at one moment."""

    def __init__(self, stop: Any = None, fail: Any = None, steps: bool = True):
        self.stop, self.fail, self.told = stop, fail, list[tuple[str, Moment]]()
        if steps:
            self.on_step = lambda moment: self._note("step", moment)

    def on_epoch(self, moment: Moment) -> bool:
        return self._note("epoch", moment)

    def on_end(self, moment: Moment) -> None:
        self._note("end", moment)

    def _note(self, what: str, moment: Moment) -> bool:
        self.told.append((what, moment))
        if self.fail == (what, moment.step):
            raise LookupError("mine")
        return self.stop == (what, moment.step)


def test_they_are_told_in_order_and_change_nothing() -> None:
    notes = Notes()
    plain, run = train(validation=(X, Y)), train(notes, validation=(X, Y))
    order = [(what, m.epoch, m.step) for what, m in notes.told]
    steps = [[("step", e, 4 * (e - 1) + k) for k in (1, 2, 3, 4)] for e in (1, 2, 3, 4)]
    epochs = [[*some, ("epoch", e, 4 * e)] for e, some in enumerate(steps, 1)]
    assert order == [*(one for some in epochs for one in some), ("end", 4, 16)]
    np.testing.assert_array_equal(run.outputs(X), plain.outputs(X))
    assert run.history["loss"] == plain.history["loss"]
    for record, (_, moment) in zip(run.history, [n for n in notes.told if n[0] == "epoch"],
                                   strict=True):  # fmt: skip
        assert dict(moment.metrics) == {k: v for k, v in record.items() if k != "epoch"}
    with pytest.raises(TypeError):
        moment.metrics["loss"] = 0.0  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        moment.epoch = 0  # type: ignore[misc]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_loss_of_a_step_is_that_of_its_batch_before_the_update(engine: str) -> None:
    class Expect:
        def __init__(self) -> None:
            self.before: float | None = None
            self.off: list[float] = []

        def on_step(self, moment: Moment) -> None:
            if self.before is not None:
                self.off.append(abs(moment.metrics["loss"] - self.before))
            self.before = moment.run.evaluate((X, Y))["loss"]

    expect = Expect()
    model = nn.Linear(5, 2)
    train(expect, model=model, batch_size=50, engine=engine, optimizer=optim.SGD(0.1))
    assert len(expect.off) == 3
    assert max(expect.off) < 1e-6


def test_the_losses_of_steps_add_up_to_that_of_the_epoch_also_with_weights() -> None:
    notes = Notes()
    run = train(notes, sample_weight=WEIGHT, epochs=1, optimizer=optim.Adam(optim.Cosine(0.1)))
    steps = [m for what, m in notes.told if what == "step"]
    weight = WEIGHT / WEIGHT.mean()
    order = Part(X, Y).order(seed=0, epoch=1)
    shares = [weight[order[i : i + 16]].sum() / 50 for i in range(0, 50, 16)]
    total = sum(m.metrics["loss"] * share for m, share in zip(steps, shares, strict=True))
    assert total == pytest.approx(run.history[0]["loss"], rel=1e-6)
    rates = [m.metrics["learning_rate"] for m in steps]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_weights_are_those_of_now_and_copies() -> None:
    kept: list[dict[str, Any]] = []

    class Keep:
        def on_epoch(self, moment: Moment) -> None:
            kept.append(moment.weights())
            moment.weights()["0.weight"][:] = 0

    run = train(Keep())
    plain = train()
    np.testing.assert_array_equal(run.outputs(X), plain.outputs(X))
    assert not np.array_equal(kept[0]["0.weight"], kept[1]["0.weight"])
    np.testing.assert_array_equal(kept[-1]["3.bias"], run.model.layers[3].bias.value)


def test_gradients_are_those_of_the_loss() -> None:
    found: dict[str, Any] = {}

    class Slopes:
        def on_epoch(self, moment: Moment) -> None:
            found.update(moment.gradients())

    model = nn.Linear(5, 2)
    run = train(Slopes(), model=model, epochs=1, sample_weight=WEIGHT)
    probabilities = run.predict_proba(X).astype("f8")
    delta = (probabilities - np.eye(2)[Y]) * (WEIGHT / WEIGHT.mean())[:, None] / 50
    np.testing.assert_allclose(found["weight"], X.T @ delta, atol=1e-6)
    np.testing.assert_allclose(found["bias"], delta.sum(0), atol=1e-6)


@pytest.mark.parametrize("moment", [("step", 2), ("step", 4), ("step", 6), ("epoch", 8)])
def test_one_may_ask_to_stop(moment: tuple[str, int], tmp_path: Path) -> None:
    notes = Notes(stop=moment)
    run = train(notes, early_stopping=9, checkpoint=tmp_path)
    epoch, step = divmod(moment[1] - 1, 4)
    where = f"epoch {epoch + 1}" + (f", step {step + 1}" if moment[0] == "step" else "")
    assert run.stopped == f"Notes asked to stop at {where}"
    assert len(run.history) == moment[1] // 4
    assert notes.told[-1][1].run.stopped == run.stopped
    assert notes.told[-1][0] == "end"
    again = cr.resume(tmp_path, callbacks=[notes], progress=False)
    assert again.stopped == run.stopped
    np.testing.assert_array_equal(again.outputs(X), run.outputs(X))


def test_stopped_in_the_first_epoch_the_weights_of_its_steps_are_kept() -> None:
    kept: list[Any] = []

    class Stop:
        def on_step(self, moment: Moment) -> bool:
            kept.append(moment.weights()["0.weight"])
            return moment.step == 3

    run = train(Stop(), early_stopping=9)
    np.testing.assert_array_equal(run.model.layers[0].weight.value, kept[-1])
    assert len(kept) == 3


@pytest.mark.parametrize("answer", [1, "no", [0], None, False])
def test_only_true_ends_training(answer: Any) -> None:
    class Answer:
        def on_step(self, moment: Moment) -> Any:
            return answer

        on_epoch = on_step

    assert train(Answer()).stopped is None


def test_an_exception_ends_training_with_the_best_weights() -> None:
    best: dict[int, Any] = {}

    class Keep:
        def on_epoch(self, moment: Moment) -> None:
            best[moment.epoch] = moment.weights()["0.weight"], moment.metrics["val_loss"]

    model, notes = net(), Notes(fail=("epoch", 12))
    held = (X[:20], 1 - Y[:20])  # so that it becomes worse
    with pytest.raises(LookupError, match="mine"):
        train(Keep(), notes, model=model, validation=held, optimizer=optim.SGD(0.5))
    weight, loss = best[1]
    assert loss == min(score for _, score in best.values())
    np.testing.assert_array_equal(model.layers[0].weight.value, weight)
    assert model.layers[0].weight.value.base is None
    last = notes.told[-1]
    assert last[0] == "end"
    assert isinstance(last[1].error, LookupError)


def test_all_are_told_of_the_end_though_one_fails_and_of_a_divergence() -> None:
    failing, other = Notes(fail=("end", 16)), Notes()
    with pytest.raises(LookupError):
        train(failing, other)
    assert other.told[-1][0] == "end"
    other = Notes(steps=False)
    with pytest.raises(cr.DivergedError):
        cr.fit(
            nn.Linear(5, 1), (X, X[:, :1]), loss="mse", optimizer=optim.SGD(1e9), epochs=9,
            progress=False, callbacks=[other],
        )  # fmt: skip
    assert isinstance(other.told[-1][1].error, cr.DivergedError)


def test_they_work_with_full_batch_methods() -> None:
    notes = Notes(stop=("step", 3))
    run = train(notes, optimizer=optim.LBFGS(), epochs=9, model=nn.Linear(5, 2))
    assert run.stopped == "Notes asked to stop at epoch 3, step 1"
    assert len(run.history) == 3
    losses = [m.metrics["loss"] for what, m in notes.told if what == "step"]
    assert losses == sorted(losses, reverse=True)
    assert all(map(math.isfinite, losses))


def test_a_table_takes_them_too() -> None:
    notes = Notes(stop=("epoch", 8), steps=False)
    problem = read_problem("iris")
    settings = choose_settings(102, epochs=20, hidden=[4], batch_size=32)
    run = fit_table(problem, settings, callbacks=[notes], progress=False)
    assert run.stopped == "Notes asked to stop at epoch 2"
    assert "val_loss" in notes.told[0][1].metrics


class Nothing:
    pass


class Misspelt:
    def on_epochs(self, moment: Moment) -> None: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Nothing()], "Nothing has none of on_epoch, on_step, on_end"),
        ([Misspelt()], "'on_epochs', which training would not call. Did you mean 'on_epoch'"),
        ([Notes], r"give an object, Notes\(...\), not the class"),
        ([lambda moment: True], "Give the function as on_epoch=... instead"),
        (Nothing(), "callbacks must be a list of objects"),
    ],
)
def test_what_would_never_be_called_is_refused_before_training(given: Any, words: str) -> None:
    model = net()
    with pytest.raises(cr.OptionError, match=words):
        cr.fit(model, (X, Y), loss="cross_entropy", callbacks=given)
    assert not model.layers[0].weight.assigned  # type: ignore[attr-defined]


def test_without_on_step_many_steps_run_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def count(callbacks: list[object]) -> int:
        real = NativeProgram.run
        calls.clear()

        def run(self: Any, order: Any, *args: Any) -> Any:
            calls.append(len(order))
            return real(self, order, *args)

        with monkeypatch.context() as patch:
            patch.setattr(NativeProgram, "run", run)
            train(*callbacks, epochs=40, batch_size=5)
        return len(calls)

    assert count([Notes()]) == 400
    assert count([Notes(steps=False)]) < 100
