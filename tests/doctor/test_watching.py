"""What is found while a training runs: trends, their thresholds, and what is told when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor import watch as watch_module
from chainrule.doctor.course import Course
from chainrule.doctor.finding import EXPLAINS, Finding
from chainrule.doctor.preflight import examine
from chainrule.doctor.rule import RULES, Rule
from chainrule.doctor.rules import ending, watching
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Survey
from chainrule.doctor.watch import Watch
from chainrule.nn.initializers import TruncatedNormal
from chainrule.train.diagnose import diagnose

Watched = Callable[[Any], tuple[Course, list[tuple[int, Finding]]]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Return a function that trains a case, looks after each epoch, and returns what was told."""

    def train(case: Any) -> tuple[Course, list[tuple[int, Finding]]]:
        monkeypatch.setattr(watch_module, "SHARE", 1e9)
        survey, told = Survey.of(case), []
        watching = Watch(survey)

        def look(run: cr.Run, record: dict[str, Any]) -> None:
            for path, parameter in nn.parameters(run.model).items():
                nn.parameters(survey.model)[path].value = parameter.value
            told.extend((len(run.history), f) for f in watching.end_epoch(record))

        cr.fit(case.model, case.data, **case.options(), on_epoch=look, progress=False)
        return watching.course, told

    return train


EARLY = ["saturated_in_training", "plateau", "zig_zag", "layer_left_behind", "steps_faded",
         "maxout_pieces_unused", "overfitting"]  # fmt: skip


@pytest.mark.parametrize("cause", EARLY)
def test_it_is_found_before_the_end(cause: str, watched: Watched) -> None:
    case = RULES[cause].sick()
    _, told = watched(case)
    epochs = [epoch for epoch, f in told if f.cause == cause]
    assert epochs
    assert epochs[0] <= 0.7 * case.epochs


# Each threshold, moved to where the sick specimen does not cross it.
@pytest.mark.thorough
@pytest.mark.parametrize(("cause", "name", "value"), [
    ("saturated_in_training", "MOSTLY", 0.99), ("saturated_in_training", "SETTLED", -9.0),
    ("saturated_in_training", "SOUND", -1.0),
    ("plateau", "FLAT_LOSS", 1e-4), ("plateau", "WINDOW", 70), ("plateau", "HALF", -1.0),
    ("plateau", "REACHED", -1.0), ("plateau", "FEW_STEPS", 1000), ("plateau", "WINDOW_SHARE", 1.1),
    ("zig_zag", "ONE_SIGN", 1.1), ("zig_zag", "BACK", -0.9), ("zig_zag", "HALF", 0.0),
    ("layer_left_behind", "LEFT_BEHIND", 1e-5), ("layer_left_behind", "MUCH", 3.0),
    ("layer_left_behind", "FEW_STEPS", 1000), ("layer_left_behind", "HALF", -1.0),
    ("steps_faded", "FADED_STEPS", -1.0), ("steps_faded", "STEEP", 2.0),
    ("steps_faded", "REACHED", -1.0), ("steps_faded", "WINDOW", 50),
    ("maxout_pieces_unused", "ONE_PIECE", 1.1), ("maxout_pieces_unused", "SETTLED", -1.0),
    ("overfitting", "RISEN", 3.0), ("overfitting", "RISING", 200),
])  # fmt: skip
def test_each_threshold_counts(
    cause: str, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, name, value)
    assert cause not in [f.cause for f in diagnose(RULES[cause].sick())]


@pytest.mark.thorough
def test_remedies_of_a_plateau_follow_from_how_the_weights_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(case: Any) -> Any:
        return [f.change for f in diagnose(case) if f.cause == "plateau"]

    assert change(watching._sigmoids()) == [{"activation": "relu"}]
    assert change(classes(optimizer=optim.SGD(1e-5), epochs=60)) == [{"learning_rate": 10.0}]
    monkeypatch.setattr(watching, "HARDLY", 0.0)
    monkeypatch.setattr(ending, "NO_BETTER", -1.0)  # else it advises longer steps
    assert change(classes(optimizer=optim.SGD(1e-5), epochs=60)) == [{"learning_rate": 0.1}]


def test_the_remedy_of_unused_pieces_follows_from_what_made_them_so() -> None:
    def category(model: nn.Layer, **changes: Any) -> list[str]:
        found = diagnose(values(model, **{"epochs": 10, **changes}))
        return [f.category for f in found if f.cause == "maxout_pieces_unused"]

    far = (numbers() * 0.4 + 10, values().data[1])
    by_bias = nn.Maxout(4, 16)
    by_bias.bias[0].value = np.full(16, 20.0)
    assert category(nn.Sequential([nn.Maxout(4, 16), nn.Linear(16, 1)]), data=far) == [
        "preprocessing"
    ]
    assert category(nn.Sequential([by_bias, nn.Linear(16, 1)])) == ["initialization"]


