"""``chainrule serve``: a saved run as a web service.

Read next: :mod:`chainrule.serve.server`.
"""

from __future__ import annotations

import click

from chainrule.cli.output import emit, tell
from chainrule.serve.limits import Limits
from chainrule.serve.server import serve
from chainrule.train.run import load

__all__ = ["serve_run"]


@click.command("serve")
@click.argument("run", metavar="RUN")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Listen at this address; 0.0.0.0 is all of this machine.")  # fmt: skip
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535),
              help="Listen at this port; 0 takes any free one.")  # fmt: skip
@click.option("--max-bytes", default=Limits.bytes, show_default=True, type=click.IntRange(min=1),
              help="Refuse a request with a longer body.")  # fmt: skip
@click.option("--max-rows", default=Limits.rows, show_default=True, type=click.IntRange(min=1),
              help="Refuse a request with more rows.")  # fmt: skip
@click.option("--timeout", default=Limits.seconds, show_default=True, type=float, metavar="SECONDS",
              help="Refuse a request that takes longer.")  # fmt: skip
@click.option("--max-connections", default=Limits.connections, show_default=True,
              type=click.IntRange(min=1), help="Refuse further connections.")  # fmt: skip
def serve_run(
    run: str,
    host: str,
    port: int,
    max_bytes: int,
    max_rows: int,
    timeout: float,
    max_connections: int,
) -> None:
    """Answer requests over HTTP with predictions of the network saved in the directory RUN.

    POST /predict takes rows as JSON or CSV and answers with JSON, GET /openapi.json
    describes both, GET /health says whether the service is up, and / is a page to
    try it by hand.  Ctrl-C or SIGTERM ends it, after requests under way are answered.
    It has no passwords and no encryption: put a proxy with both before it where
    others can reach it.  Needs starlette and uvicorn, which pip installs.

    \b
    Examples:
      chainrule serve runs/houses-1
      chainrule serve runs/houses-1 --host 0.0.0.0 --port 80
    """  # noqa: D301 - \b tells click to keep the lines
    limits = Limits(max_bytes, max_rows, timeout, max_connections)
    serve(load(run), host=host, port=port, limits=limits, tell=_opened)
    tell("stopped.")


def _opened(address: str) -> None:
    emit(f"{address}\n")
    tell("POST rows to /predict; Ctrl-C stops.")
