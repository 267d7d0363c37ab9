"""Measure how often the doctor finds the true cause, and how often it raises a false alarm.

There are three parts, each run if its option is given:

--faults FOLDER
    Real faulty programs, read by `bench/doctor_programs.py`.  For each, prints the ranked
    categories of the findings, over several seeds, and whether a true category is first or among
    the first three; then the counts, for strong and medium entries and for all.
--healthy N
    The first N healthy trainings of `chainrule.lab.recipe.healthy`: prints how many get a finding
    above a note.
--injected N
    Each fault of `chainrule.lab.faults.FAULTS` in N of the healthy trainings that it suits.

Run `python bench/doctor.py --faults FOLDER --json OUT [--seeds N] [--steps N] [--only ID,...]`, or
`make doctor-bench`, which runs the other two.

Read next: `bench/doctor_programs.py`.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.doctor_programs import Program, programs
from chainrule.core.errors import ChainruleError
from chainrule.doctor.case import Case
from chainrule.doctor.finding import LEVELS, Findings
from chainrule.lab.faults import FAULTS, break_recipe
from chainrule.lab.recipe import healthy
from chainrule.train.diagnose import diagnose

__all__ = ["causes", "findings", "main", "ranked"]


def findings(name: str, case: Case) -> Findings:
    """Return the findings for `case`; if it can't be trained, print why and return none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the doctor reports what fit warns about
        try:
            return diagnose(case)
        except ChainruleError as error:
            print(f"{name}: {error}")
            return Findings()


def causes(found: Findings) -> list[str]:
    """Return the distinct categories of the findings, in order."""
    return list(dict.fromkeys(finding.category for finding in found))


def ranked(answers: Sequence[Findings]) -> list[str]:
    """Return the categories by decreasing total score of their findings over several seeds."""
    scores: dict[str, float] = defaultdict(float)
    for found in answers:
        for finding in {f.category: f for f in reversed(found)}.values():
            level = LEVELS.index(finding.level)
            scores[finding.category] += 2.0**level + finding.confidence
    return sorted(scores, key=lambda name: -scores[name])


def judge(program: Program, seeds: int, steps: int) -> dict[str, Any]:
    """Return the JSON entry for `program`."""
    order = ranked([findings(program.id, program.case(seed, steps)) for seed in range(seeds)])
    true = set(program.categories)
    return {
        "id": program.id,
        "strength": program.strength,
        "causes": order,
        "first": bool(order) and order[0] in true,
        "three": bool(true & set(order[:3])),
    }


def false_alarms(count: int) -> None:
    """Print the findings above a note in healthy trainings, and how many trainings have any."""
    alarmed = 0
    for seed in range(count):
        found = findings(f"healthy {seed}", healthy(seed).case()).serious
        alarmed += bool(found)
        for finding in found:
            print(f"healthy {seed}: {finding.cause} ({finding.level})", flush=True)
    print(f"healthy: {alarmed} of {count} healthy trainings got a finding above a note")


def injected(count: int) -> None:
    """Print for each fault how often its category is first, and among the first three."""
    totals = [0, 0, 0]
    for name, fault in FAULTS.items():
        recipes = [r for r in map(healthy, range(60)) if fault.suits(r)][:count]
        first = three = 0
        seen: list[str] = []
        for recipe in recipes:
            order = causes(findings(name, break_recipe(recipe, name)))
            first += bool(order) and order[0] in fault.causes
            three += bool(set(order[:3]) & set(fault.causes))
            seen += order[:1]
        totals = [totals[0] + len(recipes), totals[1] + first, totals[2] + three]
        print(f"{name:32} {fault.category:15} first {first} of {len(recipes)}, three {three}; "
              f"found first {', '.join(sorted(set(seen))) or 'nothing'}", flush=True)  # fmt: skip
    print(f"injected: {totals[0]} trainings, first {totals[1]}, among the first three {totals[2]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--only", default="")
    parser.add_argument("--healthy", type=int, default=0)
    parser.add_argument("--injected", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.healthy:
        false_alarms(options.healthy)
    if options.injected:
        injected(options.injected)
    if options.faults is not None:
        only = set(filter(None, options.only.split(",")))
        named(options.faults, options.json, options.seeds, options.steps, only)
    return 0


def named(folder: Path, out: Path | None, seeds: int, steps: int, only: set[str]) -> None:
    """Print the findings for each entry of `folder`, and write them to `out` as JSON."""
    entries: list[dict[str, Any]] = []
    for program in programs(folder):
        if only and program.id not in only:
            continue
        entry = judge(program, seeds, steps)
        entries.append(entry)
        mark = "first" if entry["first"] else "three" if entry["three"] else "-"
        print(f"{entry['id']:32} {entry['strength']:9} {mark:6} "
              f"true {', '.join(program.categories)}; found {', '.join(entry['causes'])}",
              flush=True)  # fmt: skip
        if out is not None:
            out.write_text(json.dumps({"entries": entries}, indent=1))
    groups: list[tuple[str, set[str] | None]] = [
        ("strong and medium", {"strong", "medium"}), ("all", None),
    ]  # fmt: skip
    for name, kinds in groups:
        chosen = [e for e in entries if kinds is None or e["strength"] in kinds]
        first, three = (sum(e[k] for e in chosen) for k in ("first", "three"))
        print(f"{name}: {len(chosen)} entries, first {first}, among the first three {three}")


if __name__ == "__main__":
    raise SystemExit(main())
