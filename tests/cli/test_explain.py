"""chainrule explain: the circuit of the notes in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from chainrule import fit, nn

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
        (["x", "x=2", "x=3"], "x is given twice"),
        (["x", "x=two"], "'two' is not a number"),
        (["x", "+", "1"], "'+' is not a value"),
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


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--svg", "a.png"], "a.png: the file is written as SVG; give a name that ends in .svg"),
        (["--html", "a.svg"], "--html a.svg: the file is written as HTML"),
        (["--svg", "a"], "as in a.svg"),
    ],
)
def test_files_are_named_as_what_they_hold(
    call: Call, place: Path, words: list[str], problem: str
) -> None:
    result = call("explain", "x*y", "x=2", "y=1", *words)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())
    assert not list(place.iterdir())


@pytest.mark.parametrize("words", [[""], ["  "], ["", "--row", "1"]])
def test_an_empty_formula_is_told(call: Call, words: list[str]) -> None:
    result = call("explain", *words)
    assert result.exit_code == 2
    assert "the expression is empty" in result.stderr


def test_two_problems_are_told_at_once(call: Call) -> None:
    told = call("explain", "log(x)", "x=-2", "y=0").stderr
    assert "the logarithm of a negative number" in told
    assert "y has a value, but the expression does not use it" in told


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
    assert call("explain", iris, "--row", 50).stdout.startswith("target: setosa")  # the last one
    assert call("explain", iris, "--row", 51).stdout.startswith("target: versicolor")
    data = json.loads(call("explain", iris, "--row", 70, "--json").stdout)
    assert [layer["path"] for layer in data["layers"]] == ["0", "1", "2"]


def test_a_neuron_of_a_run_is_opened(call: Call, iris: str) -> None:
    result = call("explain", iris, "--layer", 0, "--unit", 4)
    assert "Unit 4 of layer 0" in result.stdout
    assert "petal_width_cm" in result.stdout
    neuron = json.loads(call("explain", iris, "--layer", 0, "--unit", 4, "--json").stdout)
    total = sum(x * w for x, w in zip(neuron["inputs"], neuron["weights"], strict=True))
    assert total + neuron["bias"] == pytest.approx(neuron["total"], abs=1e-5)


def test_the_row_is_called_by_its_number_in_the_data(call: Call, iris: str, place: Path) -> None:
    words = ["explain", iris, "--row", 70, "--layer", 0, "--unit", 4]
    assert call(*words).stdout.startswith("Unit 4 of layer 0, row 70 of 150\n")
    told = json.loads(call(*words, "--json").stdout)
    assert (told["row"], told["rows"]) == (70, 150)
    call(*words, "--html", "run.html")
    assert "<h2>Unit 4 of layer 0, row 70</h2>" in (place / "run.html").read_text()


def test_embedded_columns_have_names(call: Call, colors: Path) -> None:
    trained = call("train", colors, "--role", "color=embedded", "--embedding", 3, "--epochs", 1,
                   "--hidden", 4, "--batch-size", 2, "--quiet")  # fmt: skip
    told = call("explain", trained.stdout.strip(), colors, "--layer", 1, "--unit", 2).stdout
    for name in ("color[0]", "color[1]", "color[2]", "size", "weight"):
        assert f"  {name} " in told


def test_a_run_becomes_a_page(call: Call, iris: str, place: Path) -> None:
    result = call("explain", iris, "--layer", 2, "--unit", 0, "--html", "run.html")
    assert (result.exit_code, result.stdout) == (0, "")
    page = (place / "run.html").read_text()
    assert "<p>target: setosa, predicted " in page
    assert "<h2>Unit 0 of layer 2, row 1</h2>" in page
    assert page.count("<svg") >= 8
    again = call("explain", iris, "--html", "run.html")
    assert again.exit_code == 2
    assert "run.html exists" in again.stderr


def test_rows_may_come_from_a_file(call: Call, colors: Path) -> None:
    run = call("train", "colors.csv", "--hidden", 16, "--quiet", "--epochs", 1,
               "--batch-size", 2).stdout.strip()  # fmt: skip
    assert "color=red" in call("explain", run, colors, "--layer", 0, "--unit", 0).stdout
    assert "kind: large, predicted" in call("explain", run, colors, "--row", 5).stdout
    assert "color=red" in call("explain", run, "--layer", 0, "--unit", 0).stdout
    (Path(run) / "config.toml").unlink()
    assert "give the file" in call("explain", run).stderr


def test_a_run_on_arrays_is_explained_in_python(call: Call, place: Path) -> None:
    X = np.eye(4, dtype="float32")
    model = nn.Sequential([nn.Linear(4, 2)])
    run = fit(model, (X, [0, 1, 0, 1]), loss="cross_entropy", epochs=1, progress=False)
    run.save(place / "arrays")
    result = call("explain", "arrays")
    assert result.exit_code == 2
    assert "chainrule.explain(chainrule.load('arrays'), x, y)" in result.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--row", 151], "iris has no row 151: its rows are numbered 1 to 150"),
        (["--row", 0], "0 is not in the range x>=1"),
        (["--layer", 0], "give both --layer and --unit"),
        (["--layer", 0, "--unit", 5], "there is no unit 5"),
        (["--layer", 7, "--unit", 0], "Choose from: 0, 2."),
        (["--html", "colors.csv"], "ends in .html, as in colors.html"),
        (["--svg", "x.svg"], "--svg can be used with an expression only"),
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
        assert "is not a saved run" in result.stderr
