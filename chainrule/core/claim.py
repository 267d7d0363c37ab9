"""Hold a place for one process, or one thread of it, at a time.

Read next: :mod:`chainrule.core.durable`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from chainrule.core.errors import RunError

__all__ = ["claimed"]

_HELD: set[int] = set()  # open files whose locks this process holds


@contextlib.contextmanager
def claimed(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock on `file`, which is made for it and removed after it.

    Raises RunError with the text `refusal` if another holds it.  The end of a process, even by a
    kill, frees its locks.  Where nothing can be locked, as on some network disks, nothing is.
    """
    held = _take(file, refusal)
    try:
        yield
    finally:
        if held is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(held), os.stat(file)):
                    os.unlink(file)
                fcntl.flock(held, fcntl.LOCK_UN)
            _HELD.discard(held)
            os.close(held)


def _take(file: Path, refusal: str) -> int | None:
    while True:
        try:
            held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except (OSError, ValueError):
            return None  # what is to be written there fails as well, and says why
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(file)):
                _HELD.add(held)
                return held
        except BlockingIOError:
            os.close(held)
            raise RunError(refusal) from None
        except FileNotFoundError:
            pass  # the one who held it has removed it meanwhile
        except OSError:
            os.close(held)
            return None
        os.close(held)


def _forget() -> None:
    """Close the files in a forked child, which would hold the locks as long as it lives."""
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=_forget)
