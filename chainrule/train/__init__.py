"""Floor 7, training: the loop, its progress and history, and runs that can be saved.

Each part is loaded by its first use.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
from chainrule.train.fit import fit  # now: the module bears the function's name

if TYPE_CHECKING:
    from chainrule.train.checkpoint import Checkpoint
    from chainrule.train.curve import Curve, fit_curve
    from chainrule.train.early_stopping import EarlyStopping
    from chainrule.train.many import fit_many
    from chainrule.train.many_runs import Runs
    from chainrule.train.predictor import Predictor
    from chainrule.train.resuming import resume
    from chainrule.train.run import Run, load

__all__ = [
    "Checkpoint",
    "Curve",
    "EarlyStopping",
    "Predictor",
    "Run",
    "Runs",
    "fit",
    "fit_curve",
    "fit_many",
    "load",
    "resume",
]

_MODULES = {
    "checkpoint": ("Checkpoint",),
    "curve": ("Curve", "fit_curve"),
    "early_stopping": ("EarlyStopping",),
    "many": ("fit_many",),
    "many_runs": ("Runs",),
    "predictor": ("Predictor",),
    "resuming": ("resume",),
    "run": ("Run", "load"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"chainrule.train.{_MODULE_OF[name]}"), name)
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
