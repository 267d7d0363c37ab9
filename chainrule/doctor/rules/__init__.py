"""The rules of the doctor, by what they look at; importing a file enters its rules in the table.

A new file needs no other change.

Read next: :mod:`chainrule.doctor.rule`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
