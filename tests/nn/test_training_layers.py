"""Dropout, noise, normalization, residual blocks, penalties, weights: as their equations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.transform.mode import for_training

RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(40, 5)), RNG.integers(0, 3, 40)


def trained(layer: Any, x: Any, step: int = 0, seed: int = 0) -> np.ndarray[Any, Any]:
    """The output of `layer` as a training step computes it."""
    now = cr.tensor(step).astype("int64")
    return for_training([layer(cr.tensor(x))], now, seed).tensors[0].numpy()


def fitted(model: Any, **more: Any) -> cr.Run:
    more = {"loss": "cross_entropy", "optimizer": optim.SGD(0.1), "epochs": 2} | more
    return cr.fit(model, (X, Y), batch_size=10, progress=False, **more)


def network(*inner: Any) -> nn.Sequential:
    return nn.Sequential(
        [nn.Linear(5, 8, dtype="float64"), *inner, nn.Linear(8, 3, dtype="float64")]
    )


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    y = trained(nn.Dropout(0.3), np.ones((200, 500)))
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert abs((y == 0).mean() - 0.3) < 0.005  # 100,000 draws: 3 standard deviations
    assert abs(y.mean() - 1) < 0.01


def test_noise_has_its_spread() -> None:
    y = trained(nn.GaussianNoise(0.2), np.ones((200, 500)))
    assert abs(y.mean() - 1) < 0.003
    assert abs(y.std() - 0.2) < 0.002


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.GaussianNoise(1.0)], ids=repr)
def test_noise_is_new_each_step_and_the_same_for_a_seed(layer: Any) -> None:
    x = np.ones((4, 16))
    assert (trained(layer, x, 0) != trained(layer, x, 1)).any()
    assert (trained(layer, x, 0, 0) != trained(layer, x, 0, 1)).any()
    assert (trained(layer, x, 5, 2) == trained(layer, x, 5, 2)).all()
    assert (layer(cr.tensor(x)).numpy() == x).all()


def test_two_dropouts_draw_apart() -> None:
    x = np.ones((8, 16))
    layers = nn.Sequential([nn.Dropout(0.5), nn.Dropout(0.5)])
    share = (trained(layers, np.ones((100, 100))) > 0).mean()
    assert abs(share - 0.25) < 0.02
    assert (trained(layers, x) != trained(layers[0], x) * 2).any()


def test_batch_norm_normalizes_the_batch_and_remembers() -> None:
    norm = nn.BatchNorm(3, momentum=0.2, dtype="float64")
    model = nn.Sequential([norm, nn.Linear(3, 1, dtype="float64")])
    x, y = RNG.normal(5.0, 3.0, size=(12, 3)), RNG.normal(size=12)
    out = trained(norm, x)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(out.var(0), 1, atol=1e-5)
    run = cr.fit(
        model, (x, y), loss="mse", optimizer=optim.SGD(1e-9), epochs=3, batch_size=12,
        progress=False,
    )  # fmt: skip
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        mean, var = 0.8 * mean + 0.2 * x.mean(0), 0.8 * var + 0.2 * x.var(0, ddof=1)
    np.testing.assert_allclose(norm.running_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var.value, var, rtol=1e-12)
    scaled = (x - mean) / np.sqrt(var + 1e-5) * norm.scale.value + norm.shift.value
    expected = scaled @ model[1].weight.value + model[1].bias.value  # type: ignore[attr-defined]
    np.testing.assert_allclose(run.outputs(x), expected, rtol=1e-9)


def test_a_batch_of_one_row_stays_finite() -> None:
    norm = nn.BatchNorm(2)
    assert trained(norm, np.ones((1, 2), "float32")).tolist() == [[0, 0]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm(4, dtype="float64"),
        nn.LayerNorm(4, dtype="float64"),
        nn.RMSNorm(4, dtype="float64"),
        nn.Residual([nn.Linear(4, 4, dtype="float64"), nn.Tanh()]),
        nn.Residual(nn.Linear(4, 2, dtype="float64"), nn.Linear(4, 2, dtype="float64")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients_in_training(layer: Any, seed: int) -> None:
    nn.initialize(layer, seed)
    x = np.random.default_rng(seed).normal(size=(6, 4))
    zero = cr.tensor(0).astype("int64")
    cr.check_grads(lambda t: for_training([layer(t)], zero).tensors[0], [x], order=2)


def test_penalties_join_the_loss_and_the_gradient() -> None:
    plain, charged = network(), network()
    for model in (plain, charged):
        nn.initialize(model, 4)
    weights = [p.value.copy() for p in nn.parameters(plain).values()]
    fitted(plain, epochs=1)
    run = fitted(charged, epochs=1, regularizer=nn.L2(0.05))
    squares = sum((w**2).sum() for w in weights if w.ndim == 2)
    assert 0.05 * squares * 0.9 < run.history[0]["penalty"] < 0.05 * squares
    assert "val_penalty" not in run.history[0]
    after = [p.value for p in nn.parameters(charged).values()]
    assert (after[0] ** 2).sum() < (nn.parameters(plain)["0.weight"].value ** 2).sum()


def test_l2_steps_as_its_equation_says() -> None:
    model = nn.Linear(1, 1, use_bias=False, dtype="float64")
    model.weight.value = [[3.0]]
    cr.fit(
        model, (np.zeros((2, 1)), np.zeros(2)), loss="mse", optimizer=optim.SGD(0.1), epochs=1,
        batch_size=2, regularizer=nn.L2(0.5), progress=False,
    )  # fmt: skip
    assert model.weight.value.item() == pytest.approx(3.0 - 0.1 * 2 * 0.5 * 3.0, rel=1e-12)


def test_patterns_choose_what_is_penalized() -> None:
    model = network(nn.Tanh())
    run = fitted(model, regularizer={"0.bias": nn.L2(1.0), "*.weight": nn.L1(0.0)})
    assert run.history[0]["penalty"] < 0.05  # biases start at 0
    with pytest.raises(cr.OptionError, match=r"'9.weight' matches no parameter .* '1.weight'"):
        fitted(network(), regularizer={"9.weight": nn.L2()})


def test_an_activity_penalty_keeps_activities_small() -> None:
    free, charged = network(nn.Tanh()), network(nn.Tanh(), nn.ActivityPenalty(nn.L2(0.3)))
    runs = [fitted(model, epochs=30, seed=2) for model in (free, charged)]
    first, second = (
        np.abs(np.tanh(X @ m[0].weight.value + m[0].bias.value)).mean()  # type: ignore[attr-defined]
        for m in (free, charged)
    )
    assert second < first / 2
    assert "penalty" in runs[1].history[0]


def test_frozen_parameters_stay() -> None:
    model = network()
    nn.initialize(model, 0)
    model[0].weight.trainable = False  # type: ignore[attr-defined]
    before = {name: p.value.copy() for name, p in nn.parameters(model).items()}
    fitted(model)
    changed = {name for name, p in nn.parameters(model).items() if (p.value != before[name]).any()}
    assert changed == {"0.bias", "1.weight", "1.bias"}
    for parameter in nn.parameters(model).values():
        parameter.trainable = False
    with pytest.raises(cr.OptionError, match="no parameter of the model is trainable"):
        fitted(model)


def test_weights_of_rows_count_rows_as_often() -> None:
    """A row of weight 2 is a row given twice."""
    once, twice = nn.Linear(5, 3, dtype="float64"), nn.Linear(5, 3, dtype="float64")
    weights = np.where(np.arange(40) < 10, 2.0, 1.0)
    rows = np.r_[np.arange(40), np.arange(10)]
    for model in (once, twice):
        nn.initialize(model, 1)
    common: dict[str, Any] = {"loss": "cross_entropy", "optimizer": optim.SGD(0.3), "epochs": 20}
    a = cr.fit(once, (X, Y), sample_weight=weights, batch_size=40, progress=False, **common)
    b = cr.fit(twice, (X[rows], Y[rows]), batch_size=50, progress=False, **common)
    np.testing.assert_allclose(once.weight.value, twice.weight.value, rtol=1e-9)
    assert a.history[-1]["loss"] == pytest.approx(b.history[-1]["loss"], rel=1e-9)


def test_balanced_classes_weigh_alike() -> None:
    labels = np.r_[np.zeros(30), np.ones(10)]
    model = nn.Linear(1, 1, dtype="float64")
    cr.fit(
        model, (np.zeros((40, 1)), labels), loss="binary_cross_entropy", class_weight="balanced",
        optimizer=optim.SGD(1.0), epochs=200, batch_size=40, progress=False,
    )  # fmt: skip
    assert model.bias is not None
    assert abs(model.bias.value.item()) < 1e-6  # without weights: log(1 / 3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"sample_weight": np.ones(3)},
            r"shape \(3,\); it must hold one number for each",
        ),
        ({"sample_weight": -np.ones(40)}, r"sample_weight\[0\] is -1.0; weights can't be negative"),
        ({"sample_weight": np.zeros(40)}, "every row has weight 0"),
        ({"class_weight": "blanced"}, "must be 'balanced' or a mapping"),
        ({"class_weight": {0: -1.0}}, r"class 0 needs a weight in \[0, inf\), not -1.0"),
        ({"class_weight": {"cat": 1.0}}, "'cat' is not a class number"),
        ({"class_weight": "balanced", "loss": "mse"}, "class_weight needs one class for each row"),
    ],
)
def test_weights_that_do_not_fit_are_refused(more: dict[str, Any], message: str) -> None:
    model: Any = network()
    if more.get("loss") == "mse":
        with pytest.raises(cr.ChainruleError, match=message):
            cr.fit(nn.Linear(5, 1), (X, X[:, 0]), progress=False, **more)
        return
    with pytest.raises(cr.ChainruleError, match=message):
        fitted(model, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dropout(1.0), r"Dropout: rate must be in \[0, 1\), not 1.0"),
        (lambda: nn.Dropout(-0.1), r"rate must be in \[0, 1\)"),
        (lambda: nn.GaussianNoise(float("nan")), r"GaussianNoise: spread must be in \[0, inf\)"),
        (lambda: nn.BatchNorm(0), "BatchNorm: features must be a positive integer, not 0"),
        (lambda: nn.BatchNorm(2, momentum=0), r"momentum must be in \(0, 1\)"),
        (lambda: nn.LayerNorm(2, epsilon=0), r"LayerNorm: epsilon must be in \(0, inf\)"),
        (lambda: nn.RMSNorm(2, epsilon=0), r"RMSNorm: epsilon must be in \(0, inf\)"),
        (lambda: nn.L2(-1), r"L2: rate must be in \[0, inf\), not -1"),
        (lambda: nn.L1L2(l1="a"), r"L1L2: l1 must be in"),  # type: ignore[arg-type]
        (lambda: nn.ActivityPenalty(nn.L2), r"ActivityPenalty: regularizer must be .* nn.L2\("),
        (lambda: nn.Residual(nn.Tanh), r"Residual: body is the class Tanh; call it .* Tanh\(\)"),
        (lambda: nn.Residual(nn.Tanh(), 3), "Residual: shortcut is 3"),  # type: ignore[arg-type]
        (lambda: nn.LeakyReLU(float("nan")), r"LeakyReLU: slope must be in \(-inf, inf\)"),
        (lambda: nn.ELU(-1), r"ELU: alpha must be in \[0, inf\), not -1"),
        (lambda: nn.PReLU(start="a"), "PReLU: start must be"),  # type: ignore[arg-type]
        (lambda: nn.activation(3), "by name, such as 'relu', not 3"),  # type: ignore[arg-type]
    ],
)
def test_bad_values_are_named_with_their_range(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_shapes_that_do_not_fit_name_the_layer() -> None:
    with pytest.raises(cr.ShapeError, match=r"layer 1: BatchNorm\(7\) needs rows of 7 features"):
        fitted(network(nn.BatchNorm(7, dtype="float64")))
    with pytest.raises(cr.ShapeError, match=r"body returns shape .* give a shortcut"):
        fitted(network(nn.Residual(nn.Linear(8, 4, dtype="float64"))))


def test_the_model_comes_back_from_its_files(tmp_path: Path) -> None:
    model = network(
        nn.BatchNorm(8, dtype="float64"), nn.ReLU(), nn.Dropout(0.2), nn.GaussianNoise(0.1),
        nn.LayerNorm(8, dtype="float64"), nn.RMSNorm(8, dtype="float64"),
        nn.ActivityPenalty(nn.L1(1e-3)),
        nn.Residual([nn.Linear(8, 8, dtype="float64"), nn.Tanh()]),
    )  # fmt: skip
    run = fitted(model, regularizer=nn.L2(1e-3))
    again = cr.load(run.save(tmp_path / "run"))
    assert (again.outputs(X) == run.outputs(X)).all()
    assert again.model[3] == nn.Dropout(0.2)  # type: ignore[index]


def test_scores_are_those_of_predicting() -> None:
    model = network(nn.Dropout(0.9))
    run = fitted(model, validation=(X, Y), epochs=1)
    assert run.history[0]["val_loss"] == pytest.approx(run.evaluate((X, Y))["loss"], rel=1e-12)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "loss", ["mse", "mae", "huber", "poisson", "binary_cross_entropy", "hinge"]
)
def test_a_masked_target_does_not_count(loss: str) -> None:
    """Whatever stands where the weight is 0, training goes the same way."""
    y = RNG.integers(0, 2, (40, 3)).astype(float)
    mask = (RNG.random((40, 3)) < 0.7).astype(float)
    other = np.where(mask == 0, 1 - y, y)
    models = []
    for target in (y, other):
        model = network()
        nn.initialize(model, 5)
        run = cr.fit(
            model, (X, target), loss=loss, sample_weight=mask, optimizer=optim.SGD(0.1), epochs=3,
            batch_size=10, validation=(X, target, mask), progress=False,
        )  # fmt: skip
        models.append((model, run.history[-1]["loss"], run.history[-1]["val_loss"]))
    assert models[0][1:] == models[1][1:]
    weights = [nn.parameters(model)["0.weight"].value for model, _, _ in models]
    assert (weights[0] == weights[1]).all()


def test_a_mask_of_ones_is_no_mask() -> None:
    y, runs = RNG.normal(size=(40, 3)), []
    for weight in (None, np.ones((40, 3))):
        model = network()
        nn.initialize(model, 5)
        runs.append(cr.fit(model, (X, y), loss="mse", sample_weight=weight, progress=False))
    assert runs[0].history[-1]["loss"] == pytest.approx(runs[1].history[-1]["loss"], rel=1e-12)


def test_validation_rows_may_have_weights() -> None:
    weights = RNG.random(40)
    run = fitted(network(), validation=(X, Y, weights), epochs=1)
    logits = run.outputs(X)
    losses = nn.cross_entropy(cr.tensor(logits), cr.tensor(Y)).numpy()
    expected = (losses * weights).sum() / weights.sum()
    assert run.history[0]["val_loss"] == pytest.approx(expected, rel=1e-9)


def test_the_activation_behind_dropout_still_chooses_the_initializer() -> None:
    first = nn.Linear(5, 8)
    nn.Sequential([first, nn.BatchNorm(8), nn.Dropout(0.1), nn.ReLU()])
    assert first.weight.initializer == nn.HeUniform()


def test_targets_not_known_may_be_nan() -> None:
    y = RNG.normal(size=(40, 3))
    y[3, 1] = y[7, 0] = np.nan
    known = (~np.isnan(y)).astype(float)
    run = fitted_values(y, known)
    assert np.isfinite(run.history[-1]["loss"])
    assert run.history[-1]["loss"] == fitted_values(np.nan_to_num(y), known).history[-1]["loss"]


def fitted_values(y: Any, weight: Any) -> cr.Run:
    model = network()
    nn.initialize(model, 1)
    return cr.fit(model, (X, y), loss="mse", sample_weight=weight, epochs=2, progress=False)
