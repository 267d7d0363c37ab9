"""The engines beside the reference interpreter, each loaded when it is first asked for.

A name goes in; the module of that engine comes out.  Compilers take a while to load
and may not be installed, so none is imported before it is chosen.  This table is the
only place that knows which engines there are.

Read next: :mod:`chainrule.run.program`, which chooses between them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["load"]

LOADED = {
    "native": "chainrule.run.llvm.native",
    "machine": "chainrule.run.llvm.machine",
}


def load(name: str) -> Any:
    """Return the module that `name` stands for, importing it now.

    Raises ImportError or OSError where llvmlite is missing or its library can't be loaded.
    """
    return import_module(LOADED[name])
