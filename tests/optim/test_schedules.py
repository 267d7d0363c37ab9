"""Schedules follow their formulas, know the length of a training, and leave nothing to compile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim.plateau import PlateauWatch
from chainrule.optim.schedules import Schedule

STEPS = 60


def half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def restarted(s: int, length: float, growth: float) -> float:
    """Return how much of its cycle is done after `s` steps, by counting."""
    while s >= length:
        s, length = s - round(length), length * growth
    return s / length


def one_cycle(s: int) -> float:
    top = 0.3 * STEPS - 1
    if s <= top:
        return half_cosine(0.02, 0.5, s / top)
    return half_cosine(0.5, 2e-6, (s - top) / (STEPS - 1 - top))


# name: (the schedule, its value after s steps)
FORMULAS: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "step": (optim.StepDecay(0.4, every=7, factor=0.3), lambda s: 0.4 * 0.3 ** (s // 7)),
    "exponential": (optim.Exponential(0.4, 0.9, steps=1), lambda s: 0.4 * 0.9**s),
    "exponential, by the end": (optim.Exponential(0.4, 0.1), lambda s: 0.4 * 0.1 ** (s / STEPS)),
    "cosine": (optim.Cosine(0.4, 0.1), lambda s: half_cosine(0.4, 0.1, s / STEPS)),
    "cosine, shorter": (
        optim.Cosine(0.4, 0.1, steps=40), lambda s: half_cosine(0.4, 0.1, min(1, s / 40)),
    ),
    "restarts": (
        optim.CosineRestarts(0.4, steps=4, growth=2, end=0.1),
        lambda s: half_cosine(0.4, 0.1, restarted(s, 4, 2)),
    ),
    "restarts that grow by three": (
        optim.CosineRestarts(0.4, steps=3, growth=3),
        lambda s: half_cosine(0.4, 0.0, restarted(s, 3, 3)),
    ),
    "even restarts": (
        optim.CosineRestarts(0.4, steps=9, growth=1), lambda s: half_cosine(0.4, 0, s % 9 / 9),
    ),
    "linear": (optim.Polynomial(0.4, 0.1), lambda s: 0.4 - 0.3 * s / STEPS),
    "rising": (optim.Polynomial(0.5, 0.9, steps=20), lambda s: 0.5 + 0.4 * min(1, s / 20)),
    "quadratic": (
        optim.Polynomial(0.4, 0.1, power=2), lambda s: 0.1 + 0.3 * (1 - s / STEPS) ** 2,
    ),
    "one cycle": (optim.OneCycle(0.5), one_cycle),
    "piecewise": (
        optim.Piecewise([0.1, 0.5, 0.2], at=[10, 20]),
        lambda s: 0.1 if s < 10 else 0.5 if s < 20 else 0.2,
    ),
    "warm-up to a number": (optim.Warmup(0.4, steps=5), lambda s: 0.4 * min(1, (s + 1) / 6)),
    "warm-up, then cosine": (
        optim.Warmup(optim.Cosine(0.4), steps=10),
        lambda s: 0.4 * (s + 1) / 11 if s < 10 else half_cosine(0.4, 0, (s - 10) / 50),
    ),
    "warm-up of a twentieth": (
        optim.Warmup(optim.Polynomial(0.4)),
        lambda s: 0.4 * (s + 1) / 4 if s < 3 else 0.4 * (1 - (s - 3) / 57),
    ),
    "warm-up within warm-up": (
        optim.Warmup(optim.Warmup(1.0, steps=4), steps=2),
        lambda s: 0.2 * (s + 1) / 3 if s < 2 else min(1.0, (s - 1) / 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_every_step_equals_the_formula(name: str) -> None:
    schedule, formula = FORMULAS[name]
    expected = [formula(s) for s in range(STEPS)]
    np.testing.assert_allclose(optim.tabulate(schedule, STEPS), expected, rtol=1e-12, atol=1e-15)
    assert max(expected) > min(expected)


def test_restarts_begin_on_their_step_however_late() -> None:
    for growth, first in [(2, 10), (3, 7), (1.5, 16)]:
        rates = optim.tabulate(optim.CosineRestarts(1.0, steps=first, growth=growth), 3000)
        begins, length = 0.0, float(first)
        while begins < 2000:
            if begins == int(begins):
                assert rates[int(begins)] == pytest.approx(1.0, abs=1e-9)
            begins, length = begins + length, length * growth


RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3))
Y = X @ RNG.normal(size=(3, 1)) + 0.1


def train(learning_rate: Any, epochs: int = 4, **options: Any) -> cr.Run:
    model = nn.Linear(3, 1, dtype="float64")
    method = options.pop("optimizer", None) or optim.SGD(learning_rate)
    return cr.fit(
        model, (X, Y), loss="mse", optimizer=method, epochs=epochs, batch_size=5, progress=False,
        **options,
    )  # fmt: skip


def rates(run: cr.Run) -> list[float]:
    return [record["learning_rate"] for record in run.history]


def test_fit_knows_how_long_it_lasts_and_the_history_what_the_rate_was() -> None:
    run = train(optim.Polynomial(1.0))  # four epochs of five steps: 22 rows by 5
    np.testing.assert_allclose(rates(run), [1 - 4 / 20, 1 - 9 / 20, 1 - 14 / 20, 1 - 19 / 20])
    held_out = train(optim.Polynomial(1.0), validation=0.5)  # 11 rows: three steps an epoch
    np.testing.assert_allclose(rates(held_out), [1 - (3 * e - 1) / 12 for e in range(1, 5)])


def test_counts_may_be_epochs() -> None:
    step = optim.StepDecay(0.4, every=optim.epochs(2), factor=0.5)
    np.testing.assert_allclose(rates(train(step)), [0.4, 0.4, 0.2, 0.2])
    warm = optim.Warmup(optim.Polynomial(0.4, 0.2), optim.epochs(2))
    np.testing.assert_allclose(rates(train(warm))[:2], [0.4 * 5 / 11, 0.4 * 10 / 11])
    pieces = optim.Piecewise([0.1, 0.3], at=[optim.epochs(3)])
    np.testing.assert_allclose(rates(train(pieces)), [0.1, 0.1, 0.1, 0.3])


def test_the_rate_of_composed_optimizers_is_told() -> None:
    plan = optim.Polynomial(1.0, steps=10)
    composed = {
        "chain": optim.chain(optim.ClipNorm(1.0), optim.SGD(plan)),
        "averaged": optim.EMA(optim.SGD(plan)),
        "default": optim.groups({"bias": optim.SGD(0.5)}, default=optim.SGD(plan)),
        "first": optim.groups({"weight": optim.SGD(plan), "bias": optim.SGD(0.5)}),
        "frozen first": optim.groups({"bias": optim.freeze, "weight": optim.SGD(plan)}),
    }
    for name, method in composed.items():
        assert rates(train(None, 1, optimizer=method)) == [pytest.approx(0.6)], name
    accumulated = optim.Accumulate(2, optim.SGD(plan))  # the fifth step belongs to the third turn
    assert rates(train(None, 1, optimizer=accumulated)) == [pytest.approx(0.8)]
    assert "learning_rate" not in train(None, 1, optimizer=Still()).history[0]


class Still(optim.Optimizer):
    """An optimizer of the user's, without hyper-parameters."""

    def update(self, g: Any, p: Any, slots: Any, h: Any, t: Any) -> Any:
        return g * -0.1, {}


