"""First weights have the bounds and variances of the papers, and streams of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn

SHAPE = (300, 500)  # 150,000 draws: a variance is known to 0.4 %


def draw(name: str, shape: tuple[int, ...] = SHAPE) -> Any:
    return nn.initializer(name)(shape, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / (300 + 500)),
        ("glorot_normal", 2 / (300 + 500)),
        ("he_uniform", 2 / 300),
        ("he_normal", 2 / 300),
        ("lecun_uniform", 1 / 300),
        ("lecun_normal", 1 / 300),
    ],
)
def test_variance_is_that_of_the_paper(name: str, variance: float) -> None:
    w = draw(name)
    assert w.var() == pytest.approx(variance, rel=0.02)
    assert abs(w.mean()) < 4 * np.sqrt(variance / w.size)
    # Excess kurtosis tells the two families apart: -1.2 uniform, 0 normal.
    kurtosis = ((w - w.mean()) ** 4).mean() / w.var() ** 2 - 3
    assert kurtosis == pytest.approx(-1.2 if "uniform" in name else 0.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "limit"), [("glorot_uniform", np.sqrt(6 / 800)), ("he_uniform", np.sqrt(6 / 300))]
)
def test_uniform_bound_is_kept_and_reached(name: str, limit: float) -> None:
    assert 0.999 * limit < abs(draw(name)).max() <= limit


def test_fans_of_more_axes_count_all_but_the_last_as_inputs() -> None:
    assert draw("he_normal", (5, 6, 7, 50)).var() == pytest.approx(2 / (5 * 6 * 7), rel=0.05)
    with pytest.raises(cr.ShapeError, match=r"shape \(3,\) has no fan-in"):
        draw("he_normal", (3,))


def test_zeros_and_constant() -> None:
    np.testing.assert_array_equal(draw("zeros", (3,)), np.zeros(3))
    layer = nn.Linear(2, 3, weight_init="he_normal", bias_init=nn.Constant(0.01))
    nn.initialize(layer)
    assert layer.bias is not None
    np.testing.assert_array_equal(layer.bias.value, np.full(3, 0.01, np.float32))


def test_a_number_is_a_bias_to_start_with() -> None:
    layer = nn.Linear(2, 3, bias_init=0.01)
    nn.initialize(layer)
    assert layer.bias is not None
    np.testing.assert_array_equal(layer.bias.value, np.full(3, 0.01, np.float32))
    for bad in (float("nan"), float("inf"), True):
        with pytest.raises(cr.OptionError, match=r"Constant: value must be in|be a name, a number"):
            nn.Linear(2, 3, bias_init=bad)


@pytest.mark.parametrize("shape", [(40, 40), (60, 20), (20, 60), (3, 4, 5, 30)], ids=str)
def test_orthogonal_keeps_lengths_up_to_its_gain(shape: tuple[int, ...]) -> None:
    w = nn.Orthogonal(1.5)(shape, np.random.default_rng(0)).reshape(-1, shape[-1])
    np.testing.assert_allclose(np.linalg.svd(w, compute_uv=False), 1.5, rtol=1e-12)


def test_orthogonal_matrices_are_drawn_evenly() -> None:
    """Without the signs of r, LAPACK's choice leaves the first column on one side."""
    rng = np.random.default_rng(0)
    first = np.array([nn.Orthogonal()((3, 3), rng)[0, 0] for _ in range(400)])
    assert abs(first.mean()) < 0.12  # 4 standard errors of a coordinate on the sphere


def test_identity_is_the_identity_and_nothing_beyond_it() -> None:
    np.testing.assert_array_equal(draw("identity", (3, 5)), np.eye(3, 5))


def test_sparse_gives_every_unit_its_number_of_connections() -> None:
    w = nn.Sparse(7, 0.5)((200, 300), np.random.default_rng(0))
    assert ((w != 0).sum(axis=0) == 7).all()
    assert w[w != 0].std() == pytest.approx(0.5, rel=0.05)
    assert np.ptp((w != 0).sum(axis=1)) > 5  # inputs are drawn, not dealt out
    assert (nn.Sparse(15)((4, 3), np.random.default_rng(0)) != 0).all()


def test_truncated_normal_has_no_tails_and_the_shape_of_what_is_left() -> None:
    w = nn.TruncatedNormal(0.1)(SHAPE, np.random.default_rng(0))
    assert 0.199 < abs(w).max() <= 0.2
    assert w.std() == pytest.approx(0.1 * stats.truncnorm(-2, 2).std(), rel=0.01)


