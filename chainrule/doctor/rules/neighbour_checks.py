"""Rules that compare each row's target with those of the rows nearest to it.

Read next: :mod:`chainrule.doctor.neighbours`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.doctor.case import Case
from chainrule.doctor.course import Course
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.neighbours import FAR, VOTERS
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, numbers

__all__ = ["targets_contradict"]

ODD_LABELS = 1 / 3  # of the rows; classes that overlap so far can hardly be told apart
ODD_VALUES = 0.2  # of the rows; of a Cauchy distribution, which has no variance, 14 % lie so far
TOLD = 0.5  # of a constant's error, taken away by the nearest rows: what they tell is right


def _mislabeled(share: float) -> Case:
    rng = np.random.default_rng(0)
    X = numbers(600)
    y = np.digitize(X[:, 0] + X[:, 1], [-0.7, 0.7])
    wrong = rng.random(600) < share
    return classes(data=(X, np.where(wrong, (y + 1) % 3, y)), epochs=5)


@rule(
    "data", stage="after", sick=lambda: _mislabeled(0.45), healthy=lambda: _mislabeled(0.1)
)  # fmt: skip
def targets_contradict(course: Course) -> Iterator[Finding]:
    """Find targets that many of the nearest rows contradict: labels or numbers that are wrong."""
    near = course.survey.neighbours
    if near is None or near.gain > TOLD or near.gain <= max(0.1, 2 * near.error):
        return  # what they do not tell at all has a rule of its own
    labels = course.survey.kind != "values"
    share, most = float(near.odd.mean()), ODD_LABELS if labels else ODD_VALUES
    if share <= most:
        return
    rows = near.rows[near.odd]
    what = (
        f"have another label than most of the {VOTERS} rows nearest to them"
        if labels
        else f"have a target more than {FAR:g} robust spreads from the median, and the nearest "
        "rows do not explain it"
    )
    yield Finding(
        "targets_contradict", "data", "warning",
        f"The targets contradict one another: {100 * share:.0f} % of the rows, such as row "
        f"{rows[0]}, {what}. Still, near rows take {100 * near.gain:.0f} % of a constant's error "
        "away, so there is something to learn.",
        "Look at these rows: their targets may be wrong, or the columns that matter are missing or "
        "buried among others.",
        {"rows": [int(row) for row in rows[:20]]},
        (Evidence("share of such rows", share, most,
                  "classes that can be told apart overlap less" if labels
                  else "even targets of heavy tails have fewer"),
         Evidence("error that the nearest rows take away", near.gain, TOLD,
                  "what explains the targets explains far ones too")),
        {}, 0.7,
    )  # fmt: skip
