"""The section with the exact numbers of the first, the best and the last epoch.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from html import escape

from chainrule.insight.render.text import amount
from chainrule.insight.report.section import Material, section

__all__ = ["milestones"]


@section("Epochs in numbers", 25)
def milestones(material: Material) -> str:
    """Return a table of the losses and metrics of the first, the best and the last epoch."""
    history, best = material.run.history, material.run.best_epoch
    shown = sorted({1, best, len(history)} & set(range(1, len(history) + 1)))
    if len(shown) < 2:
        return ""
    names = [n for n in history[-1] if n not in ("epoch", "seconds", "layers")]
    heads = "".join(f"<th class='number'>epoch {e}{', best' * (e == best)}</th>" for e in shown)
    lines = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td>"
        + "".join(f"<td class='number'>{amount(history[e - 1].get(name))}</td>" for e in shown)
        + "</tr>"
        for name in names
    )
    return f"<div class='wide'><table><tr><th></th>{heads}</tr>{lines}</table></div>"
