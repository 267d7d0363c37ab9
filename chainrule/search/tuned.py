"""What a search found: the best settings, a table of the best trials, and a page.

Read next: :mod:`chainrule.insight.render.chart`, which draws the charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.wording import counted
from chainrule.insight.render.chart import bar_chart, scatter
from chainrule.insight.render.page import Shown, escape, page, standalone
from chainrule.tabular.settings import Settings

__all__ = ["Tried", "Tuned", "ranked"]

FEW = 10  # rows of the table
PAGE_FEW = 30  # rows of the table of the page


@dataclass(frozen=True)
class Tried:
    """One trial: its parameters, its lowest validation loss (None if it diverged), and its cost.

    A pruned trial has the lowest loss until it was stopped.  `seconds` is processor time.
    """

    number: int
    params: Mapping[str, Any]
    loss: float | None
    epochs: int
    pruned: bool
    seconds: float
    scores: Mapping[str, float]


@dataclass(frozen=True, repr=False)
class Tuned(Shown):
    """The result of :func:`chainrule.tune`.

    `settings` are the best ones, for :func:`chainrule.tabular.fit_table`, and `best` is their
    trial; `trials` are all.  `importances` say how much each parameter decides which trials are
    among the best tenth; they sum to 1.  It prints as a table, and :meth:`save` writes a page.
    """

    data: str
    settings: Settings
    trials: tuple[Tried, ...]
    importances: Mapping[str, float]

    @property
    def best(self) -> Tried:
        """The trial with the lowest validation loss of those that were not pruned."""
        return ranked(self.trials)[0]

    def rows(self, most: int = FEW) -> tuple[list[str], list[list[str]]]:
        """Return the names of the columns and the rows of a table of the best trials, as text."""
        best = ranked(self.trials)[:most]
        scores = [n for n in self.best.scores if n != "val_loss"]
        names = list(dict.fromkeys(name for t in best for name in t.params))
        rows = [
            [str(t.number), _number(t.loss), *(_number(t.scores.get(n)) for n in scores),
             *(_number(t.params.get(n)) for n in names), _ending(t)]
            for t in best
        ]  # fmt: skip
        return ["trial", "val_loss", *scores, *names, "epochs"], rows

    def __repr__(self) -> str:
        names, rows = self.rows()
        wide = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, wide, strict=True)).rstrip()
            for row in (names, *rows)
        ]
        return "\n".join([self.summary(), *lines])

    def summary(self) -> str:
        """Say in a line how many trials there were, and what they cost."""
        pruned = sum(t.pruned and t.loss is not None for t in self.trials)
        diverged = sum(t.loss is None for t in self.trials)
        parts = [f"{counted(pruned, 'was', 'were')} pruned"] if pruned else []
        parts += [f"{diverged} diverged"] if diverged else []
        spent = sum(t.seconds for t in self.trials)
        more = f", of which {' and '.join(parts)}" if parts else ""
        return (
            f"{counted(len(self.trials), 'trial')} on {self.data}{more}; "
            f"{spent:.0f} s of processor time in trainings"
        )

    def history(self) -> str:
        """Return the chart of the losses, as an ``<svg>``."""
        groups: dict[str, tuple[list[float], list[float]]] = {}
        best: tuple[list[float], list[float]] = ([], [])
        least = np.inf
        for place, t in enumerate(self.trials, 1):
            if t.loss is None:
                continue
            xs, ys = groups.setdefault("pruned" if t.pruned else "complete", ([], []))
            xs.append(place)
            ys.append(t.loss)
            if not t.pruned:
                least = min(least, t.loss)
            if least < np.inf:
                best[0].append(float(place))
                best[1].append(float(least))
        groups = {k: groups[k] for k in ("complete", "pruned") if k in groups}
        return scatter(
            {**groups, "best so far": best}, title="Validation loss of each trial",
            x_label="trial", y_label="lowest validation loss", log_y=True, line="best so far",
        )  # fmt: skip

    def importance(self) -> str:
        """Return the chart of the importances, as an ``<svg>``."""
        return bar_chart(
            self.importances, title="Importance of each setting",
            label="how much it decides which trials are the best tenth (PED-ANOVA)",
        )  # fmt: skip

    def svg(self) -> str:
        """Return the chart of the losses as an SVG file."""
        return standalone(self.history())

    def html(self) -> str:
        """Return the page: both charts, the best settings and a table of trials."""
        sections = [("", self.history())]
        if self.importances:
            sections.append(("", self.importance()))
        told = self.settings.plain()
        settings = [[name, str(value)] for name, value in told.items()]
        sections.append(("Best settings", _table(["setting", "value"], settings)))
        sections.append(("Trials", _table(*self.rows(PAGE_FEW))))
        return page(f"Search on {self.data}", sections, intro=f"<p>{escape(self.summary())}.</p>")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>{self.history()}"


def ranked(trials: Sequence[Tried]) -> list[Tried]:
    """Return the trials by their loss; pruned and diverged ones come last."""
    return sorted(trials, key=lambda t: (t.pruned, np.inf if t.loss is None else t.loss, t.number))


def _ending(tried: Tried) -> str:
    if tried.loss is None:
        return f"{tried.epochs} diverged"
    return f"{tried.epochs} pruned" if tried.pruned else str(tried.epochs)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
