"""A walk as a page to step through: forward value by value, backward gradient by gradient.

A :class:`~chainrule.insight.explain.walk.Walk` goes in; a page comes out that shows the circuit,
the numbers known so far, and the current step in formulas and words.  Without JavaScript, and in
print, the page shows the complete circuit and the walk in words.

Read next: ``circuit.js``, which shows one frame after the other.
"""

from __future__ import annotations

from html import escape
from typing import Any

from chainrule.insight.explain.circuit import draw_circuit, drawn
from chainrule.insight.explain.narrate import (
    meeting,
    narrate,
    rule_in_words,
    step_back,
    step_forward,
)
from chainrule.insight.explain.walk import Step, Walk
from chainrule.insight.render.page import embed, page, read_asset
from chainrule.insight.render.text import told

__all__ = ["circuit_page"]

_CONTROLS = """<div class="controls" role="group" aria-label="steps">
<button id="first" aria-label="First">«</button>
<button id="back" aria-label="Back">&lsaquo;</button>
<button id="play">Play</button>
<button id="next" aria-label="Next">&rsaquo;</button>
<button id="last" aria-label="Last">»</button>
<input id="slider" type="range" min="0" max="{last}" value="0" aria-label="Step">
<span class="faint" id="count"></span>
</div>
<p class="faint" id="hint">Arrow keys step, space plays, a click on a node goes there.</p>"""


def circuit_page(walk: Walk, digits: int = 4) -> str:
    """Return the page as HTML; raises OptionError for a walk too large to draw."""
    data = _frames(walk, digits)
    output = walk.steps[walk.output].name
    formula = f'<p><code>{output} = <span id="formula">{escape(walk.text)}</span></code></p>'
    teller = (
        f'<div id="teller">{formula if walk.text else ""}'
        f"{_CONTROLS.format(last=len(data['frames']) - 1)}"
        '<div id="said" aria-live="polite"></div></div>'
    )
    drawing = f'<div id="circuit">{_sized(draw_circuit(walk, digits))}</div>'
    return page(
        "Backpropagation step by step",
        [
            ("", f'<div id="walk">{drawing}{teller}</div>{embed("frames", data)}'),
            ("Gradients", _gradients(walk, digits)),
            ("The whole walk", f"<pre>{escape(narrate(walk, digits))}</pre>"),
        ],
        script=read_asset("explain/circuit.js"),
        style=read_asset("explain/circuit.css") + read_asset("explain/circuit_page.css"),
    )


def _sized(drawing: str) -> str:
    """Return `drawing` with a width of 1.3 times its own size."""
    width = float(drawing.split('viewBox="0 0 ')[1].split()[0])
    return drawing.replace("<svg ", f'<svg style="width: {1.3 * width:.0f}px" ', 1)


def _gradients(walk: Walk, digits: int) -> str:
    output = walk.steps[walk.output]
    rows = "".join(
        f'<tr><td>{escape(s.name)}</td><td class="number">{told(s.value, digits)}</td>'
        f'<td class="number">{told(s.gradient, digits)}</td></tr>'
        for s in drawn(walk)
        if not s.inputs and s.gradient is not None
    )
    return (
        '<div class="wide"><table><tr><th></th><th class="number">value</th>'
        f'<th class="number">gradient of {escape(output.name)}</th></tr>{rows}</table></div>'
    )


def _frames(walk: Walk, digits: int) -> dict[str, Any]:
    """Return the script's data: frames, and the frame in which each number is first known."""
    steps = drawn(walk)
    inner = [s for s in steps if s.inputs]
    leaves = [f"{s.name} = {told(s.value, digits)}" for s in steps if not s.inputs]
    intro = "The inputs are given. First every value is computed, from the inputs to the output."
    frames = [_frame("given", None, (intro, False), *((line, True) for line in leaves[:20]))]
    values = {s.index: 0 for s in steps}
    gradients: dict[int, int] = {}
    edges: dict[str, int] = {}
    for s in inner:
        values[s.index] = len(frames)
        frames.append(_frame("forward", s, (f"{s.name} = {step_forward(walk, s, digits)}", True)))
    back = [s for s in reversed(inner) if s.gradient is not None]
    for s in back:
        sent = walk.from_(s)
        for edge in sent:
            edges[f"{edge.source}>{edge.target}"] = len(frames)
            gradients[edge.source] = len(frames)  # complete with the last of its contributions
        if s.index == walk.output:
            gradients[s.index] = len(frames)
        frames.append(_backward(walk, s, digits))
    done = [f"{name}: {told(g, digits)}" for name, g in walk.gradients.items()]
    frames.append(_frame("done", None, ("Every gradient is known:", False),
                         *((line, True) for line in done[:20])))  # fmt: skip
    return {"formula": walk.text, "frames": frames, "values": values, "gradients": gradients,
            "edges": edges}  # fmt: skip


def _backward(walk: Walk, s: Step, digits: int) -> dict[str, Any]:
    sent = walk.from_(s)
    name = "the output itself: " if s.index == walk.output else ""
    lines = [
        (f"The gradient of {s.name} = {s.formula} is {name}{meeting(walk, s, digits)}.", False)
    ]
    if sent:
        lines.append((f"Going back, {rule_in_words(walk, s)}:", False))
    lines += [(f"{walk.steps[e.source].name} ← {step_back(walk, e, digits)}", True) for e in sent]
    return _frame("backward", s, *lines)


def _frame(kind: str, step: Step | None, *lines: tuple[str, bool]) -> dict[str, Any]:
    return {
        "kind": kind,
        "step": None if step is None else step.index,
        "span": None if step is None else step.span,
        "lines": [{"text": line, "code": code} for line, code in lines],
    }
