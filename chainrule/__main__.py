"""Let ``python -m chainrule`` be the command ``chainrule``.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

from chainrule.cli.commands import main

if __name__ == "__main__":
    main()
