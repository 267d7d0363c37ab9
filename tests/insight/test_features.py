"""Hidden layers: every number against plain NumPy, known answers, and networks of all kinds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data.splits import split
from chainrule.insight.hidden.probe import PENALTIES, Goal, probe, ridge
from chainrule.insight.row_view import row_view
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

Array = Any


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_layers(inputs: int = 5, units: int = 7, seed: int = 0) -> nn.Sequential:
    model = nn.Sequential([nn.Linear(inputs, units), nn.Tanh(), nn.Linear(units, 2)])
    nn.initialize(model, seed)
    return model


# --- what layers give ------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_values_and_facts_are_those_of_numpy(engine: str) -> None:
    model, X = two_layers(), draw(300, 5)
    f = cr.features(model, X, engine=engine)
    sums = X @ model[0].weight.value + model[0].bias.value
    tanh = np.tanh(sums)
    np.testing.assert_allclose(f.values(0), sums, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(f.values("1"), tanh, rtol=1e-5, atol=1e-6)
    assert [k.path for k in f.layers] == ["0", "1", "2"]
    assert f.layers[1].mean == pytest.approx(tanh.mean(), abs=1e-6)
    assert f.layers[1].std == pytest.approx(tanh.std(), rel=1e-5)
    # Nearly flat is a slope under 1/20 of the steepest, which for tanh is 1.
    assert f.layers[1].saturated == pytest.approx((1 - tanh**2 < 0.05).mean(), abs=2e-3)
    assert f.layers[0].saturated is None


def test_a_unit_is_that_of_numpy() -> None:
    model, X = two_layers(), draw(300, 5)
    f = cr.features(model, X)
    tanh = np.tanh(X @ model[0].weight.value + model[0].bias.value)
    unit = f.unit(1, 3, count=5)
    order = np.argsort(-tanh[:, 3])
    assert unit.most.tolist() == order[:5].tolist()
    assert unit.least.tolist() == order[::-1][:5].tolist()
    whole = np.corrcoef(tanh.T)
    np.testing.assert_allclose(f.correlation(1), whole, atol=1e-5)
    others = np.argsort(-np.abs(np.where(np.arange(7) == 3, 0, whole[3])))[:5]
    assert [k for k, _ in unit.neighbors] == others.tolist()
    above = np.triu(np.abs(whole), 1)
    i, j, r = f.correlated(1, 1)[0]
    assert (i, j) == np.unravel_index(above.argmax(), above.shape)
    assert r == pytest.approx(whole[i, j], abs=1e-5)


def test_rows_that_share_the_least_value_are_counted() -> None:
    model, X = nn.Sequential([nn.Linear(1, 1), nn.ReLU()]), np.linspace(-1, 1, 41)[:, None]
    model[0].weight.value, model[0].bias.value = [[2.0]], [0.0]
    unit = cr.features(model, X).unit(1, 0)
    assert unit.least_count == 21
    assert "its least value, 0, is that of 21 rows" in str(unit)
    assert "least: 0, 1, 2" in str(cr.features(model, X).unit(0, 0))


def test_rows_are_called_by_the_numbers_given() -> None:
    model, X = two_layers(), draw(20, 5)
    plain = cr.features(model, X).unit(0, 0)
    named = cr.features(model, X, row_numbers=np.arange(20) * 10).unit(0, 0)
    assert named.most.tolist() == (10 * plain.most).tolist()


def test_a_map_is_the_singular_vectors() -> None:
    model, X = two_layers(), draw(200, 5)
    points, share = cr.features(model, X).map(1)
    tanh = np.tanh(X @ model[0].weight.value + model[0].bias.value).astype(np.float64)
    left, s, _ = np.linalg.svd(tanh - tanh.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(left[:, :2] * s[:2]), atol=1e-4)
    assert share == pytest.approx((s[:2] ** 2).sum() / (s**2).sum(), rel=1e-5)


def test_pixels_of_a_byte_are_seen_as_training_sees_them() -> None:
    X = np.random.default_rng(0).integers(0, 256, (64, 4, 4)).astype(np.uint8)
    y = (X[:, 0, 0] > 127).astype(int)
    run = cr.fit(
        nn.Sequential([nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)]), (X, y),
        loss="cross_entropy", epochs=1, progress=False,
    )  # fmt: skip
    f = cr.features(run, X, y)
    np.testing.assert_allclose(f.values(3), run.outputs(X), rtol=1e-5, atol=1e-6)
    assert f.activity.rows.max() <= 1
    assert f.goal is not None
    assert f.goal.classes == 2


def test_only_some_of_many_rows_are_looked_at_and_it_says_so() -> None:
    X = draw(500, 5)
    f = cr.features(two_layers(), X, rows=100)
    assert "100 of 500 rows" in str(f)
    assert f.values(0).shape == (100, 7)
    again = cr.features(two_layers(), X, rows=100)
    assert f.numbers.tolist() == again.numbers.tolist() == sorted(set(f.numbers.tolist()))
    np.testing.assert_array_equal(f.activity.rows, X[f.numbers])
    # Rows of a unit are told by their numbers in X.
    assert f.numbers[-1] > 250  # from all of X, not the first
    best = f.numbers[f.values(0)[:, 2].argmax()]
    assert f.unit(0, 2).most[0] == best


def test_wide_layers_are_seen_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.insight.hidden.learned.NUMBERS", 1000)
    f = cr.features(two_layers(), draw(500, 5))
    width = 5 + 2 * (7 + 7 + 2)  # a row, and for each unit its value and its slope
    assert len(f.numbers) == 1000 // width
    assert f"{1000 // width} of 500 rows" in f.note


@pytest.mark.filterwarnings("error")
def test_native_code_sees_what_the_reference_does() -> None:
    graph = nn.Network(
        {"a": nn.Linear(4, 3), "y": nn.Linear(7, 2)}, [("x", "a"), ("x", "y"), ("a", "y")]
    )
    body = [nn.Linear(4, 4), nn.ELU()]
    model = nn.Sequential([
        nn.BatchNorm(4), nn.Residual(body), nn.LayerNorm(4), nn.Maxout(4, 4), nn.Sigmoid(), graph,
    ])  # fmt: skip
    nn.initialize(model, 0)
    X = draw(300, 4)
    one, two = (cr.features(model, X, engine=engine) for engine in ("reference", "native"))
    assert one.activity.paths == two.activity.paths
    for path in one.activity.paths:
        np.testing.assert_allclose(one.values(path), two.values(path), rtol=1e-4, atol=1e-5)
    for path in one.activity.slopes:
        np.testing.assert_allclose(
            one.activity.slopes[path], two.activity.slopes[path], rtol=1e-4, atol=1e-5
        )
    assert {"1.body.1", "4"} <= set(one.activity.slopes)


# --- dead and saturated units ----------------------------------------------------------------


def test_dead_units_made_by_hand_are_found() -> None:
    model = nn.Sequential([nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)])
    nn.initialize(model, 0)
    bias = np.zeros(6, np.float32)
    bias[[1, 4]] = -100
    model[0].bias.value = bias
    f = cr.features(model, draw(200, 3))
    assert f.layers[1].dead == (1, 4)
    assert f.layers[0].dead == ()
    assert f.unit(1, 4).dead
    assert f.unit(1, 4).saturated == 1.0
    assert not f.unit(1, 0).dead
    assert "dead" in str(f.unit(1, 4))


def test_a_unit_that_jumps_between_flat_ends_is_dead_though_not_constant() -> None:
    model = nn.Sequential([nn.Linear(1, 2), nn.HardTanh(), nn.Linear(2, 1)])
    nn.initialize(model, 0)
    model[0].weight.value = [[1e4, 1.0]]
    X = np.linspace(-2, 2, 100, dtype=np.float32)[:, None]
    f = cr.features(model, X)
    assert set(f.values(1)[:, 0].tolist()) == {-1.0, 1.0}
    assert f.layers[1].dead == (0,)


def test_saturated_sigmoids_are_told_from_lively_ones() -> None:
    model = nn.Sequential([nn.Linear(1, 2), nn.Sigmoid(), nn.Linear(2, 1)])
    nn.initialize(model, 0)
    model[0].weight.value = [[50.0, 0.5]]
    f = cr.features(model, np.linspace(-2, 2, 201, dtype=np.float32)[:, None])
    shares = f.activity.saturated("1")
    assert shares is not None
    assert shares[0] > 0.9
    assert shares[1] == 0


# --- what excites a unit ---------------------------------------------------------------------


def test_a_linear_unit_is_excited_most_at_the_ends_its_weights_say() -> None:
    model, X = two_layers(), draw(300, 5)
    f = cr.features(model, X)
    for k in range(7):
        unit = f.unit(0, k)
        w = model[0].weight.value[:, k]
        best = np.where(w > 0, X.max(axis=0), X.min(axis=0))
        np.testing.assert_array_equal(unit.exciting, best)
        assert unit.exciting_value == pytest.approx(best @ w + model[0].bias.value[k], rel=1e-5)
        assert unit.exciting_value >= unit.values.max()


def test_no_row_excites_a_unit_more_and_the_box_is_kept() -> None:
    model = nn.Sequential([nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 9), nn.ELU(), nn.Linear(9, 1)])
    nn.initialize(model, 3)
    X = draw(100, 5)
    f = cr.features(model, X)
    for layer, k in ((1, 0), (3, 4), (4, 0)):
        unit = f.unit(layer, k)
        assert unit.exciting_value >= unit.values.max()
        assert (unit.exciting >= X.min(axis=0)).all()
        assert (unit.exciting <= X.max(axis=0)).all()
        assert (f.unit(layer, k).exciting == unit.exciting).all()  # the same at every call


# --- weights of the first layer --------------------------------------------------------------


def test_weights_are_those_of_the_first_weighted_layer() -> None:
    model = two_layers()
    f = cr.features(model, draw(20, 5))
    np.testing.assert_allclose(f.weights, model[0].weight.value.T, rtol=1e-6)


def test_weights_count_what_stands_before_the_first_layer() -> None:
    norm = nn.BatchNorm(5)
    model = nn.Sequential([norm, nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1)])
    X = draw(200, 5) * [1, 2, 3, 4, 5]
    cr.fit(model, (X, draw(200, 1)), loss="mse", epochs=2, progress=False)
    f = cr.features(model, X)
    h = 1e-2
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    steps = np.concatenate([mean + h * np.eye(5), mean - h * np.eye(5)]).astype(np.float32)
    sums = cr.features(model, steps).values(1).astype(np.float64)
    np.testing.assert_allclose(f.weights.T, (sums[:5] - sums[5:]) / (2 * h), rtol=1e-2, atol=1e-4)


def test_weights_of_a_sparse_layer_are_0_where_it_has_no_edge() -> None:
    mask = np.array([[1, 0], [1, 1], [0, 1]], bool)
    model = nn.Sequential([nn.SparseLinear.from_mask(mask), nn.ReLU(), nn.Linear(2, 1)])
    nn.initialize(model, 0)
    f = cr.features(model, draw(10, 3))
    assert ((f.weights.T != 0) == mask).all()


# --- probes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [4, 40, 80])  # fewer than rows, and more
@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0])
def test_ridge_minimizes_what_it_says(units: int, noise: float) -> None:
    Z = draw(50, units).astype(float)
    Y = Z @ draw(units, 3, seed=2) / np.sqrt(units) + noise * draw(50, 3, seed=1)
    Z, Y = Z - Z.mean(axis=0), Y - Y.mean(axis=0)
    W, penalty = ridge(Z, Y)
    direct = np.linalg.solve(Z.T @ Z + penalty * 50 * np.eye(units), Z.T @ Y)
    np.testing.assert_allclose(W, direct, rtol=1e-5, atol=1e-8)

    def score(p: float) -> float:
        hat = Z @ np.linalg.solve(Z.T @ Z + p * 50 * np.eye(units), Z.T)
        free = 50 - np.trace(hat)
        return float(50 * np.square(Y - hat @ Y).sum() / free**2)

    assert score(penalty) == pytest.approx(min(map(score, PENALTIES)), rel=1e-4)


def test_a_probe_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    X, y = draw(200, 6), np.random.default_rng(2).integers(0, 3, 200)
    X[:, 0] += y
    found = probe(
        "0", "", X[:150], Goal("classes", y[:150], 3), X[150:], Goal("classes", y[150:], 3)
    )
    Z = (X - X[:150].mean(axis=0)) / X[:150].std(axis=0)
    ridge_ = linear.Ridge(alpha=found.penalty * 150).fit(Z[:150], np.eye(3)[y[:150]])
    assert found.score == (ridge_.predict(Z[150:]).argmax(axis=1) == y[150:]).mean()


def test_a_probe_of_values_is_r2() -> None:
    X = draw(300, 4)
    y = X @ [1.0, 2.0, 0.0, -1.0] + 0.1 * draw(300, seed=5)
    model = two_layers(4)
    f = cr.features(model, X, y)
    assert f.probes[0].measure == "R²"
    learn, test = split(300, 0.3, 0)
    Z = np.column_stack([X, np.ones(300)])
    fitted, *_ = np.linalg.lstsq(Z[learn], y[learn], rcond=None)
    left = np.square(y[test] - Z[test] @ fitted).sum() / np.square(y[test] - y[test].mean()).sum()
    assert f.probes[0].score == pytest.approx(1 - left, abs=1e-3 * left)
    noise = cr.features(model, X, draw(300, seed=9)).probes[0].score
    assert noise < 0.1


def circles(n: int, seed: int) -> tuple[Array, Array]:
    y = np.arange(n) % 2
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    ring = (1 + y)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (ring + 0.1 * draw(n, 2, seed=seed)).astype(np.float32), y


def test_training_makes_circles_linear_layer_by_layer() -> None:
    train, test = circles(400, 0), circles(200, 1)
    model = nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)])
    run = cr.fit(
        model, train, loss="cross_entropy", optimizer=cr.optim.Adam(0.02), epochs=60, seed=0,
        batch_size=32, progress=False,
    )  # fmt: skip
    scores = {p.path: p.score for p in cr.features(run, *train, held_out=test).probes}
    assert scores["input"] < 0.65
    assert scores["0"] < 0.65  # a linear layer separates no better than its input
    assert scores["3"] > 0.95


@pytest.fixture(scope="module")
def digits() -> Any:
    problem = read_problem("digits")
    settings = choose_settings(problem.rows["train"], hidden=(64, 32), epochs=30)
    return fit_table(problem, settings, progress=False), problem


def test_digits_are_easier_to_separate_behind_a_hidden_layer(digits: Any) -> None:
    run, problem = digits
    scores = {
        p.path: p.score for p in cr.features(run, *problem.train, held_out=problem.test).probes
    }
    assert scores["1"] > scores["input"] + 0.01
    assert scores["1"] > 0.94


# --- gradients -------------------------------------------------------------------------------


def stack(activation: Any, start: str) -> nn.Sequential:
    inner = [
        layer for _ in range(8) for layer in (nn.Linear(32, 32, weight_init=start), activation())
    ]
    model = nn.Sequential([nn.Linear(20, 32), activation(), *inner, nn.Linear(32, 3)])
    nn.initialize(model, 1)
    return model


def test_gradients_fade_backward_through_sigmoids_and_not_through_relus() -> None:
    X, y = draw(200, 20), np.arange(200) % 3
    sizes = {}
    for kind, start in ((nn.Sigmoid, "glorot_uniform"), (nn.ReLU, "he_normal")):
        found = cr.features(stack(kind, start), X, y, loss="cross_entropy").gradients
        weighted = [g.output for g in found if g.weights is not None]
        sizes[kind] = weighted[1] / weighted[-2]  # of layers equally wide
        assert len(weighted) == 10
    assert sizes[nn.Sigmoid] < 1e-3
    assert 0.1 < sizes[nn.ReLU] < 10


def test_spread_and_gradient_of_each_unit_are_those_numpy_finds() -> None:
    X, y = draw(40, 3), draw(40, 1)
    model = nn.Sequential([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)])
    nn.initialize(model, 2)
    f = cr.features(model, X, y, loss="mse")
    hidden = np.tanh(X @ model[0].weight.value + model[0].bias.value)
    np.testing.assert_allclose(f.layers[1].spread, hidden.std(axis=0), rtol=1e-4)
    error = hidden @ model[2].weight.value + model[2].bias.value - y
    slope = 2 / 40 * error @ model[2].weight.value.T
    gradient = next(g for g in f.gradients if g.path == "1")
    np.testing.assert_allclose(gradient.units, np.sqrt((slope**2).mean(axis=0)), rtol=1e-4)
    assert f.remarks() == []
    lines = f.unit_cells(1)
    assert lines[0] == ["unit", "mean", "spread", "dead", "flat", "gradient"]
    assert float(lines[3][2]) == pytest.approx(hidden[:, 2].std(), rel=1e-3)
    assert float(lines[3][5]) == pytest.approx(gradient.units[2], rel=0.06)


def test_a_layer_that_collapsed_is_told_and_a_healthy_one_is_not() -> None:
    X = draw(100, 5)
    stuck, dead = nn.Linear(6, 8), nn.Linear(6, 8)
    model = nn.Sequential([nn.Linear(5, 6), nn.Sigmoid(), stuck, nn.Sigmoid(), nn.Linear(8, 1)])
    nn.initialize(model, 0)
    stuck.weight.value = stuck.weight.value * 1e-3
    stuck.bias.value = np.linspace(-2, 2, 8)  # so that the layer's values differ, and no row does
    f = cr.features(model, X)
    assert [k.path for k in f.layers if k.collapsed] == ["2", "3"]
    assert "Layer 3 (Sigmoid) collapsed: its output is nearly the same for every row" in str(f)
    assert "collapsed" in f.html()
    model = nn.Sequential([nn.Linear(5, 6), nn.ReLU(), dead, nn.ReLU(), nn.Linear(8, 1)])
    nn.initialize(model, 0)
    dead.bias.value = np.full(8, -100.0)
    assert "Layer 3 (ReLU): all 8 units dead." in str(cr.features(model, X))


# --- networks of all kinds -------------------------------------------------------------------


def test_layers_of_nested_networks_have_their_paths() -> None:
    graph = nn.Network(
        {"a": nn.Linear(6, 3), "b": nn.Linear(6, 2), "y": nn.Linear(5, 2)},
        [("x", "a"), ("x", "b"), ("a", "y"), ("b", "y")],
    )
    model = nn.Sequential([
        nn.Linear(4, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.5),
        nn.Residual([nn.Linear(6, 6), nn.Tanh()]), graph,
    ])  # fmt: skip
    nn.initialize(model, 0)
    X = draw(50, 4)
    f = cr.features(model, X, np.arange(50) % 2, loss="cross_entropy")
    assert {"0", "1", "2", "4.body.0", "4.body.1", "4", "5.a", "5.b", "5.y"} <= set(
        f.activity.paths
    )
    assert "3" not in f.activity.paths  # dropout does nothing where nothing is trained
    np.testing.assert_allclose(f.values(4), f.values(2) + f.values("4.body.1"), atol=1e-6)
    assert f.activity.activation("4.body.1").name == "tanh"
    assert f.described("5.a") == "Linear(6, 3)"
    assert len(f.probes) == len(f.layers) + 1
    assert "<h1>" in f.html()


def test_a_function_without_layers_is_one_layer() -> None:
    class Plain:
        def __init__(self) -> None:
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 1)

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return self.last(cr.relu(self.first(x)))

    model = Plain()
    nn.initialize(model, 0)
    f = cr.features(model, draw(20, 3))
    assert [k.units for k in f.layers] == [1]
    assert "Hidden layers of Plain" in f.html()


def test_a_saved_run_is_seen_as_before(digits: Any, tmp_path: Path) -> None:
    run, problem = digits
    again = cr.load(run.save(tmp_path / "run"))
    one, two = (cr.features(r, *problem.test) for r in (run, again))
    assert str(one) == str(two)
    assert one.html() == two.html()


# --- how rows are shown ----------------------------------------------------------------------


def test_standardized_pixels_are_shown_as_they_were(digits: Any) -> None:
    run, problem = digits
    f = cr.features(run, *problem.test)
    assert f.view.image == (8, 8)
    images = np.array(f.view.as_images(f.activity.rows))
    assert images.min() >= -1e-4
    assert images.max() == pytest.approx(16, abs=1e-4)  # of 0 to 16, as in the file


def test_what_is_an_image() -> None:
    square, signed = np.abs(draw(5, 64)), draw(5, 64)
    assert row_view((64,), square).image == (8, 8)
    assert row_view((64,), signed).image is None
    assert row_view((64,), square, image_shape=()).image is None
    assert row_view((9,), square[:, :9]).image is None
    assert row_view((28, 28), square).image == (28, 28)
    assert row_view((6,), square[:, :6], image_shape=(2, 3)).image == (2, 3)
    with pytest.raises(cr.OptionError, match="image_shape"):
        row_view((6,), square[:, :6], image_shape=(2, 2))


def test_names_of_columns_are_shown_and_escaped() -> None:
    problem = read_problem({"a<b": draw(60).tolist(), "size": draw(60, seed=1).tolist(),
                            "kind": ["x", "y"] * 30}, "kind")  # fmt: skip
    run = fit_table(problem, choose_settings(40, hidden=[16], epochs=2), progress=False)
    f = cr.features(run, *problem.train)
    html = f.html() + f.html(1, 0)
    assert "a&lt;b" in html
    assert "a<b" not in html
    assert not re.search(r"https?://(?!www\.w3\.org)", html)


# --- what is refused -------------------------------------------------------------------------


def test_what_does_not_fit_is_said() -> None:
    model, X = two_layers(), draw(20, 5)
    f = cr.features(model, X)
    for wrong, said in (
        (lambda: f.unit(9, 0), "no layer '9'"),
        (lambda: f.unit(0, 7), "units 0 to 6"),
        (lambda: f.unit(0, -1), "units 0 to 6"),
        (lambda: f.probes, "give y"),
        (lambda: f.gradients, "loss"),
        (lambda: f.html(layer=0), "both"),
        (lambda: cr.features(3, X), "model or a run"),
        (lambda: cr.features(model, X, rows=0), "rows"),
    ):
        with pytest.raises(cr.OptionError, match=said):
            wrong()
    with pytest.raises(cr.DataError):
        cr.features(model, X, np.zeros(3))
    with pytest.raises(cr.ShapeError):
        cr.features(model, draw(20, 4))
    with pytest.raises(cr.DataError):
        cr.features(model, X[:0])
    for pair in (3, (X,), (X, None)):
        with pytest.raises(cr.DataError, match="pair"):
            cr.features(model, X, np.arange(20) % 2, held_out=pair)
    model[0].weight.value = np.full((5, 7), np.nan)
    with pytest.raises(cr.DivergedError, match="layer '0'"):
        cr.features(model, X)


def test_few_rows_are_shown_without_probes() -> None:
    f = cr.features(two_layers(), draw(1, 5), [0], loss="cross_entropy")
    assert "probe" not in str(f)
    assert "Gradients" in f.html()
    assert f.layers[0].dead == ()  # one row tells of none
    with pytest.raises(cr.DataError, match="10 or more"):
        _ = f.probes


def test_classes_held_out_are_those_of_the_rows() -> None:
    X, y = draw(60, 5), np.array(["a", "b", "c"] * 20)
    X[:, 0] += 10 * (np.arange(60) % 3)
    f = cr.features(two_layers(), X, y, held_out=(X[y != "a"], y[y != "a"]))
    assert f.held_out is not None
    assert set(f.held_out[1].target.tolist()) == {1, 2}
    assert f.probes[0].score > 0.6
    with pytest.raises(cr.DataError, match="'d'"):
        cr.features(two_layers(), X, y, held_out=(X[:1], ["d"]))
