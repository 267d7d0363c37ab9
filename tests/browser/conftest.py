"""A real browser for pages: a fixture that fails on console errors and on requests to outside.

Every test here carries the marker ``browser`` (``make browser``) and runs light and wide, and dark
and as narrow as a phone.  ``BROWSER_SHOTS=folder`` keeps a picture of how each test left its page.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LOOKS = {"light-desktop": ("light", 1280, 800), "dark-phone": ("dark", 390, 844)}
INSIDE = re.compile(r"(file|data|blob|about):|https?://(127\.0\.0\.1|localhost)[:/]")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Yield one browser for all tests."""
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("no chromium on the PATH; on Debian or Ubuntu: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=LOOKS.values(), ids=LOOKS)
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield an empty page; afterwards, fail if it complained, asked outside, or overflowed."""
    scheme, width, height = request.param
    page = chromium.new_page(
        color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on(
        "console",
        lambda said: (
            complaints.append(f"{said.type}: {said.text}")
            if said.type in ("error", "warning")
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None if INSIDE.match(asked.url) else complaints.append(f"outside: {asked.url}")
        ),
    )
    page.complaints = complaints
    yield page
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if folder := os.environ.get("BROWSER_SHOTS"):
        name = re.sub(r"\W+", "-", request.node.name)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    page.close()
    assert complaints == []
    assert over <= 0, f"the page is {over} pixels wider than the window"


@pytest.fixture
def show(page: Any, tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that opens HTML text from a file, and returns the page."""

    def open_text(html: str) -> Any:
        file = tmp_path / "page.html"
        file.write_text(html, "utf-8")
        page.goto(file.as_uri())
        return page

    return open_text
