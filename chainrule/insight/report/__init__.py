"""The report of a training as one HTML file, and runs side by side in a terminal.

Read next: :mod:`chainrule.insight.report.report`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):  # each may hold sections, which register themselves
    import_module(f"{__name__}.{_found.name}")
