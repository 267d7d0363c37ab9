"""fit(check=True): findings before, while and after training: printed, saved, in errors."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor import watch as watch_module
from chainrule.doctor.finding import Findings
from chainrule.doctor.specimens import classes, network, values
from chainrule.doctor.survey import Survey
from chainrule.doctor.watch import Watch
from chainrule.train.diagnose import diagnose


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
