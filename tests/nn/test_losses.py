"""Losses equal the textbook's sums, stay finite on huge logits, and refuse to broadcast."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import special, stats
from sklearn.metrics import hinge_loss, mean_pinball_loss

import chainrule as cr
from chainrule import nn
from chainrule.cli.commands import command_line
from chainrule.nn import losses
from chainrule.step.objective import BY_NAME
from chainrule.tabular.settings import loss_names

RNG = np.random.default_rng(0)
Z = RNG.normal(0, 3, (6, 4))
CLASSES = RNG.integers(0, 4, 6)
SOFT = RNG.dirichlet(np.ones(4), 6)
LABELS = RNG.integers(0, 2, (6, 4)).astype(float)


def t(value: Any) -> cr.Tensor:
    return cr.tensor(np.asarray(value))


def test_mse_is_the_mean_square_of_each_row() -> None:
    target = RNG.normal(size=Z.shape)
    expected = [np.dot(z - y, z - y) / 4 for z, y in zip(Z, target, strict=True)]
    np.testing.assert_allclose(nn.mse(t(Z), t(target)).numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(
        nn.mse(t(Z[:, 0]), t(target[:, 0])).numpy(), (Z[:, 0] - target[:, 0]) ** 2, rtol=1e-13
    )


def test_cross_entropy_of_class_numbers_is_minus_the_log_likelihood() -> None:
    probabilities = special.softmax(Z, axis=1)
    expected = -np.log([p[c] for p, c in zip(probabilities, CLASSES, strict=True)])
    np.testing.assert_allclose(nn.cross_entropy(t(Z), t(CLASSES)).numpy(), expected, rtol=1e-12)
    one_hot = np.eye(4)[CLASSES]
    np.testing.assert_allclose(nn.cross_entropy(t(Z), t(one_hot)).numpy(), expected, rtol=1e-12)


def test_cross_entropy_of_probabilities_is_entropy_plus_divergence() -> None:
    q = special.softmax(Z, axis=1)
    expected = [stats.entropy(p) + stats.entropy(p, r) for p, r in zip(SOFT, q, strict=True)]
    np.testing.assert_allclose(nn.cross_entropy(t(Z), t(SOFT)).numpy(), expected, rtol=1e-12)


def test_the_gradient_of_cross_entropy_is_probability_minus_target() -> None:
    z = t(Z)
    got = cr.grad(nn.cross_entropy(z, t(CLASSES)).sum(), z).numpy()
    np.testing.assert_allclose(got, special.softmax(Z, axis=1) - np.eye(4)[CLASSES], atol=1e-15)


def test_binary_cross_entropy_is_the_mean_over_labels_of_bernoulli_surprises() -> None:
    expected = -stats.bernoulli.logpmf(LABELS, special.expit(Z)).mean(axis=1)
    np.testing.assert_allclose(
        nn.binary_cross_entropy(t(Z), t(LABELS)).numpy(), expected, rtol=1e-12
    )
    np.testing.assert_allclose(
        nn.binary_cross_entropy(t(Z[:, 0]), t(LABELS[:, 0])).numpy(),
        -stats.bernoulli.logpmf(LABELS[:, 0], special.expit(Z[:, 0])),
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_give_the_exact_limit_and_a_finite_gradient(dtype: Any) -> None:
    z = t(np.array([[1e4, -1e4]], dtype))
    for loss, target, value in (
        (nn.cross_entropy, np.array([0]), 0.0),
        (nn.cross_entropy, np.array([1]), 2e4),
        (nn.binary_cross_entropy, np.array([[1, 0]], dtype), 0.0),
        (nn.binary_cross_entropy, np.array([[0, 1]], dtype), 1e4),
    ):
        row = loss(z, t(target))
        assert row.dtype == dtype
        assert row.numpy() == pytest.approx([value])
        assert np.isfinite(cr.grad(row.sum(), z).numpy()).all()


@pytest.mark.parametrize(
    "loss",
    [
        nn.mse, nn.mae, nn.huber, nn.log_cosh, nn.poisson, nn.binary_cross_entropy, nn.hinge,
        nn.squared_hinge,
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 4), (4,)])
def test_shapes_that_would_broadcast_are_errors_naming_both(loss: Any, shape: Any) -> None:
    with pytest.raises(cr.ShapeError, match=r"\(6, 4\).*would broadcast") as caught:
        loss(t(Z), t(np.zeros(shape)))
    assert str(shape) in str(caught.value)


def test_cross_entropy_names_shapes_it_can_not_use() -> None:
    with pytest.raises(cr.ShapeError, match=r"class numbers must have shape \(6,\), not \(6, 1\)"):
        nn.cross_entropy(t(Z), t(CLASSES[:, None]))
    with pytest.raises(cr.ShapeError, match=r"\(6, 4\).*\(6, 3\)"):
        nn.cross_entropy(t(Z), t(SOFT[:, :3]))
    with pytest.raises(cr.ShapeError, match=r"must be \(rows, classes\), not \(6,\)"):
        nn.cross_entropy(t(Z[:, 0]), t(CLASSES))


def test_binary_cross_entropy_of_a_sure_and_right_answer_keeps_its_digits() -> None:
    z = np.array([12.0, -12.0, 9.0, 0.0], "f4")
    target = np.array([1, 0, 1, 1], "f4")
    expected = np.logaddexp(0, np.where(target == 1, -z, z).astype(float))
    got = nn.binary_cross_entropy(t(z), t(target)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_slope_of_binary_cross_entropy_at_0_is_the_middle_of_its_neighbours() -> None:
    z = t(np.zeros(2))
    slope = cr.grad(nn.binary_cross_entropy(z, t(np.array([0.0, 1.0]))).sum(), z).numpy()
    assert slope.tolist() == [0.5, -0.5]


def test_a_class_ruled_out_costs_nothing_where_it_is_not_the_target() -> None:
    z = t(np.array([[1.0, 2.0, -np.inf]]))
    loss = nn.cross_entropy(z, t(np.array([[0.25, 0.75, 0.0]])))
    q = special.softmax([1.0, 2.0])
    assert loss.item() == pytest.approx(-0.25 * np.log(q[0]) - 0.75 * np.log(q[1]), rel=1e-12)
    slope = cr.grad(loss.sum(), z).numpy()
    np.testing.assert_allclose(slope, [[q[0] - 0.25, q[1] - 0.75, 0]], atol=1e-15)


VALUES = RNG.normal(size=Z.shape)
COUNTS = RNG.poisson(2.0, Z.shape).astype(float)
SIGNS = 2 * LABELS - 1


def by_hand(name: str) -> Any:
    """Return each row's loss in plain Python, as the textbook has it."""
    p = special.softmax(Z, axis=1)
    error = np.abs(Z - VALUES)
    if name == "mae":
        return error.mean(1)
    if name == "huber":
        return np.where(error <= 1, error**2 / 2, error - 0.5).mean(1)
    if name == "huber, 0.3":
        return np.where(error <= 0.3, error**2 / 2, 0.3 * (error - 0.15)).mean(1)
    if name.startswith("quantile"):
        errors = VALUES[:, :1] - Z
        return np.where(errors > 0, errors * LEVELS, errors * (LEVELS - 1)).mean(1)
    if name == "ordinal":  # each class in turn: not below it, and not above
        shares = []
        for z, c in zip(Z, RANKS, strict=True):
            above = [1 / (1 + np.exp(-one)) for one in z]
            shares.append(np.prod(above[:c]) * (1 - above[c] if c < 4 else 1))
        return -np.log(shares)
    if name == "several":
        shares = [special.softmax(Z[:, 1:3], axis=1), special.expit(Z[:, 3:])]
        found = (Z[:, 0] - VALUES[:, 0]) ** 2 / 4
        found -= np.log(shares[0][np.arange(6), CLASSES % 2]) / 0.5
        return found - np.log(np.where(RANKS % 2 == 1, shares[1][:, 0], 1 - shares[1][:, 0]))
    if name == "poisson":  # the likelihood, with the term that no weight changes put back
        return (-stats.poisson.logpmf(COUNTS, np.exp(Z)) - special.gammaln(COUNTS + 1)).mean(1)
    if name == "kl_divergence":
        return [stats.entropy(t, q) for t, q in zip(SOFT, p, strict=True)]
    if name == "kl_divergence of classes":
        return -np.log(p[np.arange(6), CLASSES])
    if name.startswith("smoothed"):
        target = 0.9 * (np.eye(4)[CLASSES] if name == "smoothed" else SOFT) + 0.1 / 4
        return -(target * np.log(p)).sum(1)
    if name.endswith("multiclass_hinge"):
        lead = [z[c] - np.delete(z, c).max() for z, c in zip(Z, CLASSES, strict=True)]
        return np.maximum(0, 1 - np.array(lead)) ** (2 if "squared" in name else 1)
    return (np.maximum(0, 1 - SIGNS * Z) ** (2 if "squared" in name else 1)).mean(1)


