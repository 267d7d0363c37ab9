"""A section of the report: a heading, its place, and what writes its body.

Each module of this package may hold sections, and is found without being named anywhere:
`chainrule/insight/report/__init__.py` imports them all, and :func:`section` keeps what they hold.

Read next: :mod:`chainrule.insight.report.result`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chainrule.core.errors import ChainruleError
from chainrule.insight.hidden.learned import Features
from chainrule.insight.report.hidden_layers import look_inside
from chainrule.insight.report.predictions import Predictions
from chainrule.nn.layer import summary
from chainrule.nn.summary import Summary
from chainrule.train.run import Run

__all__ = ["SECTIONS", "Material", "charts", "section"]


@dataclass(frozen=True)
class Material:
    """What sections are written from: a run, its predictions on rows, and those rows."""

    run: Run
    predictions: Predictions | None = None
    data: Any = None

    @cached_property
    def outline(self) -> Summary | None:
        """The table of the model's layers, None for a callable that can't be described."""
        try:
            return summary(self.run.model, self.run.features)
        except ChainruleError:
            return None

    @cached_property
    def seen(self) -> Features | None:
        """The hidden layers on the rows, None without rows or where there are none to look at."""
        if self.data is None or self.outline is None:
            return None
        return look_inside(self.run, self.data, self.outline.flops)

    def title(self, path: str) -> str:
        """Return what to call the layer at `path`."""
        names = {row.path: row.layer for row in self.outline.rows} if self.outline else {}
        return f"{path} {names[path]}".strip() if path in names else path or "model"


Write = Callable[[Material], str]
SECTIONS: dict[int, tuple[str, Write]] = {}


def section(heading: str, place: int) -> Callable[[Write], Write]:
    """Return a decorator: what the function returns stands under `heading`; "" leaves it out.

    Sections stand in the order of their `place`, of which each has its own.
    """

    def keep(write: Write) -> Write:
        if place in SECTIONS:
            raise ValueError(f"{heading!r} and {SECTIONS[place][0]!r} both have place {place}.")
        SECTIONS[place] = (heading, write)
        return write

    return keep


def charts(charts: Sequence[str]) -> str:
    """Return charts side by side, nothing without any."""
    return f'<figure class="charts">{"".join(charts)}</figure>' if charts else ""
