"""Choose the number of threads of a step while it runs, by measuring each choice in turns.

A second thread does not help if a step is short, or if another program uses the core.

Read next: :mod:`chainrule.run.llvm.caller`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

__all__ = ["Pace"]

# The seconds of a turn in each round of a trial.  The first rounds find large differences at
# little cost; turns longer than the time slices of the operating system find what a busy core
# costs.
TURNS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
BETTER = 1.03  # by which more threads, or a change of a choice that was made, have to be faster
# A choice that takes this much longer than the best one, in all turns so far, is given up.
GIVE_UP = (1.5, 1.3, 1.2, 1.12, 1.07, BETTER)
SLOWER = 1.25  # than when it was chosen: then the choice is looked at again at once
SOON, LATE = 0.25, 8.0  # seconds from one trial to the next; twice as long after each that agrees


@dataclass
class _Tally:
    steps: int = 0
    seconds: float = 0.0

    @property
    def pace(self) -> float:
        """The seconds of a step."""
        return self.seconds / max(self.steps, 1)


class Pace:
    """The choice among numbers of threads, for one program.

    Before each call, :meth:`turn` gives the number of threads and how many steps to run with it,
    None for all; after it, :meth:`note` takes the time.  A trial runs the choices in turns, in
    rounds of growing length, until one is clearly the fastest.  Trials are repeated, ever more
    rarely while they agree, and at once when the steps have become slower.  `kept` is the choice
    of an earlier program with the same code, which is used until the first repetition.
    """

    def __init__(
        self,
        choices: Sequence[int],
        kept: int | None = None,
        clock: Callable[[], float] = perf_counter,
    ):
        self.choices, self._clock = sorted(set(choices)), clock
        self.chosen = kept if kept in self.choices else self.choices[0]
        self.decided = kept in self.choices
        self._wait, self._since = SOON, clock()
        self._usual = _Tally()  # the pace when it was chosen
        self._now = _Tally()
        self._order: list[int] = []  # the choices whose turn is to come in this round
        if not self.decided:
            self._begin()

    def _begin(self) -> None:
        """Begin a trial; its first turns, one step each, only fill caches and start threads."""
        self._left = list(self.choices)
        self._round = -1
        self._order = list(self._left) if len(self.choices) > 1 else []
        self._tallies = {n: _Tally() for n in self.choices}
        self._turn = _Tally()

    def turn(self) -> tuple[int, int | None]:
        """Return the number of threads for the next steps, and for how many at most."""
        if not self._order:
            return self.chosen, None
        threads = self._order[0]
        if self._round < 0:
            return threads, 1
        left, pace = TURNS[self._round] - self._turn.seconds, self._tallies[threads].pace
        return threads, max(1, int(left / pace)) if pace else 1

    def note(self, steps: int, seconds: float) -> None:
        """Take down that the turn took `seconds` for `steps`."""
        if len(self.choices) == 1:
            return
        if not self._order:
            self._watch(steps, seconds)
            return
        self._turn.steps += steps
        self._turn.seconds += seconds
        if self._round >= 0 and self._turn.seconds < 0.8 * TURNS[self._round]:
            return
        tally = self._tallies[self._order.pop(0)]
        if self._round < 2:  # the first rounds are short; what they start with is not usual
            tally.steps = 0
            tally.seconds = 0.0
        tally.steps += self._turn.steps
        tally.seconds += self._turn.seconds
        self._turn = _Tally()
        if not self._order:
            self._end_round()

    def _end_round(self) -> None:
        best = min(self._tallies[n].pace for n in self._left)
        if self._round >= 0:
            most = GIVE_UP[self._round]
            self._left = [n for n in self._left if self._tallies[n].pace <= most * best]
        self._round += 1
        if len(self._left) == 1 or self._round == len(TURNS):
            self._decide()
        else:  # the last of a round is the first of the next one, so that no choice is favored
            self._order = self._left[:] if self._round % 2 else self._left[::-1]

    def _decide(self) -> None:
        def cost(threads: int) -> float:
            usual = threads == (self.chosen if self.decided else self.choices[0])
            return self._tallies[threads].pace / (BETTER if usual else 1.0)

        before, self.chosen = self.chosen, min(self._left, key=cost)
        agrees = self.decided and before == self.chosen
        self._wait = min(2 * self._wait, LATE) if agrees else SOON
        self.decided, self._since = True, self._clock()
        self._usual, self._now = self._tallies[self.chosen], _Tally()

    def _watch(self, steps: int, seconds: float) -> None:
        """Begin a trial when it is time to, or when the steps have become slower."""
        self._now.steps += steps
        self._now.seconds += seconds
        if self._now.seconds < TURNS[-1]:
            return
        slower = self._usual.steps and self._now.pace > SLOWER * self._usual.pace
        if slower:
            self._wait = SOON
        if slower or self._clock() - self._since > self._wait:
            self._begin()
        self._now = _Tally()
