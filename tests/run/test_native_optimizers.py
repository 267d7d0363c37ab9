"""Every optimizer, schedule and wrapper does on the native engine what the reference does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule import optim
from chainrule.optim import Optimizer
from chainrule.run.llvm.code import NativeCode
from tests.run.agreement import Case, assert_agree, network, shuffled, targets, training

SGD, chain = optim.SGD, optim.chain
OPTIMIZERS: dict[str, Optimizer] = {
    "adagrad": optim.AdaGrad(0.05),
    "rmsprop": optim.RMSProp(0.005),
    "rmsprop, centered, momentum": optim.RMSProp(0.002, momentum=0.8, centered=True),
    "adadelta": optim.AdaDelta(),
    "adamw": optim.AdamW(0.01, weight_decay=0.1),
    "nadam": optim.Nadam(0.01),
    "amsgrad": optim.AMSGrad(0.01),
    "radam": optim.RAdam(0.01, beta2=0.9),
    "lion": optim.Lion(0.002, weight_decay=0.1),
    "weight decay": chain(SGD(0.1), optim.WeightDecay(0.01, everywhere=True)),
    "max norm": chain(SGD(0.2, 0.9), optim.MaxNorm(0.8)),
    "accumulate": optim.Accumulate(3, optim.Adam(0.01)),
    "averaged": optim.EMA(optim.Adam(0.01), 0.9),
    "averaged, Polyak": optim.EMA(SGD(0.1), None, start=5),
    "groups": optim.groups(
        {"0.*": optim.freeze, "*.bias": SGD(0.1, 0.9)}, chain(optim.ClipNorm(0.1), optim.Adam())
    ),
    "all at once": chain(
        optim.ClipNorm(0.5),
        optim.Accumulate(2, optim.EMA(chain(optim.RMSProp(0.01), optim.MaxNorm(1.0)), 0.9)),
    ),
}
SCHEDULES: dict[str, optim.Schedule] = {
    "step": optim.StepDecay(0.3, every=30, factor=0.5),
    "exponential": optim.Exponential(0.3, 0.1, steps=100),
    "cosine": optim.Cosine(0.3, 0.01, steps=70),
    "restarts": optim.CosineRestarts(0.3, steps=10, growth=2),
    "even restarts": optim.CosineRestarts(0.3, steps=10, growth=1),
    "polynomial": optim.Polynomial(0.3, steps=70, power=2.0),
    "one cycle": optim.OneCycle(0.5, steps=100),
    "piecewise": optim.Piecewise([0.3, 0.1, 0.2], at=[20, 50]),
    "warm-up": optim.Warmup(optim.Cosine(0.3, steps=80), steps=20),
    "plateau": optim.ReduceOnPlateau(optim.Polynomial(0.3, 0.1, steps=100)),
}


def case(optimizer: Optimizer, dtype: str = "float64", sizes: Any = (5, 9, 3)) -> Case:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(23, sizes[0])).astype(dtype)
    y = targets("cross_entropy", 23, sizes[-1], dtype, rng)
    return training(network(sizes, "tanh", dtype), "cross_entropy", optimizer, x, y)


def assert_all_native(made: Case) -> None:
    code = NativeCode(made.graph, set(made.state), set(made.data), 7)
    assert not code.left_to_reference()


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps_in_float64(name: str) -> None:
    made = case(OPTIMIZERS[name])
    assert_all_native(made)
    assert_agree(made, shuffled(23, 25), 7, 1e-9)


@pytest.mark.parametrize("name", ["nadam", "radam", "lion", "max norm", "groups", "all at once"])
def test_ten_steps_in_float32_on_two_threads(name: str) -> None:
    assert_agree(case(OPTIMIZERS[name], "float32"), shuffled(23, 3)[:70], 7, 1e-4, threads=2)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    made = case(SGD(SCHEDULES[name], momentum=optim.Polynomial(0.9, 0.5, steps=50)))
    assert_all_native(made)
    assert_agree(made, shuffled(23, 25), 7, 1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "name", ["adagrad", "adamw", "nadam", "radam", "lion", "averaged", "accumulate"]
)
def test_the_update_stays_in_the_epilogue_of_the_weight_gradient(name: str) -> None:
    """No step waits for more than the barrier that the weight gradients need."""
    made = case(OPTIMIZERS[name], sizes=(4, 8, 8, 3))
    code = NativeCode(made.graph, set(made.state), set(made.data), 4)
    assert len(code.schedule.levels) == 2
    assert not code.schedule.copies
