"""Embeddings look up, train only what was looked up, and refuse numbers of no category."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
CODES, Y = RNG.integers(0, 5, (40, 2)), RNG.integers(0, 3, 40)
MIXED = np.column_stack([RNG.normal(size=40), CODES[:, 0], RNG.normal(size=40), CODES[:, 1]])


def model(first: Any, width: int) -> nn.Sequential:
    return nn.Sequential([first, nn.Linear(width, 3, dtype="float64")])


def test_columns_are_replaced_and_others_kept_in_order() -> None:
    layer = nn.EmbedColumns(4, [(3, 6, 1), (1, 5, 2)], "float64")
    y = layer(cr.tensor(MIXED)).numpy()
    tables = [t.value for t in layer.tables]
    expected = np.hstack([MIXED[:, [0, 2]], tables[0][CODES[:, 1]], tables[1][CODES[:, 0]]])
    np.testing.assert_array_equal(y, expected)
    assert layer.outputs == y.shape[1]
    assert nn.EmbedColumns(1, [(0, 5, 3)])(cr.input("x", ("n", 1))).shape[1] == 3


def test_one_hot_times_weights_is_the_same_layer() -> None:
    """Trained side by side: an embedding, and a Linear of one-hot columns."""
    looked, product = model(nn.Embedding(5, 4, "float64"), 8), nn.Sequential(
        [nn.Linear(10, 8, use_bias=False, dtype="float64"), nn.Linear(8, 3, dtype="float64")]
    )  # fmt: skip
    nn.initialize(looked, 1)
    nn.initialize(product, 2)
    table, last = looked[0].weight.value, looked[1]  # type: ignore[attr-defined]
    # Both halves of the product read one table, so let it move as much as the two do together.
    blocks = np.zeros((10, 8))
    blocks[:5, :4] = blocks[5:, 4:] = table
    product[0].weight.value = blocks  # type: ignore[attr-defined]
    for name in ("weight", "bias"):
        getattr(product[1], name).value = getattr(last, name).value
    hot = np.hstack([np.eye(5)[CODES[:, i]] for i in (0, 1)])
    common: dict[str, Any] = {
        "loss": "cross_entropy", "optimizer": optim.SGD(0.1), "epochs": 1, "batch_size": 40,
        "progress": False,
    }  # fmt: skip
    a = cr.fit(looked, (CODES, Y), **common)
    b = cr.fit(product, (hot, Y), **common)
    assert a.history[0]["loss"] == pytest.approx(b.history[0]["loss"], rel=1e-12)
    after = product[0].weight.value  # type: ignore[attr-defined]
    moved = (after[:5, :4] - table) + (after[5:, 4:] - table)
    np.testing.assert_allclose(looked[0].weight.value, table + moved, atol=1e-12)  # type: ignore[attr-defined]


def test_only_rows_looked_up_move() -> None:
    net = model(nn.Embedding(9, 2, "float64"), 4)
    nn.initialize(net, 0)
    before = net[0].weight.value.copy()  # type: ignore[attr-defined]
    cr.fit(net, (CODES, Y), loss="cross_entropy", optimizer="sgd", epochs=2, progress=False)
    changed = (net[0].weight.value != before).any(axis=1)  # type: ignore[attr-defined]
    assert changed.tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("first", [nn.Embedding(5, 3), nn.EmbedColumns(2, [(0, 5, 2)])])
def test_numbers_that_are_no_category_are_refused(first: Any) -> None:
    net = nn.Sequential([first, nn.Linear(6 if isinstance(first, nn.Embedding) else 3, 3)])
    for bad in (5, -1, 0.5):
        X = CODES.astype(float)
        X[7, 0] = bad
        with pytest.raises(cr.DataError, match=rf"from 0 to 4, but row 7 has {bad}"):
            cr.fit(net, (X, Y), loss="cross_entropy", progress=False)
    run = cr.fit(net, (CODES, Y), loss="cross_entropy", epochs=1, progress=False)
    with pytest.raises(cr.DataError, match="but row 0 has 77"):
        run.predict(np.array([[77, 0]]))


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_numbers_are_checked_wherever_data_enter(engine: str) -> None:
    """A rounded 1.5 or a -1 counted from the end would look up some row without a word."""
    y, more = np.arange(4) % 2, {"loss": "cross_entropy", "progress": False, "engine": engine}
    looks: list[Any] = [
        nn.Network({"e": nn.Embedding(5, 3), "l": nn.Linear(3, 2)}, [("x", "e"), ("e", "l")]),
        nn.Sequential([nn.Residual([nn.Embedding(5, 2)], nn.Embedding(7, 2))]),
        nn.Sequential([nn.Residual(nn.Embedding(7, 2), nn.Sequential([nn.Embedding(5, 2)]))]),
    ]
    for net in looks:
        for bad in (1.5, -1.0, 5.0):
            with pytest.raises(cr.DataError, match=rf"whole numbers from 0 .* row 3 has {bad}"):
                cr.fit(net, (np.array([0, 1, 2, bad]), y), **more)


@pytest.mark.parametrize("first", [nn.Embedding(5, 3), nn.EmbedColumns(2, [(0, 5, 2)])])
def test_categories_may_be_numbered_in_bytes(first: Any) -> None:
    width = 6 if isinstance(first, nn.Embedding) else 3
    more: dict[str, Any] = {"loss": "cross_entropy", "epochs": 2, "progress": False}
    found = []
    for dtype in ("uint8", "int32"):
        net = nn.Sequential([copy.deepcopy(first), nn.Linear(width, 3)])
        found.append(cr.fit(net, (CODES.astype(dtype), Y), **more).outputs(CODES))
    np.testing.assert_array_equal(found[0], found[1])


def test_columns_that_are_not_there_are_told_by_both_widths() -> None:
    net = nn.Sequential([nn.EmbedColumns(4, [(3, 5, 2)]), nn.Linear(5, 3)])
    with pytest.raises(cr.ShapeError, match=r"rows of 4 features, but got shape \(n, 2\)"):
        cr.fit(net, (CODES, Y), loss="cross_entropy", progress=False)


def test_it_comes_back_from_its_files(tmp_path: Path) -> None:
    net = model(nn.EmbedColumns(4, [(1, 5, 2), (3, 5, 3)], "float64"), 7)
    run = cr.fit(net, (MIXED, Y), loss="cross_entropy", epochs=1, progress=False)
    again = cr.load(run.save(tmp_path / "run"))
    assert (again.outputs(MIXED) == run.outputs(MIXED)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Embedding(0, 2), "Embedding: categories must be a positive integer, not 0"),
        (lambda: nn.EmbedColumns(2, [(2, 3, 1)]), r"different numbers below 2, not \[2\]"),
        (lambda: nn.EmbedColumns(2, [(0, 3, 1), (0, 3, 1)]), "columns must be different"),
        (lambda: nn.EmbedColumns(2, [(0, 3)]), r"list of \(column, categories, size\)"),
        (lambda: nn.EmbedColumns(2, 5), "columns must be a list of"),  # type: ignore[arg-type]
        (lambda: nn.EmbedColumns(2, [(0, 3, -1)]), "EmbedColumns: size must be a positive"),
    ],
)
def test_bad_values_are_named(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_more_categories_than_a_dtype_can_number_are_refused() -> None:
    with pytest.raises(cr.OptionError, match="16,777,217 categories are more than float32 can"):
        nn.Embedding(2**24 + 1, 1)
    nn.Embedding(2**24 + 1, 1, dtype="float64")
