"""A walk in words: forward line by line, backward node by node, output first.

A :class:`~chainrule.insight.explain.walk.Walk` goes in; plain text of about 80 columns, or the
same as data for JSON, comes out.

Read next: :mod:`chainrule.insight.explain.circuit`, the same as a drawing.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.insight.explain import words
from chainrule.insight.explain.walk import Check, Edge, Step, Walk
from chainrule.insight.render.text import number, table, told

__all__ = [
    "as_data",
    "meeting",
    "narrate",
    "rule_in_words",
    "step_back",
    "step_forward",
    "table",
]


_DOUBLED = re.compile(r"\((\([^()]*\))\)")
_FIRST = re.compile(r"^\((-[\d.e+-]+)\)(?!\*\*)")
_SINGLE = re.compile(r"[\w.#]+(\([^()]*\))?")  # a name, a number, or a function of one


def _factor(value: Any, digits: int) -> str:
    text = told(value, digits)
    return f"({text})" if text.startswith("-") else text


def step_forward(walk: Walk, step: Step, digits: int = 4) -> str:
    """Return the computation of `step` in numbers: ``w0 * x0 = 2 * (-1) = -2``."""
    inputs = [walk.steps[i] for i in step.inputs]
    filled = words.formula(step.operation, [_factor(s.value, digits) for s in inputs])
    filled = _FIRST.sub(r"\1", _DOUBLED.sub(r"\1", filled))
    parts = [step.formula, filled, told(step.value, digits)]
    return " = ".join(part for k, part in enumerate(parts) if part not in parts[:k])


def step_back(walk: Walk, edge: Edge, digits: int = 4) -> str:
    """Return the chain rule at `edge`, in numbers: ``1 × (-1 / v7**2) = 1 × (-0.53) = -0.53``."""
    target = walk.steps[edge.target]
    upstream = told(target.gradient, digits)
    result = told(edge.contribution, digits)
    if edge.local is None:
        if "@" in edge.rule:
            return f"{edge.rule} = {result}"
        repeated = target.node.primitive.elementwise
        return f"{result}, {'the sum over all its uses' if repeated else f'from {upstream}'}"
    local = _factor(edge.local, digits)
    rule = edge.rule if _SINGLE.fullmatch(edge.rule) else f"({edge.rule})"
    plain = not edge.rule or edge.rule.lstrip("-").isdecimal()
    middle = "" if plain or rule == local else f"{upstream} × {rule} = "
    return f"{middle}{upstream} × {local} = {result}"


def rule_in_words(walk: Walk, step: Step) -> str:
    """Return the chain rule at `step` for the inputs that receive a gradient."""
    return words.description(step.operation).say({edge.position for edge in walk.from_(step)})


def meeting(walk: Walk, step: Step, digits: int) -> str:
    """Return the gradient of `step`, as a sum where several paths meet."""
    edges = walk.into(step)
    total = told(step.gradient, digits)
    if len(edges) < 2:
        return total
    parts = " + ".join(
        f"{_factor(e.contribution, digits)} from {walk.steps[e.target].name}" for e in edges
    )
    return f"{total} = {parts}"


def narrate(
    walk: Walk, digits: int = 4, checks: Mapping[str, Check] | None = None, most: int = 200
) -> str:
    """Return the walk as text: forward, backward, gradients; at most `most` steps of each.

    `checks` from :meth:`Walk.check` add the central difference to each gradient.
    """
    output = walk.steps[walk.output]
    lines = [f"{output.name} = {walk.text.strip()}", ""] if walk.text else []
    lines += ["Forward, from the inputs to the output:"]
    named = [s for s in walk.steps if not s.inputs and not s.constant]
    given = ", ".join(f"{s.name} = {told(s.value, digits)}" for s in named[:most])
    lines += _wrap(given, 2)
    done = [s for s in walk.steps if s.inputs]
    lines += [f"  {s.name} = {step_forward(walk, s, digits)}" for s in done[:most]]
    lines += [f"  ... {len(done) - most} more"] * (len(done) > most)
    lines += ["", "Backward, from the output to the inputs; upstream × local derivative:"]
    back = [s for s in reversed(done) if s.gradient is not None and walk.from_(s)]
    for step in back[:most]:
        gradient = meeting(walk, step, digits)
        start = f"{step.name} is the output, so its gradient is" if step is output else (
            f"{step.name} = {step.formula} has gradient")  # fmt: skip
        lines += _wrap(f"{start} {gradient}", 2)
        lines += _wrap(f"{rule_in_words(walk, step)}:", 4)
        lines += [
            f"    {walk.steps[e.source].name} receives {step_back(walk, e, digits)}"
            for e in walk.from_(step)
        ]
    lines += [f"  ... {len(back) - most} more"] * (len(back) > most)
    for step in named[:most]:
        if len(walk.into(step)) > 1:
            lines += _wrap(f"{step.name} has gradient {meeting(walk, step, digits)}", 2)
    lines += ["", *_summary(walk, named, digits, checks or {})]
    return "\n".join(lines) + "\n"


def _wrap(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(text, 80, initial_indent=space, subsequent_indent=space + "  ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def _summary(
    walk: Walk, leaves: Sequence[Step], digits: int, checks: Mapping[str, Check]
) -> list[str]:
    output = walk.steps[walk.output]
    steps = list(walk.steps) if checks else list(leaves)
    rows = []
    for step in steps:
        if step.gradient is None or (step.constant and not checks):
            continue
        more = 4 * bool(checks)
        row = [step.name, told(step.value, digits), told(step.gradient, digits + more)]
        if checks:
            row += _judged(checks.get(step.name), digits + 4)
        rows.append(row)
    heads = ["", "value", f"gradient of {output.name}"] + ["difference", ""] * bool(checks)
    lines = table([heads, *rows], numbers=(1, 3))
    if checks:
        wrong = [c for c in checks.values() if not c.agrees and not c.kink]
        good = sum(c.agrees for c in checks.values())
        lines += ["", f"{good} of {len(checks)} gradients agree with central differences."]
        lines += [f"{c.name}: {c.slope} against {c.measured}" for c in wrong]
    return lines


def _judged(check: Check | None, digits: int) -> list[str]:
    if check is None:
        return ["", ""]
    verdict = "a kink: no derivative" if check.kink else "agrees" if check.agrees else "DIFFERS"
    return [number(check.measured, digits), verdict]


def as_data(walk: Walk, checks: Mapping[str, Check] | None = None) -> dict[str, Any]:
    """Return the walk as plain data for JSON: steps in order, each with the edges to its inputs.

    Arrays become lists; numbers that JSON lacks become None.
    """
    steps = []
    for step in walk.steps:
        steps.append({
            "name": step.name, "operation": step.operation, "formula": step.formula,
            "inputs": list(step.inputs), "span": step.span, "value": _jsonable(step.value),
            "gradient": _jsonable(step.gradient), "words": rule_in_words(walk, step) or None,
            "sends": [
                {"to": e.source, "position": e.position, "rule": e.rule,
                 "local": _jsonable(e.local), "contribution": _jsonable(e.contribution)}
                for e in walk.from_(step)
            ],
        })  # fmt: skip
        if checks and step.name in checks and not step.constant:
            check = checks[step.name]
            steps[-1]["central_difference"] = _jsonable(np.asarray(check.measured))
            steps[-1]["agrees"] = check.agrees
    gradients = {name: _jsonable(np.asarray(g)) for name, g in walk.gradients.items()}
    output = walk.steps[walk.output]
    return {"expression": walk.text or None, "output": output.name, "value": walk.value,
            "gradients": gradients, "steps": steps}  # fmt: skip


def _jsonable(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, list):
        return [_jsonable(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
