"""Sound trainings of unusual kinds that rules must leave alone, beside sick ones that they find."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor
from chainrule.doctor.course import Course
from chainrule.doctor.finding import Finding, Findings
from chainrule.doctor.preflight import examine
from chainrule.doctor.rules.ending import still_falling
from chainrule.doctor.specimens import classes, labels, network, numbers, values
from chainrule.doctor.survey import Survey


def _causes(found: Findings) -> list[str]:
    return [f.cause for f in found]


def _of(cause: str, found: Findings) -> list[Finding]:
    return [f for f in found if f.cause == cause]


# --- losses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [nn.Tanh(), nn.ReLU(), nn.Sigmoid()])
def test_squared_errors_of_zeros_and_ones_are_in_reach_of_an_activation(end: nn.Layer) -> None:
    case = labels(network(4, 16, 1, end=[end]), loss="mse")
    assert "right_answers_out_of_reach" not in _causes(examine(case))
    case.loss = "binary_cross_entropy"
    if not isinstance(end, nn.Sigmoid):  # which fit refuses
        assert "right_answers_out_of_reach" in _causes(examine(case))


def _known_rows(output: Tensor, target: Tensor) -> Tensor:
    known = target[:, 1]
    return (known * (output[:, 0] - target[:, 0]) ** 2).sum() / cr.maximum(known.sum(), 1e-6)


def _pairs(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target[:, 0]) ** 2).mean()


@pytest.mark.parametrize(("loss", "level"), [(_known_rows, "note"), (_pairs, "fault")])
def test_only_a_loss_that_compares_all_pairs_is_a_fault(loss: Any, level: str) -> None:
    X = numbers()
    known = np.random.default_rng(0).random(240) < 0.5
    y = np.stack([X[:, 0], known], 1).astype(np.float32)
    (found,) = _of("loss_mixes_rows", examine(values(data=(X, y), loss=loss)))
    assert found.level == level


def test_a_training_that_early_stopping_ended_needs_no_more_epochs() -> None:
    survey = Survey.of(classes())
    course = Course(survey, [{"loss": loss} for loss in np.linspace(1.1, 0.3, 12)], survey.layers)
    assert list(still_falling(course))
    course.stopped = "val_loss has not improved for 3 epochs; restored epoch 9"
    assert not list(still_falling(course))


# --- what measuring costs -------------------------------------------------------------------------


def test_guessing_among_many_classes_takes_little_memory() -> None:
    X, y = numbers(2000), np.arange(2000) % 1000
    y[0] = 19_999
    survey = Survey.of(classes(network(4, 4, 20_000), data=(X, y)))
    assert survey.outputs.shape[-1] == 20_000
    tracemalloc.start()
    guess = survey.guess_loss
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert guess is not None
    assert 6 < guess < 7  # about log(838), of the rows that are looked at
    assert peak < 1e9


@pytest.mark.parametrize("loss", ["hinge", "cross_entropy"])
def test_the_best_constant_for_classes_is_that_of_their_shares(loss: str) -> None:
    y = np.asarray(classes().data[1])
    if loss == "hinge":
        survey = Survey.of(classes(loss="multiclass_hinge"))
        shares = np.bincount(y) / len(y)
        losses = [
            survey._mean_loss(np.tile(o, (240, 1)).astype(np.float32), y, np.ones(240))
            for o in (shares, np.rint(shares))
        ]
        assert survey.guess_loss == pytest.approx(min(losses))
    else:
        shares = np.bincount(y) / len(y)
        entropy = -float((shares * np.log(shares)).sum())
        assert Survey.of(classes()).guess_loss == pytest.approx(entropy, rel=1e-5)


def test_an_output_of_one_axis_has_a_best_constant() -> None:
    def flat(x: Tensor) -> Tensor:
        return x[:, 0]

    plain, other = values(), values(nn.Sequential([*network(4, 16, 1), flat]))
    assert Survey.of(other).guess_loss == pytest.approx(Survey.of(plain).guess_loss)
    assert Survey.of(other).guess_loss is not None


def test_wide_rows_and_deep_networks_are_measured_on_a_part() -> None:
    X = np.random.default_rng(0).normal(size=(3000, 20_000)).astype(np.float32)
    survey = Survey.of(classes(network(20_000, 2, 3), data=(X, np.arange(3000) % 3)))
    assert survey.columns.size <= 2**24
    assert len(survey.columns) == len(survey.targets) == 838
    deep = Survey.of(values(network(4, *[8] * 20, 1, between=[nn.Tanh()])))
    checked = deep.slopes
    assert 2 <= len(checked) <= 16
    assert checked[-1].path == "40.weight"
