"""Each rule finds its cause in its sick specimen, and leaves its healthy one alone."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.cure import CURES, cured
from chainrule.doctor.finding import CATEGORIES, LEVELS, Finding, Findings
from chainrule.doctor.preflight import examine, preflight
from chainrule.doctor.rule import RULES, rule
from chainrule.doctor.specimens import classes, values
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table, preflight_table
from chainrule.train.diagnose import diagnose


def _found(cause: str, case: Case) -> Findings:
    """Return what is found before the first step, or by this rule after the last."""
    if RULES[cause].stage == "before":
        return examine(case)
    return Findings(f for f in diagnose(case) if f.cause == cause)


@pytest.mark.parametrize("cause", RULES)
def test_the_sick_specimen_has_the_cause_first(cause: str) -> None:
    found = _found(cause, RULES[cause].sick())
    assert found[0].cause == cause, found
    for finding in found:
        assert finding.evidence
        assert finding.text
        assert finding.remedy
        assert finding.category in CATEGORIES
        assert finding.level in LEVELS
        assert 0 <= finding.confidence <= 1
        assert finding.cause in RULES
        assert set(finding.change) <= set(CURES)  # what a rule advises can be tried


@pytest.mark.one_in(3)
@pytest.mark.parametrize("cause", RULES)
def test_the_healthy_specimen_is_left_alone(cause: str) -> None:
    assert [f for f in _found(cause, RULES[cause].healthy()) if f.cause == cause] == []


@pytest.mark.parametrize("rate", [1e-8, 0.5, 3.0, 300.0])
def test_a_learning_rate_that_is_advised_is_accepted(rate: float) -> None:
    for optimizer in (optim.Adam(rate), optim.SGD(rate)):
        case = classes(optimizer=optimizer)
        advised = [f for f in examine(case) if "learning_rate" in f.change]
        for finding in advised:
            assert f"{round(max(f := finding.change['learning_rate'], 1 / f)):,}" in finding.remedy
            left = examine(cured(case, finding.change))
            assert not [f for f in left.serious if f.cause.startswith("learning_rate")]
        assert advised or isinstance(optimizer, optim.SGD)


def test_a_rule_of_an_unknown_category_is_refused() -> None:
    with pytest.raises(OptionError, match="'weather' is not one of activation"):
        rule("weather", sick=classes, healthy=classes)


def test_findings_are_ranked_and_print() -> None:
    note, fault = (
        Finding("a", "loss", "note", "A.", "Do a."),
        Finding("b", "data", "fault", "B.", "b."),
    )
    weak = Finding("c", "data", "fault", "C.", "c.", confidence=0.1)
    found = Findings.ranked([note, weak, fault, fault])
    assert [f.cause for f in found] == ["b", "c", "a"]
    assert [f.cause for f in found.serious] == ["b", "c"]
    assert str(found).startswith("3 findings:\nfault (b): B. b.")
    json.dumps(found.to_json())


def test_the_model_is_not_changed() -> None:
    case = classes()
    before = copy.deepcopy(case.model)
    preflight(case.model, case.data, loss="cross_entropy")
    ours, theirs = nn.parameters(case.model), nn.parameters(before)
    run = cr.fit(case.model, case.data, loss="cross_entropy", epochs=1, progress=False)
    again = cr.fit(before, case.data, loss="cross_entropy", epochs=1, progress=False)
    assert run.history[0]["loss"] == again.history[0]["loss"]
    for name in ours:
        assert np.array_equal(ours[name].value, theirs[name].value)


@pytest.mark.filterwarnings("ignore:X is uint8 in rows of 64")
def test_flat_pixels_are_unscaled_inputs_unless_the_model_scales_them() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (200, 64)).astype(np.uint8)
    y = (X[:, 0] > X[:, 1]).astype(int)

    def found(*layers: nn.Layer, shape: tuple[int, ...] = (200, 64)) -> list[str]:
        model = nn.Sequential([*layers, nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)])
        findings = preflight(model, (X.reshape(shape), y), loss="cross_entropy")
        return [f.cause for f in findings.serious if f.cause == "unscaled_inputs"]

    assert found() == ["unscaled_inputs"]
    assert found(nn.Scale(1 / 255)) == []
    assert found(nn.Flatten(), shape=(200, 8, 8)) == []
    assert found(nn.Scale(1), nn.Flatten(), shape=(200, 8, 8)) == ["unscaled_inputs"]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("seed", range(12))
def test_sound_trainings_get_nothing_above_a_note(seed: int) -> None:
    rng = np.random.default_rng(seed)
    activation = [nn.ReLU(), nn.Tanh(), nn.ELU(), nn.GELU(), nn.LeakyReLU(), nn.SELU()][seed % 6]
    rows, columns, width = int(rng.integers(60, 900)), int(rng.integers(2, 40)), 2 ** (3 + seed % 4)
    layers: list[nn.Layer] = [nn.Linear(columns, width), activation]
    for _ in range(seed % 4):
        layers += [nn.Linear(width, width), activation]
    X = rng.normal(size=(rows, columns)) * rng.uniform(0.5, 3, columns) + rng.normal(size=columns)
    optimizer = [optim.Adam(1e-3), optim.SGD(0.01, 0.9), optim.RMSProp(1e-3)][seed % 3]
    if seed % 2:
        y = (np.sin(X[:, 0]) + X[:, 1]).astype("float32")
        case = values(nn.Sequential([*layers, nn.Linear(width, 1)]), data=(X, y))
    else:
        y = (X[:, 0] > X[:, 1]).astype(int)
        case = classes(nn.Sequential([*layers, nn.Linear(width, 2)]), data=(X, y))
    case.optimizer, case.batch_size = optimizer, int(rng.integers(8, 128))
    assert diagnose(case).serious == ()


NAMES = ["age", "income", "height", "id"]


@pytest.mark.parametrize("cause", ["unscaled_inputs", "tiny_inputs", "leaking_column",
                                   "blind_to_inputs"])  # fmt: skip
def test_columns_are_called_by_their_names(cause: str) -> None:
    (plain,) = (f for f in examine(RULES[cause].sick()) if f.cause == cause)
    case = replace(RULES[cause].sick(), feature_names=NAMES)
    (named,) = (f for f in examine(case) if f.cause == cause)
    assert named.where["column"] == NAMES[plain.where["column"]]
    assert f"olumn {named.where['column']!r}" in named.text
    assert f"olumn {plain.where['column']}" in plain.text


@pytest.mark.filterwarnings("ignore:the model starts with scores")
def test_fit_and_preflight_take_names_and_check_them() -> None:
    case = replace(RULES["unscaled_inputs"].sick(), feature_names=NAMES)
    for named in (
        preflight(case.model, case.data, loss=case.loss, feature_names=NAMES),
        cr.fit(case.model, case.data, check=True, progress=False, **case.options()).findings,
    ):
        assert named is not None
        assert named[0].where["column"] == "height"
    for wrong, said in ((NAMES[:3], "has 3 names, but X has 4 columns"), ("abcd", "list of texts")):
        with pytest.raises(OptionError, match=said):
            cr.fit(case.model, case.data, loss="cross_entropy", feature_names=wrong)
        with pytest.raises(OptionError, match=said):
            preflight(case.model, case.data, loss="cross_entropy", feature_names=wrong)


def test_a_feature_of_a_table_is_named_by_its_column() -> None:
    rng = np.random.default_rng(0)
    color = rng.choice(["red", "blue"], 120)
    table = {"size": rng.normal(size=120), "color": color, "cost": 3.0 * (color == "red") + 1}
    problem = read_problem(table, "cost")
    assert "color=red" in problem.feature_names
    settings = choose_settings(problem.rows["train"], hidden=[16], task="regression", epochs=1)
    run = fit_table(problem, settings, check=True, progress=False)
    for found in (preflight_table(problem, settings), run.findings):
        assert found is not None
        assert {f.where.get("column") for f in found} >= {"color=red"}


def test_a_training_that_cannot_begin_is_refused_as_by_fit() -> None:
    case = classes()
    with pytest.raises(cr.DataError):
        preflight(case.model, (case.data[0], case.data[1] + 7), loss="cross_entropy")
