"""A replay takes the same steps; deaths and breakdowns are found at the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.specimens import classes, network, values
from chainrule.train.replay import Replay, biography, find_breakdown


def fitted(case: Any, **options: Any) -> cr.Run:
    return cr.fit(case.model, case.data, progress=False, check=True, **case.options(), **options)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_replay_is_the_training_bit_for_bit(engine: str) -> None:
    case = classes(epochs=3, validation=0.2, optimizer=optim.Adam(optim.Cosine(3e-3)))
    run = fitted(case, engine=engine)
    assert run._case is not None
    replay = Replay(run._case)
    for epoch in (1, 2, 3):
        for rows in replay.training.batches(epoch):
            replay.step(rows)
    for path, parameter in nn.parameters(run.model).items():
        assert np.array_equal(replay.program.state[f"parameter/{path}"], parameter.value)


def _killed() -> Any:
    """A unit that is alive until one row of a large target pushes its bias far down."""
    X = np.ones((12, 1), np.float32)
    y = np.full(12, 1.0, np.float32)
    y[5] = -1e4
    model = nn.Sequential([nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)])
    model[0].weight.value = [[1.0, 1.0]]
    model[2].weight.value = [[0.5], [0.5]]
    return values(model, data=(X, y), optimizer=optim.SGD(0.01), batch_size=1, epochs=3)


def test_a_death_is_found_at_its_step() -> None:
    case = _killed()
    life = biography(case, "0", 1)
    assert life.died is not None
    epoch, step = life.died
    assert epoch == 1
    assert life.batch == (5,)  # the row that killed it
    order = list(Replay(case).training.batches(1))
    assert order[step - 1].tolist() == [5]
    assert life.bias_before is not None
    assert life.bias_after is not None
    assert life.bias_after < life.bias_before - 10
    assert life.nearest_sum < 0
    assert f"It died in epoch 1, step {step}, on the batch of rows 5." in str(life)
    run = fitted(case)
    assert run.biography(0, 1) == life


def test_units_that_live_or_were_born_dead() -> None:
    alive = biography(classes(epochs=2), "0", 3)
    assert alive.died is None
    assert "is alive" in str(alive)
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)])
    bias = np.zeros(8)
    bias[2] = -100.0
    model[0].bias.value = bias
    born = biography(classes(model, epochs=2), "0", 2)
    assert born.died == (0, 0)
    assert "dead before the first step" in str(born)
    assert born.nearest_sum == pytest.approx(-100, abs=10)


def test_a_breakdown_is_found_at_its_step() -> None:
    case = values(optimizer=optim.SGD(50.0))
    with pytest.raises(cr.DivergedError) as caught:
        fitted(case)
    broken = caught.value.run.breakdown()
    replay, k = Replay(case), 0
    for rows in replay.training.batches(broken.epoch):
        k += 1
        loss = replay.step(rows)
        weights = [v for n, v in replay.program.state.items() if n.startswith("parameter/")]
        if not (np.isfinite(loss) and all(np.isfinite(w).all() for w in weights)):
            break
    assert (broken.step, list(broken.rows)) == (k, rows.tolist())
    assert f"Epoch {broken.epoch}, step {k}" in str(broken)
    assert find_breakdown(classes(epochs=1)) is None


def test_what_can_not_be_replayed_is_refused() -> None:
    with pytest.raises(cr.OptionError, match="can't be replayed"):
        Replay(values(optimizer=optim.LBFGS()))
    with pytest.raises(cr.OptionError, match=r"no layer '1' with weights. Choose from: 0, 2"):
        biography(classes(epochs=1), "1", 0)
    with pytest.raises(cr.OptionError, match="has units 0 to 15, not 16"):
        biography(classes(epochs=1), "0", 16)
    plain = cr.fit(network(4, 3), classes().data, loss="cross_entropy", epochs=1, progress=False)
    with pytest.raises(cr.OptionError, match=r"biography needs the data.*check=True"):
        plain.biography(0, 0)
