"""A process of ``chainrule launch``: ``python -m chainrule.cli.launched WORDS...``.

The first process runs the command of the WORDS, the others compute with it.  It ends when its
standard input does, which is a pipe of the process that launched it.

Read next: :mod:`chainrule.run.xla.hosts`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from chainrule.cli.commands import command_line
from chainrule.cli.launch import GONE, GRACE_SECONDS, PLAN
from chainrule.cli.output import tell
from chainrule.core.errors import ChainruleError
from chainrule.data.streaming import sharing
from chainrule.run import engines

__all__: list[str] = []


def main(words: list[str]) -> int:
    """Run the command of the `words` in the first process, and follow it in the others."""
    plan: dict[str, Any] = json.loads(os.environ.pop(PLAN))
    Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what Gloo prints is not part of the results
    try:
        hosts = engines.load("xla").joined(plan["address"], plan["count"], plan["number"])
    except ChainruleError as error:
        tell(f"error: {error}")
        return 2
    if hosts.number:
        # A scheduler sends SIGTERM to every process; the first needs the others until it has saved.
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        try:
            engines.load("xla").follow(hosts)
        except Exception as error:
            tell(f"error: {error}")
            return GONE
        return 0
    sharing.append(lambda array: engines.load("xla").share(hosts, array))
    try:
        command_line.main(words, obj=lambda place: Path(plan["file"]).write_text(os.fspath(place)))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        hosts.close()
    return GONE if hosts.lost else status


def _end_with_parent() -> None:
    """End this process when the one that launched it has: the first saves, with the others."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        time.sleep(GRACE_SECONDS)
        os._exit(GONE)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)  # at once: JAX would wait for processes that have ended already
