"""``chainrule doctor``, and the checks that ``chainrule train`` makes before its first step."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Call = Callable[..., Result]


def test_a_sound_training_has_nothing_wrong(call: Call) -> None:
    answer = call("doctor", "iris")
    assert answer.exit_code == 0
    assert answer.stdout == "The checks found nothing wrong.\n"


def test_what_is_wrong_is_named_with_its_numbers(call: Call) -> None:
    answer = call("doctor", "iris", "--lr", "30")
    assert answer.exit_code == 1
    assert answer.stdout.startswith("1 finding:\n")
    assert "Divide the learning rate by 10" in " ".join(answer.stdout.split())
    (found,) = json.loads(call("doctor", "iris", "--lr", "30", "--json").stdout)
    assert found["cause"] == "learning_rate_too_high"
    assert found["category"] == "learning_rate"
    assert found["evidence"][0]["value"] > found["evidence"][0]["threshold"]


def test_train_says_so_before_it_trains(call: Call) -> None:
    wrong = ("train", "iris", "--lr", "30", "--epochs", "1", "--no-report")
    assert "Divide the learning rate by 10" in " ".join(call(*wrong).stderr.split())
    assert "Divide the learning rate" not in call(*wrong, "--no-check").stderr
    sound = json.loads(call("train", "iris", "--epochs", "1", "--no-report", "--json").stdout)
    assert sound["findings"] == []
