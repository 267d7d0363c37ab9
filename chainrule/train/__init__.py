"""Floor 4, training: the loop, its objective, its history, and runs that can be saved.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from chainrule.train.fit import EarlyStopping, fit
from chainrule.train.run import Run, load

__all__ = ["EarlyStopping", "Run", "fit", "load"]
