"""Bad input: one paragraph that says what, where and what to do; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]

GOOD = "x,kind\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(1, 9, 1))
NUMBERS = "x,y\n" + "".join(f"{k * k},{k / 3}\n" for k in range(1, 9))

FILES = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "is empty"),
    "header only": ("x,kind\n", "no rows"),
    "ragged": (GOOD + "9,a,extra\n", "row 9"),
    "one class": ("x,kind\n1,a\n2,a\n3,a\n", "two classes"),
    "a class with one row": (GOOD + "9,c\n", "'c' of target 'kind' has one row (row 9)"),
    "infinity in y": (NUMBERS + "9,inf\n", "row 9 of target 'y' is infinite"),
    "no target at all": ("x,kind\n1,\n2,\n", "no value in any row"),
    "constant number": ("x,y\n1,2.5\n2,2.5\n3,2.5\n", "2.5 in every row"),
    "nothing to learn from": ("id,kind\n" + "".join(f"q{k},{'ab'[k % 2]}\n" for k in range(9)),
                              "no usable feature"),
    "two columns of one name": ("x,x\n1,2\n3,4\n", "two columns are named"),
    "an open quote": ('x,kind\n1,a\n"2,b\n3,a\n', "quote"),
}  # fmt: skip

OPTIONS = {
    "unknown target": ("--target kinds", "Did you mean 'kind'?"),
    "unknown activation": ("--activation rellu", "Did you mean 'relu'?"),
    "unknown optimizer": ("--optimizer adm", "Did you mean 'adam'?"),
    "unknown task": ("--task guess", "'guess' is not one of"),
    "near option": ("--epoch 3", "no option --epoch. Did you mean --epochs? See 'chainrule"),
    "rate as elsewhere": ("--learning-rate 0.1", "no option --learning-rate. It is called --lr"),
    "epochs as elsewhere": ("--max-iter 3", "no option --max-iter. It is called --epochs"),
    "hidden as elsewhere": ("--hidden-layer-sizes 3", "It is called --hidden here"),
    "device": ("--device cpu", "chainrule runs on the CPU"),
    "unknown option": (
        "--bogus",
        "error: there is no option --bogus. See 'chainrule train --help'",
    ),
    "hidden 0": ("--hidden 0", "--hidden"),
    "hidden negative": ("--hidden=-3", "--hidden"),
    "hidden no number": ("--hidden 12,x", "'x' is not a number of units"),
    "hidden with a hole": ("--hidden 12,,3", "--hidden"),
    "epochs 0": ("--epochs 0", "--epochs"),
    "epochs no number": ("--epochs many", "'many' is not a valid integer"),
    "batch 0": ("--batch-size 0", "--batch-size"),
    "rate 0": ("--lr 0", "--lr"),
    "rate negative": ("--lr=-0.1", "above 0"),
    "rate nan": ("--lr nan", "above 0"),
    "rate infinite": ("--lr inf", "above 0"),
    "fraction below 0": ("--test-fraction -0.1", "from 0 to below 1"),
    "fraction 1": ("--test-fraction 1", "from 0 to below 1"),
    "fraction nan": ("--test-fraction nan", "from 0 to below 1"),
    "seed negative": ("--seed=-1", "--seed"),
    "threads 0": ("--threads 0", "--threads"),
    "unknown engine": ("--engine gpu", "'gpu' is not one of"),
    "devices 0": ("--devices 0", "from 1, or all, not '0'"),
}


def refused(result: Result, place: Path, *parts: str) -> None:
    """Assert one paragraph on standard error, status 2, and no run."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
    assert not (place / "runs").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named(name: str, call: Call, place: Path) -> None:
    content, message = FILES[name]
    (place / "t.csv").write_text(content)
    refused(call("train", "t.csv"), place, "t.csv", message)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_option_is_named(name: str, call: Call, place: Path) -> None:
    words, message = OPTIONS[name]
    (place / "t.csv").write_text(GOOD)
    refused(call("train", "t.csv", *words.split()), place, message)


def test_a_missing_value_in_the_target_is_left_out_and_said(call: Call, place: Path) -> None:
    (place / "t.csv").write_text(GOOD + "9,NaN\n")
    result = call("train", "t.csv", "--epochs", 1)
    assert result.exit_code == 0
    assert "without a value of `kind`" in " ".join(result.stdout.split())


def test_a_missing_file_suggests_the_near_one(call: Call, place: Path) -> None:
    (place / "houses.csv").write_text(GOOD)
    refused(call("train", "house.csv"), place, "house.csv does not exist", "'houses.csv'")
    refused(call("train", "nowhere/house.csv"), place, "no directory nowhere")


def test_a_near_name_of_a_data_set_is_suggested(call: Call, place: Path) -> None:
    refused(call("train", "digit"), place, "Did you mean 'digits'?")


def test_bad_sql_is_told(call: Call, place: Path) -> None:
    (place / "t.csv").write_text(GOOD)
    refused(call("train", "select z from 't.csv'"), place, "z")
    refused(call("train", "select * from 'u.csv'"), place, "u.csv does not exist")


def test_an_unknown_command_suggests_the_near_one(call: Call, place: Path) -> None:
    refused(call("trian", "digits"), place, "'trian'", "Did you mean 'train'?")


def test_a_missing_argument_is_named(call: Call, place: Path) -> None:
    refused(call("train"), place, "SOURCE", "chainrule train --help")
    refused(call("predict", "a"), place, "DATA", "chainrule predict --help")
