"""The command features: on a run's own data, on other data, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import nn
from chainrule.data.builtin import load
from chainrule.tabular.problem import read_problem
from chainrule.train.run import load as load_run

Call = Callable[..., Result]


@pytest.fixture
def houses(place: Path, call: Call) -> Path:
    """Return the directory of a run trained on a file of the place."""
    rng = np.random.default_rng(0)
    size, rooms = rng.uniform(40, 200, 120), rng.integers(1, 6, 120)
    rows = [
        f"{s:.1f},{r},{'big' if s > 120 else 'small'}" for s, r in zip(size, rooms, strict=True)
    ]
    (place / "houses.csv").write_text("size,rooms,kind\n" + "\n".join(rows) + "\n")
    words = (
        "--target",
        "kind",
        "--hidden",
        "8",
        "--epochs",
        "5",
        "--quiet",
        "--test-fraction",
        "0.3",
    )
    assert call("train", "houses.csv", *words, "--out", "run").exit_code == 0
    return place / "run"


def test_a_run_finds_its_own_data_and_split(houses: Path, call: Call) -> None:
    result = call("features", houses)
    assert result.exit_code == 0, result.output
    assert "probe accuracy" in result.stdout
    found = json.loads(call("features", houses, "--json").stdout)
    trained = json.loads((houses / "metrics.json").read_text())["rows"]
    assert found["rows"] == trained["train"]
    assert {p["held_out"] for p in found["probes"]} == {trained["test"]}
    assert [layer["path"] for layer in found["layers"]] == ["0", "1", "2"]
    assert len(found["gradients"]) == 3


def test_pages_are_written_once(houses: Path, call: Call, place: Path) -> None:
    result = call("features", houses, "--out", "layers.html")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Hidden layers of houses" in (place / "layers.html").read_text()
    again = call("features", houses, "--out", "layers.html")
    assert again.exit_code != 0
    assert "--force" in again.stderr
    assert call("features", houses, "--out", "layers.html", "--force").exit_code == 0


def test_one_unit_is_told(houses: Path, call: Call, place: Path) -> None:
    result = call("features", houses, "--layer", "1", "--unit", "3")
    assert "unit 3 of layer 1 (ReLU)" in result.stdout
    units = call("features", houses, "--layer", "1").stdout
    assert "Units of layer 1 of" in units
    assert "spread" in units
    assert "gradient" in units
    assert call("features", houses, "--layer", "1", "--unit", "3", "--out", "u.html").exit_code == 0
    page = (place / "u.html").read_text()
    assert "rooms" in page
    assert (
        json.loads(call("features", houses, "--layer", 1, "--unit", 3, "--json").stdout)["unit"]
        == 3
    )


def test_other_data_are_looked_at_by_name(houses: Path, call: Call, place: Path) -> None:
    (place / "new.csv").write_text(
        "rooms,size\n" + "\n".join(f"{k % 5},{60 + k}" for k in range(30))
    )
    result = call("features", houses, "new.csv")
    assert result.exit_code == 0, result.output
    assert "30 rows" in result.stdout
    assert "probe" not in result.stdout  # it has no targets


def test_a_data_set_is_found_by_name(call: Call, place: Path) -> None:
    assert (
        call("train", "iris", "--hidden", "4", "--epochs", "2", "--quiet", "--out", "r").exit_code
        == 0
    )
    (place / "r" / "config.toml").unlink()
    assert "102 rows" in call("features", "r").stdout
    assert "150 rows" in call("features", "r", "iris").stdout


def test_rows_have_their_numbers_in_the_data(call: Call, place: Path) -> None:
    assert call("train", "iris", "--hidden", "4", "--epochs", "2", "--out", "r").exit_code == 0
    iris = load("iris")
    run = load_run("r")
    sums = run.pipeline.transform(iris.to_table()) @ run.model[0].weight.value[:, 1]
    by_own = json.loads(call("features", "r", "--layer", 0, "--unit", 1, "--json").stdout)
    by_all = json.loads(call("features", "r", "iris", "--layer", 0, "--unit", 1, "--json").stdout)
    assert by_all["most"] == (1 + np.argsort(-sums, kind="stable")[:8]).tolist()
    train = 1 + read_problem("iris").train_rows
    mine = train[np.argsort(-sums[train - 1], kind="stable")[:8]]
    assert by_own["most"] == mine.tolist()
    assert set(by_own["most"]) <= set(train.tolist())


def test_what_can_not_be_is_refused(houses: Path, call: Call, place: Path) -> None:
    for words, said in (
        (("--layer", "1", "--json"), "--unit"),
        (("--layer", "1", "--out", "a.html"), "--unit"),
        (("--unit", "1"), "--layer"),
        (("--layer", "9", "--unit", "1"), "no layer '9'"),
        (("--layer", "1", "--unit", "99"), "units 0 to 7"),
        (("--out", "x.png"), ".html"),
    ):
        result = call("features", houses, *words)
        assert result.exit_code != 0
        assert said in result.stderr
        assert "Traceback" not in result.stderr


def test_data_that_are_gone_or_others_now_are_asked_for(
    houses: Path, call: Call, place: Path
) -> None:
    text = (place / "houses.csv").read_text()
    (place / "houses.csv").write_text(text + "55,3,small\n" * 7)
    result = call("features", houses)
    assert result.exit_code != 0
    assert "DATA" in result.stderr
    (place / "houses.csv").unlink()
    result = call("features", houses)
    assert result.exit_code != 0
    assert "Give DATA" in result.stderr


def test_a_run_of_arrays_is_looked_at_in_python(call: Call, place: Path) -> None:
    X = np.eye(8, 3, dtype="float32")
    model = nn.Sequential([nn.Linear(3, 2)])
    run = cr.fit(model, (X, np.arange(8) % 2), loss="cross_entropy", epochs=1, progress=False)
    run.save("plain")
    result = call("features", "plain")
    assert result.exit_code != 0
    assert "chainrule.features" in result.stderr
