"""``chainrule doctor``, and the checks that ``chainrule train`` makes before its first step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Call = Callable[..., Result]


def test_a_sound_training_has_nothing_wrong(call: Call) -> None:
    answer = call("doctor", "iris")
    assert answer.exit_code == 0
    assert answer.stdout == "The checks found nothing wrong.\n"


def test_what_is_wrong_is_named_with_its_numbers(call: Call) -> None:
    answer = call("doctor", "iris", "--lr", "30")
    assert answer.exit_code == 1
    assert answer.stdout.startswith("2 findings:\nfault (learning_rate_too_high)")
    assert "Divide the learning rate by 1" in " ".join(answer.stdout.split())
    found, note = json.loads(call("doctor", "iris", "--lr", "30", "--json").stdout)
    assert note["level"] == "note"  # what to try if a lower rate does not help
    assert found["cause"] == "learning_rate_too_high"
    assert found["category"] == "learning_rate"
    assert found["evidence"][0]["value"] > found["evidence"][0]["threshold"]


def test_the_rate_that_is_advised_is_not_warned_of(call: Call) -> None:
    told = call("doctor", "digits", "--lr", 3).stdout
    advised = re.findall(r"for learning_rate_too_high: --lr (\S+)$", told, re.MULTILINE)
    assert len(advised) == 1
    assert call("doctor", "digits", "--lr", advised[0]).exit_code == 0


def test_train_says_so(call: Call) -> None:
    wrong = ("train", "iris", "--lr", "30", "--epochs", "1", "--no-report")
    for more in ((), ("--quiet",), ("--json",)):
        assert "Divide the learning rate by 1" in " ".join(call(*wrong, *more).stderr.split())
    assert "Divide the learning rate" not in call(*wrong, "--no-check").stderr
    sound = json.loads(call("train", "iris", "--no-report", "--json").stdout)
    assert [f for f in sound["findings"] if f["level"] != "note"] == []
    assert sound["remedies"] == []


def test_a_training_that_diverges_is_diagnosed_and_cured(call: Call) -> None:
    wrong = ("train", "digits", "--hidden", 32, "--optimizer", "sgd", "--lr", 1000, "--cure")
    assert "learning rate is too high" in " ".join(call("doctor", *wrong[1:-1]).stdout.split())
    for more in ((), ("--quiet",)):
        answer = call(*wrong, *more)
        assert answer.exit_code == 1
        told = " ".join(answer.stderr.split())
        assert "The learning rate is too high" in told
        assert "Epoch 1, step" in told
        assert "on the batch of rows" in told
        assert "confirmed: learning rate divided by 10" in told


def test_a_saved_run_tells_what_was_found_and_what_helped(call: Call, place: Path) -> None:
    wrong = ("train", "digits", "--hidden", 32, "--lr", 1, "--cure", "--out", "wrong")
    trained = call(*wrong)
    assert trained.exit_code == 0
    assert "confirmed: learning rate divided by 1" in trained.stderr
    answer = call("doctor", "wrong")
    assert answer.exit_code == 1
    assert "learning rate" in answer.stdout
    assert "leave --epochs out" in call("doctor", "wrong", "--epochs", "3").stderr
    assert "a single statement" in call("doctor", "select 1;" + " select 1;" * 200).stderr
    assert "confirmed: learning rate divided by 1" in answer.stdout
    found = json.loads(call("doctor", "wrong", "--json").stdout)
    assert found == json.loads((place / "wrong" / "run.json").read_text())["findings"]
    shown = call("show", "wrong").stdout
    assert f"{found[0]['level']} ({found[0]['cause']}): " in shown
    assert found[0]["remedy"] in " ".join(shown.split())
    assert shown.endswith("more    chainrule doctor wrong\n")
    page = (place / "wrong" / "report.html").read_text()
    assert ">Diagnosis<" in page
    assert "<h3>Remedies tried</h3>" in page
    call("train", "iris", "--epochs", "1", "--no-check", "--out", "unchecked")
    answer = call("doctor", "unchecked")
    assert answer.exit_code == 2
    assert "was trained without checks" in answer.stderr
    assert "chainrule doctor" not in call("show", "unchecked").stdout
    assert ">Diagnosis<" not in (place / "unchecked" / "report.html").read_text()
    assert "leave --no-check out" in call("train", "iris", "--cure", "--no-check").stderr


def test_remedies_that_options_make_are_told_as_options(call: Call) -> None:
    told = call("doctor", "wine", "--preprocess", "none").stdout
    assert "on the command line, for unscaled_inputs: --preprocess standardize\n" in told
    told = call("train", "iris", "--lr", 30, "--epochs", 5, "--no-report", "--quiet").stderr
    assert "on the command line, for learning_rate_too_high: --lr 0.03\n" in told
