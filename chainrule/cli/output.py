"""Write to standard output and standard error, even after the reader has closed the pipe.

A reader that stops (``| head -1``) must not stop the training: further output is dropped, and
the run is saved anyway.

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
    """Write `text` unchanged to standard output; SavingError if it can't be written."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        silence(sys.stdout)
        raise SavingError(f"can't write to standard output: {error.strerror}.") from error


def tell(text: str) -> None:
    """Write a message to standard error; drop it if it can't be written."""
    try:
        _write(sys.stderr, text + "\n")
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO | Any) -> None:
    """Redirect `stream` to the null device, so that Python's flush at exit does not fail."""
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
