"""Requests a second of `chainrule serve`, beside the same model behind FastAPI and onnxruntime.

Both run on uvicorn, with httptools and uvloop, in one process on one core; the client is wrk, on
another core.  They take turns, a row a request, and must give the same predictions.  `HTTP alone`
is the fixed answer of ``/health``: what uvicorn and the client do without a model.

Prints medians over the turns as a Markdown table: requests a second; requests for each second of
the server's processor time, which other programs on the machine disturb less; and the median and
the 99th percentile of the time until the answer.  Needs wrk (on Debian: apt-get install wrk), and
pip install fastapi onnx onnxruntime starlette uvicorn httptools uvloop.

Run: `python bench/serve.py`

Read next: `bench/serve_fastapi.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
ADDRESSES = {"chainrule serve": "/predict", "FastAPI + onnxruntime": "/predict",
             "HTTP alone": "/health"}  # fmt: skip


def small(folder: Path) -> tuple[str, list[Any]]:
    """Make a network of 64-32-10 units on the digits; return its name and a row for it."""
    import chainrule as cr
    from chainrule import nn

    digits = cr.data.load("digits")
    X = (digits.X / 16).astype("float32")
    model = nn.Sequential([nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)])
    run = cr.fit(model, (X, digits.y), loss="cross_entropy", epochs=5, progress=False)
    run.save(folder / "digits")
    run.export(folder / "digits.onnx", X)
    return "digits", X[:1].tolist()


def table(folder: Path) -> tuple[str, list[Any]]:
    """Train on the example table with the defaults; return the name and a row of it."""
    import chainrule as cr
    from chainrule.data import read_table

    source = str(ROOT / "examples" / "houses.csv")
    words = ["train", source, "--target", "price", "--out", str(folder / "houses"), "--quiet"]
    subprocess.run([sys.executable, "-m", "chainrule", *words], check=True)
    cr.load(folder / "houses").export(folder / "houses.onnx", read_table(source))
    row = {"area": 139.5, "rooms": 5, "built": 1955, "district": "Mills", "heating": "gas",
           "garage": 0, "sold": "2021-06-10", "remarks": "quiet, sunny"}  # fmt: skip
    return "houses", [row]


@contextmanager
def serving(command: list[str], core: int) -> Iterator[tuple[str, int]]:
    """Yield the address and the number of a process that serves on `core`, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [word.format(port=port) for word in command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    address = f"127.0.0.1:{port}"
    try:
        for _ in range(300):
            time.sleep(0.1)
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", port)) == 0:
                    break
        else:
            raise SystemExit(f"{' '.join(command)} does not answer")
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def ask(address: str, rows: list[Any]) -> Any:
    """Return the prediction for the first of `rows`."""
    asked = urllib.request.Request(
        f"http://{address}/predict", json.dumps({"rows": rows}).encode(),
        {"content-type": "application/json"},
    )  # fmt: skip
    return json.load(urllib.request.urlopen(asked))["predictions"][0]["prediction"]


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def turn(
    wrk: str, script: Path, address: str, process: int, connections: int, seconds: int, core: int
) -> dict[str, float]:
    """Return what one turn of the client measures."""
    before = processor_seconds(process)
    done = subprocess.run(
        [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s",
         "-s", str(script), f"http://{address}"],
        capture_output=True, text=True, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ).stdout  # fmt: skip
    used = processor_seconds(process) - before
    if "Non-2xx" in done or "Socket errors" in done:
        raise SystemExit(f"{address} fails under load:\n{done}")
    requests = int(re.search(r"(\d+) requests in", done)[1])  # type: ignore[index]
    found = {"a second": float(re.search(r"Requests/sec: +([\d.]+)", done)[1])}  # type: ignore[index]
    found["a processor second"] = requests / used
    for percent in ("50%", "99%"):
        told = re.search(rf"^ +{percent} +([\d.]+)(us|ms|s|m) *$", done, re.MULTILINE)
        if told is None:
            raise SystemExit(f"wrk says no latency:\n{done}")
        number, unit = told.groups()
        found[percent] = float(number) * UNITS[unit]
    return found


def measure(folder: Path, name: str, rows: list[Any], options: Any) -> None:
    """Serve one model both ways and print what the client sees."""
    ours = [sys.executable, "-m", "chainrule", "serve", str(folder / name), "--port", "{port}"]
    other = [sys.executable, str(ROOT / "bench" / "serve_fastapi.py"),
             str(folder / f"{name}.onnx"), "{port}"]  # fmt: skip
    script = folder / f"{name}.lua"
    body = json.dumps({"rows": rows})
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        f"wrk.body = [==[{body}]==]\n"
    )
    health = folder / "health.lua"
    health.write_text('wrk.method = "GET"\n')
    server, client = options.cores
    with serving(ours, server) as first, serving(other, server) as second:
        mine, theirs = (ask(address, rows) for address, _ in (first, second))
        if abs(mine - theirs) > 1e-4 * abs(theirs):
            raise SystemExit(f"{name}: chainrule predicts {mine}, onnxruntime {theirs}")
        contestants = dict(zip(ADDRESSES, (first, second, first), strict=True))
        found: dict[tuple[int, str], list[dict[str, float]]] = {}
        for _ in range(options.rounds):
            for connections in options.connections:
                for who, (address, process) in contestants.items():
                    place = address + ADDRESSES[who]
                    used = health if who == "HTTP alone" else script
                    told = turn(options.wrk, used, place, process, connections,
                                options.seconds, client)  # fmt: skip
                    found.setdefault((connections, who), []).append(told)
    for (connections, who), turns in found.items():
        middle = {key: statistics.median(one[key] for one in turns) for key in turns[0]}
        print(
            f"| {name} | {connections} | {who} | {middle['a second']:,.0f} | "
            f"{middle['a processor second']:,.0f} | {middle['50%']:.2f} | {middle['99%']:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="of server and client")
    parser.add_argument("--wrk", default=shutil.which("wrk"))
    options = parser.parse_args()
    if options.wrk is None:
        raise SystemExit("wrk is not installed; on Debian: apt-get install wrk")
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    print("| model | connections | service | requests/s | requests per s of processor time | "
          "median, ms | p99, ms |\n|---|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        for make in (small, table):
            name, rows = make(Path(place))
            measure(Path(place), name, rows, options)


if __name__ == "__main__":
    main()
