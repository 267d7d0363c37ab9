"""The section on the data: the split, and the decisions made about the columns.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from chainrule.core.wording import counted
from chainrule.data.notes import group_notes
from chainrule.insight.report.overview import split_words
from chainrule.insight.report.section import Material, section

MOST_NOTES = 40


@section("Data", 90)
def decisions(material: Material) -> str:
    """Return how the rows were split, and the decisions made about the columns."""
    run = material.run
    notes: Sequence[str] = run.pipeline.notes if run.pipeline else ()
    if not notes:
        return ""
    notes = group_notes(notes)
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes[:MOST_NOTES])
    more = len(notes) - MOST_NOTES
    lines += f"<li>and {counted(more, 'more decision')}</li>" if more > 0 else ""
    split = f"<p>{split_words(run)}.</p>" if "rows" in run.scores else ""
    return f"{split}<ul>{lines}</ul>"
