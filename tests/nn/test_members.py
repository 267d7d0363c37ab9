"""Layers of several members: against each member computed alone, and the losses of them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.losses import LOSSES
from chainrule.transform.mode import for_training

RNG = np.random.default_rng(4)
X = RNG.normal(size=(60, 5))
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def assigned(layer: Any) -> Any:
    for parameter in nn.parameters(layer).values():
        parameter.value = RNG.normal(size=parameter.value.shape)
    return layer


def ensemble(loss: str, outputs: int, dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential([
        nn.Linear(5, 3 * 4, dtype=dtype), nn.ReLU(), nn.Dropout(0.1),
        nn.MemberLinear(3, 4, 6, dtype=dtype), nn.ReLU(),
        nn.MemberLinear(3, 6, outputs, dtype=dtype), nn.AverageMembers(3, loss),
    ])  # fmt: skip


def test_each_member_is_a_linear_layer_with_factors_of_its_own() -> None:
    layer = assigned(nn.MemberLinear(3, 4, 2, dtype="float64"))
    x = RNG.normal(size=(7, 3 * 4))
    parts = [
        x[:, 4 * j : 4 * j + 4] * layer.factor.value[j] @ layer.weight.value + layer.bias.value[j]
        for j in range(3)
    ]
    np.testing.assert_allclose(layer(cr.tensor(x)).numpy(), np.hstack(parts), rtol=1e-12)
    decays = {name: p.is_weight for name, p in nn.parameters(layer).items()}
    assert decays == {"weight": True, "factor": False, "bias": False}


def test_the_slopes_of_a_member() -> None:
    layer = nn.MemberLinear(3, 4, 2, dtype="float64")
    shapes = [(5, 12), (4, 2), (3, 4), (3, 2)]

    def function(x: Any, *rest: Any) -> Any:
        layer.weight, layer.factor, layer.bias = rest
        return layer(x)

    cr.check_grads(function, [RNG.normal(size=shape) for shape in shapes])


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ("mse", RNG.normal(size=(6, 2))),
        ("poisson", RNG.integers(0, 4, (6, 2)).astype(float)),
        ("binary_cross_entropy", RNG.integers(0, 2, (6, 2)).astype(float)),
        ("cross_entropy", np.array([0, 1, 1, 0, 1, 0])),
    ],
)
def test_training_minimizes_the_mean_loss_of_the_members(loss: str, target: Any) -> None:
    x = RNG.normal(size=(6, 3 * 2))
    output = nn.AverageMembers(3, loss)(cr.tensor(x))
    np.testing.assert_allclose(output.numpy(), x.reshape(6, 3, 2).mean(axis=1), rtol=1e-12)
    trained = for_training([output], cr.tensor(0).astype("int64"))
    total = LOSSES[loss].function(output, cr.tensor(target)).mean() + trained.penalties[0]
    alone = [
        LOSSES[loss].function(cr.tensor(x[:, 2 * j : 2 * j + 2]), cr.tensor(target)).mean()
        for j in range(3)
    ]
    assert float(total) == pytest.approx(np.mean([float(one) for one in alone]), rel=1e-12)
    assert not for_training([nn.AverageMembers(3, None)(cr.tensor(x))], cr.tensor(0)).penalties


def test_the_slopes_of_the_spread() -> None:
    def spread(x: Any) -> Any:
        output = nn.AverageMembers(3, "cross_entropy")(x)
        return for_training([output], cr.tensor(0).astype("int64")).penalties[0]

    cr.check_grads(spread, [RNG.normal(size=(4, 6))])


@pytest.mark.parametrize(("loss", "outputs"), [("mse", 1), ("cross_entropy", 3)])
def test_native_code_trains_as_the_reference_does(loss: str, outputs: int) -> None:
    y = X[:, :1] if loss == "mse" else CLASSES
    found = []
    for engine, threads in (("reference", 1), ("native", 1), ("native", 2)):
        model = ensemble(loss, outputs, "float64")
        run = cr.fit(
            model, (X, y), loss=loss, optimizer=optim.AdamW(0.01), epochs=3, batch_size=16,
            engine=engine, threads=threads, progress=False,
        )  # fmt: skip
        found.append(np.concatenate([p.value.ravel() for p in nn.parameters(model).values()]))
        assert run.history[-1]["penalty"] > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)
    assert (found[1] == found[2]).all()


def test_an_ensemble_learns_and_comes_back_from_a_file(tmp_path: Path) -> None:
    model = ensemble("cross_entropy", 3)
    run = cr.fit(model, (X, CLASSES), loss="cross_entropy", optimizer=optim.Adam(0.01),
                 epochs=100, progress=False)  # fmt: skip
    assert run.evaluate((X, CLASSES))["accuracy"] > 0.95
    loaded = cr.load(run.save(tmp_path / "run"))
    assert (loaded.outputs(X) == run.outputs(X)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MemberLinear(0, 2, 2), "MemberLinear: members must be a positive integer"),
        (lambda: nn.MemberLinear(2, 2, 1.5), "MemberLinear: outputs must be a positive integer"),
        (lambda: nn.AverageMembers(2, "mae"), "AverageMembers: unknown loss 'mae'"),
    ],
)
def test_what_can_not_be_meant_is_refused(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_wrong_widths_are_named() -> None:
    with pytest.raises(cr.ShapeError, match=r"MemberLinear needs rows of 3 \* 2 features.*60, 5"):
        nn.MemberLinear(3, 2, 2)(cr.tensor(X))
    with pytest.raises(cr.ShapeError, match=r"AverageMembers needs rows of a multiple of 3"):
        nn.AverageMembers(3)(cr.tensor(X))
