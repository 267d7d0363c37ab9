"""The claims, by what they are about; importing a file enters its claims in the table.

A new file needs no other change.

Read next: :mod:`chainrule.lab.experiment`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
