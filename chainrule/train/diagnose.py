"""Train a case to its end, and report all that the doctor finds, before, while and after.

Read next: :mod:`chainrule.doctor.watch`.
"""

from __future__ import annotations

import warnings

from chainrule.core.errors import DivergedError
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Findings
from chainrule.train.fit import fit

__all__ = ["diagnose"]


def diagnose(case: Case) -> Findings:
    """Train `case` from start to end, and return what was wrong with it, before and after.

    The model of the case is trained.  A training that diverges is diagnosed, too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doctor finds what they say
        try:
            run = fit(case.model, case.data, **case.options(), check=True, progress=False)
        except DivergedError as error:
            found: Findings = error.findings
            return found
    assert run.findings is not None
    return run.findings
