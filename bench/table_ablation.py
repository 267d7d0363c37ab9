"""Measure what each part of the default for tables is worth, on the tables of `bench/tables.py`.

Run `python bench/table_ablation.py`: each variant is the default with one part changed.  Every
result is appended to `bench/results/table_ablation.jsonl` at once, and what is there is not
measured again.  Prints a Markdown table: the mean score, and how far the variant is behind the
default, in the mean over tables, folds and seeds, with the standard error of this mean over tables.

    --only TEXT,...       tables whose name contains one of these
    --variants NAME,...   some of the variants
    --folds N --seeds N   the first N folds, of the splits with the seeds 0 to N - 1
    --summary             measure nothing

Read next: `bench/tables.py`, and `chainrule/tabular/settings.py`, which chooses the defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.table_sets import TABLES, load
from bench.tables import chosen_tables
from bench.tables_worker import fit_chainrule, rows_of_folds, score
from chainrule.core.wording import counted

RESULTS = Path(__file__).parent / "results" / "table_ablation.jsonl"
DEFAULT = "the default"
# The settings that differ from the default.
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "one network instead of 8": {"members": 1},
    "16 networks": {"members": 16},
    "numbers as they are": {"bins": 0},
    "numbers in 16 pieces": {"bins": 16},
    "validation rows of their own": {"cross_fit": 1},
    "no dropout": {"dropout": 0.0},
    "dropout 0.2": {"dropout": 0.2},
    "constant learning rate": {"schedule": "constant"},
    "half the learning rate": {"learning_rate": 1e-3},
    "no weight decay": {"weight_decay": 0.0},
    "SiLU": {"activation": "silu"},
    "a plain network of 128 and 64 units by Adam": {"hidden": (128, 64), "optimizer": "adam"},
    "--effort quick": {"effort": "quick"},
    "--effort best": {"effort": "best"},
}


def key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a result is the result of."""
    return tuple(record[k] for k in ("table", "data", "fold", "seed", "variant"))


def read() -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the results in the file by what they are the results of."""
    if not RESULTS.exists():
        return {}
    records = map(json.loads, RESULTS.read_text("utf-8").splitlines())
    return {key(record): record for record in records}


def measure(tables: Sequence[str], variants: Sequence[str], folds: int, seeds: int) -> None:
    """Run what is missing, all variants of a fold in turn, and append each result to the file."""
    done = read()
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in range(seeds):
        for fold in range(folds):
            for table in tables:
                found = load(table)
                learned, held = rows_of_folds(found, seed)[fold]
                train, test = found.rows(learned), found.rows(held)
                for variant in variants:
                    about: dict[str, Any] = {
                        "table": table, "data": TABLES[table].digest, "fold": fold, "seed": seed,
                        "variant": variant,
                    }  # fmt: skip
                    if key(about) in done:
                        continue
                    clock = time.process_time()
                    predict = fit_chainrule(train, seed, **VARIANTS[variant])
                    about["fit_cpu_seconds"] = time.process_time() - clock
                    about["score"] = score(train, test, predict(test))
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(about) + "\n")
                    told = f"{about['score']:.4f} in {about['fit_cpu_seconds']:.1f} s"
                    print(f"{table}, seed {seed}, fold {fold}, {variant}: {told}", flush=True)


def summary(tables: Sequence[str], variants: Sequence[str]) -> str:
    """Return the table in Markdown; a fold counts where every variant of `variants` has it."""
    scores: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for record in read().values():
        if record["table"] in tables:
            scores.setdefault(key(record)[:4], {})[record["variant"]] = record
    reference = {fold: found[DEFAULT] for fold, found in scores.items() if DEFAULT in found}
    lines = [
        "| variant | tables | score | minus the default | better on | processor time, s |",
        "|---|---|---|---|---|---|",
    ]
    for variant in variants:
        both = {fold: found[variant] for fold, found in scores.items()
                if variant in found and fold in reference}  # fmt: skip
        gains: dict[str, list[float]] = {}
        for fold, record in both.items():
            gains.setdefault(fold[0], []).append(record["score"] - reference[fold]["score"])
        if not gains:
            continue
        by_table = np.array([np.mean(own) for own in gains.values()])
        error = by_table.std(ddof=1) / len(by_table) ** 0.5 if len(by_table) > 1 else np.nan
        mean = np.mean([record["score"] for record in both.values()])
        taken = np.mean([record["fit_cpu_seconds"] for record in both.values()])
        apart = "" if variant == DEFAULT else f"{by_table.mean():+.4f} ± {error:.4f}"
        better = "" if variant == DEFAULT else f"{(by_table > 0).sum()}"
        lines.append(
            f"| {variant} | {len(by_table)} | {mean:.4f} | {apart} | {better} | {taken:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and missing, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT,...", help="tables by parts of names")
    parser.add_argument("--variants", default=",".join(VARIANTS), metavar="NAME,...")
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="measure nothing")
    given = parser.parse_args(arguments)
    variants = [name for name in VARIANTS if name in given.variants.split(",")]
    tables = chosen_tables(given.only, kept=False)
    if not given.summary:
        warnings.simplefilter("ignore")
        os.environ.setdefault("TABLES_THREADS", "1")
        measure(tables, variants, given.folds, given.seeds)
    print(f"{counted(len(tables), 'table')}\n\n{summary(tables, variants)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
