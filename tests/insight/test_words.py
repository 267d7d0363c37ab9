"""What is said of each operation is what it does: formulas and slopes, held to the registry."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.primitive import registry
from chainrule.core.tensor import record, tensor
from chainrule.insight.explain.walk import walk
from chainrule.insight.explain.words import description
from chainrule.insight.render.text import number
from chainrule.transform.grad import grad

# NumPy's functions by name, and what it lacks, said in Python.
NAMES: dict[str, Any] = {name: getattr(np, name) for name in registry if hasattr(np, name)} | {
    "max": max, "min": min, "erf": math.erf, "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0), "pi": math.pi,
}  # fmt: skip
ELEMENTWISE = sorted(name for name, p in registry.items() if p.elementwise and p.domain is not None)


def test_an_operation_without_a_description_gets_a_general_one() -> None:
    assert description("some new one").formula == "some new one({})"
    assert "own gradient rule" in description("some new one").words


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_formulas_and_slopes_say_what_is_computed(name: str) -> None:
    primitive = registry[name]
    arrays, params = primitive.domain(np.random.default_rng(0))  # type: ignore[misc]
    chosen = [np.asarray(a).reshape(-1)[1] for a in arrays]
    if name == "stop_gradient":
        assert description(name).slopes == ("",)
        return
    out = record(primitive, *(tensor(np.asarray(value)) for value in chosen), **params)
    told = description(name)
    given = dict(zip("abc", (c.item() for c in chosen), strict=False))
    if "logical" in name:
        assert eval(told.formula, NAMES, given) == bool(out.numpy())
    else:
        assert eval(told.formula, NAMES, given) == pytest.approx(float(out), abs=1e-12)
    if out.dtype.kind != "f" or name in ("sign", "floor"):
        assert not any(told.slopes)
        return
    edges = {edge.position: edge for edge in walk(out).edges}
    assert len(told.slopes) == len(arrays)
    for position, rule in enumerate(told.slopes):
        assert bool(rule) == (position in edges)
        if rule:
            value = eval(rule, NAMES, {**given, "out": float(out)})
            assert value == pytest.approx(float(edges[position].contribution), abs=1e-12)


def test_words_use_no_letter_that_a_user_may_have_given_another_meaning() -> None:
    for name, primitive in registry.items():
        told = primitive.description
        if told is None:
            continue
        for text in (told.words, told.others):
            assert not re.search(r"\b(?!a )[a-z]\b|\bout\b[^ ]|\bout ·", text), (name, text)


@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE) - {"cast"}))
def test_every_elementwise_operation_can_be_used_in_a_formula(name: str) -> None:
    """An operation of one to three inputs needs nothing but its record for that."""
    primitive = registry[name]
    assert primitive.description is not None, f"{name} has no description"
    assert primitive.description.formula
    assert primitive.description.words
    arrays, _ = primitive.domain(np.random.default_rng(0))  # type: ignore[misc]
    values = [float(np.asarray(a).reshape(-1)[1]) for a in arrays]
    names = list("xyz"[: len(values)])
    # A boolean input is a comparison, and a boolean result picks a branch, as in any formula.
    given = [
        f"less(0, {letter})" if np.asarray(a).dtype == bool else letter
        for letter, a in zip(names, arrays, strict=True)
    ]
    out = record(primitive, *(np.asarray(a).reshape(-1)[1] for a in arrays))
    call = f"{name}({', '.join(given)})"
    text = f"where({call}, 2 * x, 3 * x)" if out.dtype == bool else f"{call} + 0 * x"
    found = cr.explain(text, **dict(zip(names, values, strict=True)))
    want = (2 if bool(out.numpy()) else 3) * values[0] if out.dtype == bool else float(out)
    assert found.value == pytest.approx(want, abs=1e-6)
    told = str(found)
    assert primitive.description.say({0}) in " ".join(told.split()) or not any(
        primitive.description.slopes
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [("arctan(x, x)", "arctan takes one input"), ("pow(x)", "pow takes two inputs"),
     ("where(x, 1, x)", "the condition must be boolean"), ("where(less(x, 1), x)", "takes three"),
     ("logical_not(x)", "needs booleans"), ("log2(x - 1)", "the logarithm of zero, of 0")],
)  # fmt: skip
def test_a_function_says_which_inputs_it_takes(text: str, problem: str) -> None:
    with pytest.raises(cr.OptionError, match=problem):
        cr.explain(text, x=1)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_what_is_said_of_a_tie_is_what_is_computed(name: str) -> None:
    told = description(name)
    assert "equal ones half each" in told.words
    edges = walk(record(registry[name], tensor(1.0), tensor(1.0))).edges
    assert len(edges) == 2
    for edge in edges:
        assert float(edge.contribution) == eval(told.slopes[edge.position], {}, {"a": 1, "b": 1})


@pytest.mark.parametrize(("name", "at", "slope"), [("relu", 0.0, 0.0), ("abs", 0.0, 0.0)])
def test_what_is_said_of_a_kink_is_what_is_computed(name: str, at: float, slope: float) -> None:
    told = description(name)
    x = tensor(at)
    assert re.search(r"at 0, where the slope jumps from .*, it is taken as 0", told.words)
    assert float(grad(record(registry[name], x), x)) == slope
    assert eval(told.slopes[0], NAMES, {"a": at}) == slope


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.73106, "0.7311"), (0.0, "0"), (-3.0, "-3"), (1.36788, "1.368"), (1e-7, "1e-07"),
     (123456.0, "123456"), (2.5e20, "2.5e+20"), (100.04, "100"), (math.nan, "nan"),
     (9.99999, "10"), (-0.25, "-0.25"), (True, "True"), (7, "7")],
)  # fmt: skip
def test_numbers_are_short(value: Any, text: str) -> None:
    assert number(value) == text
