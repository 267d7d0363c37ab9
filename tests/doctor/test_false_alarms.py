"""Sound trainings of unusual kinds that rules must leave alone, beside sick ones that they find."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.tensor import Tensor
from chainrule.doctor import survey as survey_module
from chainrule.doctor.course import Course
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Finding, Findings
from chainrule.doctor.preflight import examine
from chainrule.doctor.rules.ending import still_falling, stuck
from chainrule.doctor.rules.watching import overfitting, plateau
from chainrule.doctor.specimens import classes, labels, network, numbers, on_probabilities, values
from chainrule.doctor.survey import Survey
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table, preflight_table, settings_for
from chainrule.train.diagnose import diagnose


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


def test_wide_rows_and_deep_networks_are_measured_on_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survey_module, "MOST_ELEMENTS", 2**12)
    survey = Survey.of(classes(network(10, 2, 3), data=(numbers(900, 10), np.arange(900) % 3)))
    assert len(survey.columns) == len(survey.targets) == 409  # 2**12 numbers in ten columns
    deep = Survey.of(values(network(4, *[8] * 20, 1, between=[nn.Tanh()])))
    checked = deep.slopes
    assert 2 <= len(checked) <= 16
    assert checked[-1].path == "40.weight"


# --- layers beside one another --------------------------------------------------------------------

WIDE = numbers(400, 32)
TARGETS = numbers(400, 10, seed=1)


class _Heads:
    """A trunk, and heads beside one another."""

    def __init__(self, *sizes: int, init: str | None = None):
        self.trunk = nn.Linear(32, 64)
        self.heads = [nn.Linear(64, size, weight_init=init) for size in sizes]

    def __call__(self, x: Tensor) -> Tensor:
        h = nn.ReLU()(self.trunk(x))
        return cr.concat([head(h) for head in self.heads], 1)


class _Gated:
    """A unit that scales all others, which do not pass through it."""

    def __init__(self) -> None:
        self.first, self.gate, self.out = nn.Linear(32, 64), nn.Linear(64, 1), nn.Linear(64, 10)

    def __call__(self, x: Tensor) -> Tensor:
        h = nn.ReLU()(self.first(x))
        return self.out(h * nn.Sigmoid()(self.gate(h)))


class _Single:
    """Layers of one unit beside one another, straight to the output or with a layer behind."""

    def __init__(self, count: int, end: nn.Layer | None = None):
        self.units, self.end = [nn.Linear(32, 1) for _ in range(count)], end

    def __call__(self, x: Tensor) -> Tensor:
        joined = cr.concat([unit(x) for unit in self.units], 1)
        return joined if self.end is None else self.end(nn.Tanh()(joined))


@pytest.mark.parametrize("model", [
    _Heads(1, 9), _Heads(9, 1), _Heads(5, 5, init="zeros"), _Heads(10, init="zeros"), _Gated(),
    _Single(10), _Single(30, nn.Linear(30, 10)),
])  # fmt: skip
def test_layers_beside_one_another_are_no_chain(model: nn.Layer) -> None:
    assert examine(values(model, data=(WIDE, TARGETS))).serious == ()


def test_a_bottleneck_of_a_class_model_is_named_as_its_attribute() -> None:
    class Narrow(_Gated):
        def __call__(self, x: Tensor) -> Tensor:
            return self.out(cr.concat([self.gate(nn.ReLU()(self.first(x)))] * 64, 1))

    (found,) = _of("bottleneck", examine(values(Narrow(), data=(WIDE, TARGETS))))
    assert found.where == {"layer": "gate"}
    layers = Survey.of(values(_Heads(1, 9), data=(WIDE, TARGETS))).layers
    assert [f.path for f in layers] == ["trunk", "heads.0", "heads.1"]
    assert [f.feeds for f in layers] == [(1, 2), (), ()]
    assert layers[0].bias is not None


def test_a_normalization_before_a_layer_is_not_flat() -> None:
    for seed in range(5):
        model = nn.Sequential([nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 10)])
        assert examine(values(model, data=(WIDE, TARGETS), seed=seed)).serious == ()


def test_a_unit_that_is_copied_is_not_dead() -> None:
    class Twice:
        def __init__(self) -> None:
            self.first, self.last = nn.Linear(32, 16), nn.Linear(32, 10)

        def __call__(self, x: Tensor) -> Tensor:
            h = nn.ReLU()(self.first(x))
            return self.last(cr.concat([h, h], 1))

    assert Survey.of(values(Twice(), data=(WIDE, TARGETS))).layers[0].dead == 0


# --- frozen weights -------------------------------------------------------------------------------


def _frozen(optimizer: Any, y: Any) -> Any:
    model = network(4, 16, 16, 16, 3)
    nn.initialize(model, 0)
    for p in nn.parameters(model).values():
        p.value = p.value.copy()
    return classes(model, data=(numbers(300), y), optimizer=optimizer, epochs=60)


def test_frozen_weights_are_not_said_to_hardly_move() -> None:
    y = np.random.default_rng(0).integers(0, 3, 300)
    for trained in (["6.*"], ["4.*", "6.*"]):
        method = optim.groups(dict.fromkeys(trained, optim.Adam(0.01)), default=optim.freeze)
        assert set(_causes(diagnose(_frozen(method, y)))) <= {"targets_unlearnable"}
    biases = optim.groups({"*.bias": optim.Adam(0.01)}, default=optim.freeze)
    found = diagnose(_frozen(biases, y))
    assert not [f for f in found if "learning_rate" in f.change or "epochs" in f.change]


def test_frozen_pretrained_weights_are_not_drawn_anew() -> None:
    method = optim.groups({"6.*": optim.Adam(0.01)}, default=optim.freeze)
    case = _frozen(method, np.arange(300) % 3)
    nn.parameters(case.model)["0.weight"].value = np.full((4, 16), 7.0)
    made = nn.parameters(cured(case, {"init": None}).model)
    before = nn.parameters(case.model)
    assert np.array_equal(made["0.weight"].value, before["0.weight"].value)
    assert not made["6.weight"].assigned


# --- inputs that the model does not see as they are -----------------------------------------------


class _Lookup:
    """An embedding in a model that is a class."""

    def __init__(self, *layers: nn.Layer):
        self.table, self.rest = nn.Embedding(5000, 8), nn.Sequential(layers)

    def __call__(self, x: Tensor) -> Tensor:
        return self.rest(self.table(x))


def _ends(width: int) -> list[nn.Layer]:
    return [nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 2)]


CODES = np.random.default_rng(0).integers(0, 5000, (400, 2))


@pytest.mark.parametrize(("model", "X", "raw"), [
    (nn.Sequential([nn.Embedding(5000, 8), *_ends(16)]), CODES, 0),
    (nn.Sequential([nn.Embedding(5000, 8), *_ends(16)]), CODES.astype("float32"), 0),
    (_Lookup(*_ends(16)), CODES, 0),
    (nn.Sequential([nn.EmbedColumns(2, [(0, 5000, 8)]), *_ends(9)]), CODES * [1, 0], 1),
    (nn.Sequential([nn.Scale(2.0), nn.Sequential([nn.BatchNorm(2), *_ends(2)])]), CODES, 0),
])  # fmt: skip
def test_codes_and_normalized_columns_need_no_scaling(model: nn.Layer, X: Any, raw: int) -> None:
    case = classes(model, data=(X, (CODES[:, 0] > 2500).astype(int)))
    assert Survey.of(case).raw.sum() == raw
    assert not {"unscaled_inputs", "saturated_layer"} & set(_causes(examine(case)))
    case.optimizer = optim.SGD(1e6)
    assert "preprocessing" not in [f.category for f in diagnose(case) if f.cause == "diverged"]


def test_columns_beside_codes_still_need_scaling() -> None:
    X = np.c_[CODES, numbers(400, 1) * 5000].astype(np.float32)
    model = nn.Sequential([nn.EmbedColumns(3, [(0, 5000, 4), (1, 5000, 4)]), *_ends(9)])
    (found,) = _of("unscaled_inputs", examine(classes(model, data=(X, CODES[:, 0] % 2))))
    assert found.where == {"column": 2}
    whole = nn.Sequential(_ends(2))
    (found,) = _of("unscaled_inputs", examine(classes(whole, data=(CODES, CODES[:, 0] % 2))))


# --- what is said, and advised --------------------------------------------------------------------


def test_a_rare_class_that_is_weighted_is_a_note() -> None:
    X, y = numbers(1000), (np.arange(1000) % 200 == 0).astype(int)
    for more, level in (
        ({}, "warning"),
        ({"class_weight": "balanced"}, "note"),
        ({"sample_weight": np.where(y, 9.0, 1.0)}, "note"),
    ):
        (found,) = _of("few_of_a_class", examine(classes(network(4, 8, 2), data=(X, y), more=more)))
        assert found.level == level


def test_a_table_with_class_weights_is_checked_with_them(tmp_path: Path) -> None:
    file = tmp_path / "rare.csv"
    rows = [f"{x:.4f},{'rare' if i % 80 == 0 else 'usual'}" for i, (x,) in
            enumerate(numbers(1200, 1))]  # fmt: skip
    file.write_text("x,label\n" + "\n".join(rows) + "\n")
    problem = read_problem(str(file), "label")
    levels = [
        f.level
        for weight in (None, "balanced")
        for f in preflight_table(problem, choose_settings(900, class_weight=weight))
        if f.cause == "few_of_a_class"
    ]
    assert levels == ["warning", "note"]


def test_a_kept_course_does_not_change_while_it_is_written() -> None:
    course = Course(Survey.of(classes()))
    course.end_epoch({"loss": 1.0})
    kept = course.keep()
    before = len(kept["moves"])
    course.end_epoch({"loss": 1.0})
    assert len(course.moves) == before + 1
    assert len(kept["moves"]) == before


def test_a_plateau_that_was_not_watched_has_no_advice_on_the_rate() -> None:
    survey = Survey.of(classes(epochs=60))
    course = Course(survey, layers=survey.layers)
    losses = [{"loss": survey.guess_loss} for _ in range(60)]
    course.go_on(losses, {"moves": [], "turns": []})
    assert not list(plateau(course))
    course.go_on(losses, {"moves": [[0.001, 0.001]] * 60, "turns": []})
    assert [f.change for f in plateau(course)] == [{"learning_rate": 10.0}]


def test_a_loss_on_a_plateau_is_not_still_falling() -> None:
    survey = Survey.of(classes())
    course = Course(survey, [{"loss": loss} for loss in np.linspace(1.1, 0.3, 12)], survey.layers)
    course.found = [Finding("plateau", "learning_rate", "warning", "T.", "R.")]
    assert not list(still_falling(course))


@pytest.mark.parametrize(("rows", "size"), [(1057, 32), (241, 40), (3, 2)])
def test_the_advised_batch_size_leaves_no_batch_of_one_row(rows: int, size: int) -> None:
    model = network(4, 16, 2, between=[nn.BatchNorm(16), nn.ReLU()])
    case = classes(model, data=(numbers(rows), np.arange(rows) % 2), batch_size=size)
    (found,) = _of("last_batch_of_one", examine(case))
    advised = found.change["batch_size"]
    assert rows % advised != 1
    assert f"such as {advised}." in found.remedy


def test_the_number_outside_of_the_probabilities_is_shown() -> None:
    for end, shown, threshold in ((nn.Tanh(), -1.0, 0.0), (nn.ReLU(), np.inf, 1.0)):
        case = on_probabilities(network(4, 16, 1, end=[end]))
        (found,) = _of("outputs_not_probabilities", examine(case))
        assert (found.evidence[0].value, found.evidence[0].threshold) == (shown, threshold)


def test_constant_columns_are_called_by_their_names() -> None:
    X = numbers()
    X[:, 2:] = 1.0
    case = classes(X=X, feature_names=["age", "income", "height", "id"])
    (found,) = _of("constant_inputs", examine(case))
    assert found.where == {"column": "height"}
    assert "'height'" in found.text


def test_overfitting_that_leaves_the_labels_right_is_a_note() -> None:
    survey = Survey.of(labels(epochs=100))
    losses, held = np.geomspace(0.5, 1e-3, 100), np.r_[np.linspace(1, 0.5, 30), [1.5] * 70]
    course = Course(survey, [
        {"loss": a, "val_loss": b, "val_label_accuracy": 0.9}
        for a, b in zip(losses, held, strict=True)
    ])  # fmt: skip
    assert [f.level for f in overfitting(course)] == ["note"]


def test_an_activation_that_no_row_bends_is_not_said_to_be_missing() -> None:
    found = examine(classes(X=numbers() * np.array([1, 1, 1, 1000]) + np.array([0, 0, 0, 9000])))
    assert "no_nonlinearity" not in [f.cause for f in found]
    (never,) = [f for f in found if f.cause == "activation_never_bends"]
    assert (never.where, never.because) == ({"layer": "0", "column": 3}, "unscaled_inputs")
    assert never.change == {"preprocess": "standardize"}


def test_numbers_of_classes_under_a_loss_of_numbers_are_warned_of() -> None:
    def levels(y: Any) -> list[str]:
        found = examine(values(data=(numbers(), y)))
        return [f.level for f in found if f.cause == "loss_for_numbers"]

    codes = np.arange(240) % 5
    assert levels(codes) == ["warning"]
    assert levels(codes.astype(float)) == ["note"]  # amounts, as in a table
    assert levels((codes - 2) / 1.4) == ["note"]  # standardized
    assert levels(np.random.default_rng(0).poisson(1.5, 240)) in ([], ["note"])
    assert levels(np.arange(240)) == []


# --- reports that agree with themselves -----------------------------------------------------------


def test_what_another_finding_explains_advises_no_learning_rate() -> None:
    case = classes(X=numbers() * np.array([1, 1, 5000, 1]), optimizer=optim.SGD(1e-12), epochs=60)
    survey = Survey.of(case)
    course = Course(survey, layers=survey.layers)
    course.go_on([{"loss": survey.guess_loss}] * 60, {"moves": [[0.001, 0.001]] * 60, "turns": []})
    assert [f.change for f in [*stuck(course), *plateau(course)]] == [{"learning_rate": 10.0}] * 2
    course.found = list(examine(case).serious)
    course.found = [f for f in course.found if f.cause != "learning_rate_too_low"]
    ended = [*stuck(course), *plateau(course)]
    assert [(f.change, f.category) for f in ended] == [({}, "preprocessing")] * 2
    assert not [f for f in ended if "too short" in f.text]


def test_no_report_raises_and_lowers_the_learning_rate() -> None:
    up = Finding("stuck", "learning_rate", "warning", "T.", "R.", change={"learning_rate": 10.0})
    down = Finding("unsteady", "learning_rate", "warning", "T.", "R.", {}, (),
                   {"learning_rate": 0.1}, 0.9)  # fmt: skip
    assert [f.cause for f in Findings.ranked([up, down])] == ["unsteady"]


def test_one_short_training_is_one_finding() -> None:
    named = ("stuck", "still_falling", "could_learn_more")
    told = [Finding(name, "epochs", "warning", "T.", "R.", confidence=0.9) for name in named]
    assert [f.cause for f in Findings.ranked(told)] == ["stuck"]
    hopeless = Finding("targets_unlearnable", "data", "warning", "T.", "R.")
    assert [f.cause for f in Findings.ranked([told[1], hopeless])] == ["targets_unlearnable"]


def test_a_loss_that_falls_is_described_by_what_it_did() -> None:
    def told(losses: Any, rows: int = 240) -> list[str]:
        survey = Survey.of(values(epochs=len(losses)))
        course = Course(survey, [{"loss": loss} for loss in losses], survey.layers)
        return [f.text for f in still_falling(course)]

    wild = told([2.6e5, *np.geomspace(1e4, 40, 99)])
    assert "it fell from 123.4 to 40" in wild[0]
    assert wild[1].startswith("More epochs would")
    (few,) = told([40.0])
    assert few.startswith("Training ended after 8 steps, before")


def test_a_training_that_made_things_worse_says_so() -> None:
    survey = Survey.of(classes())
    course = Course(survey, [{"loss": 1.5 * float(survey.guess_loss or 0)}], survey.layers)
    assert course.overcame == "the network is 50 % worse than a constant"


def test_shuffled_targets_that_were_memorized_are_found_without_validation_rows() -> None:
    def causes(y: Any) -> list[str]:
        model = network(4, 64, 3)
        case = classes(model, data=(numbers(), y), optimizer=optim.Adam(3e-2), epochs=200)
        return [f.cause for f in diagnose(case).serious]

    y = np.asarray(classes().data[1])
    assert causes(np.random.default_rng(0).permutation(y)) == ["targets_unlearnable"]
    assert causes(y) == []


def test_a_gain_on_many_validation_rows_is_no_luck() -> None:
    """The loss falls by 14 %, with six columns of noise that mislead the nearest rows."""
    rng = np.random.default_rng(2)
    size = rng.uniform(0, 10, 900)
    noise = {f"noise {k}": rng.normal(size=900) for k in range(6)}
    visits = rng.poisson(np.exp(size / 5))
    problem = read_problem({**noise, "size": size, "visits": visits}, "visits")
    run = fit_table(problem, settings_for(problem), progress=False, check=True)
    assert "targets_unlearnable" not in [f.cause for f in run.findings or ()]
