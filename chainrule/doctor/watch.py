"""Watch a training: look at its layers now and then, and report what the rules find.

Read next: :mod:`chainrule.doctor.rules.ending`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.doctor.course import Course
from chainrule.doctor.finding import LEVELS, Finding, Findings
from chainrule.doctor.preflight import examine_survey
from chainrule.doctor.rule import RULES, check_stage
from chainrule.doctor.survey import Survey

__all__ = ["Watch"]

LASTING = ("died_in_training",)

SHARE = 0.02  # share of the training time spent on looks; the caches they empty double it
AFTER = 0.02  # seconds that NumPy's BLAS threads keep spinning beside the engine's after a look


class Watch:
    """The doctor beside one training, from before its first step to its end.

    Made before the first step, from a `survey` of the model that is trained; `before` is what
    was found then, :meth:`look` and :meth:`end_epoch` return what has been found since, and
    `late` is what only the end has shown.
    """

    def __init__(self, survey: Survey):
        started = time.perf_counter()
        self.course = Course(survey, layers=survey.layers)
        self._cost = time.perf_counter() - started + AFTER
        self.before = examine_survey(survey)
        self._found = list(self.before)
        self.late = Findings()
        self._looked = time.perf_counter()
        self._seen: set[tuple[Any, ...]] = set()

    def look(self) -> Findings:
        """Look at the layers, unless that would take more than `SHARE` of the time; see the class.

        The parameters of the model have to hold their present values.
        """
        now = time.perf_counter()
        if self._cost > SHARE * (now - self._looked):
            return Findings()
        return self._look()

    def end_epoch(self, record: Mapping[str, Any]) -> Findings:
        """Take down the `record` of an epoch that has ended, and look at the layers."""
        self.course.end_epoch(record)
        return self.look()

    def finish(self, diverged: str = "", stopped: str | None = None) -> Findings:
        """Return all that was found, the last look and the whole course included.

        `diverged` says how training broke off, where it did; `stopped` why it ended early.  Ctrl-C
        ends the search for causes.  A rule that fails is warned of: it must not take the finished
        training with it.
        """
        self.course.diverged, self.course.stopped = diverged, stopped or ""
        ended: list[Finding] = []
        seen = Findings()
        try:
            seen = Findings() if diverged else self._look()
            if not diverged:
                self._forget()
            self.course.found = self._found
            for finding in check_stage("after", self.course):
                ended.append(finding)
        except KeyboardInterrupt:
            self.course.tell("Interrupted; the training is kept, with what was found until now.")
        except Exception as error:
            warnings.warn(
                f"the doctor could not look at the end of this training: {error!r}. The training "
                "is kept, with what was found until then.",
                stacklevel=2,
            )
        found = Findings.ranked([*self._found, *ended])
        late = {f.key for f in [*seen, *ended]}
        self.late = Findings(f for f in found if f.key in late)
        return found

    def _look(self) -> Findings:
        started = time.perf_counter()
        layers, _ = self.course.survey.measure()
        if all(np.isfinite(np.abs(f.product).max()) for f in layers):
            self.course.layers = layers
        known = {f.key: f for f in self._found}
        self.course.found = self._found
        seen = list(check_stage("while", self.course))
        self._seen = {f.key for f in seen}  # with the numbers of now
        before = [f for f in self._found if f.key not in self._seen]
        ranked = Findings.ranked([*before, *seen])  # says what follows from what came before
        fresh = Findings(
            f
            for f in ranked
            if f.key in self._seen and (f.key not in known or _worse(f, known[f.key]))
        )
        self._found = [*before, *Findings.ranked(seen)]
        self._looked = time.perf_counter()
        self._cost = self._looked - started + AFTER
        return fresh

    def _forget(self) -> None:
        """Leave out what was found while training and is over, such as a plateau that was left.

        A layer that has died stays so, though the best weights, put back, may be from before.
        """
        self._found = [
            f
            for f in self._found
            if f.key in self._seen or f.cause in LASTING or RULES[f.cause].stage != "while"
        ]


def _worse(now: Finding, before: Finding) -> bool:
    return LEVELS.index(now.level) > LEVELS.index(before.level)
