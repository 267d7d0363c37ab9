"""An exercise: a training broken by a fault, whose cause the reader names and the doctor checks.

Read next: ``docs/tutorial/3_training.py``, where exercises are used.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from textwrap import fill

from chainrule.core.errors import DivergedError, OptionError, did_you_mean
from chainrule.doctor.case import Case
from chainrule.doctor.finding import CATEGORIES, Findings
from chainrule.lab.faults import FAULTS, break_recipe
from chainrule.lab.recipe import Recipe
from chainrule.train.fit import fit
from chainrule.train.run import Run

__all__ = ["Exercise"]


@dataclass
class Exercise:
    """A training of `recipe` that is broken by the fault called `fault`.

    :meth:`train` trains it, and :meth:`check` compares an answer with the fault and with what the
    doctor found.  `findings` are those of the doctor, empty before the training.

    >>> exercise = Exercise(Recipe("iris", epochs=5), "rate_far_too_high")
    >>> _ = exercise.train()
    >>> print(exercise.check("data"))
    No, it is not data. What the doctor measured first: ...
    >>> print(exercise.check("learning_rate"))
    Yes: The learning rate is 10,000 times too high: training diverges or jumps about.
    The doctor says: ...
    """

    recipe: Recipe
    fault: str
    findings: Findings = field(default_factory=Findings, init=False)

    def case(self) -> Case:
        """Return the broken training with fresh data and a fresh model, to be looked at."""
        return break_recipe(self.recipe, self.fault)

    def train(self) -> Run:
        """Return the run of the broken training, also where it diverged."""
        case = self.case()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would tell the answer
            try:
                run = fit(case.model, case.data, progress=False, check=True, **case.options())
            except DivergedError as error:
                run = error.run
        self.findings = run.findings or Findings()
        return run

    def check(self, answer: str) -> str:
        """Return whether `answer`, a category of the doctor, is a cause, and what the doctor says.

        Raises OptionError for an unknown category, or before :meth:`train`.
        """
        if answer not in CATEGORIES:
            raise OptionError(f"{answer!r} is no category. {did_you_mean(answer, CATEGORIES)}")
        found = self.findings.serious
        if not found:
            raise OptionError("The doctor has found nothing yet: train the exercise first.")
        if answer not in FAULTS[self.fault].causes:
            facts = found[0].evidence
            told = str(facts[0]) if facts else found[0].text
            return fill(f"No, it is not {answer}. What the doctor measured first: {told}", 88)
        said = next((f for f in found if f.category == answer), found[0])
        told = fill(f"The doctor says: {said.text} {said.remedy}", 88)
        return f"Yes: {FAULTS[self.fault].description}\n{told}"
