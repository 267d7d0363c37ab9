"""What the doctor reports: a cause, where it is, the numbers it rests on, and what to change.

Read next: :mod:`chainrule.doctor.rule`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chainrule.core.wording import counted

__all__ = ["CATEGORIES", "LEVELS", "Evidence", "Finding", "Findings"]

CATEGORIES = (
    "activation", "loss", "learning_rate", "epochs", "optimizer", "batch", "initialization",
    "preprocessing", "architecture", "data",
)  # fmt: skip
# "note": worth knowing; "warning": training will probably suffer; "fault": it can't succeed.
LEVELS = ("note", "warning", "fault")


@dataclass(frozen=True)
class Evidence:
    """A measured number beside the threshold that it crosses, and the reason for that threshold."""

    what: str
    value: float
    threshold: float
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.4g} (threshold {self.threshold:.4g}; {self.reason})"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may be.

    cause
        Its name, one of those in :data:`chainrule.doctor.rule.RULES`.
    category
        What has to be changed, one of :data:`CATEGORIES`.
    level
        One of :data:`LEVELS`.
    text
        One or two sentences: what is wrong and why it matters.
    remedy
        One sentence: what to change.
    where
        The layer, unit, column or rows it sits in, by name: ``{"layer": "0", "unit": 3}``.
    change
        The remedy as settings, such as ``{"activation": "relu"}``, where it can be said so.
    confidence
        From 0 to 1; findings of one level are ranked by it.
    """

    cause: str
    category: str
    level: str
    text: str
    remedy: str
    where: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 0.5

    def __str__(self) -> str:
        lines = [
            textwrap.fill(f"{self.level}: {self.text} {self.remedy}", 88, subsequent_indent="  ")
        ]
        lines += [f"  - {evidence}" for evidence in self.evidence]
        return "\n".join(lines)


class Findings(tuple[Finding, ...]):
    """Findings, the most serious and most certain first; prints as text.

    >>> print(Findings())
    The checks found nothing wrong.
    """

    __slots__ = ()

    @classmethod
    def ranked(cls, findings: Iterable[Finding]) -> Findings:
        """Return `findings` by level and confidence; of one cause in one place, the first."""
        first: dict[Any, Finding] = {}
        for f in sorted(findings, key=lambda f: (-LEVELS.index(f.level), -f.confidence)):
            first.setdefault((f.cause, tuple(sorted(f.where.items()))), f)
        return cls(first.values())

    @property
    def serious(self) -> Findings:
        """Those above the level "note"."""
        return Findings(f for f in self if f.level != "note")

    def to_json(self) -> list[dict[str, Any]]:
        """Return the findings as plain JSON values."""
        return [asdict(finding) for finding in self]

    @classmethod
    def from_json(cls, saved: Iterable[Mapping[str, Any]]) -> Findings:
        """Restore what `to_json` returned."""
        return cls(
            Finding(**{**one, "evidence": tuple(Evidence(**e) for e in one["evidence"])})
            for one in saved
        )

    def __str__(self) -> str:
        if not self:
            return "The checks found nothing wrong."
        return "\n".join([f"{counted(len(self), 'finding')}:", *map(str, self)])

    __repr__ = __str__
