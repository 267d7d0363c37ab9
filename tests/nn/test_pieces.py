"""The piecewise linear encoding of numbers, against its equation and what it makes learnable."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(6)
X = np.column_stack([RNG.normal(size=200), RNG.integers(0, 2, 200), RNG.uniform(size=(200, 2))])


def test_each_piece_holds_its_share() -> None:
    layer = nn.PiecewiseLinear.of(X, 5)
    assert [len(own) for own in layer.edges] == [6, 0, 6, 6]
    found = layer(cr.tensor(X)).numpy()
    assert found.shape == (200, layer.outputs) == (200, 19)
    expected = [X]
    for column in (0, 2, 3):
        edges = np.quantile(X[:, column], np.linspace(0, 1, 6))
        for a, b in itertools.pairwise(edges):
            expected.append(np.clip((X[:, column] - a) / (b - a), 0, 1))
    np.testing.assert_allclose(found, np.column_stack(expected), atol=1e-12)
    names = layer.output_names(["a", "b", "c", "d"])
    assert len(names) == 19
    assert names[:4] == ("a", "b", "c", "d")
    assert names[4].startswith("a from -")


def test_the_sum_of_pieces_is_the_number_itself() -> None:
    layer = nn.PiecewiseLinear.of(X, 7)
    shares = layer(cr.tensor(X)).numpy()[:, 4:11]
    edges = np.array(layer.edges[0])
    np.testing.assert_allclose(edges[0] + shares @ np.diff(edges), X[:, 0], atol=1e-12)


def test_its_slopes() -> None:
    layer = nn.PiecewiseLinear([[-1.0, 0.2, 1.0], [], [0.0, 2.0]])
    cr.check_grads(layer, [RNG.uniform(-2, 2, size=(6, 3))], order=1)


def test_a_feature_far_from_those_of_the_training_is_held_where_it_is_encoded() -> None:
    layer = nn.PiecewiseLinear([[-1.0, 0.0, 3.0], []])
    given = np.array([[-9.0, -9.0], [-5.0, 4.0], [6.5, 9.0], [1e30, 1e30]])
    features = layer(cr.tensor(given)).numpy()[:, :2]
    np.testing.assert_allclose(features, [[-5, -9], [-5, 4], [6.5, 9], [7, 1e30]])


@pytest.mark.parametrize("threads", [1, 2])
def test_native_code_encodes_as_the_reference_does(threads: int) -> None:
    model = nn.Sequential([nn.PiecewiseLinear.of(X, 4), nn.Linear(16, 1, dtype="float32")])
    y = (X[:, :1] > 0).astype(float)
    runs = [
        cr.fit(model, (X, y), loss="mse", optimizer=optim.Adam(0.05), epochs=20, engine=engine,
               threads=threads, progress=False)
        for engine in ("reference", "native")
        if nn.initialize(model, 0) is None
    ]  # fmt: skip
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-4)
    # A jump, which a linear layer of the number itself could not learn.
    assert runs[1].history[-1]["loss"] < 0.06


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (3, "edges must be a list of numbers for each feature"),
        ([["a"]], "edges must be a list of numbers for each feature"),
        ([[], [1.0]], r"two or more increasing numbers, or none; those of feature 1 are \[1.0\]"),
        ([[0.0, 0.0]], "those of feature 0 are"),
    ],
)
def test_edges_that_can_not_be_meant_are_refused(edges: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        nn.PiecewiseLinear(edges)
    with pytest.raises(cr.ShapeError, match="needs rows of 2 features"):
        nn.PiecewiseLinear([[0.0, 1.0], []])(cr.tensor(X))
