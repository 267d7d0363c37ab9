"""Leave out the program that needs Atheris, which only ``make fuzz`` installs."""

from __future__ import annotations

collect_ignore = ["fuzz.py"]
