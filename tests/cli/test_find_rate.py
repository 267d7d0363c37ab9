"""chainrule find-lr: a rate for a table, or none with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result

Call = Callable[..., Result]


def test_a_rate_is_found_told_and_drawn(call: Call, place: Path) -> None:
    result = call("find-lr", "iris", "--svg", "rates.svg")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("learning rate: 0.0")
    assert (place / "rates.svg").read_text("utf-8").count("<svg") == 1
    told = json.loads(call("find-lr", "iris", "--json").stdout)
    assert 1e-3 < told["suggestion"] < 0.3
    assert len(told["rates"]) == len(told["losses"])


def test_noise_gives_none_and_status_1(call: Call, place: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a},{b},{c}" for a, b, c in rng.normal(size=(200, 3))]
    (place / "noise.csv").write_text("\n".join(["a,b,y", *rows]) + "\n", "utf-8")
    result = call("find-lr", "noise.csv")
    assert result.exit_code == 1
    assert result.stdout.startswith("learning rate: no suggestion (")


def test_a_chart_is_no_png(call: Call, place: Path) -> None:
    result = call("find-lr", "nothing.csv", "--svg", "lr.png")
    assert result.exit_code == 2
    assert "as in lr.svg" in result.stderr


def test_an_unknown_optimizer_is_told_first(call: Call) -> None:
    result = call("find-lr", "nothing.csv", "--optimizer", "adan")
    assert result.exit_code == 2
    assert "Did you mean 'adam'?" in result.stderr


def test_it_searches_for_the_network_that_train_made(call: Call) -> None:
    assert call("train", "iris", "--hidden", "8", "--norm", "batch", "--no-report").exit_code == 0
    file = "runs/iris-1/config.toml"
    same = json.loads(call("find-lr", "--config", file, "--json").stdout)
    spelled = call("find-lr", "iris", "--hidden", "8", "--norm", "batch", "--json").stdout
    other = json.loads(call("find-lr", "--config", file, "--hidden", "16", "--json").stdout)
    assert same["losses"] == json.loads(spelled)["losses"] != other["losses"]
