"""Floor 6, looking into graphs and runs: what was computed, which way slopes flowed, in pictures.

Read next: :mod:`chainrule.insight.explain`, :mod:`chainrule.insight.draw`,
:mod:`chainrule.insight.chart`.
"""

from __future__ import annotations

from chainrule.insight.draw import Drawing, draw
from chainrule.insight.explain import explain
from chainrule.insight.page import page

__all__ = ["Drawing", "draw", "explain", "page"]
