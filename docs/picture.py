"""Make `docs/train-digits.svg`, the picture in the README, from a real run.

Runs `chainrule train digits` as on a terminal of 80 columns, in a directory that is
thrown away, and draws what it printed.  Nothing in the picture is written by hand.

Run: `python docs/picture.py`
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ("train", "digits")
WIDTH = 80
PICTURE = Path(__file__).with_name("train-digits.svg")


def run_in_color() -> str:
    """Return what the command prints, with the colors it has on a terminal."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [sys.executable, "-m", "chainrule", *COMMAND],
            cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip


def draw(printed: str) -> str:
    """Return the terminal showing the command and what it `printed`, as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(f"[bold]$ chainrule {' '.join(COMMAND)}[/]")
    console.print(Text.from_ansi(printed))
    picture = console.export_svg(title="chainrule")
    # A picture should load nothing: any fixed-width font will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    PICTURE.write_text(draw(run_in_color()), encoding="utf-8")
    print(f"wrote {PICTURE.name}")
