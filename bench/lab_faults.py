"""Check that each fault of chainrule.lab does harm, by training recipes with and without it.

    python bench/lab_faults.py [--recipes 3] [--only NAME ...] [--healthy 120]

A fault does harm if predictions on clean rows are clearly worse than without it, or if it has
its declared effect: it deceives (the validation score is far from the score on clean rows) or
keeps a part of the network from learning.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from chainrule.lab.breakage import Fault
from chainrule.lab.faults import FAULTS
from chainrule.lab.recipe import Recipe, healthy
from chainrule.lab.trial import Outcome, try_out
from chainrule.nn.layer import initialize, parameters

_SEEDS = 400


def harms(fault: Fault, recipe: Recipe, sound: Outcome, broken: Outcome) -> bool:
    if broken.diverged:
        return True
    if fault.harm == "idle":
        return _rests(fault, recipe, broken)
    if fault.harm == "deceives":
        return broken.seen is not None and abs(broken.seen - broken.skill) > 0.15
    worse = broken.skill < sound.skill - 0.1 * max(sound.skill, 0.3)
    return worse or broken.surprise > 1.5 * sound.surprise + 0.1


def _rests(fault: Fault, recipe: Recipe, broken: Outcome) -> bool:
    """Return whether the part that the fault keeps from learning has its initial weights."""
    place, run = fault.place(recipe), broken.run
    if place is None or run is None:
        return False
    trained = parameters(run.model)
    if place.unit is not None:
        return bool(trained[f"{place.layer}.bias"].value[place.unit] < -50)
    fresh = recipe.network()
    initialize(fresh, recipe.seed)
    before = parameters(fresh)["0.weight"].value.ravel()
    after = trained["0.weight"].value.ravel()  # may have decayed
    return bool(before @ after > 0.999 * np.linalg.norm(before) * np.linalg.norm(after))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--healthy", type=int, default=0)
    asked = parser.parse_args()
    for seed in range(asked.healthy):
        recipe = healthy(seed)
        end = try_out(recipe, recipe.case())
        good = end.skill > 0.3 if recipe.kind == "values" else end.surprise < 0.9
        if not (good and end.fell):
            print(f"not healthy: {seed} {end.skill:.2f} {end.surprise:.2f} {recipe}")
    known: dict[int, Outcome] = {}
    failed = 0
    print(f"{'fault':28} {'category':15} {'harms':6} skill: healthy > broken")
    for name, fault in FAULTS.items():
        if asked.only and name not in asked.only:
            continue
        start, lines, seed, found = time.time(), [], 0, 0
        harmed = 0
        while found < asked.recipes and seed < _SEEDS:
            recipe = healthy(seed)
            seed += 1
            if not fault.suits(recipe) or recipe.steps > 6000:
                continue
            found += 1
            if seed not in known:
                known[seed] = try_out(recipe, recipe.case())
            case = fault.inject(recipe, np.random.default_rng([recipe.seed, 0]))
            broken = try_out(recipe, case, fault.rows, fault.answers, fault.alone)
            bad = harms(fault, recipe, known[seed], broken)
            harmed += bad
            seen = f" seen {broken.seen:.2f}" if fault.harm == "deceives" and broken.seen else ""
            end = "diverges" if broken.diverged else f"{broken.skill:.2f}{seen}"
            lines.append(
                f"{'' if bad else '!'}{recipe.data}({seed - 1}) {known[seed].skill:.2f} > {end}"
            )
        failed += harmed < found or found < asked.recipes
        share = f"{harmed}/{found}"
        took = time.time() - start
        print(
            f"{name:28} {fault.category:15} {share:6} {'; '.join(lines)}  [{took:.0f} s]",
            flush=True,
        )
    print(f"{failed} of {len(FAULTS)} faults do not harm everywhere")


if __name__ == "__main__":
    main()
