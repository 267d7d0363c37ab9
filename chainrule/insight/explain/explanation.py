"""Backpropagation in numbers, for a formula, any tensor, or a network on given rows.

A formula, tensor, model or run goes in; an object comes out that prints as text, gives its numbers
by name, and converts to data for JSON.

Read next: :mod:`chainrule.insight.explain.walk`, where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, overload

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.insight.explain.circuit import MOST_BOXES, draw_circuit, drawn
from chainrule.insight.explain.circuit_page import circuit_page
from chainrule.insight.explain.expression import explain_expression
from chainrule.insight.explain.layerwise import NetworkExplanation, explain_network
from chainrule.insight.explain.narrate import as_data, narrate
from chainrule.insight.explain.walk import Check, Walk, walk
from chainrule.insight.render.page import Shown, read_asset, standalone
from chainrule.insight.render.svg import alone
from chainrule.insight.subject import subject_of

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, repr=False)
class Explanation(Walk, Shown):
    """A walk that prints as text; its numbers are in `steps` and `edges`."""

    def __str__(self) -> str:
        return narrate(self).rstrip()

    __repr__ = __str__

    def tell(self, digits: int = 4, checks: Mapping[str, Check] | None = None) -> str:
        """Return the walk as text with `digits` significant digits, and `checks` if given."""
        return narrate(self, digits, checks)

    def to_dict(self, checks: Mapping[str, Check] | None = None) -> dict[str, Any]:
        """Return the walk as plain data for JSON."""
        return as_data(self, checks)

    def svg(self, digits: int = 4) -> str:
        """Return the circuit as an SVG file; OptionError for one of more than 150 nodes."""
        return standalone(draw_circuit(self, digits), read_asset("explain/circuit.css"))

    def html(self, digits: int = 4) -> str:
        """Return a page that steps through the circuit; OptionError as for :meth:`svg`."""
        return circuit_page(self, digits)

    def _repr_html_(self) -> str | None:
        """Return the circuit for a notebook; None (the text) for one too large to draw."""
        if len(drawn(self)) > MOST_BOXES:
            return None
        drawing = alone(draw_circuit(self).replace(' class="circuit"', "", 1))
        drawing = drawing.replace('class="drawing"', 'class="drawing circuit"', 1)
        width = 1.3 * float(drawing.split('viewBox="0 0 ')[1].split()[0])
        style = f"<style>{read_asset('explain/circuit.css')}</style>"
        return f'<div style="max-width: {width:.0f}px">{style}{drawing}</div>'


@overload
def explain(what: str | Tensor, /, **named: Any) -> Explanation: ...
@overload
def explain(
    what: Any, /, x: Any, y: Any, loss: str | Callable[[Tensor, Tensor], Tensor] | None = None
) -> NetworkExplanation: ...
def explain(
    what: Any, /, x: Any = None, y: Any = None, loss: Any = None, **named: Any
) -> Explanation | NetworkExplanation:
    """Explain how the gradient of a scalar is computed, node by node or layer by layer.

    what
        A formula as text, a scalar tensor, a model, or a run.
    x, y, loss
        For a model or run: rows or one row, their targets, and the loss; a run has its own loss.
    named
        Values for the names in a formula.  With a tensor: values for its inputs, and tensors to
        show under these names in the explanation.

    Raises OptionError for a formula that can't be read or evaluated, and what
    :func:`chainrule.evaluate` and :func:`chainrule.fit` raise for values that do not fit.

    >>> import chainrule as cr
    >>> e = cr.explain("1/(1+exp(-(w*x+b)))", w=2, x=-1, b=3)
    >>> round(e.value, 4), round(e.gradients["w"], 4)
    (0.7311, -0.1966)
    >>> print(e["v1"].formula, "=", e["v1"].value)
    w * x = -2.0
    """
    given = {"x": x, "y": y, "loss": loss}
    if isinstance(what, str):
        named |= {name: value for name, value in given.items() if value is not None}
        return _explanation(explain_expression(what, named))
    if isinstance(what, Tensor):
        named |= {name: value for name, value in given.items() if value is not None}
        names = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        values = {name: value for name, value in named.items() if name not in names}
        return _explanation(walk(what, values, names))
    subject_of(what, "explain takes a formula as text, a scalar tensor, a model or a run, not a")
    if named or x is None or y is None:
        raise OptionError(
            "to explain a network, give rows, their targets and a loss: "
            "explain(model, x, y, loss='cross_entropy')."
        )
    return explain_network(what, x, y, loss)


def _explanation(found: Walk) -> Explanation:
    return Explanation(**{f.name: getattr(found, f.name) for f in fields(found)})
