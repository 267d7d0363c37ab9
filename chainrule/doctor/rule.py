"""A rule: a function from measurements of a training to findings.

A rule stands in one place with all that belongs to it: its cause, its category, its thresholds
with their reasons, its remedy, and two specimens that its test runs, one that it must find and
one that it must leave alone.

Read next: :mod:`chainrule.doctor.rules.last_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.course import Course
from chainrule.doctor.finding import CATEGORIES, Finding
from chainrule.doctor.survey import Survey

__all__ = ["RULES", "STAGES", "Rule", "check_stage", "rule"]

STAGES = ("before", "while", "after")

Facts = TypeVar("Facts", Survey, Course)
Check: TypeAlias = Callable[[Facts], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A check with the names of its cause and category, its stage, and its specimens."""

    cause: str
    category: str
    stage: str
    check: Callable[[Any], Iterable[Finding]]
    sick: Callable[[], Case]
    healthy: Callable[[], Case]


RULES: dict[str, Rule] = {}


def rule(
    category: str, *, sick: Callable[[], Case], healthy: Callable[[], Case], stage: str = "before"
) -> Callable[[Check[Facts]], Check[Facts]]:
    """Return a decorator that enters a check as a rule; its name is that of the cause.

    `sick` returns a training in which the check must find the cause, `healthy` one in which it
    must find nothing.  A check of the `stage` "before" is given the survey of a training; one of
    the stage "while" its course up to now, several times; one of the stage "after" its course at
    the end.  Raises OptionError for a category or a stage that is not on the list.
    """
    for what, name, known in (("category", category, CATEGORIES), ("stage", stage, STAGES)):
        if name not in known:
            raise OptionError(f"{what} {name!r} is not one of {', '.join(known)}.")

    def enter(check: Check[Facts]) -> Check[Facts]:
        cause = check.__name__
        RULES[cause] = Rule(cause, category, stage, check, sick, healthy)
        return check

    return enter


def check_stage(stage: str, facts: Survey | Course) -> Iterator[Finding]:
    """Yield what the rules of a `stage` find."""
    for one in RULES.values():
        if one.stage == stage:
            yield from one.check(facts)
