"""Schedules give the rates that PyTorch's schedulers give, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import optim
from chainrule.optim.plateau import PlateauWatch
from chainrule.optim.schedules import Schedule

pytestmark = pytest.mark.oracle

STEPS, RATE = 60, 0.4


def warmed(t: Any, o: Any) -> Any:
    s = t.optim.lr_scheduler
    warm = s.LinearLR(o, start_factor=1 / 11, total_iters=10)
    return s.SequentialLR(o, [warm, s.CosineAnnealingLR(o, 50)], milestones=[10])


# name: (our schedule, PyTorch's scheduler for an optimizer whose rate is 0.4)
SCHEDULES: dict[str, tuple[Schedule, Callable[[Any, Any], Any]]] = {
    "step": (
        optim.StepDecay(RATE, every=7, factor=0.3),
        lambda t, o: t.optim.lr_scheduler.StepLR(o, 7, 0.3),
    ),
    "exponential": (
        optim.Exponential(RATE, 0.9, steps=1),
        lambda t, o: t.optim.lr_scheduler.ExponentialLR(o, 0.9),
    ),
    "cosine": (
        optim.Cosine(RATE, 0.1), lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, 0.1),
    ),
    "restarts": (
        optim.CosineRestarts(RATE, steps=4, growth=2, end=0.1),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2, 0.1),
    ),
    "even restarts": (
        optim.CosineRestarts(RATE, steps=9, growth=1),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 9),
    ),
    "polynomial": (
        optim.Polynomial(RATE, steps=40, power=2.0),
        lambda t, o: t.optim.lr_scheduler.PolynomialLR(o, 40, 2.0),
    ),
    "linear": (
        optim.Polynomial(RATE, 0.1, steps=40),
        lambda t, o: t.optim.lr_scheduler.LinearLR(o, 1.0, 0.25, 40),
    ),
    "one cycle": (
        optim.OneCycle(0.5), lambda t, o: t.optim.lr_scheduler.OneCycleLR(o, 0.5, STEPS),
    ),
    "one cycle, its own numbers": (
        optim.OneCycle(0.5, 0.1, 0.01, rise=0.4, steps=50),
        lambda t, o: t.optim.lr_scheduler.OneCycleLR(
            o, 0.5, 50, pct_start=0.4, div_factor=5, final_div_factor=10
        ),
    ),
    "piecewise": (
        optim.Piecewise([RATE, RATE / 2, RATE / 4], at=[10, 25]),
        lambda t, o: t.optim.lr_scheduler.MultiStepLR(o, [10, 25], 0.5),
    ),
    "warm-up, cosine": (optim.Warmup(optim.Cosine(RATE), steps=10), warmed),
}  # fmt: skip


def torch_rates(torch: Any, make: Any, steps: int) -> list[float]:
    parameter = torch.zeros(1, requires_grad=True)
    method = torch.optim.SGD([parameter], RATE)
    scheduler, rates = make(torch, method), []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        method.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch's own, about its own epochs
def test_schedule(torch: Any, name: str) -> None:
    ours, make = SCHEDULES[name]
    steps = 50 if "own numbers" in name else STEPS  # PyTorch's stops where it is at its end
    expected = torch_rates(torch, make, steps - 1)
    np.testing.assert_allclose(
        optim.tabulate(ours, STEPS)[: steps - 1], expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("patience", "cooldown"), [(1, 0), (3, 0), (2, 4)])
def test_reduce_on_plateau(torch: Any, patience: int, cooldown: int) -> None:
    method = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        method, factor=0.5, patience=patience - 1, threshold=0.01, threshold_mode="rel",
        cooldown=cooldown,
    )  # fmt: skip
    plan = optim.ReduceOnPlateau(RATE, 0.5, patience, min_delta=0.01, cooldown=cooldown)
    watch, rate = PlateauWatch(plan), RATE
    losses = 1 + np.exp(-np.arange(40) / 9) + 0.05 * np.random.default_rng(patience).normal(size=40)
    for loss in losses:
        theirs.step(loss)
        rate *= 0.5 if watch.asks_to_lower(loss) else 1.0
        assert rate == pytest.approx(method.param_groups[0]["lr"])
    assert rate < RATE
