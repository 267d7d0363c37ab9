"""The page of the service: fill in a row, send it, read the answer; then several rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import trained


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[str]:
    """Yield the address of a service."""
    pytest.importorskip("uvicorn")
    run = trained("kind").save(tmp_path_factory.mktemp("served") / "run")
    process = subprocess.Popen(
        [sys.executable, "-m", "chainrule", "serve", str(run), "--port", "0"],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate()


def test_a_row_is_sent_and_answered(page: Any, address: str) -> None:
    page.goto(address)
    assert page.locator("h1").inner_text() == "Predictions of kind"
    page.get_by_label("size").fill("30")
    page.get_by_label("heating").select_option("wood")
    page.locator("#one button").click()
    page.locator("#answer table").wait_for()
    assert page.locator("#answer .big").inner_text() in ("flat", "house")
    assert page.locator("#answer meter").count() == 2
    page.get_by_label("size").fill("9999")
    page.locator("#one button").click()
    page.locator("#answer .warn").wait_for()
    assert "far from the training range" in page.locator("#answer .warn").inner_text()
    assert '"size":9999' in page.locator("#call").inner_text()


def test_several_rows_and_an_error(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("#many button").click()
    page.locator("#answer th").first.wait_for()
    assert page.locator("#answer tr").count() == 2
    page.locator("#rows").fill("size\n1\n")
    page.locator("#many button").click()
    page.locator("#answer .bad").wait_for()
    assert "column 'fee': is not there" in page.locator("#answer .bad").inner_text()
    assert "422" in page.complaints.pop()  # the browser reports such an answer itself
