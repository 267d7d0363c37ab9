"""chainrule activations: every function with a picture, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

import chainrule as cr
from chainrule.cli.activation_table import picture

Call = Callable[..., Result]


def test_every_function_is_shown_with_its_picture_and_advice(call: Call) -> None:
    result = call("activations")
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert max(map(len, shown.splitlines())) <= 80
    folded = " ".join(shown.split())
    for record in cr.activations():
        assert f"y = {record.equation}" in folded
        for line in picture(record).splitlines():
            assert line in shown


def test_some_can_be_asked_for(call: Call) -> None:
    shown = call("activations", "tanh", "relu").stdout
    assert shown.index("tanh") < shown.index("max(0, x)")
    assert "sigmoid" not in shown


def test_json_says_what_the_library_says(call: Call) -> None:
    told = json.loads(call("activations", "--json").stdout)
    assert told == [record.to_json() for record in cr.activations()]


def test_an_unknown_name_is_answered_with_the_nearest(call: Call) -> None:
    result = call("activations", "rely")
    assert result.exit_code == 2
    assert "Did you mean 'relu'?" in result.stderr


def test_pictures_rise_where_the_functions_do() -> None:
    lines = picture(cr.activations().named("maxout")).splitlines()
    assert len(lines) == 3
    assert all(len(line) == 12 for line in lines)
    assert lines[0][0] != "⠀" != lines[0][-1]  # |x| is high at both ends
    assert set(lines[0][3:-3]) == {"⠀"}


def test_a_network_of_maxout_can_be_trained_from_a_table(call: Call) -> None:
    result = call("train", "iris", "--activation", "maxout", "--hidden", "6", "--epochs", "3",
                  "--out", "a")  # fmt: skip
    assert result.exit_code == 0, result.output
    model = cr.load("a").model
    assert [type(layer).__name__ for layer in model.layers] == ["Maxout", "Linear"]  # type: ignore[attr-defined]
