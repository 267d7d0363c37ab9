"""Import the compiled engines on first use.

Importing a compiler is slow and can fail if it is not installed, so it is deferred until the
engine is selected.

Read next: :mod:`chainrule.run.program`, which chooses between them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["is_missing", "load"]

LOADED = {
    "by_rows": "chainrule.run.llvm.by_rows",
    "native": "chainrule.run.llvm.native",
    "machine": "chainrule.run.llvm.machine",
    "xla": "chainrule.run.xla.xla_engine",
}


def load(name: str) -> Any:
    """Import and return the module registered as `name`.

    Raises ImportError or OSError if its compiler (llvmlite, JAX) is missing or can't be loaded.
    """
    return import_module(LOADED[name])


def is_missing(error: ImportError | OSError) -> bool:
    """Return whether an `error` of :func:`load` is about a compiler, not about this package."""
    name = getattr(error, "name", None) or ""
    return not name.startswith("chainrule")