@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
def test_maxout_keeps_the_mean_square_through_layers(pieces: int) -> None:
    """The published constants are 1, 0.78391, 0.64461 and 0.55555."""
    published = {2: 1.0, 3: 0.78391, 4: 0.64461, 5: 0.55555}[pieces]
    w = nn.MaxoutNormal(pieces)((300, 500), np.random.default_rng(0))
    assert w.var() * 300 == pytest.approx(published, rel=0.02)
    layers = [nn.Maxout(200, 200, pieces) for _ in range(5)]
    model = nn.Sequential(layers)
    nn.initialize(model)
    x = np.random.default_rng(1).normal(size=(100, 200)).astype("f4")
    assert 0.5 < float(np.square(model(cr.tensor(x)).numpy()).mean()) < 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Orthogonal(0), r"Orthogonal: gain must be in \(0, inf\), not 0"),
        (lambda: nn.Orthogonal(True), "Orthogonal: gain must be"),
        (lambda: nn.TruncatedNormal(-1), r"TruncatedNormal: spread must be in \(0, inf\), not -1"),
        (lambda: nn.HeUniform("a"), r"HeUniform: slope must be in \(-inf, inf\), not 'a'"),  # type: ignore[arg-type]
        (lambda: nn.HeNormal(float("inf")), "HeNormal: slope must be"),
        (lambda: nn.MaxoutNormal(0), "MaxoutNormal: pieces must be a positive integer, not 0"),
        (lambda: nn.Constant(float("nan")), "Constant: value must be"),
        (lambda: nn.Linear(2, 2, weight_init=nn.HeNormal), "the class HeNormal; call it"),
        (lambda: nn.Linear(2, 2, bias_init=[1.0]), r"a name, a number or .*, not \[1.0\]"),  # type: ignore[arg-type]
        (lambda: nn.Sparse(0), "Sparse: connections must be a positive integer, not 0"),
        (lambda: nn.Sparse(2, float("nan")), "Sparse: spread must be in"),
    ],
)
def test_options_out_of_range_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_unknown_initializer_suggests_the_nearest() -> None:
    with pytest.raises(cr.OptionError, match="Did you mean 'he_normal'"):
        nn.Linear(2, 2, weight_init="henormal")


def two_layers(first: Any = None) -> nn.Sequential:
    return nn.Sequential([nn.Linear(8, 8, weight_init=first), nn.Tanh(), nn.Linear(8, 8)])


def values(model: Any, seed: int) -> dict[str, Any]:
    nn.initialize(model, seed)
    return {name: p.value for name, p in nn.parameters(model).items()}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    one, same, other = values(two_layers(), 5), values(two_layers(), 5), values(two_layers(), 6)
    assert all(np.array_equal(one[k], same[k]) for k in one)
    assert not np.array_equal(one["0.weight"], other["0.weight"])


def test_each_parameter_has_a_stream_of_its_own() -> None:
    one, changed = values(two_layers(), 5), values(two_layers("zeros"), 5)
    assert not changed["0.weight"].any()
    np.testing.assert_array_equal(one["2.weight"], changed["2.weight"])
    flat = np.corrcoef(one["0.weight"].ravel(), one["2.weight"].ravel())[0, 1]
    assert abs(flat) < 0.5  # the same stream would correlate fully


def test_keep_assigned_keeps_what_was_set_and_draws_the_rest() -> None:
    model = two_layers()
    model[0].weight.value = np.ones((8, 8))  # type: ignore[attr-defined]
    nn.initialize(model, 5, keep_assigned=True)
    np.testing.assert_array_equal(model[0].weight.value, np.ones((8, 8)))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        nn.parameters(model)["2.weight"].value, values(two_layers(), 5)["2.weight"]
    )


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        (nn.ReLU(), 2 / 200),
        (nn.LeakyReLU(), 2 / 200),
        (nn.LeakyReLU(0.5), 2 / 1.25 / 200),
        (nn.PReLU(), 2 / 1.0625 / 200),
        (nn.PReLU(100, 1.0), 1 / 200),
        (nn.SELU(), 1 / 200),
        (nn.Tanh(), 2 / 300),
        (nn.Sigmoid(), 2 / 300),
    ],
)
def test_sequential_picks_what_suits_the_activation(activation: Any, variance: float) -> None:
    model = nn.Sequential([nn.Linear(200, 100), activation, nn.Linear(100, 100)])
    weights = values(model, 0)
    assert weights["0.weight"].var() == pytest.approx(variance, rel=0.05)
    assert weights["2.weight"].var() == pytest.approx(2 / 200, rel=0.05)  # no activation: Glorot


def test_sequential_leaves_an_initializer_that_was_chosen() -> None:
    model = nn.Sequential([nn.Linear(200, 100, weight_init="glorot_normal"), nn.ReLU()])
    assert values(model, 0)["0.weight"].var() == pytest.approx(2 / 300, rel=0.05)


def test_initialize_names_parameters_by_path() -> None:
    model = two_layers()
    nn.initialize(model)
    assert model[2].weight.name == "2.weight"  # type: ignore[attr-defined]


def test_a_value_of_another_shape_is_refused_by_name() -> None:
    model = two_layers()
    nn.initialize(model)
    with pytest.raises(cr.ShapeError, match=r"'0.weight' has shape \(8, 8\), not \(8, 7\)"):
        model[0].weight.value = np.ones((8, 7))  # type: ignore[attr-defined]
