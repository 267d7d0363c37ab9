"""A real process of ``chainrule serve``: it opens, answers, stops when told, and stays as it is."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chainrule.cli.commands import command_line
from chainrule.core.errors import OptionError
from chainrule.serve import web_libraries
from chainrule.train.run import Run
from tests.serve.conftest import columns
from tests.serve.malformed import malformed
from tests.serve.test_table_rows import rows_of

NAMES = [name for name in columns() if name not in ("price", "kind")]
INSIDE = re.compile(rb"Traceback|\.py\b|/tmp|/home|File \"|site-packages|Error\(")
GROWTH = 10_000  # kilobytes that the process may grow by after its first requests
Start = Callable[..., tuple[Any, int]]


@pytest.fixture
def start(tmp_path: Path, repository: Path) -> Iterator[Start]:
    """Yield a function that serves a run in a process, and returns it with its port."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    started: list[subprocess.Popen[str]] = []

    def start(run: Run, *options: str) -> tuple[Any, int]:
        run.save(tmp_path / "run", force=True)
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "chainrule", "serve", "run", "--port", "0", *options],
                cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)},
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert found, (tmp_path / "log").read_text()
        return process, int(found[1])

    yield start
    for process in started:
        process.kill()
        process.communicate()


def post(port: int, body: bytes | str, **headers: str) -> tuple[int, bytes]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    link.request("POST", "/predict", body, headers)
    answer = link.getresponse()
    found = answer.status, answer.read()
    link.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_stops_when_told(
    start: Start, classes: Run, tmp_path: Path, number: int
) -> None:
    process, port = start(classes)
    status, body = post(port, json.dumps(rows_of(columns())))
    assert status == 200
    assert len(json.loads(body)["predictions"]) == len(rows_of(columns()))
    with socket.create_connection(("127.0.0.1", port)) as waiting:  # half of a request
        waiting.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n[")
        time.sleep(0.3)
        process.send_signal(number)
        time.sleep(0.3)
        waiting.sendall(b"]")
        assert b"422" in waiting.recv(1000).split(b"\r\n")[0]
    assert process.wait(20) == 0
    assert (tmp_path / "log").read_text().splitlines() == [
        "POST rows to /predict; Ctrl-C stops.", "stopped.",
    ]  # fmt: skip


def test_a_client_that_does_not_send_is_let_go(start: Start, arrays: Run) -> None:
    process, port = start(arrays, "--timeout", "0.5")
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[[1")
        slow.settimeout(10)
        assert b"408" in slow.recv(1000).split(b"\r\n")[0]
    assert post(port, "[[1,2,3]]")[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def drips(port: int, first: bytes, seconds: float) -> float:
    """Send `first`, and then a byte ten times a second; return when the server closed, or fail."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(first)
        slow.settimeout(0.1)
        while time.monotonic() < started + seconds:
            try:
                if not slow.recv(1000):
                    return time.monotonic() - started
            except TimeoutError:
                pass
            except ConnectionError:
                return time.monotonic() - started
            try:
                slow.sendall(b"a")
            except ConnectionError:
                return time.monotonic() - started
    raise AssertionError("the connection is still open")


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "first",
    [
        b"GET /",
        b"POST /predict HTTP/1.1\r\nhost: x\r\nslow: ",
        b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n",  # never read
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n",
    ],
    ids=["address", "header", "unwanted body", "body"],
)
def test_a_client_that_sends_a_byte_at_a_time_is_let_go(
    start: Start, arrays: Run, first: bytes
) -> None:
    _, port = start(arrays, "--timeout", "1")
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    assert drips(port, first, 15) > 0.5
    for _ in range(8):  # one that sends whole requests stays
        link.request("POST", "/predict", "[[1,2,3]]")
        kept = link.sock
        assert link.getresponse().read().startswith(b'{"predictions"')
        assert link.sock is kept
        time.sleep(0.3)
    link.close()


def test_connections_beyond_the_limit_are_refused(start: Start, arrays: Run) -> None:
    _, port = start(arrays, "--max-connections", "2")
    with socket.create_connection(("127.0.0.1", port)) as one:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        link.request("POST", "/predict", "[[1,2,3]]")
        assert link.getresponse().read().startswith(b'{"predictions"')
        with socket.create_connection(("127.0.0.1", port)) as third:
            third.settimeout(10)
            answer = http.client.HTTPResponse(third)
            answer.begin()
            assert answer.status == 503
            assert json.loads(answer.read()) == {"error": "too many connections; try again later."}
        link.request("POST", "/predict", "[[1,2,3]]")  # those that are open go on
        assert link.getresponse().status == 200
        link.close()
        one.close()
    assert post(port, "[[1,2,3]]")[0] == 200


def memory(process: Any) -> int:
    """Return the kilobytes of memory that a process has now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


@pytest.mark.parametrize(
    "requests", [150, pytest.param(10_000, marks=pytest.mark.thorough)], ids=str
)
def test_malformed_requests_are_refused_and_leave_nothing(
    start: Start, numbers: Run, requests: int, tmp_path: Path
) -> None:
    process, port = start(numbers)
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    statuses: dict[int, int] = {}
    before = 0
    for seed in range(requests):
        if seed == requests // 5:
            before = memory(process)
        method, address, headers, body = malformed(seed, NAMES)
        link.request(method, address, body, headers)
        answer = link.getresponse()
        text = answer.read()
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert answer.status < 500, (seed, text)
        if not address.startswith(("/openapi", "/?")) and address != "/":
            assert not INSIDE.search(text), (seed, text)
    link.close()
    assert statuses[422] > requests / 3
    assert {400, 404, 405, 415, 422} <= statuses.keys()
    good = rows_of(columns())[0]
    assert post(port, json.dumps([good]))[0] == 200
    assert (tmp_path / "log").read_text() == "POST rows to /predict; Ctrl-C stops.\n"
    if Path("/proc").is_dir():
        assert memory(process) - before < GROWTH


def test_an_address_that_is_taken_is_an_error(arrays: Run, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    run = str(arrays.save(tmp_path / "run"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(command_line, ["serve", run, "--port", str(port)])
    assert result.exit_code == 2
    assert (
        f"error: can't listen at 127.0.0.1, port {port}: Address already in use." in result.stderr
    )
    result = CliRunner().invoke(command_line, ["serve", run, "--timeout", "0"])
    assert "seconds must be in (0, inf), not 0.0" in result.stderr


def test_without_the_packages_the_error_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, load in (("starlette.applications", web_libraries.starlette_library),
                       ("uvicorn", web_libraries.uvicorn_library)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(OptionError, match="pip install starlette uvicorn"):
            load()
