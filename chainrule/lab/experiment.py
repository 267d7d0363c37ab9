"""Claims about neural networks as experiments: what is claimed, what was measured, the verdict.

A claim is a sentence and a function.  The function is given a :class:`Budget`, trains or computes,
and returns what it measured as :class:`Findings`.  Each :class:`Effect` holds one number per seed
that the claim says to be greater than a bound; the verdict follows from its mean and its 95 %
interval over seeds, here and nowhere else.

Read next: :mod:`chainrule.lab.apparatus`, then a file of ``chainrule/lab/claims/``.
"""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.lab.estimate import Estimate
from chainrule.lab.plots import Bars, Lines

__all__ = ["CLAIMS", "Budget", "Claim", "Effect", "Findings", "Result", "claim", "claim_named"]

T = TypeVar("T")
QUICK_SEEDS, QUICK_SCALE = 3, 0.3


def _nothing(done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Budget:
    """How much an experiment may do: the number of `seeds`, and a factor of the epochs.

    `advance` is called with how many of how many parts of the experiment are done.
    """

    seeds: int
    scale: float = 1.0
    advance: Callable[[int, int], None] = field(default=_nothing, repr=False)

    def epochs(self, full: int) -> int:
        """Return the number of epochs, of which the whole experiment has `full`; at least 3.

        >>> Budget(3, scale=0.3).epochs(40)
        12
        """
        return max(3, round(full * self.scale))

    def each(self, parts: Iterable[T]) -> Iterator[T]:
        """Loop over the parts of an experiment, and tell how many are done."""
        listed = list(parts)
        for done, part in enumerate(listed):
            self.advance(done, len(listed))
            yield part
        self.advance(len(listed), len(listed))


@dataclass(frozen=True)
class Effect:
    """In the case `when`, the claim says that `values` (seeds,) are greater than `bound`.

    With `less` it says that they are less.  `quantity` says in words what the values are.  `ratio`
    averages them as ratios.  `at_least` says that the values are lower bounds, as those of
    trainings that were ended early, and `unknown` that they are not even that.
    """

    when: str
    quantity: str
    values: Any
    bound: float = 0.0
    ratio: bool = False
    less: bool = False
    at_least: bool = False
    unknown: bool = False

    @property
    def told(self) -> str:
        """The estimate in words."""
        if self.unknown:
            return "not reached"
        return f"at least {self.estimate}" if self.at_least else str(self.estimate)

    @property
    def estimate(self) -> Estimate:
        """The mean of the values and its interval."""
        return Estimate.of(self.values, self.ratio)

    @property
    def claimed(self) -> str:
        """What is claimed of the values, as in "> 0.5"."""
        return f"{'<' if self.less else '>'} {self.bound:g}"

    @property
    def answer(self) -> str:
        """Whether it is so: "yes" or "no" if the whole 95 % interval says so, or "not decided"."""
        if self.unknown:
            return "not decided"
        found = self.estimate
        above, below = found.low > self.bound, found.high < self.bound
        below = below and not self.at_least  # the true value may be greater
        if self.less:
            above, below = below, above
        if found.low == found.high == self.bound:
            return "no"
        return "yes" if above else "no" if below else "not decided"


@dataclass(frozen=True)
class Findings:
    """What an experiment measured.

    `effects` decide the claim, `measured` are further numbers (per seed, by name), and `chart` is
    the plot.
    """

    effects: Sequence[Effect]
    chart: Bars | Lines
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the claim holds, and when; a case holds if all of its effects do."""
        cases: dict[str, set[str]] = {}
        for effect in self.effects:
            cases.setdefault(effect.when, set()).add(effect.answer)
        found: dict[str, list[str]] = {"yes": [], "no": [], "not decided": []}
        for when, answers in cases.items():
            first = "no" if "no" in answers else "yes" if answers == {"yes"} else "not decided"
            found[first].append(when)
        alike = [answer for answer, whens in found.items() if len(whens) == len(cases)]
        if alike:
            told = {"yes": "holds", "no": "does not hold"}.get(alike[0], alike[0])
            return told + (f" in each case: {'; '.join(cases)}" if len(cases) > 1 else "")
        words = {"yes": "Holds when", "no": "Does not hold when", "not decided": "Not decided when"}
        text = ". ".join(f"{words[a]}: {'; '.join(found[a])}" for a in found if found[a])
        return text[0].lower() + text[1:]


@dataclass(frozen=True)
class Result:
    """The findings of a claim, with what is needed to repeat them."""

    claim: Claim
    budget: Budget
    findings: Findings
    seconds: float
    processor_seconds: float

    @property
    def command(self) -> str:
        """The command that repeats the experiment."""
        own = Budget(self.claim.seeds)
        if self.budget.scale == QUICK_SCALE:
            own = Budget(QUICK_SEEDS)
        seeds = f" --seeds {self.budget.seeds}" if self.budget.seeds != own.seeds else ""
        quick = " --quick" if self.budget.scale == QUICK_SCALE else ""
        return f"chainrule lab {self.claim.name}{quick}{seeds}"

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values, for JSON; an infinite end of an interval is None."""
        return {
            "name": self.claim.name,
            "says": self.claim.says,
            "verdict": self.findings.verdict,
            "seeds": self.budget.seeds,
            "seconds": round(self.seconds, 2),
            "processor_seconds": round(self.processor_seconds, 2),
            "command": self.command,
            "effects": [
                {"when": e.when, "quantity": e.quantity, "claimed": e.claimed, "answer": e.answer,
                 **_plain(e.estimate)}
                for e in self.findings.effects
            ],
            "measured": {
                name: _plain(Estimate.of(v)) for name, v in self.findings.measured.items()
            },
        }  # fmt: skip


def _plain(found: Estimate) -> dict[str, float | None]:
    ends = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}


