"""Parse formulas in the usual notation: text goes in, a tensor of chainrule's graph comes out.

This is a parser of its own, so that text is never executed and every error points at its place:

    formula  = term { ("+" | "-") term }
    term     = factor { ("*" | "/") factor }
    factor   = ("-" | "+") factor | power
    power    = atom [ "**" factor ]
    atom     = number | name | name "(" formula { "," formula } ")" | "(" formula ")"

Read next: :mod:`chainrule.insight.explain.walk`, which explains the tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, OptionError, did_you_mean
from chainrule.core.graph import Node, reachable
from chainrule.core.primitive import lookup, registry
from chainrule.core.tensor import Tensor, input, record, tensor
from chainrule.insight.explain.walk import Step, Walk, walk
from chainrule.ops.arithmetic import add, div, maximum, minimum, mul, pow, sub
from chainrule.ops.composite import OF_ONE_NUMBER

__all__ = [
    "EXAMPLE", "FUNCTIONS", "MOST_CHARACTERS", "MOST_DEPTH", "explain_expression", "inputs_of",
]  # fmt: skip

MOST_CHARACTERS = 2000
EXAMPLE = "write one with numbers for its names, as in 'x*y + sin(x)' x=2 y=3"
MOST_DEPTH = 50  # nested brackets, signs and powers

# Every elementwise operation that takes only numbers, by its record; and functions made of these.
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name: partial(record, primitive)
    for name, primitive in registry.items()
    if primitive.elementwise and primitive.description is not None and name != "cast"
} | {function.__name__: function for function in OF_ONE_NUMBER}
_MANY = {"max": maximum, "min": minimum}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": div,
    "**": pow,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)"
    r"|(?P<mark>\*\*|[-+*/(),]))"
)
_INSTEAD = {
    "^": "for a power, write **",
    "×": "for a product, write *",
    "·": "for a product, write *",
    "÷": "for a quotient, write /",
    "−": "for a minus, write -",
    "[": "use round brackets",
    "{": "use round brackets",
    "=": "give values after the expression, as in x=2",
    "!": "factorials are not supported",
    "%": "remainders are not supported",
}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass
class _Formula:
    """The state of the parser: tokens, and each node's place in the text."""

    text: str
    values: Mapping[str, float]
    tokens: list[_Token] = field(default_factory=list)
    at: int = 0
    depth: int = 0
    leaves: dict[str, Tensor] = field(default_factory=dict)
    spans: dict[Node, tuple[int, int]] = field(default_factory=dict)
    marks: dict[Node, int] = field(default_factory=dict)

    def error(self, problem: str, at: int) -> OptionError:
        """Return an error that points at a place in the text."""
        width = 72  # of the part shown of a long text
        first = max(0, min(at - width // 2, len(self.text) - width))
        line = self.text[first : first + width].replace("\n", " ").replace("\t", " ")
        return OptionError(f"{problem}\n  {line}\n  {' ' * (at - first)}^")

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def mark(self, made: Tensor, start: int, at: int) -> Tensor:
        """Record the place of the nodes that `made` added to the graph."""
        last = self.tokens[self.at - 1]
        for node in reachable([made.node], stop=self.spans):
            if node not in self.spans:
                self.spans[node] = (start, last.at + len(last.text))
                self.marks[node] = at
        return made


def _tokenize(formula: _Formula) -> Iterator[_Token]:
    text, at = formula.text, 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            hint = _INSTEAD.get(text[at], "it has no meaning in an expression")
            raise formula.error(f"can't read {text[at]!r}: {hint}.", at)
        kind = str(found.lastgroup)
        yield _Token(kind, found[kind], found.start(kind))
        at = found.end()
    yield _Token("end", "", len(text.rstrip()))


def _sum(formula: _Formula) -> Tensor:
    return _chain(formula, ("+", "-"), _product)


def _product(formula: _Formula) -> Tensor:
    return _chain(formula, ("*", "/"), _factor)


def _chain(formula: _Formula, marks: tuple[str, ...], part: Callable[[_Formula], Tensor]) -> Tensor:
    start = formula.token.at
    left = part(formula)
    while formula.token.text in marks:
        mark = formula.take()
        left = formula.mark(_OPERATORS[mark.text](left, part(formula)), start, mark.at)
    return left


def _factor(formula: _Formula) -> Tensor:
    token = formula.token
    formula.depth += 1
    if formula.depth > MOST_DEPTH:
        raise formula.error(f"more than {MOST_DEPTH} nested levels.", token.at)
    if token.text in ("-", "+"):
        formula.take()
        inner = _factor(formula)
        made = inner if token.text == "+" else _negative(inner)
    else:
        made = _atom(formula)
        if formula.token.text == "**":
            mark = formula.take()
            formula.mark(made, token.at, token.at)
            made = pow(made, _factor(formula))
            formula.depth -= 1
            return formula.mark(made, token.at, mark.at)
    formula.depth -= 1
    return formula.mark(made, token.at, token.at)


def _negative(inner: Tensor) -> Tensor:
    """Return ``-inner``; a number that is written with a sign is one constant."""
    constant = inner.node.primitive.name == "constant"
    return tensor(-inner.node.params["value"]) if constant else -inner


def _atom(formula: _Formula) -> Tensor:
    token = formula.take()
    if token.kind == "number":
        value = float(token.text)
        if not math.isfinite(value):
            raise formula.error(f"{token.text} is too large.", token.at)
        return tensor(np.float64(value))
    if token.text == "(":
        made = _sum(formula)
        _close(formula, token)
        return made
    if token.kind == "name":
        called = formula.token.text == "("
        return _call(formula, token) if called else _name(formula, token)
    if token.text == ")":
        raise formula.error("this closing bracket has no opening one, or the brackets are empty.",
                            token.at)  # fmt: skip
    what = "the expression ends" if token.kind == "end" else f"there is {token.text!r}"
    raise formula.error(f"{what} where a number, a name or '(' is expected.", token.at)


def _close(formula: _Formula, opened: _Token) -> None:
    token = formula.take()
    if token.text == ")":
        return
    if token.kind == "end":
        raise formula.error("this opening bracket is never closed.", opened.at)
    raise _no_operator(formula, token)


def _no_operator(formula: _Formula, token: _Token) -> OptionError:
    if token.text == ",":
        return formula.error("a comma is allowed only between the inputs of a function.", token.at)
    hint = "; for a product, write *" if token.kind != "mark" or token.text == "(" else ""
    return formula.error(f"an operator is expected before {token.text!r}{hint}.", token.at)


def _call(formula: _Formula, name: _Token) -> Tensor:
    known = FUNCTIONS | _MANY
    if name.text not in known:
        hint = did_you_mean(name.text, known)
        raise formula.error(f"there is no function {name.text!r}. {hint}", name.at)
    opened = formula.take()
    inputs = [_sum(formula)]
    most = inputs_of(name.text)
    while formula.token.text == ",":
        comma = formula.take()
        if len(inputs) == most:
            raise formula.error(f"{name.text} takes {_counted(most)}.", comma.at)
        inputs.append(_sum(formula))
    _close(formula, opened)
    if most is None and len(inputs) < 2:
        raise formula.error(f"{name.text} needs two inputs or more.", name.at)
    if most is not None and len(inputs) < most:
        raise formula.error(f"{name.text} takes {_counted(most)}.", name.at)
    try:
        made = reduce(_MANY[name.text], inputs) if most is None else known[name.text](*inputs)
    except DTypeError as error:  # booleans where numbers should be, or the other way round
        raise formula.error(str(error), name.at) from None
    return formula.mark(made, name.at, name.at)


def inputs_of(function: str) -> int | None:
    """Return how many inputs a function takes in a formula, None for two or more.

    >>> inputs_of("where"), inputs_of("gelu"), inputs_of("max")
    (3, 1, None)
    """
    if function in _MANY:
        return None
    found = registry[function].description if function in registry else None
    return 1 if found is None else len(found.slopes)


def _counted(inputs: int) -> str:
    return f"{('one', 'two', 'three')[inputs - 1]} input{'s' * (inputs > 1)}"


def _name(formula: _Formula, name: _Token) -> Tensor:
    if name.text in formula.values:
        if name.text not in formula.leaves:
            formula.leaves[name.text] = input(name.text, (), np.float64)
        return formula.leaves[name.text]
    if name.text in _CONSTANTS:
        return tensor(np.float64(_CONSTANTS[name.text]))
    if name.text in FUNCTIONS | _MANY:
        raise formula.error(f"{name.text} is a function: write {name.text}(...).", name.at)
    hint = did_you_mean(name.text, formula.values) if formula.values else ""
    hint = hint.replace("Choose from:", "Given are:")
    missing = _without_value(formula)
    has = "has" if len(missing) == 1 else "have"
    told = f"{', '.join(map(repr, missing))} {has} no value"
    add = " ".join(f"{one}=NUMBER" for one in missing)
    raise formula.error(f"{told}; add {add}. {hint}".rstrip(), name.at)


def _without_value(formula: _Formula) -> list[str]:
    """Return the names in the text that need a value and have none, in their order."""
    known = {*formula.values, *_CONSTANTS, *FUNCTIONS, *_MANY}
    named = [a.text for a, b in zip(formula.tokens, formula.tokens[1:], strict=False)
             if a.kind == "name" and b.text != "("]  # fmt: skip
    return [name for name in dict.fromkeys(named) if name not in known]


def explain_expression(text: str, values: Mapping[str, Any]) -> Walk:
    """Return the walk through the expression `text` with a number for each of its names.

    It supports ``+ - * / **``, brackets, pi, e and the functions of `FUNCTIONS`, max and min;
    numbers are float64.  Raises OptionError, with a caret under the place, for a syntax error, for
    a name without a value and a value without a name, and where the value or a derivative is
    undefined, as in a division by zero; the limits are 2,000 characters and 50 nested levels.

    >>> walk = explain_expression("x * y + x", {"x": 2, "y": 3})
    >>> walk.value, walk.gradients
    (8.0, {'x': 4.0, 'y': 2.0})
    """
    if len(text) > MOST_CHARACTERS:
        raise OptionError(
            f"the expression has {len(text):,} characters; at most {MOST_CHARACTERS:,} are allowed."
        )
    if not text.strip():
        raise OptionError(f"the formula is empty; {EXAMPLE}.")
    formula = _Formula(text, {name: _value(name, value) for name, value in values.items()})
    formula.tokens = list(_tokenize(formula))
    made = _sum(formula)
    if formula.token.kind != "end":
        if formula.token.text == ")":
            raise formula.error("this closing bracket was never opened.", formula.token.at)
        raise _no_operator(formula, formula.token)
    unused = _unused(formula)
    if not formula.leaves:
        none = "the expression has no names, so there is no variable to differentiate."
        raise OptionError(unused or none)
    used = {name: formula.values[name] for name in formula.leaves}
    try:
        found = walk(made, used, spans=formula.spans, text=text)
        _check_defined(formula, found)
    except OptionError as error:
        if unused:  # report both errors together
            raise OptionError(f"{error}\nAnd {unused}") from None
        raise
    if unused:
        raise OptionError(unused)
    return found


def _unused(formula: _Formula) -> str:
    """Return the error for the first value whose name the formula does not use, else ""."""
    for name in formula.values:
        if name not in formula.leaves:
            hint = did_you_mean(name, formula.leaves) if formula.leaves else "It has no names."
            return f"{name} has a value, but the expression does not use it. {hint}"
    return ""


def _value(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise OptionError(f"the value of {name} must be a finite number, not {value!r}.")
    return number


def _check_defined(formula: _Formula, found: Walk) -> None:
    """Raise OptionError at the first undefined step, first forward and then backward."""
    for step in found.steps:
        numbers = [float(found.steps[i].value) for i in step.inputs]
        at = formula.marks.get(step.node, 0)
        if not np.isfinite(step.value).all():
            told = " and ".join(f"{n:.6g}" for n in numbers)
            why = _why(step.operation, numbers, float(step.value))
            raise formula.error(f"{_part(found, step)} is {why}, of {told}.", at)
        varied = [found.steps[i].gradient is not None for i in step.inputs]
        if step.operation == "pow" and numbers[0] < 0 and varied[1]:
            raise formula.error(
                f"{_part(found, step)} has no derivative with respect to its exponent: a power of "
                f"{numbers[0]:.6g}, a negative number, is not defined for those nearby.",
                at,
            )
    for edge in found.edges:
        if not np.isfinite(edge.contribution).all():
            step, source = found.steps[edge.target], found.steps[edge.source]
            raise formula.error(
                f"{_part(found, step)} has no finite slope at {_part(found, source)} = "
                f"{float(source.value):.6g}.",
                formula.marks.get(step.node, 0),
            )


def _part(found: Walk, step: Step) -> str:
    """Return the part of the text that `step` computes."""
    text = step.formula if step.span is None else found.text[slice(*step.span)]
    return text if len(text) <= 40 else f"{text[:25]} ... {text[-10:]}"


def _why(operation: str, numbers: list[float], value: float) -> str:
    """Return why an operation on finite numbers has no finite value."""
    undefined = lookup(operation).undefined
    words = undefined(*numbers) if undefined is not None else ""
    if words:
        return words
    return "not defined" if math.isnan(value) or 0 in numbers else "too large for float64"
