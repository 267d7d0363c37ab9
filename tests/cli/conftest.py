"""A command line to call, in a directory of its own, with small files to call it on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chainrule.cli.commands import command_line

COLORS = """size,color,weight,kind
1.0,red,10,small
1.1,red,11,small
0.9,blue,9,small
1.2,blue,12,small
5.0,red,50,large
5.1,blue,51,large
4.9,red,49,large
5.2,blue,52,large
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty directory commands run in, narrow as a plain terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


# What says which network is trained, or where its description is.
NETWORK = {
    "--activation",
    "--config",
    "--effort",
    "--hidden",
    "--members",
    "--optimizer",
    "--resume",
}


@pytest.fixture
def call_default(place: Path) -> Callable[..., Result]:
    """Return a function that calls the command with the words given."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(command_line, [str(word) for word in words])

    return call


@pytest.fixture
def call(call_default: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that calls the command with the words given, and trains a small network.

    Unless the words say which network is trained, it has one hidden layer of 16 units, as the
    networks that are the default take seconds to compile.
    """

    def call(*words: object) -> Result:
        options = {str(word).partition("=")[0] for word in words}
        trains = bool(words) and words[0] in ("train", "find-lr") and NETWORK.isdisjoint(options)
        return call_default(*words, *(("--hidden", 16) if trains else ()))

    return call


@pytest.fixture
def colors(place: Path) -> Path:
    """Return a CSV file of eight rows."""
    file = place / "colors.csv"
    file.write_text(COLORS)
    return file


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return the environment for commands in a process of their own."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "80", "OPENBLAS_NUM_THREADS": "1"}