def test_other_numbers_of_a_schedule_compile_nothing_anew() -> None:
    from chainrule.step.objective import objective
    from chainrule.step.part import Part
    from chainrule.step.record import record_step

    graphs = []
    for start, steps in ((0.1, 50), (0.7, 900)):
        model = nn.Linear(3, 1, dtype="float64")
        method = optim.SGD(optim.Warmup(optim.Cosine(start, steps=steps), steps=5))
        graphs.append(str(record_step(model, objective("mse"), method, (), Part(X, Y)).graph))
    assert graphs[0] == graphs[1]


def test_reduce_on_plateau_lowers_the_rate_and_training_goes_on() -> None:
    noise = np.random.default_rng(3).normal(size=(22, 1))
    plan = optim.ReduceOnPlateau(0.2, factor=0.5, patience=2, least=0.03)
    model = nn.Linear(3, 1, dtype="float64")
    run = cr.fit(
        model, (X, noise), loss="mse", optimizer=optim.SGD(plan), epochs=30, batch_size=5,
        progress=False,
    )  # fmt: skip
    told, losses = rates(run), [record["loss"] for record in run.history]
    expected, rate, best, waited = [], 0.2, math.inf, 0
    for loss in losses:
        expected.append(max(0.03, rate))
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == 2:
            rate, waited = rate / 2, 0
    np.testing.assert_allclose(told, expected)
    assert told[-1] == 0.03


