"""Floor 8: train on tables end to end: read a file or query, train, score and predict.

Submodules are imported on first use, so that a prediction does not import the data sets.

Read next: :mod:`chainrule.tabular.problem`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute

if TYPE_CHECKING:
    from chainrule.tabular.heads import head
    from chainrule.tabular.problem import Problem, read_problem
    from chainrule.tabular.settings import Settings, choose_settings
    from chainrule.tabular.table_prediction import predict_table
    from chainrule.tabular.table_training import fit_table, settings_for

__all__ = [
    "Problem",
    "Settings",
    "choose_settings",
    "fit_table",
    "head",
    "predict_table",
    "read_problem",
    "settings_for",
]

_MODULES = {
    "heads": ("head",),
    "problem": ("Problem", "read_problem"),
    "settings": ("Settings", "choose_settings"),
    "table_prediction": ("predict_table",),
    "table_training": ("fit_table", "settings_for"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"chainrule.tabular.{_MODULE_OF[name]}"), name)
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
