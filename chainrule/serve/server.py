"""Run the service with uvicorn, until Ctrl-C or SIGTERM; requests under way are answered first.

Read next: :mod:`chainrule.cli.serve_run`.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.serve.connections import limited
from chainrule.serve.limits import Limits
from chainrule.serve.service import service
from chainrule.serve.web_libraries import uvicorn_library
from chainrule.train.run import Run

__all__ = ["serve"]

BACKLOG = 2048  # connections that may wait to be accepted


def serve(
    run: Run,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Answer requests at `host` and `port` (0: any free one) until a signal ends it.

    `tell` is called with the address once it is open.  On Ctrl-C or SIGTERM no new requests are
    taken, and those under way are answered, within the limit of their time; a second signal ends at
    once.  Raises OptionError where the address can't be opened, or starlette or uvicorn is missing.
    """
    uvicorn, found = uvicorn_library(), limits or Limits()
    app = service(run, found)
    door = _opened(host, port)
    config = uvicorn.Config(
        app,
        http=limited(uvicorn.protocols.http.auto.AutoHTTPProtocol, found),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=max(1, round(found.seconds)),
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    server.capture_signals = lambda: _stopping(server)  # its own one raises them again
    name, number = door.getsockname()[:2]
    tell(f"http://{f'[{name}]' if ':' in name else name}:{number}")
    with door:
        server.run(sockets=[door])


def _opened(host: str, port: int) -> socket.socket:
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=kind, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        told = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise OptionError(f"can't listen at {host}, port {port}: {told}.") from None


@contextmanager
def _stopping(server: Any) -> Iterator[None]:
    """Let signals end the server, and nothing else."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    usual = {number: signal.signal(number, server.handle_exit) for number in numbers}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