def test_a_plateau_of_an_accuracy_is_one_of_no_rise() -> None:
    y = (X[:, 0] > 0).astype(int)
    plan = optim.ReduceOnPlateau(0.5, patience=3, monitor="val_accuracy")
    run = cr.fit(
        nn.Linear(3, 2), (X.astype("f4"), y), loss="cross_entropy", optimizer=optim.SGD(plan),
        epochs=12, batch_size=5, validation=(X.astype("f4"), y), progress=False,
    )  # fmt: skip
    scores, told = [r["val_accuracy"] for r in run.history], rates(run)
    watch = PlateauWatch(plan)
    lowered = [watch.asks_to_lower(-score) for score in scores]
    assert [b < a for a, b in itertools.pairwise(told)] == lowered[:-1]
    assert any(lowered)
    with pytest.raises(cr.OptionError, match=r"ReduceOnPlateau: .* no 'val_los' .*'val_loss'"):
        train(optim.ReduceOnPlateau(0.1, monitor="val_los"), validation=0.5)
    with pytest.raises(cr.OptionError, match=r"Without validation"):
        train(optim.ReduceOnPlateau(0.1, monitor="val_loss"))


def test_a_rest_after_lowering() -> None:
    watch = PlateauWatch(optim.ReduceOnPlateau(0.1, patience=2, cooldown=3))
    asked = [watch.asks_to_lower(1.0) for _ in range(12)]
    assert [i for i, lower in enumerate(asked) if lower] == [2, 7]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_margin_of_a_plateau_is_relative(unit: float) -> None:
    watch = PlateauWatch(optim.ReduceOnPlateau(0.1, patience=1, min_delta=0.1))
    asked = [watch.asks_to_lower(unit * loss) for loss in (1.0, 0.8, 0.75, 0.7)]
    assert asked == [False, False, True, False]


def test_a_plateau_scales_another_schedule() -> None:
    plan = optim.ReduceOnPlateau(optim.Polynomial(0.4), factor=0.5, patience=1, min_delta=0.999)
    np.testing.assert_allclose(
        rates(train(plan)),
        [0.4 * (1 - s / 20) * f for s, f in [(4, 1), (9, 1), (14, 0.5), (19, 0.25)]],
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(optim.Cosine(-0.1)), r"Cosine: start must be in \[0, inf\)"),
        (lambda: optim.Adam(beta1=optim.Cosine(1.0, 0.5)), r"Adam: beta1 must be in \[0, 1\), but "
         r"its schedule Cosine goes to 1.0"),
        (lambda: optim.SGD(0.1, optim.Warmup(1.5)), "momentum must be in .* Warmup goes to 1.5"),
        (lambda: optim.StepDecay(0.1, every=0), r"StepDecay: every must be in \(0, inf\)"),
        (lambda: optim.Exponential(0.1, factor=0), r"Exponential: factor must be in \(0, inf\)"),
        (lambda: optim.Cosine(0.1, steps=-5), "Cosine: steps must be in"),
        (lambda: optim.CosineRestarts(0.1, 5, growth=0.5), r"growth must be in \[1, inf\)"),
        (lambda: optim.Polynomial(0.1, power=0), "Polynomial: power must be in"),
        (lambda: optim.OneCycle(0.1, rise=1.0), r"OneCycle: rise must be in \(0, 1\)"),
        (lambda: optim.Piecewise([0.1], at=[5]), "one entry more than at, 2, not 1"),
        (lambda: optim.Piecewise([0.1, 0.2, 0.3], at=[5, 5]), "at must be increasing"),
        (lambda: optim.Piecewise([0.1, "x"], at=[5]), "values must be in"),
        (lambda: optim.Warmup("x"), "Warmup: then must be in"),
        (lambda: optim.epochs(0), "count must be in"),
        (lambda: optim.ReduceOnPlateau(0.1, factor=1.0), r"factor must be in \(0, 1\)"),
        (lambda: optim.ReduceOnPlateau(0.1, patience=0), "patience must be a positive integer"),
        (lambda: optim.ReduceOnPlateau(0.1, patience=math.inf), "patience must be a positive"),
        (lambda: optim.ReduceOnPlateau(0.1, monitor=5), "monitor must be the name of an entry"),
        (lambda: optim.OneCycle(0.1, start="x"), "OneCycle: start must be in"),
        (lambda: optim.SGD(optim.Cosine(0.1)).hyper(), "Cosine: steps is not known outside of fit"),
        (lambda: optim.schedule("cosin", 0.1), "unknown schedule 'cosin'.*mean 'cosine'"),
        (lambda: optim.schedule("cosine", 0.1, ende=1), "no argument 'ende'. Did you mean 'end'"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


@pytest.mark.parametrize("name", optim.schedule_names())
def test_every_named_schedule_trains(name: str) -> None:
    for warmup in (None, 4):
        plan = optim.schedule(name, 0.1, warmup)
        table = optim.tabulate(plan, 60)
        assert table.shape == (60,)
        assert 0 <= table.min() <= table.max() <= 0.1 + 1e-15
    assert train(plan).history[-1]["loss"] < train(plan).history[0]["loss"]
