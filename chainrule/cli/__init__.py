"""Floor 8, the command ``chainrule``: train on a file, predict for another.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

from chainrule.cli.commands import main

__all__ = ["main"]
