"""A rule: a function from a survey of a training to what it finds wrong there.

A rule stands in one place with all that belongs to it: its cause, its category, its thresholds
with their reasons, its remedy, and two specimens that its test runs, one that it must find and
one that it must leave alone.

Read next: :mod:`chainrule.doctor.rules.last_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.finding import CATEGORIES, Finding
from chainrule.doctor.survey import Survey

__all__ = ["RULES", "Rule", "rule"]

Check: TypeAlias = Callable[[Survey], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A check with the names of its cause and category, and its specimens."""

    cause: str
    category: str
    check: Check
    sick: Callable[[], Case]
    healthy: Callable[[], Case]


RULES: dict[str, Rule] = {}


def rule(
    category: str, *, sick: Callable[[], Case], healthy: Callable[[], Case]
) -> Callable[[Check], Check]:
    """Return a decorator that enters a check as a rule; its name is that of the cause.

    `sick` returns a training in which the check must find the cause, `healthy` one in which it
    must find nothing.  Raises OptionError for a category that is not on the list.
    """
    if category not in CATEGORIES:
        raise OptionError(f"category {category!r} is not one of {', '.join(CATEGORIES)}.")

    def enter(check: Check) -> Check:
        cause = check.__name__
        RULES[cause] = Rule(cause, category, check, sick, healthy)
        return check

    return enter
