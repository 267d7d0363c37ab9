"""Write to standard output and standard error, whoever is listening, or no longer is.

A reader that stops (``| head -1``) must not stop a training: what it does not want
is dropped, and the run is saved all the same.

Read next: :mod:`chainrule.cli.show`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from chainrule.core.errors import ChainruleError

__all__ = ["SavingError", "emit", "silence", "tell"]


class SavingError(ChainruleError):
    """The work was done, but could not be written."""


def emit(text: str) -> None:
    """Write `text`, as it is, to standard output; SavingError when that is full."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        silence(sys.stdout)
        raise SavingError(f"can't write to standard output: {error.strerror}.") from error


def tell(text: str) -> None:
    """Write a line beside the results, to standard error; where that is full, to nobody."""
    try:
        _write(sys.stderr, text + "\n")
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO | Any) -> None:
    """Let what `stream` still holds, and Python's own last flush, go nowhere quietly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write(stream: TextIO | Any, text: str) -> None:
    if stream is None:  # closed before Python started, as by >&-
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        silence(stream)
