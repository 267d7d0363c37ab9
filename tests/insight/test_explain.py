"""cr.explain of formulas and tensors: every number against differences, and said right."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.errors import DTypeError, GraphError, OptionError, ShapeError
from chainrule.insight.explain.explanation import Explanation, explain
from chainrule.insight.explain.expression import MOST_CHARACTERS, MOST_DEPTH

CIRCUIT = "1/(1+exp(-(w0*x0+w1*x1+w2)))"
GIVEN = {"w0": 2, "x0": -1, "w1": -3, "x1": -2, "w2": -3}
FORMULAS: list[tuple[str, dict[str, float]]] = [
    (CIRCUIT, GIVEN),
    ("x*y + x", {"x": 2, "y": 3}),
    ("(x + y) * (x - y) / (x**2 + y**2)", {"x": 1.5, "y": -0.5}),
    ("max(x, y) * min(x, y, z)", {"x": 2, "y": -4, "z": 1}),
    ("tanh(w*x) - sigmoid(b)**2", {"w": 0.3, "x": 2, "b": -1}),
    ("log(1 + exp(-t*z))", {"t": 1, "z": 0.5}),
    ("sqrt(x**2 + y**2)", {"x": 3, "y": 4}),
    ("sin(x)*cos(y) + abs(x*y)", {"x": 0.7, "y": -1.1}),
    ("x**y", {"x": 2, "y": 3.5}),
    ("softplus(x) + gelu(x) + silu(x) + elu(-x)", {"x": 0.8}),
    ("relu(w*x + b) * leaky_relu(-x)", {"w": 1.2, "x": 0.9, "b": 0.1}),
    ("exp(-x**2/2) / sqrt(2*pi) + erf(x) + expm1(x) + log1p(x)", {"x": 0.4}),
    ("square(x - e) * 1e-3 + floor(x)*x + sign(y)*y", {"x": 2.5, "y": -3}),
]
PYTHON: dict[str, Any] = {
    "abs": abs, "max": max, "min": min, "pi": math.pi, "e": math.e,
    **{name: getattr(math, name) for name in
       ("exp", "log", "sin", "cos", "tanh", "sqrt", "erf", "expm1", "log1p", "floor")},
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x: max(x, 0.01 * x), "softplus": lambda x: math.log1p(math.exp(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2, "square": lambda x: x * x,
    "silu": lambda x: x / (1 + math.exp(-x)), "elu": lambda x: x if x > 0 else math.expm1(x),
    "sign": lambda x: math.copysign(1, x),
}  # fmt: skip


def test_the_circuit_of_the_notes() -> None:
    e = explain(CIRCUIT, **GIVEN)
    assert round(e.value, 4) == 0.7311
    assert {name: round(g, 4) for name, g in e.gradients.items()} == {
        "w0": -0.1966, "x0": 0.3932, "w1": -0.3932, "x1": -0.5898, "w2": 0.1966,
    }  # fmt: skip
    text = str(e)
    for line in (
        "v4 = v3 + w2 = 4 + (-3) = 1",
        "v6 = exp(v5) = exp(-1) = 0.3679",
        "f = 1 / v7 = 1 / 1.368 = 0.7311",
        "v7 receives 1 × (-1 / v7**2) = 1 × (-0.5344) = -0.5344",
        "v5 receives -0.5344 × v6 = -0.5344 × 0.3679 = -0.1966",
        "x1 receives 0.1966 × w1 = 0.1966 × (-3) = -0.5898",
    ):
        assert line in text
    backward = text[text.index("Backward") :]
    order = [backward.index(f"  {name} ") for name in ("f", "v7", "v6", "v5", "v4", "v3")]
    assert order == sorted(order)


@pytest.mark.parametrize(("text", "values"), FORMULAS, ids=[text for text, _ in FORMULAS])
def test_every_number_is_right(text: str, values: dict[str, float]) -> None:
    e = explain(text, **values)

    def compute(**changed: float) -> float:
        return float(eval(text, PYTHON, {**values, **changed}))

    assert e.value == pytest.approx(compute(), rel=1e-12)
    assert set(e.gradients) == set(values)
    for name, slope in e.gradients.items():
        h = 1e-6
        up, down = compute(**{name: values[name] + h}), compute(**{name: values[name] - h})
        assert slope == pytest.approx((up - down) / (2 * h), abs=1e-7)
    checks = e.check()
    assert all(check.agrees and not check.kink for check in checks.values())
    assert set(checks) == {step.name for step in e.steps if step.gradient is not None}
    for step in e.steps:
        for edge in e.from_(step):
            assert edge.local is not None
            assert step.gradient is not None
            assert edge.contribution == pytest.approx(step.gradient * edge.local, rel=1e-12)
        if step.gradient is not None and step.index != e.output:
            parts = [edge.contribution for edge in e.into(step)]
            assert step.gradient == pytest.approx(sum(parts), abs=1e-12)


def test_a_wrong_gradient_does_not_agree() -> None:
    e = explain("x*y", x=2, y=3)
    steps = tuple(
        replace(s, gradient=s.gradient * 1.01) if s.name == "x" and s.gradient is not None else s
        for s in e.steps
    )
    checks = replace(e, steps=steps).check()
    assert not checks["x"].agrees
    assert checks["y"].agrees


def test_paths_that_meet_add_up() -> None:
    text = str(explain("x*y + x", x=2, y=3))
    assert "4 = 1 from f + 3 from v1" in text or "4 = 3 from v1 + 1 from f" in text
    e = explain("x*x", x=3)
    assert [edge.position for edge in e.into(e["x"])] == [0, 1]
    assert e.gradients["x"] == 6


def test_a_kink_is_told_apart_from_an_error() -> None:
    checks = explain("max(x, y)", x=1, y=1).check()
    assert checks["x"].kink  # a tie: the half that each receives is the mean of both slopes
    assert checks["x"].agrees
    checks = explain("relu(x)", x=0).check()
    assert checks["x"].kink
    assert not checks["x"].agrees
    assert not explain("1000000*x**2", x=0).check()["x"].kink
    assert "a kink" in explain("abs(x)", x=0).tell(checks=explain("abs(x)", x=0).check())


def test_data_for_json_hold_every_number() -> None:
    e = explain(CIRCUIT, **GIVEN)
    data = json.loads(json.dumps(e.to_dict(e.check()), allow_nan=False))
    assert data["value"] == e.value
    assert data["gradients"] == e.gradients
    [v6] = [s for s in data["steps"] if s["name"] == "v6"]
    assert CIRCUIT[slice(*v6["span"])] == "exp(-(w0*x0+w1*x1+w2))"
    assert v6["sends"][0]["rule"] == "v6"
    assert v6["agrees"]
    contribution = v6["gradient"] * v6["sends"][0]["local"]
    assert v6["sends"][0]["contribution"] == pytest.approx(contribution)


@pytest.mark.parametrize(
    ("text", "values", "problem", "column"),
    [
        ("sgmoid(x)", {"x": 1}, "Did you mean 'sigmoid'", 0),
        ("a + weigth", {"a": 1, "weight": 1}, "Did you mean 'weight'", 4),
        ("a + b", {"a": 1}, "add b=NUMBER", 4),
        ("a*b - c*a", {"c": 1}, "'a', 'b' have no value; add a=NUMBER b=NUMBER.", 0),
        ("exp(a) + a(2) + pi*max(b, e)", {}, "add a=NUMBER b=NUMBER.", 4),
        ("2 * (x + 1", {"x": 1}, "never closed", 4),
        ("(x + 1))", {"x": 1}, "never opened", 7),
        ("()", {}, "the brackets are empty", 1),
        ("2x", {"x": 1}, "for a product, write", 1),
        ("2(x)", {"x": 1}, "for a product, write", 1),
        ("x ^ 2", {"x": 1}, "write **", 2),
        ("x < 2", {"x": 1}, "no meaning", 2),
        ("x.real", {"x": 1}, "no meaning", 1),
        ("__import__('os')", {}, "no meaning", 11),
        ("eval(x)", {"x": 1}, "no function 'eval'", 0),
        ("x[0]", {"x": 1}, "round brackets", 1),
        ("x = 2", {"x": 1}, "as in x=2", 2),
        ("x +", {"x": 1}, "the expression ends", 3),
        ("x + * 2", {"x": 1}, "there is '*'", 4),
        ("x, 1", {"x": 1}, "only between the inputs", 1),
        ("exp(x, 1)", {"x": 1}, "takes one input", 5),
        ("max(x)", {"x": 1}, "two inputs", 0),
        ("1 + exp", {"x": 1}, "is a function", 4),
        ("1 / (x - 1)", {"x": 1}, "a division by zero", 2),
        ("1 + log(a*b)", {"a": 1, "b": -1}, "logarithm of a negative number, of -1", 4),
        ("log(x)", {"x": 0}, "logarithm of zero", 0),
        ("sqrt(x)", {"x": -4}, "root of a negative number", 0),
        ("sqrt(x)", {"x": 0}, "no finite slope at x = 0", 0),
        ("x ** 0.5", {"x": -1}, "not an integer", 2),
        ("x ** -1", {"x": 0}, "zero to a negative power", 2),
        ("x ** y", {"x": -2, "y": 2}, "no derivative with respect to its exponent", 2),
        ("1 + exp(x)", {"x": 1000}, "too large", 4),
        ("1e999 * x", {"x": 1}, "too large", 0),
    ],
)  # fmt: skip
def test_errors_point_at_their_place(
    text: str, values: dict[str, float], problem: str, column: int
) -> None:
    with pytest.raises(OptionError) as caught:
        explain(text, **values)
    message, line, caret = str(caught.value).split("\n")
    assert problem in message
    assert line == f"  {text}"
    assert caret.index("^") == column + 2


@pytest.mark.parametrize(
    ("text", "values", "problem"),
    [
        ("x", {"x": 1, "y": 2}, "y has a value, but the expression does not use it"),
        ("x", {"x": math.inf}, "must be a finite number"),
        ("x", {"x": "two"}, "must be a finite number, not 'two'"),
        ("1 + 2", {}, "no names"),
        ("", {}, "the formula is empty"),
        ("1 +", {}, "the expression ends"),
        ("x" * (MOST_CHARACTERS + 1), {}, "at most 2,000"),
        ("(" * (MOST_DEPTH + 1) + "x" + ")" * (MOST_DEPTH + 1), {"x": 1}, "50 nested levels"),
        ("-" * (MOST_DEPTH + 1) + "x", {"x": 1}, "50 nested levels"),
        ("x**" * (MOST_DEPTH + 1) + "x", {"x": 1}, "50 nested levels"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    text: str, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(OptionError, match=problem):
        explain(text, **values)


def test_a_place_in_a_long_line_is_shown() -> None:
    with pytest.raises(OptionError) as caught:
        explain("x+" * 200 + "?" + "+x" * 200, x=1)
    _, line, caret = str(caught.value).split("\n")
    assert len(line) <= 80
    assert line[caret.index("^")] == "?"


def test_names_that_are_taken_are_left_to_the_user() -> None:
    e = explain("f*v1 + exp(v2)", f=2, v1=3, v2=0)
    assert e["out"].value == 7
    assert e["u1"].formula == "f * v1"
    assert repr(e) == str(e)


def test_the_longest_chain_is_walked() -> None:
    e = explain("+".join(["x"] * 1000), x=1)
    assert e.gradients["x"] == 1000
    assert "more" in str(e)


@given(st.recursive(
    st.sampled_from(["x", "y", "2", "0.5", "pi"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(" ".join),
        inner.map("-({})".format), inner.map("({})".format), inner.map("tanh({})".format),
        st.tuples(inner, inner).map("max({0[0]}, {0[1]})".format),
    ),
    max_leaves=8,
))  # fmt: skip
def test_any_formula_is_read_as_python_reads_it(text: str) -> None:
    values = {n: v for n, v in (("x", 1.25), ("y", -0.75)) if re.search(rf"\b{n}\b", text)}
    if values:
        expected = float(eval(text, PYTHON, dict(values)))
        assert explain(text, **values).value == pytest.approx(expected, rel=1e-12, abs=1e-12)


# --- tensors ------------------------------------------------------------------------------


def test_names_of_tensors_are_the_users() -> None:
    w, x = cr.tensor(2.0), cr.tensor(-1.0)
    e = cr.explain(cr.sigmoid(w * x), w=w, x=x)
    assert isinstance(e, Explanation)
    assert {k: round(v, 4) for k, v in e.gradients.items()} == {"w": -0.105, "x": 0.21}
    assert e["v1"].formula == "w * x"
    alone = explain(cr.sigmoid(w * x))
    assert sorted(alone.gradients.values()) == sorted(e.gradients.values())


def test_what_was_not_chosen_is_told_to_receive_nothing() -> None:
    x = cr.input("x", (), "float64")
    e = explain(cr.where(x > 0, cr.log(x), 0.0) * 3, x=0.0)
    assert e.gradients["x"] == 0
    assert "the other none, whatever its value" in " ".join(str(e).split())


def test_arrays_are_walked_as_grad_walks_them() -> None:
    rng = np.random.default_rng(0)
    W = cr.Parameter((3, 2), lambda shape, g: g.normal(size=shape), "float64", "W")
    b = cr.Parameter((2,), lambda shape, g: g.normal(size=shape), "float64", "b")
    x = cr.input("x", ("n", 3), "float64")
    loss = (cr.relu(x @ W + b) ** 2).mean()
    X = rng.normal(size=(5, 3))
    e = explain(loss, x=X)
    slopes = cr.grad(loss, [W, b, x])
    outputs = {"W": slopes[0].node, "b": slopes[1].node, "x": slopes[2].node}
    expected = cr.evaluate(cr.Graph(outputs, {"x": x.node}), {"x": X})
    assert set(e.gradients) == {"W", "b", "x"}
    for name, slope in e.gradients.items():
        assert np.array_equal(slope, expected[name])
    assert all(check.agrees for check in e.check().values())
    assert "W = (3×2, norm" in str(e)
    assert "W receives x.T @ upstream = (3×2, norm" in str(e)
    assert "b receives" in str(e)
    assert " / 10 = " in str(e)  # a mean divides by the count
    with pytest.raises(KeyError, match="no step is called 'V'; there are"):
        e["V"]


def test_what_has_no_walk_is_refused() -> None:
    x = cr.input("x", (3,))
    with pytest.raises(ShapeError, match="starts from a scalar"):
        explain(x * 2)
    with pytest.raises(DTypeError, match="float output"):
        explain(cr.tensor(3))
    with pytest.raises(GraphError, match="has no value"):
        explain(x.sum())
    with pytest.raises(OptionError, match="not a list"):
        explain([1])
