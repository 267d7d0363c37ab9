"""scikit-learn's own checks of every estimator and transformer: none fails, none is expected to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule.sklearn import (
    PCA,
    Center,
    MLPClassifier,
    MLPRegressor,
    NetworkClassifier,
    NetworkRegressor,
    Standardize,
    Whiten,
)

ESTIMATORS = [
    MLPClassifier(), MLPRegressor(), NetworkClassifier(), NetworkRegressor(),
    Center(), Standardize(), PCA(), Whiten(), Whiten(kind="zca"),
]  # fmt: skip


@pytest.mark.one_in(7)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
