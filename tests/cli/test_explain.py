"""chainrule explain: the circuit of the notes in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]
CIRCUIT = ["1/(1+exp(-(w0*x0+w1*x1+w2)))", "w0=2", "x0=-1", "w1=-3", "x1=-2", "w2=-3"]


def test_the_circuit_is_walked(call: Call) -> None:
    result = call("explain", *CIRCUIT)
    assert result.exit_code == 0
    assert "w0      2  -0.1966" in result.stdout
    assert all(len(line) <= 96 for line in result.stdout.splitlines())
    data = json.loads(call("explain", *CIRCUIT, "--json").stdout)
    assert round(data["gradients"]["x0"], 4) == 0.3932


def test_digits_and_check(call: Call) -> None:
    result = call("explain", "--check", "--digits", 6, "x*y", "x=2", "y = 3.5e-1")
    assert result.exit_code == 0
    assert "3 of 3 gradients agree with central differences." in result.stdout
    assert "0.35" in result.stdout


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["x", "x=2", "x=3"], "x has two values"),
        (["x", "x=two"], "'two' is no number"),
        (["x", "+", "1"], "'+' is no value"),
        (["x", "x=2", "--jsn"], "Did you mean '--json'?"),
        (["1/x", "x=0"], "a division by zero, of 1 and 0.\n  1/x\n   ^\n"),
    ],
)
def test_errors_are_paragraphs(call: Call, words: list[str], problem: str) -> None:
    result = call("explain", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert problem in result.stderr


def test_pictures_are_written_once(call: Call, place: Path) -> None:
    result = call("explain", *CIRCUIT, "--svg", "c.svg", "--html", "c.html")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "wrote c.svg\nwrote c.html\n"
    assert (place / "c.svg").read_text().startswith("<svg")
    assert "frames" in (place / "c.html").read_text()
    again = call("explain", *CIRCUIT, "--svg", "c.svg")
    assert again.exit_code == 2
    assert "c.svg exists" in again.stderr
    assert call("explain", *CIRCUIT, "--svg", "c.svg", "--force").exit_code == 0


def test_an_expression_may_begin_with_a_minus(call: Call) -> None:
    assert "-4" in call("explain", "-x*2", "x=2").stdout


def test_names_may_be_those_of_arguments(call: Call) -> None:
    result = call("explain", "what*loss + self*y", "what=2", "loss=3", "self=4", "y=5")
    assert result.exit_code == 0
    assert "26" in result.stdout


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture
def iris(call: Call) -> str:
    return call("train", "iris", "--quiet", "--epochs", 2, "--hidden", "5").stdout.strip()


def test_a_run_is_explained_on_a_row_of_its_data_set(call: Call, iris: str) -> None:
    result = call("explain", iris, "--row", 70)
    assert result.exit_code == 0
    assert result.stdout.startswith("target: versicolor, predicted ")
    assert "Linear(4, 5)" in result.stdout
    data = json.loads(call("explain", iris, "--row", 70, "--json").stdout)
    assert [layer["path"] for layer in data["layers"]] == ["0", "1", "2"]


def test_a_neuron_of_a_run_is_opened(call: Call, iris: str) -> None:
    result = call("explain", iris, "--layer", 0, "--unit", 4)
    assert "Unit 4 of layer 0" in result.stdout
    assert "petal_width_cm" in result.stdout
    neuron = json.loads(call("explain", iris, "--layer", 0, "--unit", 4, "--json").stdout)
    total = sum(x * w for x, w in zip(neuron["inputs"], neuron["weights"], strict=True))
    assert total + neuron["bias"] == pytest.approx(neuron["total"], abs=1e-5)


def test_a_run_becomes_a_page(call: Call, iris: str, place: Path) -> None:
    result = call("explain", iris, "--layer", 2, "--unit", 0, "--html", "run.html")
    assert (result.exit_code, result.stdout) == (0, "")
    page = (place / "run.html").read_text()
    assert "<p>target: setosa, predicted " in page
    assert "<h2>Unit 0 of layer 2, row 0</h2>" in page
    assert page.count("<svg") >= 8


def test_rows_may_come_from_a_file(call: Call, colors: Path) -> None:
    run = call("train", "colors.csv", "--quiet", "--epochs", 1, "--batch-size", 2).stdout.strip()
    assert "color=red" in call("explain", run, colors, "--layer", 0, "--unit", 0).stdout
    assert "kind: large, predicted" in call("explain", run, colors, "--row", 5).stdout
    assert "name the file" in call("explain", run).stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--row", 150], "iris has no row 150: its 150 rows are numbered 0 to 149"),
        (["--layer", 0], "--layer and --unit go together"),
        (["--layer", 0, "--unit", 5], "there is no unit 5"),
        (["--layer", 7, "--unit", 0], "Choose from: 0, 2."),
        (["--html", "colors.csv"], "colors.csv exists"),
        (["--svg", "x.svg"], "--svg is for an expression only"),
        (["a.csv", "b.csv"], "one file or SQL"),
    ],
)
@pytest.mark.usefixtures("colors")
def test_what_does_not_fit_a_run(call: Call, iris: str, words: list[str], problem: str) -> None:
    result = call("explain", iris, *words)
    assert result.exit_code == 2
    assert problem in result.stderr


def test_a_run_that_is_not_there(call: Call, iris: str) -> None:
    for words in (["runs/iris-2"], ["runs/iris-2", "--row", 1], ["x", "x=2", "--row", 1]):
        result = call("explain", *words)
        assert result.exit_code == 2
        assert "is no saved run" in result.stderr
