"""fit(check=True): findings before, while and after training: printed, saved, in errors."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor import watch as watch_module
from chainrule.doctor.finding import EXPLAINS, Evidence, Finding, Findings
from chainrule.doctor.remedies import Attempt, Trial
from chainrule.doctor.rule import RULES, Rule
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Survey
from chainrule.doctor.watch import Watch
from chainrule.train.diagnose import diagnose
from chainrule.train.progress import Progress


def fitted(case: Any, **options: Any) -> cr.Run:
    return cr.fit(case.model, case.data, **{"progress": False, **case.options(), **options})


def test_a_checked_training_is_the_same_training() -> None:
    plain, checked = classes(epochs=60), classes(epochs=60)
    first, second = fitted(plain), fitted(checked, check=True)
    assert [r["loss"] for r in first.history] == [r["loss"] for r in second.history]
    for path, parameter in nn.parameters(plain.model).items():
        assert np.array_equal(parameter.value, nn.parameters(checked.model)[path].value)
    assert first.findings is None
    assert second.findings is not None
    assert second.findings.serious == ()


def test_what_is_wrong_before_and_after_is_in_the_run() -> None:
    run = fitted(values(network(4, 16, 8, 1), scale=10.0, optimizer=optim.SGD(0.1), epochs=30),
                 check=True)  # fmt: skip
    assert run.findings is not None
    assert "died_in_training" in [f.cause for f in run.findings]
    before = fitted(classes(network(4, 16, 16, 3, between=())), check=True)
    assert before.findings is not None
    assert before.findings[0].cause == "no_nonlinearity"


def test_a_training_that_diverges_says_why() -> None:
    with pytest.raises(cr.DivergedError) as caught:
        fitted(values(optimizer=optim.SGD(50.0)), check=True)
    assert isinstance(caught.value.findings, Findings)
    assert caught.value.findings[0].category == "learning_rate"
    assert "diverged" in [f.cause for f in caught.value.findings]
    with pytest.raises(cr.DivergedError) as caught:
        fitted(values(optimizer=optim.SGD(50.0)))
    assert caught.value.findings == ()


def test_findings_are_printed_as_they_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    case = values(network(4, 16, 8, 1), scale=10.0, optimizer=optim.SGD(0.1), epochs=30)
    fitted(case, check=True, progress=True)
    told = capsys.readouterr().err
    assert told.count("Layer 0 died") + told.count("Layer 2 died") == 1
    fitted(classes(epochs=60), check=True, progress=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no such thing")])
def test_a_finished_training_is_kept_whatever_ends_the_search_for_causes(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(course: Any) -> Any:
        course.tell("Looking.")
        yield Finding("unsteady", "data", "note", "T.", "R.")
        raise error

    monkeypatch.setitem(
        RULES, "unsteady", Rule("unsteady", "data", "after", check, classes, classes)
    )
    # As at a terminal.
    monkeypatch.setattr(Progress, "remark", lambda self, line: self.tell([line]))
    case = classes(network(4, 16, 16, 3, between=()), epochs=2)
    failed = isinstance(error, RuntimeError)
    with pytest.warns(UserWarning, match="no such thing") if failed else nullcontext():
        run = fitted(case, check=True, progress=True)
    assert len(run.history) == 2
    assert {"no_nonlinearity", "unsteady"} <= {f.cause for f in run.findings or ()}
    told = capsys.readouterr().err
    assert "Looking." in told
    assert ("Interrupted; the training is kept" in told) != failed


def test_findings_come_back_from_the_files(tmp_path: Any) -> None:
    run = fitted(classes(optimizer=optim.Adam(3.0), epochs=2), check=True)
    run.trial(seeds=2)
    run.save(tmp_path / "run")
    again = cr.load(tmp_path / "run")
    assert again.findings == run.findings
    assert again.remedies is not None
    assert run.remedies is not None
    assert [a.change for a in again.remedies] == [a.change for a in run.remedies]
    assert str(again.remedies) == str(run.remedies)
    fitted(classes(epochs=1)).save(tmp_path / "plain")
    assert cr.load(tmp_path / "plain").findings is None


def test_layers_are_measured_with_the_weights_of_now() -> None:
    case = classes()
    survey = Survey.of(case)
    before = survey.layers[0]
    weight = nn.parameters(survey.model)["0.weight"]
    weight.value = weight.value * 2
    now = survey.measure()[0][0]
    np.testing.assert_allclose(now.product, 2 * before.product, rtol=1e-5)
    np.testing.assert_allclose(now.weight, 2 * before.weight, rtol=1e-6)
    assert survey.layers[0] is before


def test_looking_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(watch_module.time, "perf_counter", lambda: clock[0])
    survey = Survey.of(classes())
    looks = []
    watching = Watch(survey)
    plain = survey.measure

    def slow() -> Any:
        clock[0] += 2.0
        looks.append(clock[0])
        return plain()

    monkeypatch.setattr(survey, "measure", slow)
    for _ in range(1000):
        clock[0] += 1.0
        watching.look()
    assert 9 <= len(looks) <= 11  # one of 2 s in each 101 s
    spent = 2.0 * len(looks)
    assert spent <= watch_module.SHARE * (clock[0] - 100.0 - spent) * 1.1 + 2.0


def test_full_batch_methods_and_images_can_be_checked() -> None:
    case = values(optimizer=optim.LBFGS(), epochs=5)
    assert fitted(case, check=True).findings is not None
    X = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    model = nn.Sequential([nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)])
    run = cr.fit(model, (X, X[:, 0, 0] // 128), loss="cross_entropy", check=True, epochs=2,
                 progress=False)  # fmt: skip
    assert run.findings is not None


def test_the_first_weights_are_those_of_the_training() -> None:
    case = classes(epochs=1)
    assert diagnose(copy.deepcopy(case)) == fitted(case, check=True).findings


def test_dead_layers_are_found_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "AFTER", 0.0)
    monkeypatch.setattr(watch_module, "SHARE", 1.0)
    case = values(network(4, 16, 8, 1), scale=10.0, optimizer=optim.SGD(0.1), epochs=60)
    survey = Survey.of(case)
    watching, found = Watch(survey), []

    def look(run: cr.Run, record: dict[str, Any]) -> bool:
        for path, parameter in nn.parameters(run.model).items():
            nn.parameters(survey.model)[path].value = parameter.value
        watching._cost = 0.0
        found.extend(watching.end_epoch(record))
        return bool(found)

    run = fitted(case, on_epoch=look)
    assert [f.cause for f in found] == ["died_in_training"]
    assert len(run.history) < 60


@pytest.mark.parametrize("rate", [6.6, 50.0, 1e3, 1e5, 1e9])
def test_the_worst_learning_rates_are_found_before_training(rate: float) -> None:
    found = cr.preflight(network(4, 16, 1), values().data, loss="mse", optimizer=optim.SGD(rate))
    assert found[0].cause == "learning_rate_too_high"


def test_weights_of_rows_and_classes_count() -> None:
    X = numbers(400)
    y = (X[:, 0] > 1.6).astype(int)
    run = cr.fit(network(4, 16, 2), (X, y), loss="cross_entropy", class_weight="balanced",
                 epochs=40, check=True, progress=False)  # fmt: skip
    assert "stuck" not in [f.cause for f in run.findings or ()]
    weights = np.linspace(0.1, 2, 400)
    survey = Survey.of(classes(data=(X, y)))
    plain = survey.guess_loss
    survey.train = dataclasses.replace(survey.train, weight=weights)
    del survey.__dict__["guess_loss"]
    share = np.average(y, weights=weights)
    wanted = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert survey.guess_loss == pytest.approx(wanted, rel=1e-4)
    assert plain != pytest.approx(wanted, rel=1e-3)


def test_steps_are_those_taken_and_the_users_end_is_not_judged() -> None:
    case = classes(epochs=100, optimizer=optim.Adam(1e-5))
    run = fitted(case, check=True, on_epoch=lambda run, record: len(run.history) == 2)
    assert run.findings is not None
    assert {"stuck", "still_falling"} & {f.cause for f in run.findings} == set()
    full = Survey.of(values(optimizer=optim.LBFGS(), epochs=3))
    assert full.steps == 3


def test_infinite_evidence_survives_the_files(tmp_path: Any) -> None:
    run = fitted(classes(epochs=1), check=True)
    one = Finding("a", "loss", "fault", "T.", "R.", evidence=(Evidence("e", np.inf, 1.0, "r"),))
    run.findings = Findings([one])
    run.save(tmp_path / "run")
    assert json.loads(json.dumps(run.findings.to_json(), allow_nan=False))[0]["evidence"]
    assert str(cr.load(tmp_path / "run").findings) == str(run.findings)


def test_what_follows_from_another_finding_comes_after_it() -> None:
    cause = Finding("unscaled_inputs", "preprocessing", "warning", "C.", "r", confidence=0.6)
    effect = Finding("learning_rate_too_high", "learning_rate", "fault", "E.", "r")
    found = Findings.ranked([effect, cause])
    assert [f.cause for f in found] == ["unscaled_inputs", "learning_rate_too_high"]
    assert found[1].because == "unscaled_inputs"
    assert "(Probably an effect of unscaled_inputs.)" in " ".join(str(found).split())
    for name, effects in EXPLAINS.items():
        assert {name, *effects} <= set(RULES), name


def test_a_model_that_can_not_be_copied_is_checked_without_a_trial() -> None:
    model = network(4, 8, 3)
    model.lock = threading.Lock()  # type: ignore[attr-defined]
    run = cr.fit(model, classes().data, loss="cross_entropy", check=True, progress=False, epochs=2)
    assert run.findings is not None
    with pytest.raises(cr.OptionError, match="can't be copied"):
        run.trial()


def test_a_diverged_training_can_be_tried_again() -> None:
    with pytest.raises(cr.DivergedError, match="The doctor found: The learning rate") as caught:
        fitted(values(optimizer=optim.SGD(50.0)), check=True)
    trial = caught.value.run.trial(seeds=2)
    assert trial.best is not None
    assert trial.best.change["learning_rate"] < 1


def test_a_trial_with_infinite_errors_is_valid_json() -> None:
    trial = Trial([Attempt("a", {}, (np.inf, 1.0), (1.0, np.inf))])
    assert '"control": [null, 1.0]' in json.dumps(trial.to_json(), allow_nan=False)


def test_what_the_doctor_says_of_scales_is_no_warning_as_well(
    recwarn: pytest.WarningsRecorder,
) -> None:
    case = values(scale=1e5, epochs=1)
    run = cr.fit(case.model, case.data, check=True, progress=False, **case.options())
    assert "unscaled_targets" in [f.cause for f in run.findings or ()]
    assert not recwarn.list
    with pytest.warns(UserWarning, match="too far apart to be learned"):
        cr.fit(case.model, case.data, progress=False, **case.options())
