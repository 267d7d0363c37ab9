"""The service as an ASGI application: its addresses, its limits, and what it answers.

``POST /predict`` is written on ASGI itself and comes before all else, since finding an address and
building objects for request and response take longer than a small prediction.  Starlette answers
the other addresses, and the other methods.

Read next: :mod:`chainrule.serve.server`, which runs it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from chainrule.serve.batching import Batching
from chainrule.serve.form_page import form_page
from chainrule.serve.limits import Limits
from chainrule.serve.openapi import openapi
from chainrule.serve.predicting import Asked, Predicting
from chainrule.serve.request_body import rows_of_csv, rows_of_json
from chainrule.serve.request_error import RequestError
from chainrule.serve.web_libraries import starlette_library
from chainrule.train.run import Run

__all__ = ["service"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
SMALL = 16_384  # bytes of a body that are read in the event loop, and not in a thread
SHORT = 0.002  # seconds that a prediction may hold the event loop
JSON, CSV, HTML = "application/json", "text/csv", "text/html; charset=utf-8"


def service(run: Run, limits: Limits | None = None) -> Any:
    """Return the ASGI application that answers requests with the predictions of `run`.

    Any ASGI server runs it; :func:`chainrule.serve.server.serve` is the one of ``chainrule serve``.
    The model is copied, so that training the run further does not change the answers.  Raises
    OptionError where starlette is not installed.

    >>> from chainrule.serve.service import service  # doctest: +SKIP
    >>> app = service(cr.load("runs/houses-1"))      # doctest: +SKIP
    """
    starlette = starlette_library()
    found = limits or Limits()
    predict = Predict(Predicting(run), found)
    described = json.dumps(openapi(predict.ready, found), allow_nan=False).encode()
    page = form_page(predict.ready, found).encode()
    routes = [
        starlette.routing.Route("/predict", predict, methods=["POST"]),
        starlette.routing.Route("/health", Fixed(b'{"status":"ok"}', JSON), methods=["GET"]),
        starlette.routing.Route("/openapi.json", Fixed(described, JSON), methods=["GET"]),
        starlette.routing.Route("/", Fixed(page, HTML), methods=["GET"]),
    ]
    handlers: Any = {
        404: partial(_told, status=404, text="there is nothing here; see /openapi.json."),
        405: partial(_told, status=405, text="not with this method; see /openapi.json."),
        500: partial(_told, status=500, text="the service failed; its log tells why."),
    }
    rest = starlette.applications.Starlette(routes=routes, exception_handlers=handlers)
    return Service(predict, rest)


def _told(request: Any, error: Any, status: int, text: str) -> Any:
    return starlette_library().responses.JSONResponse(
        {"error": text}, status, headers=getattr(error, "headers", None)
    )


class Service:
    """The application: predictions first, and everything else."""

    def __init__(self, predict: Predict, rest: Any):
        self.predict, self.rest = predict, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope.get("path") == "/predict" and scope.get("method") == "POST":
            await self.predict(scope, receive, send)
        else:
            await self.rest(scope, receive, send)


class Fixed:
    """An endpoint that always answers the same."""

    def __init__(self, body: bytes, kind: str):
        self._start, self._end = _messages(200, body, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await send(self._start)
        await send(self._end)


class Predict:
    """The endpoint of ``/predict``."""

    def __init__(self, ready: Predicting, limits: Limits):
        self.ready, self._limits = ready, limits
        self.batching = Batching(ready.answers, ready.rows_within(SHORT))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with predictions, or say what is wrong with it."""
        close = False
        reading = True
        task = asyncio.current_task()
        assert task is not None
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(self._limits.seconds, expire)
        try:
            body = await self._body(scope, receive)
            reading = False
            asked = await self._asked(scope, body)
            found = await self.batching.answer(asked)
        except RequestError as refusal:
            found, close = refusal, reading
        except ConnectionResetError:
            return
        except asyncio.CancelledError:
            if not late:
                raise
            close = reading
            waited = f"within {self._limits.seconds:g} s"
            found = (
                RequestError(408, f"the body did not arrive {waited}.")
                if reading
                else RequestError(503, f"there was no prediction {waited}; try again later.")
            )
        except Exception:  # no part of it may reach the client
            traceback.print_exc(file=sys.stderr)
            found = RequestError(500, "the service failed; its log tells why.")
        finally:
            timer.cancel()
        if isinstance(found, RequestError):
            more = [(b"retry-after", b"1")] if found.status == 503 else []
            more += [(b"connection", b"close")] if close else []  # the rest of the body may come
            start, end = _messages(found.status, json.dumps(found.to_json()).encode(), JSON, more)
        else:
            start, end = _messages(200, found, JSON)
        await send(start)
        await send(end)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self._limits.bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > most:
                raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the body has more than {self._limits.bytes:,} bytes.")

    async def _asked(self, scope: Scope, body: bytes) -> Asked:
        """Return the rows of a request, checked; long ones are read in the thread."""
        kind = _media_type(scope)
        interval = self._interval(scope["query_string"])
        if len(body) <= SMALL:
            return self._read(body, kind, interval)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.batching.thread, self._read, body, kind, interval)

    def _read(self, body: bytes, kind: str, interval: float | None) -> Asked:
        if kind == JSON:
            rows = rows_of_json(body, self._limits.rows)
        elif not self.ready.columns:
            raise RequestError(415, f"this model takes {JSON} alone, as its columns have no names.")
        else:
            rows = rows_of_csv(body, self._limits.rows)
        return Asked(self.ready.rows.read(rows), interval)

    def _interval(self, query: bytes) -> float | None:
        if not query:
            return None
        options = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        for name in options.keys() - {"interval"}:
            raise RequestError(422, f"there is no option {name[:60]!r}; the only one is interval.")
        if not options:
            return None
        try:
            interval = float(options["interval"])
        except ValueError:
            interval = 0.0
        if not 0 < interval < 1:
            raise RequestError(422, "interval must be a share between 0 and 1, such as 0.9.")
        self.ready.check_interval(interval)
        return interval


def _media_type(scope: Mapping[str, Any]) -> str:
    """Return JSON or CSV; without a header, and of unknown text, JSON."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value.split(b";")[0].strip().lower().decode("latin-1")
            if kind in (CSV, "application/csv"):
                return CSV
            if kind == JSON or kind.endswith("+json"):
                return JSON
            raise RequestError(415, f"the content type must be {JSON} or {CSV}.")
    return JSON


def _messages(
    status: int, body: bytes, kind: str, more: list[tuple[bytes, bytes]] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two messages of ASGI that answer a request."""
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        *(more or []),
    ]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )
