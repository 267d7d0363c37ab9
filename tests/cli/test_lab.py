"""chainrule lab: the claims are listed, run, written and suggested."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import chainrule.lab.claims  # noqa: F401 - enters the claims
from chainrule.lab import experiment

Call = Callable[..., Result]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two quick claims, so that --all is soon done."""
    kept = {name: experiment.CLAIMS[name] for name in ("maxout", "tanh-centered")}
    monkeypatch.setattr("chainrule.cli.lab_command.CLAIMS", kept)


def test_the_claims_are_listed(call: Call) -> None:
    result = call("lab")
    assert result.exit_code == 0
    assert "dead-relu" in result.stdout
    assert "Leaky ReLU and ELU units do not die" in result.stdout
    listed = json.loads(call("lab", "--json").stdout)
    assert {one["name"] for one in listed} == set(experiment.CLAIMS)


def test_a_claim_is_run_and_drawn(call: Call, place: Path) -> None:
    result = call("lab", "tanh-centered", "--quick", "--out", "figures")
    assert result.exit_code == 0, result.output
    assert "verdict: holds when: inputs are centered" in result.stdout
    assert "not hold when: inputs are shifted by 1" in " ".join(result.stdout.split())
    assert "def tanh_centered(budget: Budget)" in result.stdout
    assert "3 seeds" in result.stdout
    assert (place / "figures" / "tanh-centered.svg").read_text("utf-8").count("<svg") == 1
    page = (place / "figures" / "tanh-centered.html").read_text("utf-8")
    assert "Verdict: holds" in page
    assert "<svg" in page


def test_numbers_for_programs(call: Call) -> None:
    result = call("lab", "maxout", "--quick", "--seeds", "2", "--json")
    (told,) = json.loads(result.stdout)
    assert (told["name"], told["seeds"], told["verdict"].split(":")[0]) == (
        "maxout",
        2,
        "holds in each case",
    )
    assert told["effects"][3]["mean"] == 2.0
    assert told["command"] == "chainrule lab maxout --quick --seeds 2"


def test_code_can_be_left_out(call: Call) -> None:
    result = call("lab", "tanh-centered", "--quick", "--no-code")
    assert "def tanh_centered" not in result.stdout


@pytest.mark.usefixtures("few")
def test_all_of_them_become_a_page(call: Call, place: Path) -> None:
    result = call("lab", "--all", "--quick")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Runs 2 claims, then writes docs/claims.md")
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "maxout",
        "tanh-centered",
    ]
    document = (place / "docs" / "claims.md").read_text("utf-8")
    assert "| [maxout](#maxout) |" in document
    assert "(claims/tanh-centered.svg)" in document
    assert (place / "docs" / "claims" / "maxout.svg").is_file()
    assert call("lab", "--all", "--quick").exit_code == 0  # its own page is replaced


@pytest.mark.usefixtures("few")
def test_the_page_of_another_hand_is_kept(call: Call, place: Path) -> None:
    (place / "claims.md").write_text("mine", "utf-8")
    result = call("lab", "--all", "--quick", "--out", ".")
    assert result.exit_code == 2
    assert "did not write it" in result.stderr
    assert (place / "claims.md").read_text("utf-8") == "mine"


def test_near_names_are_suggested(call: Call) -> None:
    result = call("lab", "leeky-relu")
    assert result.exit_code == 2
    assert "Did you mean 'leaky-relu'?" in result.stderr
    assert call("lab", "maxout", "--all").exit_code == 2


def test_a_folder_that_cannot_be_made_is_told_before_the_work(call: Call, place: Path) -> None:
    (place / "taken").write_text("a file", "utf-8")
    result = call("lab", "maxout", "--quick", "--out", "taken")
    assert result.exit_code == 2
    assert "the folder taken can't be made" in result.stderr
    assert result.stdout == ""


def test_help_has_examples(call: Call) -> None:
    assert "chainrule lab dead-relu" in call("lab", "--help").stdout
