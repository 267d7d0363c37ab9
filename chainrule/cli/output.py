"""Write to standard output and standard error, whoever is listening, or no longer is.

A reader that stops (``| head -1``) must not stop a training: what it does not want
is dropped, and the run is saved all the same.

Read next: :mod:`chainrule.cli.show`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

__all__ = ["emit", "tell"]


def emit(text: str) -> None:
    """Write `text`, as it is, to standard output."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """Write a line beside the results, to standard error."""
    _write(sys.stderr, text + "\n")


def _write(stream: TextIO | Any, text: str) -> None:
    if stream is None:  # closed before Python started, as by >&-
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # What is still buffered, and Python's own last flush, go nowhere quietly.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
