"""Floor 4, training: the loop, its objective, its history, and runs that can be saved.

For tables it goes the whole way, from a file to a scored run.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from chainrule.train.fit import EarlyStopping, fit
from chainrule.train.run import Run, load
from chainrule.train.settings import Settings, choose_settings
from chainrule.train.table import Problem, fit_table, predict_table, read_problem

__all__ = [
    "EarlyStopping",
    "Problem",
    "Run",
    "Settings",
    "choose_settings",
    "fit",
    "fit_table",
    "load",
    "predict_table",
    "read_problem",
]
