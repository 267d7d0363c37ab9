"""NIST's 27 nonlinear regressions from both of their starts, against the certified values.

Levenberg-Marquardt with exact derivatives reaches at least six digits of every parameter and
standard error from all 54 starts.  Measured: 9.1 digits at worst.  Needs the network once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.optim.nist import MODELS, Certified, fetch, read

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return fetch()
    except OSError as error:
        pytest.skip(str(error))


def digits(found: Any, certified: Any) -> float:
    """The digits that agree, of at most the 11 that are certified."""
    error = np.max(np.abs((np.asarray(found) - certified) / certified))
    return float(-np.log10(np.maximum(error, 1e-11)))


def fitted(case: Certified, name: str, start: int, **options: Any) -> Any:
    return cr.fit_curve(MODELS[name], case.x, case.y, case.starts[start], **options)


def test_every_data_set_from_both_starts(folder: Path) -> None:
    reached = {}
    for name in MODELS:
        case = read(folder / f"{name}.dat")
        for start in (0, 1):
            curve = fitted(case, name, start)
            assert curve.converged, (name, start)
            reached[name, start] = digits(list(curve.values.values()), case.values)
            assert reached[name, start] >= 6, (name, start, curve)
            # Lanczos 1 is exact but for rounding, which leaves its residuals with few digits.
            wanted = 2 if name == "Lanczos1" else 6
            assert digits(list(curve.errors.values()), case.errors) >= wanted, (name, start, curve)
            assert digits(curve.deviation, case.deviation) >= wanted, (name, start, curve)
    assert len(reached) == 54
    assert min(reached.values()) >= 8
    assert sum(d >= 9 for d in reached.values()) >= 50  # on the machine it was written on: 54


@pytest.mark.parametrize("name", ["Misra1a", "MGH09", "Thurber", "Nelson", "Roszman1"])
def test_compiled_code_reaches_them_too(folder: Path, name: str) -> None:
    case = read(folder / f"{name}.dat")
    curve = fitted(case, name, 1, engine="native")
    assert digits(list(curve.values.values()), case.values) >= 6