ONE_HOT = np.eye(4)[CLASSES]
LEVELS = np.array([0.1, 0.3, 0.5, 0.9])
RANKS = np.array([0, 1, 2, 3, 4, 2])  # of five classes
CASES: dict[str, tuple[Any, list[Any]]] = {
    "mae": (nn.mae, [VALUES]),
    "huber": (nn.huber, [VALUES]),
    "huber, 0.3": (nn.Huber(0.3), [VALUES]),
    "poisson": (nn.poisson, [COUNTS]),
    "quantile": (nn.Quantile(tuple(LEVELS)), [VALUES[:, 0], VALUES[:, :1]]),
    "ordinal": (nn.ordinal, [RANKS]),
    "several": (
        nn.Several(("mse", nn.CrossEntropy(), "ordinal"), (1, 2, 1), (4.0, 0.5, 1.0)),
        [np.stack([VALUES[:, 0], CLASSES % 2, RANKS % 2], axis=1)],
    ),
    "kl_divergence": (nn.kl_divergence, [SOFT]),
    "kl_divergence of classes": (nn.kl_divergence, [CLASSES, ONE_HOT]),
    "smoothed": (nn.CrossEntropy(0.1), [CLASSES, ONE_HOT]),
    "smoothed probabilities": (nn.CrossEntropy(0.1), [SOFT]),
    "multiclass_hinge": (nn.multiclass_hinge, [CLASSES, ONE_HOT]),
    "squared_multiclass_hinge": (nn.squared_multiclass_hinge, [CLASSES, ONE_HOT]),
    "hinge": (nn.hinge, [LABELS, SIGNS]),
    "squared_hinge": (nn.squared_hinge, [LABELS, SIGNS]),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_is_the_textbooks_and_its_slopes_are_those_of_differences(name: str) -> None:
    loss, forms = CASES[name]
    for target in forms:
        np.testing.assert_allclose(loss(t(Z), t(target)).numpy(), by_hand(name), rtol=1e-12)
        cr.check_grads(lambda z, y=target: loss(z, t(y)), [Z], order=2)


def test_hinges_are_those_of_scikit_learn() -> None:
    theirs = hinge_loss(CLASSES, Z, labels=range(4))
    assert nn.multiclass_hinge(t(Z), t(CLASSES)).numpy().mean() == pytest.approx(theirs)
    theirs = hinge_loss(SIGNS[:, 0], Z[:, 0])
    assert nn.hinge(t(Z[:, 0]), t(SIGNS[:, 0])).numpy().mean() == pytest.approx(theirs)


@pytest.mark.parametrize("loss", [nn.kl_divergence, nn.multiclass_hinge])
def test_losses_of_classes_name_shapes_they_can_not_use(loss: Any) -> None:
    name = loss.__name__
    with pytest.raises(cr.ShapeError, match=rf"{name}: class numbers must have shape \(6,\)"):
        loss(t(Z), t(CLASSES[:, None]))
    with pytest.raises(cr.ShapeError, match=r"\(6, 4\).*\(6, 3\)"):
        loss(t(Z), t(SOFT[:, :3]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_errors_and_scores_give_finite_slopes(dtype: Any) -> None:
    z = t(np.array([[1e30, -1e30]], dtype))
    yes, both = np.array([0]), np.array([[0, 1]], dtype)
    cases = [
        (nn.mae, both), (nn.huber, both), (nn.hinge, both), (nn.kl_divergence, yes),
        (nn.kl_divergence, both), (nn.multiclass_hinge, yes), (nn.CrossEntropy(0.1), both),
    ]  # fmt: skip
    for loss, target in cases:
        row = loss(z, t(target))
        assert row.dtype == dtype
        assert np.isfinite(row.numpy()).all()
        assert np.isfinite(cr.grad(row.sum(), z).numpy()).all()
    low = t(np.array([[-1e30, 0.0]], dtype))
    assert nn.poisson(low, t(both)).numpy().tolist() == [0.5]


def test_slopes_at_the_kinks_are_one_sided_or_the_middle() -> None:
    z, target = t(np.array([1.0, 2.0, 0.0])), t(np.array([0.0, 2.0, 1.0]))
    slope = cr.grad(nn.huber(z, target).sum(), z).numpy()
    assert slope.tolist() == [1.0, 0.0, -1.0]  # both formulas meet at delta
    assert cr.grad(nn.mae(z, target).sum(), z).numpy().tolist() == [1.0, 0.0, -1.0]
    just = t(np.array([1.0]))
    assert cr.grad(nn.hinge(just, t(np.array([1.0]))).sum(), just).numpy().tolist() == [0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.CrossEntropy(1.0), r"label_smoothing must be in \[0, 1\), not 1.0"),
        (lambda: nn.CrossEntropy(-0.1), "label_smoothing must be"),
        (lambda: nn.Quantile((0.5, 0.2)), r"Quantile: levels must be numbers that rise between"),
        (lambda: nn.Quantile(()), "Quantile: levels"),
        (lambda: nn.Quantile((0.5, 1.0)), "Quantile: levels"),
        (lambda: nn.Quantile((0.5, 0.5)), "Quantile: levels"),
        (lambda: nn.Quantile(0.5), "Quantile: levels"),  # type: ignore[arg-type]
        (lambda: nn.Columns(2, 2), "Columns: stop"),
        (lambda: nn.Several(("mse",), (1, 2)), "Several: losses, outputs and scales need"),
        (lambda: nn.Several(("mse",), (1,), (0.0,)), "scales above 0"),
        (lambda: nn.Several(("hinge",), (1,)), "Several: 'hinge' is not a loss of one column"),
        (lambda: nn.Huber(0), r"Huber: delta must be in \(0, inf\), not 0"),
        (lambda: nn.Huber(float("inf")), "Huber: delta"),
        (lambda: nn.Huber("a"), "Huber: delta"),  # type: ignore[arg-type]
        (lambda: nn.CrossEntropy("a"), "CrossEntropy: label_smoothing"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_range_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_every_public_loss_has_its_row_and_tables_choose_among_those_that_fit() -> None:
    public = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    assert set(losses.LOSSES) == set(BY_NAME) == public
    assert loss_names("classification")[0] == "cross_entropy"
    assert loss_names("regression")[0] == "mse"
    assert not {"multiclass_hinge", "hinge"} & {
        *loss_names("classification"),
        *loss_names("regression"),
    }
    assert loss_names("regression")[-2:] == ["quantile", "poisson"]
    shown = " ".join(CliRunner().invoke(command_line, ["train", "--help"]).output.split())
    for task in ("classification", "regression"):
        assert ", ".join(loss_names(task)) in shown


def test_the_pinball_loss_is_that_of_scikit_learn() -> None:
    for k, level in enumerate(LEVELS):
        theirs = mean_pinball_loss(VALUES[:, 0], Z[:, k], alpha=level)
        ours = nn.quantile(t(Z[:, k : k + 1]), t(VALUES[:, 0]), (level,)).numpy().mean()
        assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ordinal_probabilities_sum_to_1_and_are_those_of_the_loss(dtype: Any) -> None:
    z = np.concatenate([Z, [[1e4, -1e4, 1e4, 0], [-1e4, 1e4, 0, 0]]]).astype(dtype)
    found = BY_NAME["ordinal"].probabilities(z)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    losses = np.stack([nn.ordinal(t(z), t(np.full(len(z), c))).numpy() for c in range(5)], axis=1)
    np.testing.assert_allclose(np.exp(-losses.astype(float)), found, atol=1e-6)
    logits = t(z)
    slope = cr.grad(nn.ordinal(logits, t(np.arange(8) % 5)).sum(), logits)
    assert np.isfinite(slope.numpy()).all()


def test_the_slopes_of_ordinal_at_0_are_the_middle_of_their_neighbours() -> None:
    z = t(np.zeros((3, 2)))
    slope = cr.grad(nn.ordinal(z, t(np.arange(3))).sum(), z).numpy()
    assert slope.tolist() == [[0.5, 0.0], [-0.5, 0.5], [-0.5, -0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.quantile(t(Z), t(VALUES[:, 0])), "each of the 3 levels"),
        (lambda: nn.quantile(t(Z[:, :3]), t(VALUES)), "one value for each row"),
        (lambda: nn.ordinal(t(Z), t(ONE_HOT)), r"class numbers of shape \(6,\)"),
        (lambda: nn.ordinal(t(Z), t(CLASSES[:3])), r"class numbers of shape \(6,\)"),
    ],
)
def test_quantile_and_ordinal_name_shapes_they_can_not_use(call: Any, message: str) -> None:
    with pytest.raises(cr.ShapeError, match=message):
        call()


@pytest.mark.parametrize("error", [0.0, 1e-4, 0.5, 0.999, 1.0, 1.5, 30.0, 1e6])
def test_log_cosh_keeps_its_digits_near_0_and_does_not_overflow(error: float) -> None:
    z = t(np.array([error, -error], "f4"))
    exact = np.float64(np.float32(error))
    expected = np.log1p(2 * np.sinh(exact / 2) ** 2) if exact < 300 else exact - np.log(2)
    row = nn.log_cosh(z, t(np.zeros(2, "f4")))
    np.testing.assert_allclose(row.numpy(), expected, rtol=1e-6)
    slope = cr.grad(row.sum(), z).numpy()
    np.testing.assert_allclose(slope, np.tanh([exact, -exact]), rtol=1e-6)
