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
    Each fault of `chainrule.lab.faults.FAULTS` in N of the healthy trainings that it suits: how
    often its category is first, whether a structural one is found before the first step, how often
    its layer or column is named, and how many findings above a note are true, of those that do not
    follow from another.
--cures N
    The same broken trainings, N for each fault: how often the first remedy that can be tried lowers
    the held-out error, and how often a change drawn at random does.

Run `python bench/doctor.py --faults FOLDER --json OUT [--seeds N] [--steps N] [--only ID,...]`, or
`make doctor-bench`, which runs the others.

Read next: `bench/doctor_programs.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from bench.doctor_programs import Program, programs
from chainrule.core.errors import ChainruleError
from chainrule.doctor.case import Case
from chainrule.doctor.finding import LEVELS, Findings
from chainrule.doctor.remedies import try_remedies
from chainrule.doctor.rule import RULES
from chainrule.lab.breakage import Place
from chainrule.lab.faults import FAULTS, break_recipe
from chainrule.lab.recipe import Recipe, healthy
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
    early, placed, true = [], [], []  # of structural faults, of faults in a place, of findings
    for name, fault in FAULTS.items():
        recipes = suiting(name, count)
        first = three = 0
        seen: list[str] = []
        for recipe in recipes:
            found = findings(name, break_recipe(recipe, name))
            order = causes(found)
            first += bool(order) and order[0] in fault.causes
            three += bool(set(order[:3]) & set(fault.causes))
            seen += order[:1]
            roots = [one for one in found.serious if not one.because]
            true += [one.category in fault.causes for one in roots]
            if fault.structural:
                before = [RULES[one.cause].stage == "before" for one in found
                          if one.category in fault.causes]  # fmt: skip
                early.append(any(before))
            where = located(fault.place(recipe), found, fault.causes)
            if where is False:
                there = [dict(f.where) for f in found if f.category in fault.causes]
                print(f"  {name}: expected {fault.place(recipe)}, found {there[:2]}")
            placed += [] if where is None else [where]
        totals = [totals[0] + len(recipes), totals[1] + first, totals[2] + three]
        print(f"{name:32} {fault.category:15} first {first} of {len(recipes)}, three {three}; "
              f"found first {', '.join(sorted(set(seen))) or 'nothing'}", flush=True)  # fmt: skip
    print(f"injected: {totals[0]} trainings, first {totals[1]}, among the first three {totals[2]}")
    print(f"structural: {sum(early)} of {len(early)} found before the first step")
    print(f"located: {sum(placed)} of {len(placed)}, of those found that have a layer or a column")
    print(f"precision: {sum(true)} of {len(true)} findings above a note are true, of those that do "
          "not follow from another")  # fmt: skip


def suiting(name: str, count: int) -> list[Recipe]:
    """Return the first `count` healthy trainings that a fault suits."""
    return [r for r in map(healthy, range(60)) if FAULTS[name].suits(r)][:count]


def located(place: Place | None, found: Findings, true: Sequence[str]) -> bool | None:
    """Return whether the first true finding names the place; None without a place or a finding."""
    hit = next((one for one in found if one.category in true), None)
    if hit is None or place is None:
        return None
    if place.layer is not None:
        return hit.where.get("layer") == place.layer
    return hit.where.get("column") == place.column if place.column is not None else None


CHANGES: list[dict[str, Any]] = [
    {"learning_rate": 0.1}, {"learning_rate": 10.0}, {"epochs": 4}, {"activation": "relu"},
    {"activation": "tanh"}, {"init": None}, {"preprocess": "standardize"}, {"batch_size": 8},
    {"target": "standardize"}, {"output": None},
]  # fmt: skip


def cures(count: int) -> None:
    """Print how often the first remedy lowers the held-out error, beside a random change."""
    rng = np.random.default_rng(0)
    advised: list[bool] = []
    drawn: list[bool] = []
    for name in FAULTS:
        for recipe in suiting(name, count):
            case = break_recipe(recipe, name)
            copy_of_case = replace(case, model=copy.deepcopy(case.model))
            offered = [f for f in findings(name, case).serious if f.change and not f.because]
            if not offered:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (tried,) = try_remedies(copy_of_case, offered[:1], cr.fit, 2)
                other = replace(offered[0], change=CHANGES[rng.integers(len(CHANGES))])
                (random,) = try_remedies(copy_of_case, [other], cr.fit, 2)
            if tried.errors:
                advised.append(tried.confirmed)
                drawn.append(random.confirmed)
                print(f"{name:32} {tried.change}: {100 * tried.gain:+.0f} % of the error "
                      f"taken away; at random {random.change}: {100 * random.gain:+.0f} %",
                      flush=True)  # fmt: skip
    print(f"cures: {sum(advised)} of {len(advised)} first remedies lower the held-out error; "
          f"random changes {sum(drawn)}")  # fmt: skip


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
    parser.add_argument("--cures", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.healthy:
        false_alarms(options.healthy)
    if options.injected:
        injected(options.injected)
    if options.cures:
        cures(options.cures)
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
