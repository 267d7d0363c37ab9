"""Each change of a finding can be made to a case; a trial tells which remedies help."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.doctor import remedies
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Finding, Findings
from chainrule.doctor.preflight import examine
from chainrule.doctor.remedies import Attempt, Trial, divided, try_remedies
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.train.diagnose import diagnose


def kinds(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model]


def tried(case: Case, change: dict[str, Any], seeds: int = 3) -> Attempt:
    """Return the trial of one change."""
    finding = Finding("a", "loss", "fault", "T.", "R.", change=change)
    (attempt,) = try_remedies(case, [finding], cr.fit, seeds)
    return attempt


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        (optim.Adam(0.1), optim.Adam(0.01)),
        ("adam", optim.Adam(1e-4)),
        (optim.SGD(optim.Cosine(0.1, end=0.01)), optim.SGD(optim.Cosine(0.01, end=0.001))),
        (optim.SGD(optim.Piecewise([0.1, 0.01], at=[9])),
         optim.SGD(optim.Piecewise([0.01, 0.001], at=[9]))),
        (optim.SGD(optim.Warmup(optim.StepDecay(0.1, 9), 10)),
         optim.SGD(optim.Warmup(optim.StepDecay(0.01, 9), 10))),
        (optim.SGD(optim.Warmup(0.1, 10)), optim.SGD(optim.Warmup(0.01, 10))),
        (optim.SGD(0.1, optim.Polynomial(0.5, 0.9)), optim.SGD(0.01, optim.Polynomial(0.5, 0.9))),
        (optim.chain(optim.SGD(optim.Cosine(0.1)), optim.WeightDecay(optim.Cosine(1e-3))),
         optim.chain(optim.SGD(optim.Cosine(0.01)), optim.WeightDecay(optim.Cosine(1e-3)))),
        (optim.chain(optim.ClipNorm(1.0), optim.SGD(0.1, 0.9)),
         optim.chain(optim.ClipNorm(1.0), optim.SGD(0.01, 0.9))),
    ],
)  # fmt: skip
def test_a_learning_rate_is_multiplied(method: Any, wanted: Any) -> None:
    made = cured(classes(optimizer=method), {"learning_rate": 0.1}).optimizer
    assert type(made) is type(wanted)
    steps = [{k: round(v, 12) for k, v in m.planned(100, 10).hyper().items()}
             for m in (made, wanted)]  # fmt: skip
    assert steps[0] == steps[1]


def test_numbers_of_the_settings_are_changed() -> None:
    case = classes(epochs=10, optimizer=optim.SGD(0.1, 0.999))
    assert cured(case, {"epochs": 4}).epochs == 40
    assert cured(case, {"batch_size": 33}).batch_size == 33
    assert cured(case, {"momentum": 0.9}).optimizer == optim.SGD(0.1, 0.9)
    assert cured(case, {"loss": "mse"}).loss == "mse"
    assert cured(case, {"class_weight": "balanced"}).options()["class_weight"] == "balanced"
    assert case.options()["epochs"] == 10


@pytest.mark.parametrize("scale", [None, 1 / 255])
def test_inputs_are_standardized_as_the_model_sees_them(scale: float | None) -> None:
    X = numbers() * 50 + 400
    first = [] if scale is None else [nn.Scale(scale)]
    model = nn.Sequential([*first, *network(4, 8, 3)])
    made = cured(classes(model, X=X, validation=(X[:50], np.zeros(50, int))),
                 {"preprocess": "standardize"})  # fmt: skip
    seen = made.data[0] * (scale or 1)
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(made.validation[0], made.data[0][:50])


def test_validation_rows_in_a_list_are_standardized_too() -> None:
    X = numbers() * 1000 + 5000
    case = classes(X=X, validation=[X[:50], np.arange(50) % 3])
    made = cured(case, {"preprocess": "standardize"})
    assert isinstance(made.validation, tuple)
    assert np.abs(made.validation[0]).max() < 10


def test_a_nested_end_is_named_as_what_it_is() -> None:
    nested = nn.Sequential([network(4, 8, 1), nn.Sigmoid()])
    with pytest.raises(OptionError, match="no layer of the Sequential itself is a Linear"):
        cured(labels_of(nested), {"output": None})


def test_masked_targets_are_standardized_by_the_known_ones() -> None:
    X = numbers(300)
    Y, known = 1000 + X[:, :2].astype(float), np.random.default_rng(0).random((300, 2)) < 0.7
    Y[~known] = np.nan
    case = Case(network(4, 16, 2), (X, Y), "mse", optim.Adam(3e-2), 30,
                more={"sample_weight": known.astype(float)})  # fmt: skip
    attempt = tried(case, {"target": "standardize"}, 1)
    assert not attempt.impossible
    assert attempt.measure == "1 - R²"
    assert attempt.confirmed
    assert attempt.errors[0] < 0.5
    Y[:, 1] = np.nan
    with pytest.raises(OptionError, match="a column of y"):
        cured(case, {"target": "standardize"})


def test_whole_numbers_as_targets_are_judged_as_numbers() -> None:
    case = values(network(4, 16, 1), epochs=40, optimizer=optim.Adam(1e-2))
    whole = np.rint(1200 + 100 * np.asarray(case.data[0])[:, 0]).astype(int)
    case.data = case.data[0], whole
    attempt = tried(case, {"target": "standardize"}, 1)
    assert attempt.measure == "1 - R²"
    assert attempt.confirmed
    assert attempt.errors[0] < 0.1


def test_a_loss_of_classes_is_tried_without_the_last_activation() -> None:
    case = labels_of(network(4, 16, 1, end=[nn.Sigmoid()]))
    case.loss = "mae"
    (found,) = [f for f in examine(case) if f.cause == "loss_for_numbers"]
    assert dict(found.change) == {"loss": "binary_cross_entropy", "output": None}
    assert not tried(case, dict(found.change), 1).impossible


def test_targets_are_standardized() -> None:
    made = cured(values(scale=1000.0), {"target": "standardize"})
    assert np.asarray(made.data[1]).std() == pytest.approx(1, abs=1e-5)


def test_layers_are_changed_and_the_model_of_the_case_is_not() -> None:
    case = classes(network(4, 8, 8, 3, between=[nn.Sigmoid()]))
    made = cured(case, {"activation": "relu"})
    assert kinds(made.model) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert kinds(case.model) == ["Linear", "Sigmoid", "Linear", "Sigmoid", "Linear"]
    flat = cured(classes(network(4, 8, 8, 3, between=())), {"activation": "tanh"})
    assert kinds(flat.model) == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    ended = cured(classes(network(4, 8, 3, end=[nn.ReLU()])), {"output": None})
    assert kinds(ended.model) == ["Linear", "ReLU", "Linear"]
    assert kinds(cured(case, {"output": "sigmoid"}).model)[-1] == "Sigmoid"


def test_dropout_is_lowered() -> None:
    model = network(4, 8, 3, between=[nn.ReLU(), nn.Dropout(0.95)])
    assert cured(classes(model), {"dropout": 0.3}).model[2].rate == 0.3  # type: ignore[index]


def test_weights_set_by_hand_stay_unless_they_are_the_cause() -> None:
    model = network(4, 8, 3)
    model[0].weight.value = np.full((4, 8), 7.0)  # type: ignore[index]
    case = classes(model)
    kept = cured(case, {"activation": "tanh"})
    assert (nn.parameters(kept.model)["0.weight"].value == 7).all()
    drawn = cured(case, {"init": None})
    assert not nn.parameters(drawn.model)["0.weight"].assigned
    biased = nn.Sequential([nn.Linear(4, 8, weight_init="zeros", bias_init=-9.0), nn.ReLU()])
    fresh = cured(classes(biased), {"init": None, "bias_init": 0.0}).model[0]  # type: ignore[index]
    assert (fresh.weight_init, fresh.bias_init) == (nn.Linear(4, 8).weight_init, 0.0)


def test_what_cannot_be_changed_is_said() -> None:
    with pytest.raises(OptionError, match="no change that can be made"):
        cured(classes(), {})
    with pytest.raises(OptionError, match="'weather' can't be made automatically"):
        cured(classes(), {"weather": 1})

    def model(x: Tensor) -> Tensor:
        return x

    with pytest.raises(OptionError):
        cured(classes(model), {"output": None})
    attempt = tried(classes(model), {"activation": "relu"})
    assert attempt.impossible
    assert "not tried: activation relu." in str(attempt)
    assert not attempt.confirmed


def test_a_cure_is_confirmed_and_a_wrong_one_is_not() -> None:
    case = classes(optimizer=optim.Adam(3.0), epochs=20)
    right = tried(case, {"learning_rate": 0.01})
    wrong = tried(case, {"learning_rate": 30.0})
    assert right.confirmed
    assert right.gain > 0.1
    assert not wrong.confirmed
    assert right.control == wrong.control  # the same seeds
    assert len(right.errors) == 3
    model = nn.parameters(case.model)
    assert not any(p.assigned for p in model.values())


def test_a_rate_is_divided_again_while_it_helps() -> None:
    rate = Finding("a", "learning_rate", "fault", "T.", "Divide it.", change={"learning_rate": 0.1})
    other = Finding("b", "loss", "note", "T.", "Do.", change={"epochs": 1.0})
    case = classes(optimizer=optim.Adam(10.0), epochs=20)
    trial = try_remedies(case, [other, rate, rate], cr.fit, seeds=2)
    assert [a.cause for a in trial] == ["a", "b"]
    assert trial.best is trial[0]
    assert trial[0].change["learning_rate"] < 0.05
    assert trial[1].gain == 0  # nothing was changed
    assert str(trial).startswith("2 remedies tried:\nconfirmed: learning rate divided by 1")


def test_a_higher_rate_that_diverged_is_not_raised_further() -> None:
    case = values(optimizer=optim.SGD(0.2), epochs=5)
    rates: list[float] = []

    def train(model: Any, data: Any, **options: Any) -> Any:
        rates.append(options["optimizer"].learning_rate)
        return cr.fit(model, data, **options)

    finding = Finding("a", "learning_rate", "fault", "T.", "R.", change={"learning_rate": 100.0})
    (attempt,) = try_remedies(case, [finding], train, 1)
    assert not attempt.confirmed
    assert max(rates) == 20.0


def test_a_remedy_that_ruins_one_seed_is_mixed() -> None:
    mixed = Attempt("a", {"learning_rate": 0.1}, (2.0, 2.0, 0.01), (0.1, 0.2, 18.7))
    assert not mixed.confirmed
    assert str(mixed).startswith("mixed, better with 2 of 3 seeds: learning rate divided by 10.")
    assert str(mixed).endswith("from 2 to 0.2 (better with 2 of 3 seeds).")
    assert Attempt("a", {}, (2.0, 2.0, 1e-9), (0.1, 0.2, 0.01)).confirmed


def test_a_trial_says_that_a_network_is_worse_than_a_constant() -> None:
    y = np.random.default_rng(0).permutation(np.asarray(classes().data[1]))
    case = classes(network(4, 64, 3), data=(numbers(), y), optimizer=optim.Adam(3e-2), epochs=99)
    (found,) = [f for f in diagnose(case).serious if f.cause == "targets_unlearnable"]
    said = str(try_remedies(case, [found], cr.fit))
    assert said.startswith("On held-out rows this network is worse than a constant (")
    assert "constant" not in str(try_remedies(classes(epochs=60), [found], cr.fit))


def test_the_best_step_of_a_rate_is_that_of_the_median_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = {0.1: (0.1, 0.2, 50.0), 0.01: (0.2, 0.3, 0.4), 0.001: (0.01, 0.4, 0.5)}

    def attempt(case: Any, change: Any, *rest: Any) -> Attempt:
        rate = float(f"{change['learning_rate']:.1g}")
        return Attempt("a", change, (1.0, 1.0, 1.0), errors[rate])

    monkeypatch.setattr(remedies, "_attempt", attempt)
    finding = Finding("a", "learning_rate", "fault", "T.", "R.", change={"learning_rate": 0.1})
    (best,) = try_remedies(classes(), [finding], cr.fit)
    assert best.change["learning_rate"] == pytest.approx(0.01)


def test_errors_in_other_units_are_compared_by_the_answers() -> None:
    case = values(scale=2000.0, epochs=30)
    attempt = tried(case, {"target": "standardize"})
    assert attempt.confirmed
    assert 0.9 < min(attempt.control) < 3  # 1 - R², not a squared error of millions
    assert min(attempt.errors) < 0.7
    assert attempt.measure == "1 - R²"


def test_gains_of_trainings_that_diverge() -> None:
    both = Attempt("a", {}, (math.inf, math.inf, 1.0), (1.0, math.inf, math.inf))
    assert both.gains.tolist() == [1.0, 0.0, -math.inf]
    assert not both.confirmed
    assert "from diverged to diverged (diverged with some" in str(both)
    assert Trial.from_json(Trial([both]).to_json()) == (both,)


def test_a_run_tries_its_own_remedies() -> None:
    case = classes(optimizer=optim.Adam(3.0), epochs=5)
    run = cr.fit(case.model, case.data, progress=False, check=True, **case.options())
    trial = run.trial(seeds=2)
    assert trial.best is not None
    assert trial.best.change["learning_rate"] < 1
    assert run.remedies is trial
    plain = cr.fit(case.model, case.data, progress=False, **case.options())
    with pytest.raises(OptionError, match="check=True"):
        plain.trial()


def test_a_change_of_the_hidden_layers_keeps_the_output() -> None:
    case = labels_of(network(4, 8, 1, between=[nn.Sigmoid()], end=[nn.Sigmoid()]))
    assert kinds(cured(case, {"activation": "relu"}).model) == [
        "Linear", "ReLU", "Linear", "Sigmoid"
    ]  # fmt: skip
    with pytest.raises(OptionError, match="unknown activation 'swosh'"):
        cured(case, {"activation": "swosh"})


def test_a_change_of_the_hidden_layers_keeps_the_output_of_a_graph() -> None:
    layers = {"f": nn.Linear(4, 8), "s": nn.Sigmoid(), "o": nn.Linear(12, 1), "end": nn.Sigmoid()}
    edges = [("x", "f"), ("f", "s"), ("x", "c"), ("s", "c"), ("c", "o"), ("o", "end")]
    made: Any = cured(labels_of(nn.Network(layers, edges)), {"activation": "relu"}).model
    assert kinds(made.layers.values()) == ["Linear", "ReLU", "Linear", "Sigmoid"]


def labels_of(model: Any) -> Case:
    X = numbers()
    return Case(model, (X, (X[:, :1] > 0).astype(np.float32)), "mse", optim.Adam(3e-3), 20)


def test_losses_of_two_kinds_are_compared_by_wrong_answers() -> None:
    X, y = classes().data
    case = Case(network(4, 16, 3), (X, np.eye(3, dtype="float32")[np.asarray(y)]), "mse",
                optim.Adam(3e-3), 30)  # fmt: skip
    attempt = tried(case, {"loss": "cross_entropy"}, 2)
    assert attempt.measure == "share of wrong answers"
    assert all(0 <= error <= 1 for error in (*attempt.control, *attempt.errors))


def test_metrics_and_early_stopping_of_the_training_are_kept() -> None:
    def halved(output: Tensor, target: Tensor) -> Tensor:
        return (output.sum(1) * 0 + 0.5) + 0 * target

    case = classes(optimizer=optim.Adam(1.0), epochs=30)
    run = cr.fit(case.model, case.data, loss="cross_entropy", optimizer=case.optimizer, epochs=30,
                 validation=0.3, metrics=[halved], check=True, progress=False,
                 early_stopping=cr.EarlyStopping(3, "val_halved"))  # fmt: skip
    assert all(not attempt.impossible for attempt in run.trial(seeds=1))


def test_an_interrupted_trial_returns_what_was_tried() -> None:
    case = classes(optimizer=optim.Adam(3.0), epochs=5)
    findings = [Finding("a", "epochs", "fault", "T.", "R.", change={"epochs": 2}),
                Finding("b", "batch", "fault", "T.", "R.", change={"batch_size": 8})]  # fmt: skip
    calls = []

    def train(*args: Any, **options: Any) -> Any:
        calls.append(1)
        run = cr.fit(*args, **options)
        if len(calls) == 4:
            run.stopped = "interrupted"
        return run

    assert [a.cause for a in try_remedies(case, findings, train, 2)] == []
    calls.clear()
    calls.extend([1] * 4)
    found = try_remedies(case, findings, train, 2)
    assert sorted(a.cause for a in found) == ["a", "b"]
    assert len(calls) == 4 + 6  # the control is trained once for both


@pytest.mark.parametrize("seeds", [0, -1, 1.5])
def test_seeds_are_a_number_of_trainings(seeds: Any) -> None:
    run = cr.fit(network(4, 3), classes().data, loss="cross_entropy", check=True, progress=False,
                 epochs=1)  # fmt: skip
    with pytest.raises(OptionError, match="trial: seeds must be a positive integer"):
        run.trial(seeds)


def test_rows_in_a_file_are_not_read_into_memory(tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", numbers() * 100)
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(OptionError, match="standardize it in the file"):
        cured(classes(X=X), {"preprocess": "standardize"})


def test_the_remedy_of_an_effect_is_not_tried() -> None:
    cause = Finding("a", "batch", "fault", "T.", "R.", change={"batch_size": 64})
    effect = Finding("b", "epochs", "fault", "T.", "R.", change={"epochs": 2}, because="a")
    found = try_remedies(classes(epochs=3), [cause, effect], cr.fit, 1)
    assert [attempt.cause for attempt in found] == ["a"]


def test_rows_are_divided_as_fit_divides_them_with_their_weights() -> None:
    weight = np.arange(1.0, 241.0)
    case = classes(validation=0.25, more={"sample_weight": weight}, epochs=2)
    by_rows = divided(case)
    assert isinstance(by_rows.validation, tuple)
    assert set(by_rows.more["sample_weight"]).isdisjoint(by_rows.validation[2])
    runs = [cr.fit(copy.deepcopy(c.model), c.data, progress=False, **c.options())
            for c in (case, by_rows)]  # fmt: skip
    ours, theirs = ([r["val_loss"] for r in run.history] for run in runs)
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_trial_continues_from_the_weights_of_an_epoch() -> None:
    case = classes(optimizer=optim.Adam(1e-5), epochs=14, validation=0.25)
    run = cr.fit(case.model, case.data, progress=False, check=True, **case.options())
    run.findings = Findings(
        Finding(c, "loss", "fault", "T.", "R.", change=change)
        for c, change in (("a", {"learning_rate": 1e3}), ("b", {"init": None}),
                          ("c", {"activation": "tanh"}), ("d", {"preprocess": "standardize"}))
    )  # fmt: skip
    begun: list[Any] = []

    def train(model: Any, data: Any, **options: Any) -> Any:
        weights = {path: p.value.copy() for path, p in nn.parameters(model).items()}
        begun.append((weights, options["epochs"], options["seed"], options["validation"][1]))
        return cr.fit(model, data, **options)

    run.keep_case(run._case, train)
    trial = run.trial(seeds=2, after=4)
    assert trial.best is not None
    assert trial.best.cause == "a"
    refused = {a.cause: a.impossible for a in trial if a.impossible}
    assert sorted(refused) == ["b", "c", "d"]
    assert "weights of epoch 4 do not fit it; run.trial() tries it" in refused["b"]
    first = classes(optimizer=optim.Adam(1e-5), epochs=4, validation=0.25)
    same = cr.fit(first.model, first.data, progress=False, **first.options())
    assert len(begun) >= 4
    for weights, epochs, _, held in begun:
        assert epochs == 10
        np.testing.assert_array_equal(held, begun[0][3])  # rows that were never trained on
        for path, parameter in nn.parameters(same.model).items():
            np.testing.assert_array_equal(weights[path], parameter.value)
    assert {seed for _, _, seed, _ in begun} == {0, 1}


@pytest.mark.parametrize(
    ("validation", "after", "said"),
    [(None, 1, "train with validation=0.2"), (0.2, 3, "can follow is 2"),
     (0.2, -1, "trial: after must be")],
)  # fmt: skip
def test_an_epoch_that_cannot_be_forked_is_refused(validation: Any, after: int, said: str) -> None:
    case = classes(epochs=3, validation=validation)
    run = cr.fit(case.model, case.data, progress=False, check=True, **case.options())
    with pytest.raises(OptionError, match=said):
        run.trial(after=after)
