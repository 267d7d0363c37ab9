"""Requests that are wrong in some way, drawn from a seed: bodies, types, options and addresses."""

from __future__ import annotations

import json
import random
from typing import Any

__all__ = ["malformed"]

CELLS: list[Any] = [
    None, True, False, 0, -1, 1e308, -1e-320, 10**30, 10**400, "", " ", "NA", "inf", "nan", "€",
    "1,5", "1.234,5", "0x10", "1_0", "007", "2024-02-30", "0001-01-01", "9999-12-31T23:59:59-14:00",
    "31/12/1999", "a" * 300, "\x00", "\ud800", "é", "\U0001d7d9", "{}", "<script>", "'; --",
    "../..", [], {}, [1], {"a": 1}, [[[[]]]],
]  # fmt: skip
KINDS = ["application/json", "text/csv", "text/plain", "", "multipart/form-data", "a/b;c",
         "application/json; charset=utf-16", "\xff"]  # fmt: skip
QUERIES = [
    "",
    "",
    "",
    "interval=0.9",
    "interval=-1",
    "interval=nan",
    "x=1",
    "%00=%ff",
    "&&=&",
    "a" * 500,
]


def malformed(seed: int, names: list[str]) -> tuple[str, str, dict[str, str], bytes]:
    """Return (method, address, headers, body) of a request for a table with columns `names`."""
    draw = random.Random(seed)
    make = draw.choice([_rows, _rows, _rows, _wrapped, _text, _csv, _noise])
    body = make(draw, names)
    for _ in range(draw.choice([0, 0, 0, 1, 3])):
        body = _damaged(draw, body)
    kind = (
        "text/csv" if make is _csv and draw.random() < 0.8 else draw.choice([KINDS[0]] * 6 + KINDS)
    )
    headers = {"content-type": kind} if kind else {}
    query = draw.choice(QUERIES)
    address = "/predict" + (f"?{query}" if query else "")
    if draw.random() < 0.03:
        address = draw.choice(
            ["/", "//", "/predict/", "/predict/..", "/%2e%2e/etc", "/openapi.json?" + query]
        )
    method = (
        "POST" if draw.random() < 0.97 else draw.choice(["PUT", "DELETE", "GET", "PATCH", "HEAD"])
    )
    return method, address, headers, body


def _row(draw: random.Random, names: list[str]) -> Any:
    if draw.random() < 0.1:
        return draw.choice(CELLS)
    row = {name: draw.choice(CELLS) for name in names}
    if draw.random() < 0.3:
        row.pop(draw.choice(names))
    if draw.random() < 0.3:
        row[draw.choice(["", "size ", "SIZE", "x" * 200, "\ud800"])] = draw.choice(CELLS)
    return row if draw.random() < 0.9 else list(row.values())


def _rows(draw: random.Random, names: list[str]) -> bytes:
    rows = [_row(draw, names) for _ in range(draw.choice([0, 1, 1, 1, 2, 5, 40]))]
    return json.dumps(rows).encode()


def _wrapped(draw: random.Random, names: list[str]) -> bytes:
    key = draw.choice(["rows", "rows", "row", "Rows", "data", ""])
    found: dict[str, Any] = {
        key: [_row(draw, names)] if draw.random() < 0.8 else draw.choice(CELLS)
    }
    if draw.random() < 0.3:
        found["more"] = draw.choice(CELLS)
    return json.dumps(found).encode()


def _text(draw: random.Random, names: list[str]) -> bytes:
    deep = draw.choice(["[", '{"a":', '[{"rows":']) * draw.choice([1, 10, 5000])
    return draw.choice(
        [deep, json.dumps(draw.choice(CELLS)), "[NaN]", "-Infinity", "1" * 5000]
    ).encode()


def _csv(draw: random.Random, names: list[str]) -> bytes:
    mark = draw.choice([",", ";", "\t", "|"])
    lines = [mark.join(names if draw.random() < 0.8 else names[1:] + names[2:])]
    for _ in range(draw.choice([0, 1, 3])):
        cells = [str(draw.choice(CELLS)) for _ in names[draw.choice([0, 0, 0, 1]) :]]
        lines.append(mark.join(cells))
    return draw.choice(["\n", "\r\n", "\r"]).join(lines).encode("utf-8", "surrogatepass")


def _noise(draw: random.Random, names: list[str]) -> bytes:
    return draw.randbytes(draw.choice([0, 1, 10, 1000, 20_000]))


def _damaged(draw: random.Random, body: bytes) -> bytes:
    if not body:
        return body
    place = draw.randrange(len(body))
    return draw.choice([
        body[:place], body[place:], body[:place] + bytes([draw.randrange(256)]) + body[place + 1:],
        body[:place] + draw.choice([b'"', b",", b"\n", b"\x00", b"}", b"]"]) + body[place:],
    ])  # fmt: skip
