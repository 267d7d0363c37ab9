"""Floor 4, training: the loop, its objective, its history, and runs that can be saved.

For tables it goes the whole way, from a file to a scored run; that part is loaded by its
first use, for it brings along what fetches data sets.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.train.curve import Curve, fit_curve
from chainrule.train.fit import EarlyStopping, fit
from chainrule.train.run import Run, load
from chainrule.train.settings import Settings, choose_settings

if TYPE_CHECKING:
    from chainrule.train.table import Problem, fit_table, predict_table, read_problem

__all__ = [
    "Curve",
    "EarlyStopping",
    "Problem",
    "Run",
    "Settings",
    "choose_settings",
    "fit",
    "fit_curve",
    "fit_table",
    "load",
    "predict_table",
    "read_problem",
]

_TABLE = frozenset({"Problem", "fit_table", "predict_table", "read_problem"})


def __getattr__(name: str) -> Any:
    if name in _TABLE:
        return getattr(import_module("chainrule.train.table"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
