"""The report of a training run as one HTML file that loads nothing from outside.

Its numbers are those recorded in the run, or are computed from its predictions.

Read next: :mod:`chainrule.insight.report.mistakes`, :mod:`chainrule.insight.report.curves`.
"""

from __future__ import annotations

from functools import cached_property
from html import escape
from typing import Any

import numpy as np

from chainrule.core.errors import RunError
from chainrule.core.wording import counted
from chainrule.insight.render.page import Shown, page, read_asset
from chainrule.insight.report.predictions import Predictions, predictions_on
from chainrule.insight.report.section import SECTIONS, Material
from chainrule.tabular.problem import Problem
from chainrule.train.run import Run

__all__ = ["Report", "report"]


class Report(Shown):
    """A report: :meth:`html` returns it, :meth:`save` writes it, and a notebook displays it."""

    def __init__(self, run: Run, predictions: Predictions | None, data: Any = None):
        self.run, self.predictions, self.data = run, predictions, data
        self.title = _title(run)

    def html(self) -> str:
        """Return the page as HTML; it loads nothing."""
        return self._html

    @cached_property
    def _html(self) -> str:
        sections = [(head, body) for head, body in self._sections() if body]
        links = "".join(
            f'<a href="#s{i}">{escape(head)}</a>' for i, (head, _) in enumerate(sections, 1)
        )
        return page(
            self.title,
            sections,
            style=read_asset("report/report.css"),
            intro=f'<p class="lead">{_lead(self.run)}</p><nav class="controls">{links}</nav>',
        )

    def _sections(self) -> list[tuple[str, str]]:
        material = Material(self.run, self.predictions, self.data)
        return [(head, write(material)) for _, (head, write) in sorted(SECTIONS.items())]

    def __repr__(self) -> str:
        return f"<report of {self.title}: {len(self._html) / 1000:,.0f} kB of HTML>"

    def _repr_html_(self) -> str:
        # In a frame, so that the style of the page does not affect the notebook.
        return (
            f'<iframe srcdoc="{escape(self._html)}" title="{escape(self.title)}" '
            'style="width: 100%; height: 40rem; border: 0"></iframe>'
        )


def report(run: Run, data: Any = None) -> Report:
    """Return the report of `run` as one HTML page: ``cr.report(run, (X, y)).save("run.html")``.

    data: rows that the run was not trained on, to compare predictions with targets: a pair (X, y)
    as :func:`chainrule.fit` takes it; a problem from :func:`chainrule.tabular.read_problem`, whose
    test part is used; or for a run trained on a table, a table with the target column.  Without
    it, the report shows only what was recorded in training.

    The report contains the scores beside those of a plain guess, remarks where the numbers leave
    little doubt, the curves of losses, metrics and learning rate, confusion matrix or residuals,
    the largest errors, the network, statistics of its layers in training if it was trained with
    ``watch=True``, its hidden layers, its weights, and the settings.  Raises DataError for data
    that do not fit the run.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = nn.Sequential([nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)])
    >>> run = cr.fit(model, (X, [0, 1, 1, 0]), loss="cross_entropy", progress=False)
    >>> "<h2>Result</h2>" in report(run, (X, [0, 1, 1, 0])).html()
    True
    """
    if not isinstance(run, Run):
        raise RunError(
            f"report: run must be a Run, as returned by cr.fit and cr.load, not "
            f"{type(run).__name__}."
        )
    if isinstance(data, Problem) and len(data.test[0]) == 0:  # trained on all rows
        data = None
    return Report(run, None if data is None else predictions_on(run, data), data)


def _title(run: Run) -> str:
    data = run.settings.get("data")
    target = run.pipeline.target.name if run.pipeline else None
    if target:
        return f"{data}: {target}" if data else str(target)
    return str(data) if data else "Training report"


def _lead(run: Run) -> str:
    rows = counted(run.settings["rows"], "row") if "rows" in run.settings else "rows"
    where = f" of <b>{escape(str(run.settings['data']))}</b>" if run.settings.get("data") else ""
    if run.pipeline is None:
        what = f"a network of {counted(int(np.prod(run.features)), 'input')}"
        return f"{what.capitalize()}, trained with {escape(run.objective.name)} on {rows}{where}."
    target = run.pipeline.target
    classes = counted(len(target.classes), "class", "classes")
    aim = f", one of {classes}," if target.classes else ", a number,"
    aim = "" if target.parts else aim
    features = counted(len(run.pipeline.feature_names), "feature")
    return (
        f"A network that predicts <b>{escape(target.name)}</b>{aim} from {features}, trained on "
        f"{rows}{where}."
    )
