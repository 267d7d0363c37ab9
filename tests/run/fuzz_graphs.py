"""Run random graphs for some minutes: ``python -m tests.run.fuzz_graphs MINUTES [SEED]``.

Each round draws graphs from a seed of its own. A failing graph is made smaller and printed as
text, with the command that repeats the round.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
import time
import traceback
from collections import Counter
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given, seed, settings

from chainrule.run.llvm.cache import compiler_digest
from tests.run.random_graphs import Trial, check, trials

EACH = 50  # graphs of a round


def fuzz(number: int, seen: Counter[str], until: float) -> Trial | None:
    """Check the graphs of round `number`; print what is wrong with one, and return it, smaller."""
    failing: list[Trial] = []

    @seed(number)
    @settings(
        max_examples=EACH, database=None, deadline=None, print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(trials())
    def try_one(trial: Trial) -> None:
        if time.monotonic() > until:  # within a round: the rest of it is left out
            return
        seen["graphs"] += 1
        seen["operations"] += len(trial.case.graph.nodes)
        try:
            check(trial)
        except Exception:
            failing.append(trial)
            raise

    try:
        try_one()
    except Exception:  # of the last, which is the smallest
        traceback.print_exc(limit=-4, file=sys.stdout)
        return failing[-1] if failing else None
    return None


def main(minutes: float, first: int | None) -> int:
    """Run rounds until the time is over, or only round `first`; return how many failed."""
    compiler_digest()  # of the source as it is now, should it be edited meanwhile
    until, failed, seen = time.monotonic() + 60 * minutes, 0, Counter[str]()
    rounds = iter([first]) if first is not None else iter(lambda: secrets.randbelow(10**9), -1)
    with TemporaryDirectory() as place:
        os.environ["CHAINRULE_CACHE"] = place
        for number in rounds:
            if time.monotonic() > until:
                break
            failing = fuzz(number, seen, until if first is None else math.inf)
            if failing is not None:
                failed += 1
                print(f"{failing}\nFAILED, repeat with: make fuzz-graphs SEED={number}", flush=True)
            print(f"{seen['graphs']} graphs of {seen['operations']} operations", flush=True)
    print(f"{failed} rounds failed")
    return failed


if __name__ == "__main__":
    given_seed = int(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.exit(min(1, main(float(sys.argv[1]), given_seed)))
