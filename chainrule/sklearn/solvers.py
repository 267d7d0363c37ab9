"""Optimizers from the parameters of an estimator, and the checks of these parameters.

Read next: :mod:`chainrule.sklearn.session`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import check_whole, in_range
from chainrule.optim.adam import Adam
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.named import optimizer, optimizer_names
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Schedule
from chainrule.optim.sgd import SGD
from chainrule.train.callbacks import Callbacks

__all__ = ["LOSS_STALLS", "check_options", "full_batch", "solver_of"]

LOSS_STALLS = 10_000_000 * float(np.finfo(np.float64).eps)  # the ftol of SciPy's L-BFGS-B
PLANS = ("constant", "invscaling", "adaptive")
FLAGS = (
    "shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "progress",
)  # fmt: skip


def full_batch(method: Any) -> bool:
    """Whether `method`, an optimizer or the name of one, uses all rows for each step."""
    return isinstance(method, FullBatch) or method in ("lbfgs", "levenberg_marquardt")


def solver_of(estimator: Any) -> Optimizer:
    """Return the optimizer that the parameters of an estimator ask for."""
    name = estimator.solver
    if isinstance(name, Optimizer):
        return name
    plan = estimator.learning_rate
    rate = plan if isinstance(plan, Schedule) else float(estimator.learning_rate_init)
    if name == "sgd":
        momentum = float(estimator.momentum)
        return SGD(rate, momentum, nesterov=estimator.nesterovs_momentum and momentum > 0)
    if name == "adam":
        betas = float(estimator.beta_1), float(estimator.beta_2)
        return Adam(rate, *betas, epsilon=float(estimator.epsilon))
    if name == "lbfgs":
        return LBFGS(tolerance=0.0)  # the estimator looks at `tol` itself
    return optimizer(name, None if full_batch(name) else rate)


def check_options(estimator: Any) -> None:
    """Raise OptionError, with the name of the estimator, for a parameter out of its range."""
    who = type(estimator).__name__
    if not isinstance(estimator.solver, Optimizer) and estimator.solver not in optimizer_names():
        raise OptionError(
            f"{who}: unknown solver {estimator.solver!r}. "
            f"{did_you_mean(str(estimator.solver), optimizer_names())} Or give an optimizer, such "
            "as optim.AdamW(1e-3)."
        )
    plan = estimator.learning_rate
    if not isinstance(plan, Schedule) and plan not in PLANS:
        raise OptionError(
            f"{who}: learning_rate must be one of {', '.join(map(repr, PLANS))}, or a schedule "
            f"such as optim.Cosine(1e-3), not {plan!r}. A number belongs to learning_rate_init."
        )
    if estimator.batch_size != "auto":
        check_whole(f"{who}: batch_size", estimator.batch_size)
    check_whole(f"{who}: max_iter", estimator.max_iter)
    check_whole(f"{who}: max_fun", estimator.max_fun)
    if estimator.n_iter_no_change != np.inf:
        check_whole(f"{who}: n_iter_no_change", estimator.n_iter_no_change)
    for name in ("alpha", "power_t", "tol"):
        in_range(estimator, name, 0.0, math.inf)
    for name in ("learning_rate_init", "epsilon"):
        in_range(estimator, name, 0.0, math.inf, open_low=True)
    for name in ("momentum", "beta_1", "beta_2", "validation_fraction"):
        in_range(estimator, name, 0.0, 1.0)
    Callbacks(() if estimator.callbacks is None else estimator.callbacks)
    for name in FLAGS:
        if not isinstance(getattr(estimator, name), (bool, np.bool_)):
            raise OptionError(
                f"{who}: {name} must be True or False, not {getattr(estimator, name)!r}."
            )
