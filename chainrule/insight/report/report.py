"""The report of a training: one HTML file that says what was learned, how, and how well.

A run and rows whose truth is known go in, a :class:`Report` comes out.  Every number in it is
the run's own or computed here from its predictions; the file asks for nothing from outside.

Read next: :mod:`chainrule.insight.report.mistakes`, :mod:`chainrule.insight.report.curves`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, RunError
from chainrule.core.wording import counted
from chainrule.data.notes import group_notes
from chainrule.insight.drawing.draw import draw
from chainrule.insight.render.page import Shown, page, read_asset
from chainrule.insight.render.text import amount, interval, measure, setting
from chainrule.insight.report.curves import course, layer_charts
from chainrule.insight.report.findings import Finding, find
from chainrule.insight.report.hidden_layers import find_dead, hidden_views, look_inside
from chainrule.insight.report.mistakes import agreement, worst_rows
from chainrule.insight.report.predictions import Predictions, predictions_on
from chainrule.insight.report.weights import weight_charts
from chainrule.nn.layer import summary
from chainrule.nn.summary import Summary
from chainrule.train.intervals import class_intervals, value_intervals, wilson
from chainrule.train.run import Run
from chainrule.train.scores import MEASURES, score_classes, score_values
from chainrule.train.settings import unusual
from chainrule.train.table import Problem

__all__ = ["Report", "report"]

MOST_NOTES = 40


class Report(Shown):
    """A report: :meth:`html` is its text, :meth:`save` writes it, a notebook shows it."""

    def __init__(self, run: Run, predictions: Predictions | None, data: Any = None):
        self.run, self.predictions, self.data = run, predictions, data
        self.title = _title(run)

    def html(self) -> str:
        """Return the whole page; nothing is loaded from anywhere."""
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
        run, predictions = self.run, self.predictions
        outline = _outline(run)
        title = _layer_titles(outline)
        found, inside = find(run), ""
        if self.data is not None and outline is not None:
            seen = look_inside(run, self.data, outline.flops)
            if seen is not None:
                found = list(dict.fromkeys([*found, *find_dead(seen)]))
                inside = hidden_views(seen, isinstance(self.data, Problem))
        return [
            ("Result", _result(run, predictions, outline) + _findings(found)),
            ("How it learned", _charts(course(run))),
            ("Right and wrong", agreement(predictions) if predictions else ""),
            ("What it got most wrong", worst_rows(predictions) if predictions else ""),
            ("The network", _network(run, outline)),
            ("Inside while learning", _charts(layer_charts(run, title))),
            ("What its layers make of the rows", inside),
            ("Weights", _weights(run, title)),
            ("Data", _notes(run)),
            ("Settings", _settings(run)),
        ]

    def __repr__(self) -> str:
        return f"<report of {self.title}: {len(self._html) / 1000:,.0f} kB of HTML>"

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style must not reach the notebook around it.
        return (
            f'<iframe srcdoc="{escape(self._html)}" title="{escape(self.title)}" '
            'style="width: 100%; height: 40rem; border: 0"></iframe>'
        )


def report(run: Run, data: Any = None) -> Report:
    """Return the report of `run` as one HTML page: ``cr.report(run, (X, y)).save("run.html")``.

    data: rows that the run was not trained on, to predict and compare: a pair (X, y) as
    :func:`chainrule.fit` takes it; a problem of :func:`chainrule.train.read_problem`, whose test
    part is taken; or for a run trained on a table, such a table with its target.  Without,
    the report tells what the run itself knows.

    In it: the result beside a plain guess, remarks where the numbers leave little doubt, curves
    of losses, metrics and learning rate, confusions or residuals, the rows that were got most
    wrong, the network, how its layers were doing where it was trained with ``watch=True``, what
    they make of the rows, its weights, and the settings.  Raises DataError for data that do not
    fit the run.

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
            f"report is made of a run, as cr.fit and cr.load return it, not of a "
            f"{type(run).__name__}."
        )
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
    features = counted(len(run.pipeline.feature_names), "feature")
    return (
        f"A network that predicts <b>{escape(target.name)}</b>{aim} from {features}, trained on "
        f"{rows}{where}."
    )


