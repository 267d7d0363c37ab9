"""The section with what the doctor found, and which remedies were confirmed by a trial.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from html import escape

from chainrule.doctor.finding import Finding
from chainrule.insight.report.section import Material, section

_CLASS = {"fault": "bad", "warning": "note", "note": ""}


@section("Diagnosis", 15)
def diagnosis(material: Material) -> str:
    """Return the findings, each with its evidence, and the remedies that were tried."""
    found = material.run.findings
    if found is None:
        return ""
    if not found:
        return "<p>The checks before and during training found nothing wrong.</p>"
    lines = "".join(_line(finding) for finding in found)
    tried = "".join(f"<li>{escape(str(attempt))}</li>" for attempt in material.run.remedies or ())
    if tried:
        tried = f"<h3>Remedies tried</h3><ul class='findings'>{tried}</ul>"
    return f'<ul class="findings">{lines}</ul>{tried}'


def _line(finding: Finding) -> str:
    evidence = "".join(f"<li>{escape(str(one))}</li>" for one in finding.evidence)
    return (
        f'<li class="{_CLASS[finding.level]}"><b>{finding.level.capitalize()}</b>, '
        f"{escape(finding.category.replace('_', ' '))}: {escape(finding.text)} "
        f"{escape(finding.remedy)}<details><summary>Evidence</summary><ul>{evidence}</ul>"
        f"</details></li>"
    )
