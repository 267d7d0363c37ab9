"""Training reports as HTML files, and comparisons of runs in a terminal.

Read next: :mod:`chainrule.insight.report.report`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):  # importing a module registers its sections
    import_module(f"{__name__}.{_found.name}")
