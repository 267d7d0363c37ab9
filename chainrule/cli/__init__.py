"""Floor 11, the command ``chainrule``: train on a file, predict for another.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run ``chainrule`` with the arguments of the command line, and exit."""
    try:
        commands = import_module("chainrule.cli.commands")  # Ctrl-C may interrupt this import
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    commands.main()
