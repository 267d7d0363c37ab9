"""Register the sections of the report.

Each section is a function decorated with :func:`section`.  A new module in this package needs no
other change: `chainrule/insight/report/__init__.py` imports all modules.

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
    """The input of every section: a run, its predictions for rows, and the data of the rows."""

    run: Run
    predictions: Predictions | None = None
    data: Any = None

    @cached_property
    def outline(self) -> Summary | None:
        """The summary of the model's layers, None for a callable that can't be described."""
        try:
            return summary(self.run.model, self.run.features)
        except ChainruleError:
            return None

    @cached_property
    def seen(self) -> Features | None:
        """The analysis of the hidden layers on the rows, None without rows or hidden layers."""
        if self.data is None or self.outline is None:
            return None
        return look_inside(self.run, self.data, self.outline.flops)

    def title(self, path: str) -> str:
        """Return the name to show for the layer at `path`."""
        names = {row.path: row.layer for row in self.outline.rows} if self.outline else {}
        return f"{path} {names[path]}".strip() if path in names else path or "model"


Write = Callable[[Material], str]
SECTIONS: dict[int, tuple[str, Write]] = {}


def section(heading: str, place: int) -> Callable[[Write], Write]:
    """Return a decorator that registers a function returning the HTML under `heading`.

    Sections are sorted by `place`, which must be unique.  A section that returns "" is omitted.
    """

    def keep(write: Write) -> Write:
        if place in SECTIONS:
            raise ValueError(f"{heading!r} and {SECTIONS[place][0]!r} both have place {place}.")
        SECTIONS[place] = (heading, write)
        return write

    return keep


def charts(charts: Sequence[str]) -> str:
    """Return charts side by side, "" without any."""
    return f'<figure class="charts">{"".join(charts)}</figure>' if charts else ""
