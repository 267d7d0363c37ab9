"""A process that trains for a search: ``python -m chainrule.search.worker``.

It reads a problem and then settings from standard input, as pickles of its parent, and writes the
validation loss of each epoch and the outcome to standard output.  It is no fork and imports no
main module, so a program that calls :func:`chainrule.tune` needs no ``if __name__ ==
"__main__"``.

Read next: :mod:`chainrule.search.tune`.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any, BinaryIO

from chainrule.core.errors import ChainruleError
from chainrule.search.trials import train_trial

__all__: list[str] = []


def work(given: BinaryIO, told: BinaryIO) -> None:
    """Train what is `given` until there is no more, and write to `told`."""

    def tell(what: Any) -> None:
        pickle.dump(what, told)
        told.flush()

    def report(epoch: int, loss: float) -> bool:
        tell((epoch, loss))
        return bool(pickle.load(given))

    try:
        problem = pickle.load(given)
        while True:
            settings, threads = pickle.load(given)
            try:
                tell(train_trial(problem, settings, threads, report))
            except ChainruleError as error:
                tell(error)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        pass  # the parent has ended


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints does not disturb the answers
    work(sys.stdin.buffer, answers)
