"""Make `docs/report.png`, the picture in `docs/report.md`, from a real run.

Trains on digits by `chainrule train`, opens the report that it wrote in chromium, and keeps the
top of the page.

Run: `python docs/report_picture.py`, with the extra `browser` installed and chromium on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("report.png")
WIDE, TALL = 900, 1045


def photograph(folder: Path) -> bytes:
    """Return the top of the report of a training on digits, as PNG."""
    root = str(Path(__file__).resolve().parents[1])
    subprocess.run(
        [sys.executable, "-m", "chainrule", "train", "digits", "--quiet", "--out", "run"],
        cwd=folder, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDE, "height": TALL})
        page.goto((folder / "run" / "report.html").as_uri())
        return page.screenshot()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_bytes(photograph(Path(folder)))
    print(f"wrote {PICTURE.name}")
