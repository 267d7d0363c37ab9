"""Every optimizer takes the steps its paper's equations take, written here in plain NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import ReferenceProgram
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))
STEPS = 20
Weights = tuple[Any, Any]  # (weight, bias)


def gradients(w: Any, b: Any) -> Weights:
    """Return the gradient of mean((x w + b - y)²), derived on paper."""
    error = 2 * (X @ w + b - Y) / Y.size
    return X.T @ error, error.sum(axis=0)


def zeros(p: Weights) -> list[Any]:
    return [np.zeros_like(q) for q in p]


def sgd(p: Weights, rate: float) -> Iterator[Weights]:
    while True:
        p = tuple(q - rate * g for q, g in zip(p, gradients(*p), strict=True))
        yield p


def momentum(p: Weights, rate: float, mu: float, nesterov: bool) -> Iterator[Weights]:
    v = zeros(p)
    while True:
        g = gradients(*p)
        v = [mu * a + b for a, b in zip(v, g, strict=True)]
        step = [b + mu * a for a, b in zip(v, g, strict=True)] if nesterov else v
        p = tuple(q - rate * s for q, s in zip(p, step, strict=True))
        yield p


def adam(p: Weights, rate: float, b1: float, b2: float, eps: float) -> Iterator[Weights]:
    m, v, t = zeros(p), zeros(p), 0
    while True:
        t += 1
        new = []
        for i, g in enumerate(gradients(*p)):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g**2
            m_hat, v_hat = m[i] / (1 - b1**t), v[i] / (1 - b2**t)
            new.append(p[i] - rate * m_hat / (np.sqrt(v_hat) + eps))
        p = tuple(new)
        yield p


def clipped_norm(p: Weights, rate: float, limit: float) -> Iterator[Weights]:
    while True:
        g = gradients(*p)
        length = np.linalg.norm(np.concatenate([a.ravel() for a in g]))
        g = [a * min(1.0, limit / length) for a in g]
        p = tuple(q - rate * a for q, a in zip(p, g, strict=True))
        yield p


def clipped_value(p: Weights, limit: float) -> Iterator[Weights]:
    v = zeros(p)
    while True:
        g = [np.clip(a, -limit, limit) for a in gradients(*p)]
        v = [0.9 * a + b for a, b in zip(v, g, strict=True)]
        p = tuple(q - 0.3 * s for q, s in zip(p, v, strict=True))
        yield p


Rule = Callable[[Any, Any, dict[str, Any], int], Any]


def by(rule: Rule) -> Callable[[Weights], Iterator[Weights]]:
    """Return the steps of a `rule` for one parameter: (p, g, memory, t) to the new p."""

    def steps(p: Weights) -> Iterator[Weights]:
        memory: list[dict[str, Any]] = [{}, {}]
        for t in itertools.count(1):
            g = gradients(*p)
            p = tuple(rule(q, a, s, t) for q, a, s in zip(p, g, memory, strict=True))
            yield p

    return steps


def kept(s: dict[str, Any], name: str, beta: float, new: Any) -> Any:
    """Return a running mean that starts at zero."""
    s[name] = beta * s.get(name, 0.0) + (1 - beta) * new
    return s[name]


def adagrad(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["sum"] = s.get("sum", 0) + g**2
    return p - 0.1 * g / (np.sqrt(s["sum"]) + 1e-10)


def rmsprop(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    return p - 0.02 * g / (np.sqrt(kept(s, "v", 0.99, g**2)) + 1e-8)


def graves(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    n, mean = kept(s, "n", 0.95, g**2), kept(s, "g", 0.95, g)
    s["b"] = 0.9 * s.get("b", 0) + g / (np.sqrt(n - mean**2) + 1e-4)
    return p - 0.01 * s["b"]


def adadelta(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    root = np.sqrt(kept(s, "v", 0.95, g**2) + 1e-2)
    change = -np.sqrt(s.get("u", 0) + 1e-2) / root * g
    kept(s, "u", 0.95, change**2)
    return p + change


def adamw(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    m = kept(s, "m", 0.9, g) / (1 - 0.9**t)
    v = kept(s, "v", 0.999, g**2) / (1 - 0.999**t)
    decay = 0.3 if p.ndim == 2 else 0.0
    return p - 0.05 * (m / (np.sqrt(v) + 1e-8) + decay * p)


def nadam(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    def mu(i: int) -> float:
        return float(0.9 * (1 - 0.5 * 0.96 ** (i * 0.004)))

    m, v = kept(s, "m", 0.9, g), kept(s, "v", 0.999, g**2) / (1 - 0.999**t)
    so_far = np.prod([mu(i) for i in range(1, t + 1)])
    m_hat = mu(t + 1) * m / (1 - so_far * mu(t + 1)) + (1 - mu(t)) * g / (1 - so_far)
    return p - 0.05 * m_hat / (np.sqrt(v) + 1e-8)


def amsgrad(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    m, v = kept(s, "m", 0.9, g) / (1 - 0.9**t), kept(s, "v", 0.7, g**2)
    s["peak"] = np.maximum(s.get("peak", 0), v)
    return p - 0.05 * m / (np.sqrt(s["peak"] / (1 - 0.7**t)) + 1e-8)


def radam(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    m, v = kept(s, "m", 0.9, g) / (1 - 0.9**t), kept(s, "v", 0.9, g**2) / (1 - 0.9**t)
    limit = 2 / (1 - 0.9) - 1
    rho = limit - 2 * t * 0.9**t / (1 - 0.9**t)
    if rho <= 5:
        return p - 0.05 * m
    r = np.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
    return p - 0.05 * r * m / (np.sqrt(v) + 1e-8 / np.sqrt(1 - 0.9**t))


def lion(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    m = s.get("m", 0)
    s["m"] = 0.99 * m + 0.01 * g
    return p - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.2 * p)


def shrunk(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    return p - 0.3 * g - (0.02 * p if p.ndim == 2 else 0)


def limited(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    q = p - 0.3 * g
    if p.ndim == 1:
        return q
    return np.stack([c * min(1, 0.5 / np.linalg.norm(c)) for c in q.T], axis=1)


def halved(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    return p - (0.3 if t <= 10 else 0.15) * g


TABLE: dict[str, tuple[Optimizer, Callable[[Weights], Iterator[Weights]]]] = {
    "sgd": (optim.SGD(0.3), lambda p: sgd(p, 0.3)),
    "sgd, rate an integer": (optim.SGD(1), lambda p: sgd(p, 1.0)),
    "sgd, rate from NumPy": (optim.SGD(np.float64(0.3)), lambda p: sgd(p, 0.3)),
    "sgd, rate of another NumPy type": (
        optim.SGD(np.float32(0.25)), lambda p: sgd(p, 0.25),  # type: ignore[arg-type]
    ),
    "momentum": (optim.SGD(0.1, 0.9), lambda p: momentum(p, 0.1, 0.9, False)),
    "nesterov": (optim.SGD(0.1, 0.8, nesterov=True), lambda p: momentum(p, 0.1, 0.8, True)),
    "adam": (optim.Adam(0.05), lambda p: adam(p, 0.05, 0.9, 0.999, 1e-8)),
    "adam, other constants": (
        optim.Adam(0.05, 0.5, 0.9, 1e-3), lambda p: adam(p, 0.05, 0.5, 0.9, 1e-3),
    ),
    "clip norm, sgd": (
        optim.chain(optim.ClipNorm(0.4), optim.SGD(0.3)), lambda p: clipped_norm(p, 0.3, 0.4),
    ),
    "clip norm that never binds": (
        optim.chain(optim.ClipNorm(1e9), optim.SGD(0.3)), lambda p: sgd(p, 0.3),
    ),
    "clip value, momentum": (
        optim.chain(optim.ClipValue(0.2), optim.SGD(0.3, 0.9)), lambda p: clipped_value(p, 0.2),
    ),
    "adagrad": (optim.AdaGrad(0.1), by(adagrad)),
    "rmsprop": (optim.RMSProp(0.02), by(rmsprop)),
    "rmsprop, centered, momentum": (
        optim.RMSProp(0.01, 0.95, 1e-4, momentum=0.9, centered=True), by(graves),
    ),
    "adadelta": (optim.AdaDelta(epsilon=1e-2), by(adadelta)),
    "adamw": (optim.AdamW(0.05, weight_decay=0.3), by(adamw)),
    "nadam": (optim.Nadam(0.05), by(nadam)),
    "amsgrad": (optim.AMSGrad(0.05, beta2=0.7), by(amsgrad)),
    "radam": (optim.RAdam(0.05, beta2=0.9), by(radam)),
    "lion": (optim.Lion(0.01, weight_decay=0.2, everywhere=True), by(lion)),
    "weight decay": (optim.chain(optim.SGD(0.3), optim.WeightDecay(0.02)), by(shrunk)),
    "max norm": (optim.chain(optim.SGD(0.3), optim.MaxNorm(0.5)), by(limited)),
    "scheduled": (optim.SGD(optim.StepDecay(0.3, every=10, factor=0.5)), by(halved)),
    "accumulated over one": (
        optim.Accumulate(1, optim.Adam(0.05)), lambda p: adam(p, 0.05, 0.9, 0.999, 1e-8),
    ),
    "averaged, unseen": (
        optim.EMA(optim.Adam(0.05)), lambda p: adam(p, 0.05, 0.9, 0.999, 1e-8),
    ),
    "one group": (
        optim.groups({"*": optim.Adam(0.05)}), lambda p: adam(p, 0.05, 0.9, 0.999, 1e-8),
    ),
    "chain of one": (optim.chain(optim.Adam(0.05)), lambda p: adam(p, 0.05, 0.9, 0.999, 1e-8)),
}  # fmt: skip


def program(method: Optimizer, dtype: str = "float64") -> ReferenceProgram:
    model = nn.Linear(3, 2, dtype=dtype)
    nn.initialize(model, 1)
    x, y = X.astype(dtype), Y.astype(dtype)
    step = record_step(model, objective("mse"), method, (), Part(x, y))
    cr.verify(step.graph)
    return ReferenceProgram(step.graph, step.state, {"x": x, "y": y})


@pytest.mark.parametrize("name", TABLE)
def test_twenty_steps_equal_the_equations(name: str) -> None:
    method, equations = TABLE[name]
    ours = program(method)
    start = ours.state["parameter/weight"].copy(), ours.state["parameter/bias"].copy()
    theirs = equations(start)
    for i in range(1, STEPS + 1):
        ours.run(np.arange(12), 12)
        weight, bias = next(theirs)
        np.testing.assert_allclose(ours.state["parameter/weight"], weight, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.state["parameter/bias"], bias, rtol=0, atol=1e-12)
        assert ours.state["step"] == i
    assert abs(weight - start[0]).max() > 0.05  # the steps compared were no tiny ones


@pytest.mark.parametrize("name", TABLE)
def test_float32_follows_float64(name: str) -> None:
    wide, narrow = program(TABLE[name][0]), program(TABLE[name][0], "float32")
    for ours in (wide, narrow):
        ours.run(np.tile(np.arange(12), STEPS), 12)
    got = narrow.state["parameter/weight"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wide.state["parameter/weight"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("clip", [optim.ClipNorm(0.5), optim.ClipValue(0.5)])
def test_a_gradient_of_zero_stays_zero_under_clipping(clip: Optimizer) -> None:
    model = nn.Linear(3, 2, dtype="float64")
    nn.initialize(model, 1)
    y = X @ model.weight.value
    step = record_step(model, objective("mse"), optim.chain(clip, optim.SGD(0.1)), (), Part(X, y))
    ours = ReferenceProgram(step.graph, step.state, {"x": X, "y": y})
    before = model.weight.value.copy()
    ours.run(np.arange(12), 12)
    np.testing.assert_allclose(ours.state["parameter/weight"], before, atol=1e-15)
    zero = cr.tensor(np.zeros(2))
    h = {k: cr.tensor(np.float64(v)) for k, v in clip.hyper().items()}
    (change,), _ = clip.update_all([zero], [zero], [{}], h, cr.tensor(np.float64(1)))
    np.testing.assert_array_equal(change.numpy(), np.zeros(2))


def test_clipping_by_norm_keeps_the_direction_over_all_parameters() -> None:
    g = [np.array([3.0, 0.0]), np.array([[0.0], [4.0]])]
    h = {"max_norm": cr.tensor(np.float64(1.0))}
    tensors = [cr.tensor(a) for a in g]
    changes, _ = optim.ClipNorm(1.0).update_all(
        tensors, tensors, [{}, {}], h, cr.tensor(np.float64(1))
    )
    for change, original in zip(changes, g, strict=True):
        np.testing.assert_allclose(change.numpy(), original / 5, rtol=1e-15)


def test_hyper_parameters_are_state_so_a_schedule_records_nothing_anew() -> None:
    ours = program(optim.SGD(0.3))
    graph = ours.interpreter.graph
    w, b = ours.state["parameter/weight"].copy(), ours.state["parameter/bias"].copy()
    for rate in (0.3, 0.1, 0.0, 0.5):
        ours.state["hyper/learning_rate"][...] = rate
        ours.run(np.arange(12), 12)
        gw, gb = gradients(w, b)
        w, b = w - rate * gw, b - rate * gb
        np.testing.assert_allclose(ours.state["parameter/weight"], w, rtol=0, atol=1e-14)
        np.testing.assert_allclose(ours.state["parameter/bias"], b, rtol=0, atol=1e-14)
    assert ours.interpreter.graph is graph


def test_hyper_parameters_of_adam_and_of_a_chain_are_state_too() -> None:
    ours = program(optim.chain(optim.ClipNorm(0.5), optim.Adam(0.1, 0.8)))
    hyper = {k: float(v) for k, v in ours.state.items() if k.startswith("hyper/")}
    assert hyper == {
        "hyper/0.max_norm": 0.5, "hyper/1.learning_rate": 0.1, "hyper/1.beta1": 0.8,
        "hyper/1.beta2": 0.999, "hyper/1.epsilon": 1e-8,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [0, -0.1, float("inf"), float("nan"), "0.1", None, True])
@pytest.mark.parametrize(
    "kind",
    [
        optim.SGD, optim.Adam, optim.AdamW, optim.AMSGrad, optim.Nadam, optim.RAdam, optim.Lion,
        optim.RMSProp, optim.AdaGrad, optim.AdaDelta,
    ],
)  # fmt: skip
def test_a_learning_rate_out_of_range_is_refused(kind: Any, bad: Any) -> None:
    with pytest.raises(cr.OptionError, match=r"learning_rate must be in \(0, inf\), not"):
        kind(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(0.1, 1.0), r"SGD: momentum must be in \[0, 1\), not 1.0"),
        (lambda: optim.SGD(0.1, -0.1), r"momentum must be in"),
        (lambda: optim.SGD(0.1, nesterov=True), "nesterov=True needs a momentum"),
        (lambda: optim.Adam(beta1=1.0), r"Adam: beta1 must be in \[0, 1\)"),
        (lambda: optim.Adam(beta2=-1e-9), "beta2 must be in"),
        (lambda: optim.Adam(epsilon=0.0), "epsilon must be in"),
        (lambda: optim.AdamW(weight_decay=-0.1), r"AdamW: weight_decay must be in \[0, inf\)"),
        (lambda: optim.AMSGrad(beta1=1), "AMSGrad: beta1 must be in"),
        (lambda: optim.Nadam(momentum_decay=-1), "Nadam: momentum_decay must be in"),
        (lambda: optim.Lion(beta2=2), "Lion: beta2 must be in"),
        (lambda: optim.Lion(weight_decay="much"), "Lion: weight_decay must be in"),
        (lambda: optim.RMSProp(rho=1.0), r"RMSProp: rho must be in \[0, 1\)"),
        (lambda: optim.RMSProp(momentum=1.0), "RMSProp: momentum must be in"),
        (lambda: optim.RMSProp(epsilon=0.0), r"RMSProp: epsilon must be in \(0, inf\)"),
        (lambda: optim.AdaGrad(epsilon=-1.0), "AdaGrad: epsilon must be in"),
        (lambda: optim.AdaDelta(rho=-0.1), "AdaDelta: rho must be in"),
        (lambda: optim.AdaDelta(epsilon=0), "AdaDelta: epsilon must be in"),
        (lambda: optim.WeightDecay(1.0), r"WeightDecay: rate must be in \[0, 1\)"),
        (lambda: optim.MaxNorm(0.0), r"MaxNorm: limit must be in \(0, inf\)"),
        (lambda: optim.ClipNorm(0.0), "max_norm must be in"),
        (lambda: optim.ClipValue(-1.0), "limit must be in"),
        (lambda: optim.chain(), "no optimizers were given"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_optimizers_by_name() -> None:
    assert optim.optimizer("momentum") == optim.SGD(momentum=0.9)
    assert optim.optimizer("nesterov", 0.5) == optim.SGD(0.5, 0.9, nesterov=True)
    assert optim.optimizer("Adam") == optim.Adam()
    assert optim.optimizer(given := optim.SGD(0.2)) is given
    for name in optim.optimizer_names():
        method = optim.optimizer(name)
        assert ("learning_rate" in method.hyper()) != isinstance(method, optim.FullBatch)
    assert optim.optimizer("lbfgs") == optim.LBFGS()
    with pytest.raises(cr.OptionError, match="'lbfgs' has no learning rate"):
        optim.optimizer("lbfgs", 0.1)
    with pytest.raises(cr.OptionError, match=r"unknown optimizer 'adan'.*Did you mean 'adam'"):
        optim.optimizer("adan")


def test_radam_whose_variance_is_never_known_takes_steps_of_momentum() -> None:
    """With beta2 of 0.5 the variance is never known well enough, and no root is out of range."""
    method = optim.RAdam(0.1, beta2=0.5)
    w = cr.Parameter((2,), nn.Zeros(), "float64")
    m: Any = np.zeros(2)
    slots = {name: cr.tensor(np.zeros(2)) for name in method.slots()}
    h = {name: cr.tensor(np.float64(value)) for name, value in method.hyper().items()}
    g = np.array([1.0, -3.0])
    for t in range(1, 9):
        change, slots = method.update(cr.tensor(g), w, slots, h, cr.tensor(np.float64(t)))
        m = 0.9 * m + 0.1 * g
        np.testing.assert_allclose(change.numpy(), -0.1 * m / (1 - 0.9**t), rtol=1e-12)
