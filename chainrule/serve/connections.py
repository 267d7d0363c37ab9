"""Limits of connections: how many there are, and how long one may send without a whole request.

Read next: :mod:`chainrule.serve.server`.
"""

from __future__ import annotations

from typing import Any

from chainrule.serve.limits import Limits

__all__ = ["limited"]

FULL = b'{"error": "too many connections; try again later."}'
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(FULL), FULL)
)


def limited(protocol: type[Any], limits: Limits) -> type[Any]:
    """Return uvicorn's class of a connection with `limits`.

    A connection beyond them is answered with 503 and closed.  Each other one is looked at again
    and again after so many seconds: it is closed if no request was complete since the last look
    and none is being answered, and what it does not read is thrown away at a later look.  So a
    client that sends or reads a byte a second is let go after a few times that long.
    """

    class Limited(protocol):  # type: ignore[misc]
        _seen: Any = ()
        _timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(REFUSAL)
                transport.close()
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._timer.cancel()

        def _look(self) -> None:
            now = self.transport.is_closing(), self.cycle
            idle = self.cycle is None or self.cycle.response_complete
            if idle and now == self._seen:
                (self.transport.abort if now[0] else self.transport.close)()
            self._seen = now
            self._timer = self.loop.call_later(limits.seconds, self._look)

    return Limited
