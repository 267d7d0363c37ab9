"""Compare chainrule's defaults on real tables with what people would pick instead.

Run `python bench/tables.py` (or `make tables`): five folds of each table, each contestant in its
own process, in turns, on two threads.  Every result is appended to `bench/results/tables.jsonl` at
once, and what is there is not measured again: a run can be stopped and goes on, and contestants
can be added later.  Prints the summary; `--write` also writes the page of the documentation.

    --only TEXT,...          tables whose name contains one of these
    --contestants NAME,...   of chainrule, hgb, mlp, lightgbm, catboost, realmlp
    --folds N --seeds N      the first N folds, of the splits with the seeds 0 to N - 1
    --threads N              of each contestant; 2, or 1 beside other programs
    --kept                   the tables that are kept for judging, not those for development
    --rerun                  measure again what is there; the last result counts
    --summary                measure nothing

Read next: `bench/table_sets.py`, `bench/tables_worker.py`, `bench/tables_page.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.table_sets import TABLES
from bench.tables_page import latest, summary, write_page
from bench.tables_worker import CONTESTANTS, FOLDS, THREADS

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "tables.jsonl"
USUAL = ("chainrule", "hgb", "mlp", "lightgbm", "catboost")  # RealMLP takes hours
PINS = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "CHAINRULE_")
PATIENCE = 1200.0  # seconds for one fold

Record = dict[str, Any]


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a contestant: its threads, and nothing that selects slower code.

    Threads of OpenMP sleep while they wait: beside other programs, spinning costs many times the
    work.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PINS)}
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", THREADS), str(threads))
    return {**kept, **limits, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(HERE.parent)}


class Worker:
    """The process of one contestant, which is started again after a fold that takes too long."""

    def __init__(self, name: str, threads: int):
        self.name, self.threads = name, threads
        self.process = self._start()
        told = self._receive(PATIENCE)
        self.missing = told.get("missing", told.get("error"))
        self.version = told.get("version", "")

    def _start(self) -> subprocess.Popen[bytes]:
        cores = sorted(os.sched_getaffinity(0))[: self.threads]
        return subprocess.Popen(
            [sys.executable, str(HERE / "tables_worker.py"), self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(self.threads), bufsize=0,
            start_new_session=True,  # Ctrl-C stops only the driver
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip

    def _receive(self, patience: float) -> Record:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], patience)[0]:
            return {"error": f"no result in {patience:.0f} s"}
        line = self.process.stdout.readline()
        if not line:
            return {"error": f"the process ended with {self.process.wait()}"}
        reply: Record = json.loads(line)
        return reply

    def run(self, table: str, seed: int, fold: int) -> Record:
        assert self.process.stdin is not None
        asked = {"table": table, "seed": seed, "fold": fold}
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        reply = self._receive(PATIENCE)
        if "error" in reply and (self.process.poll() is not None or "no result" in reply["error"]):
            self.close()
            self.process = self._start()
            self._receive(PATIENCE)
        return reply

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def key(record: Record) -> tuple[Any, ...]:
    """Return what a result is the result of."""
    return tuple(record[k] for k in ("table", "data", "fold", "seed", "contestant", "version"))


def read(path: Path) -> list[Record]:
    """Return the results in the file, without those of tables that are defined otherwise now."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [r for r in records if r["table"] in TABLES and r["data"] == TABLES[r["table"]].digest]


def plan(tables: Sequence[str], seeds: int, folds: int) -> Iterator[tuple[str, int, int]]:
    """Yield (table, seed, fold): every table by one seed before the next."""
    for seed in range(seeds):
        for table in tables:
            for fold in range(folds):
                yield table, seed, fold


def measure(workers: Sequence[Worker], given: argparse.Namespace, tables: Sequence[str]) -> None:
    """Run what is missing, each contestant in turn, and append each result to the file."""
    done = set() if given.rerun else {key(record) for record in read(given.results)}
    given.results.parent.mkdir(exist_ok=True, parents=True)
    for table, seed, fold in plan(tables, given.seeds, given.folds):
        told = []
        for worker in workers:
            about: Record = {
                "table": table, "data": TABLES[table].digest, "fold": fold, "seed": seed,
                "contestant": worker.name, "version": worker.version,
            }  # fmt: skip
            if key(about) in done:
                continue
            record = about | worker.run(table, seed, fold)
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            told.append(
                f"{worker.name} failed: {record['error']}" if "error" in record
                else f"{worker.name} {record['score']:.4f} in {record['fit_seconds']:.2f} s"
            )  # fmt: skip
        if told:
            print(f"{table}, seed {seed}, fold {fold}: " + ", ".join(told), flush=True)


def chosen_tables(only: str, kept: bool) -> list[str]:
    """Return the names that contain one of the comma-separated texts, of one of the two kinds."""
    wanted = [text for text in only.split(",") if text] or [""]
    return [
        name for name, table in TABLES.items()
        if table.kept is kept and any(text in name for text in wanted)
    ]  # fmt: skip


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT,...", help="tables by parts of names")
    parser.add_argument("--contestants", default=",".join(USUAL), metavar="NAME,...")
    parser.add_argument("--folds", type=int, default=FOLDS, choices=range(1, FOLDS + 1))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kept", action="store_true", help="the tables kept for judging")
    parser.add_argument("--rerun", action="store_true", help="measure again what is there")
    parser.add_argument("--summary", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help="write the page of the docs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    given.contestants = [name for name in given.contestants.split(",") if name]
    unknown = [name for name in given.contestants if name not in CONTESTANTS]
    if unknown:
        parser.error(f"no contestant {unknown[0]!r}; there are {', '.join(CONTESTANTS)}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and missing, and print the summary."""
    given = read_options(arguments)
    tables = chosen_tables(given.only, given.kept)
    if not tables:
        print(f"No table's name contains {given.only!r}; there are {', '.join(TABLES)}.")
        return 2
    if not given.summary:
        workers = [Worker(name, given.threads) for name in given.contestants]
        for worker in workers:
            if worker.missing:
                print(f"{worker.name} is left out: {worker.missing}")
        try:
            measure([worker for worker in workers if not worker.missing], given, tables)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on")
        finally:
            for worker in workers:
                worker.close()
    records = latest(read(given.results))
    print(summary([r for r in records if r["table"] in tables], given.contestants))
    if given.write:
        write_page(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