@dataclass(frozen=True)
class Claim:
    """A sentence about neural networks, and the experiment that tests it with `seeds` seeds."""

    name: str
    says: str
    seeds: int
    experiment: Callable[[Budget], Findings] = field(repr=False)

    @property
    def how(self) -> str:
        """What the experiment does, in words."""
        return inspect.getdoc(self.experiment) or ""

    @property
    def code(self) -> str:
        """The source of the experiment, and of what it uses of its own file."""
        parts: list[Any] = [self.experiment]
        file = parts[0].__globals__
        left = {claim.experiment for claim in CLAIMS.values()}
        for part in parts:
            for name in re.findall(r"\w+", inspect.getsource(part)):
                used = file.get(name)
                own = getattr(used, "__module__", "") == file["__name__"]
                if own and hasattr(used, "__name__") and used not in parts and used not in left:
                    parts.append(used)
        return "\n\n".join(inspect.getsource(part) for part in parts)

    def run(
        self,
        seeds: int | None = None,
        quick: bool = False,
        advance: Callable[[int, int], None] = _nothing,
    ) -> Result:
        """Run the experiment; `quick` means 3 seeds and 3 of 10 epochs."""
        count = seeds or (min(QUICK_SEEDS, self.seeds) if quick else self.seeds)
        budget = Budget(count, QUICK_SCALE if quick else 1.0, advance)
        start, busy = time.perf_counter(), time.process_time()
        findings = self.experiment(budget)
        took = time.perf_counter() - start
        return Result(self, budget, findings, took, time.process_time() - busy)


CLAIMS: dict[str, Claim] = {}


def claim(
    name: str, says: str, seeds: int = 10
) -> Callable[[Callable[[Budget], Findings]], Callable[[Budget], Findings]]:
    """Enter the decorated experiment in `CLAIMS` as the test of the sentence `says`."""

    def enter(experiment: Callable[[Budget], Findings]) -> Callable[[Budget], Findings]:
        CLAIMS[name] = Claim(name, says, seeds, experiment)
        return experiment

    return enter


def claim_named(name: str) -> Claim:
    """Return the claim called `name`; OptionError naming the nearest if there is none."""
    key = name.lower().replace("_", "-")
    if key not in CLAIMS:
        raise OptionError(f"there is no claim {name!r}. {did_you_mean(key, CLAIMS)}")
    return CLAIMS[key]
