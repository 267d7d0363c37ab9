"""The section with the scores, beside those of a plain guess, and the remarks.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from chainrule.core.wording import counted
from chainrule.insight.render.text import amount, coverage_rows, interval, measure
from chainrule.insight.report.hidden_layers import find_dead
from chainrule.insight.report.overview import decided_by
from chainrule.insight.report.predictions import Predictions
from chainrule.insight.report.remarks import Remark, remarks_on
from chainrule.insight.report.section import Material, section
from chainrule.tabular.class_scores import further_scores
from chainrule.tabular.intervals import class_intervals, value_intervals, wilson
from chainrule.tabular.scores import MEASURES, score_classes, score_values
from chainrule.train.run import Run

Scores = Mapping[str, Any]


@section("Result", 10)
def result(material: Material) -> str:
    """Return the scores as tiles and a table, and the remarks."""
    run, predictions, outline = material.run, material.predictions, material.outline
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
    found = list(remarks_on(run))
    if material.seen is not None and run.findings is None:
        found = list(dict.fromkeys([*found, *find_dead(material.seen)]))
    held = run.scores.get("prediction_interval") if test is run.scores.get("test") else None
    tables = _table(test, guess, ends, words, held)
    tables += "".join(f"<p>{escape(text)}.</p>" for text in _about_scores(run, predictions, test))
    for name, one in run.scores.get("targets", {}).items() if predictions is None else ():
        if "test" in one:
            tables += f"<h3>Target {escape(name)}</h3>" + _table(
                *_saved_scores(one), one.get("prediction_interval")
            )
    return f'<div class="tiles">{shown}</div>{tables}' + _findings(found)


def _about_scores(run: Run, predictions: Predictions | None, test: Scores) -> list[str]:
    """Return sentences on which classes the scores are of, and how probabilities were made."""
    told = [f"{label.capitalize()}: {text}" for label, text in decided_by(run.scores).items()]
    if "f1" not in test:
        return told
    names = run.scores.get("classes") or (predictions.names if predictions else ())
    which = f"those of “{names[1]}”" if len(names) == 2 else "means over the classes"
    said = ", ".join(MEASURES[key] for key in ("average_precision", "precision", "recall"))
    least = "; the calibration error of perfect probabilities is above 0 on few rows"
    return [f"{said.capitalize()}, F1 and lift are {which}{least}", *told]


def _scores(
    run: Run, predictions: Predictions | None
) -> tuple[Scores, Scores, Scores, tuple[str, str]]:
    """Return scores, those of the plain guess, intervals, and descriptions of rows and guess."""
    given = predictions is not None and not predictions.unseen
    if "test" in run.scores and not given:
        return _saved_scores(run.scores)
    if predictions is None:
        return {}, {}, {}, ("", "")
    rows = f"the {counted(len(predictions), 'row')} given"
    if predictions.kind == "classes" and predictions.certain and predictions.scores is not None:
        shares = np.bincount(predictions.true, minlength=len(predictions.names)) / len(predictions)
        true, chosen = predictions.true, predictions.predicted
        even = np.broadcast_to(shares, predictions.scores.shape)
        more = further_scores(true, predictions.scores, chosen, predictions.names)
        plain = f"always “{escape(predictions.names[int(shares.argmax())])}”"
        guess = score_classes(true, even)
        guess |= further_scores(true, even, even.argmax(axis=1), predictions.names).values
        ends = class_intervals(true, predictions.scores, chosen) | more.intervals
        test = score_classes(true, predictions.scores, chosen) | more.values
        return test, guess, ends, (rows, plain)
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


def _saved_scores(scores: Scores) -> tuple[Scores, Scores, Scores, tuple[str, str]]:
    """Return what :func:`_scores` does, of the scores that were saved with a run."""
    plain = scores["baseline"]["guess"]
    said = amount(plain) if scores["task"] == "regression" else f"“{plain}”"
    return scores["test"], scores["baseline"], scores.get("intervals", {}), (
        counted(scores["rows"]["test"], "test row"), f"always {escape(said)}"
    )  # fmt: skip


def _headline(
    test: Scores, guess: Scores, ends: Scores, words: tuple[str, str], run: Run
) -> list[tuple[str, str, str]]:
    """Return the first tiles: the main score, and that of the plain guess."""
    if "accuracy" in test:
        sure = f"on {words[0]}"
        if likely := interval("accuracy", ends.get("accuracy")):
            sure += f"; 95 % interval {likely}"
        tiles = [(measure("accuracy", test["accuracy"]), "accuracy", sure)]
        if guess:
            tiles.append((measure("accuracy", guess["accuracy"]), "with a plain guess", words[1]))
        return tiles
    if "rmse" in test:
        r2 = test["r2"]
        share = "–" if r2 is None or not np.isfinite(r2) else f"{r2:.3f}"
        return [
            (share, "R²", f"share of the variance explained, on {words[0]}"),
            (amount(test["mae"]), "mean absolute error",
             f"{amount(guess['mae'])} with a plain guess, {words[1]}"),
        ]  # fmt: skip
    last = run.history[max(run.best_epoch, 1) - 1] if run.history else {}
    name = next((n for n in ("val_accuracy", "val_r2", "val_loss", "loss") if n in last), None)
    where = "on validation rows" if name and name.startswith("val_") else "on training rows"
    told = name.removeprefix("val_").replace("_", " ") if name else ""
    return [(amount(last[name]), told, where)] if name else []


def _table(
    test: Scores, guess: Scores, ends: Scores, words: tuple[str, str], held: Scores | None
) -> str:
    """Return a table of the scores and, if there are any, of the prediction intervals `held`."""
    if not test or not guess:
        return ""
    rows = [
        (MEASURES[key], measure(key, value), interval(key, ends.get(key)), measure(key, guess[key]))
        for key, value in test.items()
    ]
    rows += [(*row, "") for row in coverage_rows(held)]
    lines = "".join(
        f"<tr><td>{label}</td><td class='number'><b>{value}</b></td>"
        f"<td class='number'>{near}</td><td class='number'>{plain}</td></tr>"
        for label, value, near, plain in rows
    )
    return (
        f"<h3>On {words[0]}</h3><div class='wide'><table><tr><th></th><th class='number'>network"
        "</th><th class='number'>95 % interval</th>"
        f"<th class='number'>{words[1]}</th></tr>{lines}</table></div>"
    )


def _findings(found: Sequence[Remark]) -> str:
    lines = "".join(f'<li class="{one.weight}">{escape(one.text)}</li>' for one in found)
    return f'<ul class="findings">{lines}</ul>' if lines else ""
