"""The reasons of many rows are the attributions of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.errors import OptionError
from chainrule.data.table import Table
from chainrule.insight.explain import reasons
from chainrule.insight.explain.layer_graph import responses
from chainrule.insight.explain.reasons import reasons_of, shares
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table


def houses(**more: object) -> tuple[cr.Run, Table, np.ndarray]:
    problem = read_problem("examples/houses.csv", "price", **more)  # type: ignore[arg-type]
    settings = choose_settings(
        problem.rows["train"], task="regression", hidden=(64,), activation="tanh"
    )
    run = fit_table(problem, settings, progress=False)
    table = problem.raw[0].take(problem.raw[1])  # type: ignore[index, union-attr]
    return run, table, problem.test[0]


@pytest.mark.parametrize("roles", [{}, {"district": "embedded"}])
def test_shares_are_those_of_attribute(roles: dict[str, str]) -> None:
    run, _, X = houses(roles=roles)
    names, found = shares(run, X)
    scale = run.pipeline.target.scale  # type: ignore[union-attr]
    for row in (0, 5, 11):
        expected = cr.attribute(run, X[row], tolerance=1e-4).by_column
        assert dict(zip(names, found[row] / scale, strict=True)) == pytest.approx(
            expected, abs=2e-3
        )


def test_shares_add_up_to_the_prediction() -> None:
    run, _, X = houses()
    _, found = shares(run, X)
    target = run.pipeline.target  # type: ignore[union-attr]
    start = target.decode(run.decide(run.outputs(np.zeros_like(X[:1]))))
    rise = target.decode(run.decide(run.outputs(X))) - start
    assert found.sum(axis=1) == pytest.approx(rise, abs=0.01 * target.scale)


def test_rows_are_explained_in_pieces_that_the_hidden_layers_fit_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _, X = houses()
    _, whole = shares(run, X)
    pieces = []

    def responding(*given: object) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
        respond = responses(*given)  # type: ignore[arg-type]

        def watched(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            pieces.append(len(values["x"]))
            return respond(values)

        return watched

    monkeypatch.setattr(reasons, "responses", responding)
    monkeypatch.setattr(reasons, "AT_ONCE", 10 * 64)  # less than ten rows of 64 hidden units
    _, found = shares(run, X)
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1.0)
    assert max(pieces) < 10


def test_classes_are_explained_by_their_log_odds() -> None:
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, hidden=(64,), activation="tanh"), progress=False)
    X = problem.test[0]
    _, found = shares(run, X)

    def odds(X: np.ndarray, said: np.ndarray) -> np.ndarray:
        logits = run.outputs(X).astype(float)
        mine = logits[np.arange(len(X)), said]
        return mine - (logits.sum(axis=1) - mine) / 2

    said = run.outputs(X).argmax(axis=1)
    rise = odds(X, said) - odds(np.zeros_like(X), said)
    assert found.sum(axis=1) == pytest.approx(rise, rel=0.01, abs=0.02)


def test_reasons_name_the_cell_and_come_in_order() -> None:
    run, table, X = houses()
    told = reasons_of(run)(table, X)
    assert list(told) == ["reason_1", "reason_2", "reason_3"]
    names, found = shares(run, X)
    first = int(np.abs(found[3]).argmax())
    cell = table[names[first]].as_text()[3]
    size = f"{abs(found[3, first]):,.0f}"
    assert told["reason_1"][3] == f"{names[first]}={cell} ({'−+'[int(found[3, first] > 0)]}{size})"


def test_projected_columns_have_no_reasons() -> None:
    run, table, X = houses(preprocess="pca")
    with pytest.raises(OptionError, match="projects them"):
        reasons_of(run)(table, X)


@pytest.mark.parametrize(
    ("target", "loss", "told"),
    [
        ("price,heating", None, "told of one target, but this run predicts 2; train a run"),
        ("rooms", "poisson", "with the loss poisson; leave"),
    ],
)
def test_what_has_no_reasons_is_told(target: str, loss: str | None, told: str) -> None:
    problem = read_problem("examples/houses.csv", target, task=loss and "regression")
    settings = choose_settings(245, task="regression", hidden=[8], epochs=1, loss=loss)
    run = fit_table(problem, settings, progress=False)
    with pytest.raises(OptionError, match=told):
        shares(run, problem.test[0])
