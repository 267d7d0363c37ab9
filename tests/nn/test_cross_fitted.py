"""Members trained on different rows: who sees which row, and that validation rows are not seen."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import OptionError
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_training

RNG = np.random.default_rng(2)
MEMBERS, PARTS = 6, 3
PART = np.arange(9) % PARTS
X = RNG.normal(size=(9, 5)).astype("float32")


def network(outputs: int = 1, loss: str | None = "mse") -> nn.CrossFitted:
    layers = [
        nn.Linear(5, MEMBERS * 4), nn.Tanh(), nn.MemberLinear(MEMBERS, 4, outputs),
        nn.AverageMembers(MEMBERS, loss),
    ]  # fmt: skip
    model = nn.CrossFitted(layers, MEMBERS, PARTS)
    nn.initialize(model, 0)
    return model


def of_members(model: nn.CrossFitted) -> np.ndarray:
    """Return the output of each member for each row, (rows, members)."""
    return nn.Sequential(model.layers[:-1])(cr.tensor(X)).numpy()


@pytest.mark.parametrize("held", [False, True])
def test_a_row_is_averaged_over_the_members_that_see_it_or_over_the_others(held: bool) -> None:
    model = network()
    each, found = of_members(model), model(cr.tensor(model.numbered(X, PART, held))).numpy()
    for row, part in enumerate(PART):
        chosen = [j for j in range(MEMBERS) if (j % PARTS == part) == held]
        np.testing.assert_allclose(found[row, 0], each[row, chosen].mean(), rtol=1e-5)
    whole = nn.Sequential(model.layers)(cr.tensor(X)).numpy()
    np.testing.assert_allclose(whole[:, 0], each.mean(axis=1), rtol=1e-5)


def test_a_row_trains_no_member_that_leaves_it_out() -> None:
    model = network()
    rows = cr.tensor(model.numbered(X, np.ones(9, int), held=False))  # all of part 1
    loss = ((model(rows) - 3.0) ** 2).mean()
    seen = for_training([loss], cr.tensor(0), 0)
    first = model.layers[0]
    assert isinstance(first, nn.Linear)
    slope = grad(seen.tensors[0] + seen.penalties[0], [first.weight])[0].numpy()
    by_member = np.abs(slope).reshape(5, MEMBERS, 4).sum(axis=(0, 2))
    assert (by_member == 0).tolist() == [j % PARTS == 1 for j in range(MEMBERS)]


def test_the_loss_of_training_is_the_mean_of_the_members_that_see_a_row() -> None:
    model, target = network(), RNG.normal(size=9)
    loss = ((model(cr.tensor(model.numbered(X, PART, False)))[:, 0] - target) ** 2).mean()
    seen = for_training([loss], cr.tensor(0), 0)
    each = (of_members(model) - target[:, None]) ** 2
    sees = np.arange(MEMBERS) % PARTS != PART[:, None]
    wanted = (each * sees).sum() / sees.sum()
    assert float(seen.tensors[0] + seen.penalties[0]) == pytest.approx(wanted, rel=1e-5)


def test_rows_to_validate_on_are_not_learned_through_what_members_share() -> None:
    """Targets are noise, learned by heart: validation rows must be as bad as new rows."""
    rng = np.random.default_rng(0)
    rows, members, parts = 200, 8, 4
    X, new = rng.normal(size=(2, rows, 10)).astype("float32")
    y, other = rng.integers(0, 2, (2, rows))
    part = rng.permutation(rows) % parts
    model = nn.CrossFitted([
        nn.Linear(10, members * 32), nn.ReLU(), nn.MemberLinear(members, 32, 32), nn.ReLU(),
        nn.MemberLinear(members, 32, 2), nn.AverageMembers(members, "cross_entropy"),
    ], members, parts)  # fmt: skip
    run = cr.fit(
        model, (model.numbered(X, part, False), y), loss="cross_entropy", epochs=130,
        validation=(model.numbered(X, part, True), y), progress=False,
    )  # fmt: skip
    unseen = np.mean([
        run.evaluate((model.numbered(new, np.full(rows, k), True), other))["loss"]
        for k in range(parts)
    ])  # fmt: skip
    last = run.history[-1]
    assert last["loss"] < 0.2
    assert last["val_loss"] > 0.9 * unseen > 0.9


def test_what_can_t_be_divided() -> None:
    with pytest.raises(OptionError, match=r"5 members can't be divided into 2 parts"):
        nn.CrossFitted([nn.AverageMembers(5)], 5, 2)
    with pytest.raises(OptionError, match=r"parts"):
        nn.CrossFitted([nn.AverageMembers(5)], 5, 1)
