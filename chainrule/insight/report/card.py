"""The model card of a run that was trained on a table: a page of Markdown.

It tells for what the network was trained, how well it does and where not to trust it (Mitchell et
al., "Model cards for model reporting", 2019).  Every sentence is from the saved run.

Read next: :mod:`chainrule.insight.report.overview`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.encode import CategoryEncoder, Encoder
from chainrule.data.notes import group_notes
from chainrule.data.together import IN_TIME
from chainrule.insight.render.text import amount, interval, measure, setting
from chainrule.insight.report.overview import decided_by, split_words
from chainrule.insight.report.remarks import remarks_on
from chainrule.nn.layer import parameters
from chainrule.tabular.scores import MEASURES
from chainrule.tabular.settings import unusual
from chainrule.train.run import Run

__all__ = ["card"]

MOST_WORDS = 8  # categories named for a column
FEW = 100  # test rows, below which the scores are told to be uncertain
RARE = 0.1  # share of a class, below which it is told


def card(run: Run, versions: Mapping[str, str]) -> str:
    """Return the model card of `run` as Markdown; `versions` are those it was trained with.

    Raises DataError for a run that was not trained on a table.
    """
    if run.pipeline is None or not run.scores:
        raise DataError("a model card tells of a table; this run was trained on arrays.")
    parts = [_head(run), _data(run), _scores(run), _limits(run), _made(run, versions)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(run: Run) -> list[str]:
    target = _pipeline(run).target
    classes = ", ".join(f"`{name}`" for name in target.classes[:MOST_WORDS])
    more = ", ..." if len(target.classes) > MOST_WORDS else ""
    aim = f"one of {counted(len(target.classes), 'class', 'classes')} ({classes}{more})"
    weights = sum(p.value.size for p in parameters(run.model).values())
    return [
        f"# Model card: {run.settings.get('data', 'table')}",
        "",
        f"A neural network of {counted(weights, 'parameter')} that predicts `{target.name}`, "
        f"{aim if target.classes else 'a number'}.",
    ]


def _data(run: Run) -> list[str]:
    lines = [
        "## Data",
        "",
        f"{split_words(run)}.",
        "",
        "| column | used as | in training |",
        "|---|---|---|",
    ]
    encoders = getattr(run.pipeline, "encoders", ())
    lines += [f"| {_cell(e.name)} | {_role(e)} | {_cell(_range(e))} |" for e in encoders]
    if not encoders:
        lines = [*lines[:3]]
    notes = group_notes(_pipeline(run).notes)
    return [*lines, *(["", "What was decided:", ""] if notes else []), *(f"- {n}" for n in notes)]


def _role(encoder: Encoder) -> str:
    if isinstance(encoder, CategoryEncoder):
        return "category, embedded" if encoder.embedded else "category"
    if encoder.levels:
        return "ordered category"
    return f"date: {', '.join(encoder.parts)}" if encoder.parts else "number"


def _range(encoder: Encoder) -> str:
    if encoder.levels:
        shown = ", ".join(encoder.levels[:MOST_WORDS])
        more = len(encoder.levels) - MOST_WORDS
        return f"{shown} and {more} more" if more > 0 else shown
    if isinstance(encoder, CategoryEncoder) or not encoder.least:
        return ""
    ends = (encoder.least[-1], encoder.greatest[-1])
    if encoder.parts:
        return " to ".join(str(np.datetime64(int(day), "D")) for day in ends)
    return " to ".join(amount(end) for end in ends)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _scores(run: Run) -> list[str]:
    scores = run.scores
    lines = ["## How good it is", ""]
    for name, one in scores.get("targets", {"": scores}).items():
        lines += ["", f"### {name}", ""] if name else []
        lines += _table(one) if "test" in one else [
            "It was trained on all rows that have a target, and not tested on any."
        ]  # fmt: skip
    if found := scores.get("cross_validation"):
        lines += [
            "",
            f"Other networks of the same settings, each tested on one of {found['folds']} folds of "
            "the rows and trained on the others, mean and standard deviation:",
            "",
        ]
        lines += [
            f"- {MEASURES[key]}: {measure(key, one['mean'])} ± {measure(key, one['deviation'])}"
            for key, one in found["scores"].items()
            if one["mean"] is not None
        ]
    told = decided_by(scores)
    if scores["task"] == "classification" and "calibration" not in scores:
        told["probabilities"] = "as the network gives them; no temperature made them better"
    return [*lines, *([""] if told else []), *(f"- {k}: {text}" for k, text in told.items())]


def _table(scores: Mapping[str, Any]) -> list[str]:
    """Return the scores of one target beside those of a plain guess."""
    guess, ends = scores["baseline"], scores.get("intervals", {})
    plain = amount(guess["guess"]) if scores["task"] == "regression" else f"`{guess['guess']}`"
    lines = [
        f"| on {counted(scores['rows']['test'], 'test row')} | network | 95 % interval | "
        f"always {plain} |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {MEASURES[key]} | {measure(key, value)} | {interval(key, ends.get(key))} | "
        f"{measure(key, guess[key])} |"
        for key, value in scores["test"].items()
        if key in guess
    ]
    if (held := scores.get("prediction_interval")) is not None:
        low, high = (f"{100 * end:.1f}" for end in held["between"])
        lines += [
            "",
            f"Intervals of {100 * held['level']:g} % contain {100 * held['covered']:.1f} % of the "
            f"test rows (95 % interval {low} to {high} %); their mean width is "
            f"{amount(held['mean_width'])}.",
        ]
    return lines


def _limits(run: Run) -> list[str]:
    scores, target = run.scores, _pipeline(run).target
    lines = [f"- {remark.text}" for remark in remarks_on(run)]
    rows = scores["rows"]["test"]
    if 0 < rows < FEW:
        lines.append(f"- {counted(rows, 'test row')}: the scores are uncertain, see the intervals.")
    rare = [
        f"`{one['class']}` ({counted(one['rows'], 'test row')}, recall "
        f"{measure('accuracy', one['recall']['value'])})"
        for one in scores.get("by_class", ())
        if one["rows"] < RARE * rows
    ]
    if rare:
        lines.append(f"- Rare classes, known less well: {', '.join(rare[:MOST_WORDS])}.")
    if rows or "cross_validation" in scores:
        in_time = any(note.startswith(IN_TIME) for note in _pipeline(run).notes)
        drawn = "are the last of" if in_time else "were drawn from"
        later = "still later" if in_time else "from a later time"
        lines.append(
            f"- The rows to test {drawn} the same table: on rows from elsewhere, or {later}, the "
            "scores may be lower."
        )
    lines += [
        "- Outside the ranges and words above, predictions are guesses; `chainrule predict` tells "
        "of such rows.",
        f"- It tells what goes together with `{target.name}`, not what causes it.",
    ]
    return ["## Limits", "", *lines]


def _made(run: Run, versions: Mapping[str, str]) -> list[str]:
    asked = {"loss": run.objective.name, **unusual(run.settings)}
    lines = [f"- {name.replace('_', ' ')}: {setting(value)}" for name, value in asked.items()]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return ["## How it was made", "", *lines, f"- versions: {told}"]


def _pipeline(run: Run) -> Any:
    return run.pipeline