def test_zig_zag_needs_inputs_of_one_sign() -> None:
    case = RULES["zig_zag"].sick()
    X = np.array(case.data[0])
    X[0, 0] = -0.1
    assert "zig_zag" not in [f.cause for f in diagnose(replace(case, data=(X, case.data[1])))]
    case = RULES["zig_zag"].sick()
    turned = replace(case, data=(-np.array(case.data[0]), case.data[1]))
    (found,) = [f for f in diagnose(turned) if f.cause == "zig_zag"]
    assert "all negative" in found.text


def test_moves_and_turns_are_those_of_the_weights() -> None:
    survey = Survey.of(classes(network(2, 3), X=numbers(columns=2)))
    course = Course(survey)
    weight = nn.parameters(survey.model)["0.weight"]
    start = np.ones((2, 3))
    weight.value = start
    course.end_epoch({"loss": 1.0})
    for step in (1.0, 2.0, -1.0, 0.0):
        weight.value = weight.value + step
        course.end_epoch({"loss": 1.0})
    assert [round(m[0], 6) for m in course.moves[1:]] == [0.5, 0.5, round(1 / 3, 6), 0.0]
    np.testing.assert_allclose(course.turns[1:], [1.0, -1.0, 0.0], atol=1e-6)


def test_a_finding_that_gets_worse_is_told_again_and_keeps_its_last_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = iter(["note", "note", "warning", "warning", "warning"])
    seen: list[str] = []

    def check(course: Course) -> list[Finding]:
        seen.append(f"look {len(seen) + 1}")
        return [Finding("plateau", "epochs", next(levels), seen[-1], "r")]

    one = Rule("plateau", "epochs", "while", check, classes, classes)
    monkeypatch.setattr(watch_module, "SHARE", 1e9)
    monkeypatch.setitem(RULES, "plateau", one)
    watching = Watch(Survey.of(classes()))
    told = [[f.level for f in watching.end_epoch({"loss": 1.0})] for _ in range(4)]
    assert told == [["note"], [], ["warning"], []]
    assert [f.text for f in watching.finish() if f.cause == "plateau"] == ["look 5"]


def test_what_is_told_while_training_says_what_it_follows_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [Finding("plateau", "epochs", "warning", "t", "r")]
    one = Rule("plateau", "epochs", "while", lambda course: found, classes, classes)
    monkeypatch.setattr(watch_module, "SHARE", 1e9)
    monkeypatch.setitem(RULES, "plateau", one)
    watching = Watch(Survey.of(classes(X=numbers() * np.array([1, 1, 5000, 1]))))
    assert [f.because for f in watching.end_epoch({"loss": 1.0})] == ["unscaled_inputs"]


@pytest.mark.parametrize(("cause", "diverged", "kept"), [
    ("plateau", "", False), ("plateau", "the loss became nan", True),
    ("died_in_training", "", True),
])  # fmt: skip
def test_what_is_over_at_the_end_is_forgotten(
    cause: str, diverged: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([[Finding(cause, "epochs", "warning", "t", "r")], []])
    one = Rule(cause, "epochs", "while", lambda course: next(found), classes, classes)
    monkeypatch.setattr(watch_module, "SHARE", 1e9)
    monkeypatch.setitem(RULES, cause, one)
    watching = Watch(Survey.of(classes()))
    assert watching.end_epoch({"loss": 1.0})
    ended = [f.cause for f in watching.finish(diverged)]
    assert (cause in ended) == kept


def test_a_layer_is_dead_or_saturated_but_not_both() -> None:
    for layer in (
        nn.Linear(4, 16, bias_init=-2.5),
        nn.Linear(4, 16, weight_init=TruncatedNormal(1.0), bias_init=-5.0),
    ):
        model = nn.Sequential([layer, nn.ReLU(), nn.Linear(16, 3)])
        found = [f.cause for f in examine(classes(model)) if f.where.get("layer") == "0"]
        assert "dead_layer" in found
        assert "saturated_layer" not in found


def test_no_cause_follows_from_itself() -> None:
    def behind(cause: str, path: tuple[str, ...]) -> None:
        assert cause not in path, path
        for effect in EXPLAINS.get(cause, ()):
            if effect != cause:
                behind(effect, (*path, cause))

    for cause in EXPLAINS:
        behind(cause, ())
