"""Columns that give the target away, as findings of the doctor.

Read next: :mod:`chainrule.data.leaks`, :mod:`chainrule.doctor.finding`.
"""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.data.leaks import Leak
from chainrule.doctor.finding import Evidence, Finding, Findings

__all__ = ["with_leaks"]

_MEASURES = {
    "copy": "share of the target's variance that the column explains",
    "missing": "balanced accuracy of whether the column has a value",
}


def with_leaks(found: Iterable[Finding], leaks: Iterable[Leak]) -> Findings:
    """Return the findings `found` with one for each of the `leaks`, the most serious first."""
    return Findings.ranked([*map(_finding, leaks), *found])


def _finding(leak: Leak) -> Finding:
    what = _MEASURES.get(leak.kind, "score of the column alone, on rows held out")
    return Finding(
        "target_leak", "data", "warning",
        f"Column {leak.column!r} gives the target away: {leak.what}. If it is known only after "
        "the target, the scores hold for no new row.",
        f"Unless it is known before the target, leave it out: --role '{leak.column}=dropped'.",
        {"column": leak.column},
        (Evidence(f"{what} ({leak.rows:,} rows)", leak.score, leak.least,
                  "a single column hardly ever tells the target"),),
        {}, 0.99,
    )  # fmt: skip