def _outline(run: Run) -> Summary | None:
    try:
        return summary(run.model, run.features)
    except ChainruleError:  # a callable that can't be described is drawn no table of
        return None


def _layer_titles(outline: Summary | None) -> Callable[[str], str]:
    names = {row.path: row.layer for row in outline.rows} if outline else {}
    return lambda path: f"{path} {names[path]}".strip() if path in names else path or "model"


# --- the result -----------------------------------------------------------------------------


def _result(run: Run, predictions: Predictions | None, outline: Summary | None) -> str:
    test, guess, ends, words = _scores(run, predictions)
    tiles: list[tuple[str, ...]] = [*_headline(test, guess, ends, words, run)]
    seconds = sum(record["seconds"] for record in run.history)
    best = f"best was {run.best_epoch}" if 0 < run.best_epoch < len(run.history) else ""
    tiles.append((*counted(len(run.history), "epoch").split(), best))
    tiles.append((f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s", "of training", ""))
    if outline:
        tiles.append((*counted(outline.parameters, "parameter").split(), ""))
    shown = "".join(
        f"<div><b>{value}</b>{what}<span>{more}</span></div>" for value, what, more in tiles
    )
    return f'<div class="tiles">{shown}</div>{_table(test, guess, ends, words)}'


Scores = Mapping[str, Any]


def _scores(
    run: Run, predictions: Predictions | None
) -> tuple[Scores, Scores, Scores, tuple[str, str]]:
    """Return scores, the plain guess's, intervals, and in words: which rows, what guess."""
    given = predictions is not None and not predictions.unseen
    if run.scores and not given:
        scores = run.scores
        plain = scores["baseline"]["guess"]
        said = amount(plain) if scores["task"] == "regression" else f"“{plain}”"
        return scores["test"], scores["baseline"], scores.get("intervals", {}), (
            f"{counted(scores['rows']['test'], 'row')} it has not seen", f"always {escape(said)}"
        )  # fmt: skip
    if predictions is None:
        return {}, {}, {}, ("", "")
    rows = f"the {counted(len(predictions), 'row')} given"
    if predictions.kind == "classes" and predictions.certain and predictions.scores is not None:
        shares = np.bincount(predictions.true, minlength=len(predictions.names)) / len(predictions)
        guess = score_classes(predictions.true, np.broadcast_to(shares, predictions.scores.shape))
        plain = f"always “{escape(predictions.names[int(shares.argmax())])}”"
        ends = class_intervals(predictions.true, predictions.scores)
        return score_classes(predictions.true, predictions.scores), guess, ends, (rows, plain)
    if predictions.kind == "values" and predictions.true.shape[1] == 1:
        true, predicted = predictions.true[:, 0], predictions.predicted[:, 0]
        guess = score_values(true, np.full(len(true), true.mean()))
        plain = f"always {amount(true.mean())}"
        return (
            score_values(true, predicted), guess, value_intervals(true, predicted), (rows, plain)
        )  # fmt: skip
    if predictions.kind == "values":
        return {}, {}, {}, (rows, "")
    hit = (predictions.true == predictions.predicted).reshape(len(predictions), -1).all(axis=1)
    likely = {"accuracy": wilson(int(hit.sum()), len(hit))}
    return {"accuracy": float(hit.mean())}, {}, likely, (rows, "")


def _headline(
    test: Scores, guess: Scores, ends: Scores, words: tuple[str, str], run: Run
) -> list[tuple[str, str, str]]:
    """Return the first tiles: the score that matters most, and what a guess would have scored."""
    if "accuracy" in test:
        sure = f"of {words[0]}"
        if likely := interval("accuracy", ends.get("accuracy")):
            sure += f"; with so many, {likely} are likely"
        tiles = [(measure("accuracy", test["accuracy"]), "right", sure)]
        if guess:
            tiles.append((measure("accuracy", guess["accuracy"]), "by a plain guess", words[1]))
        return tiles
    if "rmse" in test:
        r2 = test["r2"]
        share = "–" if r2 is None or not np.isfinite(r2) else f"{r2:.3f}"
        return [
            (share, "R²", f"share of the variance explained, on {words[0]}"),
            (amount(test["mae"]), "mean absolute error",
             f"a plain guess, {words[1]}, has {amount(guess['mae'])}"),
        ]  # fmt: skip
    last = run.history[max(run.best_epoch, 1) - 1] if run.history else {}
    name = next((n for n in ("val_accuracy", "val_r2", "val_loss", "loss") if n in last), None)
    where = "on validation rows" if name and name.startswith("val_") else "on training rows"
    told = name.removeprefix("val_").replace("_", " ") if name else ""
    return [(amount(last[name]), told, where)] if name else []


def _table(test: Scores, guess: Scores, ends: Scores, words: tuple[str, str]) -> str:
    if not test or not guess:
        return ""
    lines = "".join(
        f"<tr><td>{MEASURES[key]}</td><td class='number'><b>{measure(key, value)}</b></td>"
        f"<td class='number'>{interval(key, ends.get(key))}</td>"
        f"<td class='number'>{measure(key, guess[key])}</td></tr>"
        for key, value in test.items()
    )
    return (
        f"<h3>On {words[0]}</h3><div class='wide'><table><tr><th></th><th class='number'>network"
        "</th><th class='number'>95 % interval</th>"
        f"<th class='number'>{words[1]}</th></tr>{lines}</table></div>"
    )


def _findings(found: Sequence[Finding]) -> str:
    lines = "".join(f'<li class="{one.weight}">{escape(one.text)}</li>' for one in found)
    return f'<ul class="findings">{lines}</ul>' if lines else ""


# --- the rest -------------------------------------------------------------------------------


def _charts(charts: Sequence[str]) -> str:
    return f'<figure class="charts">{"".join(charts)}</figure>' if charts else ""


def _network(run: Run, outline: Summary | None) -> str:
    table = ""
    if outline:
        lines = "".join(
            f"<tr><td>{escape(row.path)}</td><td>{escape(row.layer)}</td>"
            f"<td class='number'>{escape(' × '.join(map(str, row.shape[1:])))}</td>"
            f"<td class='number'>{row.parameters:,}</td></tr>"
            for row in outline.rows
        )
        table = (
            "<div class='wide'><table><tr><th colspan='2'>layer</th><th class='number'>output</th>"
            f"<th class='number'>parameters</th></tr>{lines}</table></div>"
            f"<p class='faint'>{outline.flops:,} floating-point operations to predict a row.</p>"
        )
    for level in ("neurons", "layers"):
        try:
            drawing = draw(run, level)
        except ChainruleError:
            continue
        lines = "Weights are lines: blue above zero, orange below, as wide as they are large."
        note = f"<p class='faint'>{lines}</p>" if level == "neurons" else ""
        return f"{table}<div class='wide'>{drawing.svg()}</div>{note}"
    return table


def _weights(run: Run, title: Callable[[str], str]) -> str:
    charts, more = weight_charts(run, title)
    note = f"<p class='faint'>And {more:,} more, not drawn.</p>" if more else ""
    return _charts(charts) + note if charts else ""


def _notes(run: Run) -> str:
    notes: Sequence[str] = run.pipeline.notes if run.pipeline else ()
    if not notes:
        return ""
    rows = run.scores.get("rows") if run.scores else None
    parts = [f"{counted(count, 'row')} {verb}" for verb, count in zip(
        ("train", "validate", "test"), (rows or {}).values(), strict=False)]  # fmt: skip
    notes = group_notes(notes)
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes[:MOST_NOTES])
    more = len(notes) - MOST_NOTES
    lines += f"<li>and {counted(more, 'more decision')}</li>" if more > 0 else ""
    split = f"<p>{', '.join(parts)}.</p>" if parts else ""
    return f"{split}<ul>{lines}</ul>"


def _settings(run: Run) -> str:
    asked = {"loss": run.objective.name, **unusual(run.settings)}
    lines = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(setting(value))}</td></tr>"
        for name, value in asked.items()
    )
    try:
        own = version("chainrule")
    except PackageNotFoundError:
        own = "from its source"
    made = (
        f"chainrule {own}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{platform.system()} on {platform.machine()}"
    )
    return f'<table class="settings">{lines}</table><p class="faint">{escape(made)}</p>'
