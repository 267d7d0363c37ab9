"""What the nearest rows tell, and causes that are found by short trainings with one change."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.doctor import fork as fork_module
from chainrule.doctor.course import Course
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Finding
from chainrule.doctor.fork import Bench, Fork
from chainrule.doctor.neighbours import Neighbours
from chainrule.doctor.preflight import examine
from chainrule.doctor.rules import experiments
from chainrule.doctor.rules.ending import still_falling, stuck
from chainrule.doctor.rules.experiments import could_learn_more
from chainrule.doctor.rules.steps import learning_rate_too_high
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Survey
from chainrule.ops.composite import clip
from chainrule.ops.elementary import log
from chainrule.train.diagnose import diagnose


def test_the_nearest_rows_tell_targets_that_follow_from_the_inputs() -> None:
    X, y = classes().data
    flat = np.asarray(y)[:, None].astype(float)
    told = Neighbours.of(X, flat, "classes")
    shuffled = Neighbours.of(X, np.random.default_rng(0).permutation(flat), "classes")
    assert told is not None
    assert shuffled is not None
    assert told.gain > 0.4 > 0.1 > shuffled.gain
    one_hot = Neighbours.of(X, np.eye(3)[flat[:, 0].astype(int)], "classes")
    assert one_hot is not None
    assert one_hot.gain == told.gain
    assert Neighbours.of(X[:20], flat[:20], "classes") is None
    assert Neighbours.of(X, flat * 0, "classes") is None
    assert Neighbours.of(X, flat, "") is None


@pytest.mark.parametrize(("share", "found"), [(0.1, False), (0.3, False), (0.45, True)])
def test_targets_far_out_that_nothing_explains_contradict(share: float, found: bool) -> None:
    X = numbers(800)
    y = X[:, 0] + X[:, 1]
    wrong = np.random.default_rng(0).random(800) < share
    case = values(data=(X, np.where(wrong, -10 * y, y)), epochs=3)
    hits = [f for f in diagnose(case) if f.cause == "targets_contradict"]
    assert bool(hits) == found
    if found:
        assert wrong[hits[0].where["rows"]].all()


def test_half_of_the_columns_constant_is_a_note() -> None:
    X = numbers()
    for still, count in ((2, 1), (1, 0)):
        Xs = X.copy()
        Xs[:, :still] = 1.0
        notes = [f for f in examine(classes(X=Xs)) if f.cause == "constant_inputs"]
        assert len(notes) == count
        assert all(f.level == "note" for f in notes)


def _probabilities(output: Tensor, target: Tensor) -> Tensor:
    p = output / output.sum(1, keepdims=True)
    return -(target * log(p)).sum(1)


def test_a_constant_has_a_loss_where_the_median_of_its_targets_has_none() -> None:
    loss: Any = _probabilities
    loss.kind, loss.takes = "classes", "probabilities"
    X = numbers()
    y = np.eye(3, dtype=np.float32)[np.arange(240) % 3]
    end = [lambda x: clip(nn.Sigmoid()(x), 1e-6, 1.0)]
    survey = Survey.of(classes(network(4, 8, 3, end=end), data=(X, y), loss=loss))
    assert survey.guess_loss == pytest.approx(math.log(3), rel=1e-3)


def _course(case: Any, losses: list[float]) -> Course:
    survey = Survey.of(case)
    return Course(survey, [{"loss": loss} for loss in losses], survey.layers)


def test_small_sums_keep_a_sigmoid_at_one_slope_that_is_not_a_relus() -> None:
    model = network(4, 8, 8, 3, between=[nn.Sigmoid()])
    for parameter in nn.parameters(model).values():
        parameter.value = 0.01 * parameter.draw(np.random.default_rng(0))
    found = stuck(_course(classes(model), [1.1] * 20))
    assert next(found).category == "activation"


def test_a_loss_that_halves_after_a_wild_start_is_still_falling() -> None:
    case = values(epochs=100)
    wild = [1e7, *np.geomspace(1e4, 10, 99)]
    assert [f.category for f in still_falling(_course(case, wild))] == ["learning_rate", "epochs"]
    assert not list(still_falling(_course(case, [1e7, *np.geomspace(12, 10, 99)])))


FELL, ITSELF = (f"share of {of} in the last fifth of the epochs"
                for of in ("the fall", "its loss lost"))  # fmt: skip
OVERCOME = "share of the constant's loss overcome"


@pytest.mark.parametrize(
    ("losses", "named"),
    [
        (np.linspace(20, 1, 12), [FELL, OVERCOME]),  # a note, as most is learned
        (np.linspace(20, 15, 12), [FELL, OVERCOME]),
        ([1e7, *np.geomspace(1e4, 40, 99)], [ITSELF, OVERCOME]),
        ([40.0], ["training steps", OVERCOME]),
    ],
)
def test_evidence_of_a_falling_loss_is_what_decided(losses: Any, named: list[str]) -> None:
    case = values(epochs=len(losses), scale=3.0)
    for found in still_falling(_course(case, list(losses))):
        assert [e.what for e in found.evidence] == named
        for e in found.evidence:
            low = e.what in ("training steps", OVERCOME)
            assert e.value < e.threshold if low else e.value > e.threshold


def test_one_step_that_replaces_the_weights_is_enough_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    survey = Survey.of(classes())
    monkeypatch.setitem(vars(survey), "overfit", ([1.0, 50.0], 0.9))
    assert [f.category for f in learning_rate_too_high(survey)] == ["learning_rate", "optimizer"]
    monkeypatch.setitem(vars(survey), "overfit", ([1.0, 50.0], 0.4))
    assert not list(learning_rate_too_high(survey))


# --- experiments ----------------------------------------------------------------------------------


def _narrow() -> Any:
    X = numbers(600, 2)
    y = (X[:, 0] > 0) * 2 + (X[:, 1] > 0)
    return classes(network(2, 1, 4), data=(X, y), epochs=40, optimizer=optim.Adam(1e-2))


def _ended(case: Any) -> Course:
    run = cr.fit(case.model, case.data, progress=False, **case.options())
    first = replace(case, model=network(2, 1, 4))
    survey = Survey.of(first)
    survey.model = run.model
    return Course(survey, list(run.history), survey.layers)


def test_a_narrow_network_learns_more_with_wider_layers() -> None:
    course = _ended(_narrow())
    before = {k: p.value.copy() for k, p in nn.parameters(course.survey.model).items()}
    found = list(could_learn_more(course))
    assert (found[0].category, dict(found[0].change)) == ("architecture", {"width": 32})
    assert found[0].where == {"layer": "0"}
    assert found[0].evidence[0].value > 0.3
    for path, p in nn.parameters(course.survey.model).items():
        assert np.array_equal(p.value, before[path])  # the training itself is left as it is


def test_there_is_no_search_where_a_cause_is_known_or_the_end_was_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiments, "GAP", 0.0)
    course = _ended(_narrow())
    course.found = [Finding("x", "loss", "warning", "A.", "B.")]
    assert not list(could_learn_more(course))
    course.found, course.stopped = [], "interrupted"
    assert not list(could_learn_more(course))
    course.stopped, course.history = "", [{"loss": 0.3}]  # it overcame more than `POOR`
    assert not list(could_learn_more(course))


def test_a_search_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_module, "LEAST", 0.5)
    monkeypatch.setattr(fork_module, "MOST", 0.5)
    course = _ended(replace(_narrow(), epochs=2))
    course.survey.case.epochs = 100_000
    started = time.perf_counter()
    list(could_learn_more(course))
    assert time.perf_counter() - started < 5  # the time of making the graphs comes on top


def _slowed(fork: Fork, seconds: float) -> list[int]:
    """Let each step of `fork` take so many seconds; returns where the calls are noted."""
    plain, calls = fork._program.run, []

    def run(rows: Any, size: int) -> Any:
        calls.append(-(-len(rows) // size))
        time.sleep(seconds * calls[-1])
        return plain(rows, size)

    fork._program.run = run  # type: ignore[method-assign]
    return calls


def test_a_fork_of_slow_steps_looks_at_the_clock_after_each() -> None:
    fork = Fork(classes(validation=0.2, epochs=1000))
    steps = _slowed(fork, 0.05)
    started = time.perf_counter()
    fork.advance(0.2)
    assert time.perf_counter() - started < 1  # fifty steps at once take 2.5 s
    assert max(steps) <= 4
    quick = Fork(classes(validation=0.2, epochs=20))
    quick.advance(60.0)
    assert quick.taken == quick.survey.steps


def test_experiments_end_where_their_time_has_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    course = _ended(replace(_narrow(), epochs=2))
    bench = Bench.of(course.survey, 1.0)
    assert bench is not None
    bench.deadline = time.perf_counter() + 3.0
    made: list[float] = []

    def fork(change: Any, seed: int = 0) -> Fork:
        made.append(bench.left)
        bench.deadline -= 2.0  # as if making it had taken so long
        return Fork(bench.case)

    monkeypatch.setattr(bench, "fork", fork)
    assert experiments._experiments(bench) == []
    assert len(made) <= 3
    assert all(left > 0 for left in made)


def test_some_trainings_can_not_be_forked() -> None:
    course = _ended(_narrow())
    survey = course.survey
    assert Bench.of(survey, 1.0) is not None
    survey.case.more = {"class_weight": "balanced"}
    assert Bench.of(survey, 1.0) is None
    survey.case.more = {}
    survey.case.model = survey.model  # it could not be copied, and is trained by now
    assert Bench.of(survey, 1.0) is None


# --- the changes that are tried -------------------------------------------------------------------


def test_layers_are_widened_with_what_follows_them() -> None:
    model = network(4, 2, 40, 3, between=[nn.BatchNorm(2), nn.ReLU()])
    model.layers[4] = nn.BatchNorm(40)  # type: ignore[attr-defined]
    wide = cured(classes(model), {"width": 32}).model
    assert [getattr(one, "outputs", getattr(one, "features", 0)) for one in wide] == [
        32, 32, 0, 40, 40, 0, 3,
    ]  # fmt: skip
    with pytest.raises(OptionError, match="32 units or more"):
        cured(classes(network(4, 32, 3)), {"width": 32})
    with pytest.raises(OptionError, match="Sequential only"):
        cured(classes(nn.Linear(4, 3)), {"width": 32})


@pytest.mark.parametrize(
    ("plan", "rate"),
    [
        (optim.Exponential(0.1), 0.1),
        (optim.Piecewise([0.1, 0.3], at=[9]), 0.3),
        (optim.Warmup(optim.Cosine(0.2), 10), 0.2),
    ],
)
def test_a_schedule_is_held_at_its_peak(plan: Any, rate: float) -> None:
    made = cured(classes(optimizer=optim.SGD(plan, 0.9)), {"schedule": None})
    assert made.optimizer == optim.SGD(rate, 0.9)
    for method in (optim.SGD(0.1), optim.SGD(0.1, optim.Polynomial(0.5, 0.9))):
        with pytest.raises(OptionError, match="no schedule"):
            cured(classes(optimizer=method), {"schedule": None})


def test_an_optimizer_is_replaced() -> None:
    assert cured(classes(), {"optimizer": "adam"}).optimizer == "adam"
