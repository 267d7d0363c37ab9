"""Choose the number of threads of a step while it runs, by measuring each choice in turns.

A second thread does not help if a step is short, or if another program uses the core.

Read next: :mod:`chainrule.run.llvm.caller`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

__all__ = ["Pace"]

# The seconds of a turn in each round of a trial.  The first round finds large differences at
# little cost, and fills the caches of all cores.
TURNS = (0.001, 0.004, 0.016)
BETTER = 1.03  # by which more threads, or a change of a choice that was made, have to be faster
# A choice that takes this much longer than the best one in a round is given up.
GIVE_UP = (3.0, 1.4, BETTER)
# The operating system lets a thread that has slept go before a busy program for a while, so what a
# busy core costs is seen only after a trial, in windows of this many seconds.
WINDOW = 0.06
SETTLED = 0.5  # seconds after which a choice that becomes slow does so for a new reason
# Seconds from one trial to the next; twice as long after each that agrees.  The second comes soon:
# threads of NumPy's BLAS use a core for a while after a product.
SOON, LATE = 0.05, 8.0
RARE = 50  # a trial is not repeated before this many times what it has cost,
LONGEST = 60.0  # but after so many seconds: what it has cost may be a pause of the machine


@dataclass
class _Tally:
    """Steps, the seconds they took, and the seconds until all their threads had started."""

    steps: int = 0
    seconds: float = 0.0
    starting: float = 0.0

    @property
    def pace(self) -> float:
        """The seconds of a step on threads that have started."""
        return self.seconds / max(self.steps, 1)

    def add(self, steps: int, seconds: float, starting: float) -> None:
        """Add a call: its `seconds` without those of `starting`, which are no work of a step."""
        self.steps += steps
        self.seconds += seconds - starting
        self.starting = min(self.starting, starting) if self.starting else starting


class Pace:
    """The choice among numbers of threads, for one program.

    Before each call, :meth:`turn` gives the number of threads and how many steps to run with it;
    after it, :meth:`note` takes the time.  A trial runs the choices in turns, in
    rounds of growing length, until one is clearly the fastest.  A choice that becomes slower than
    another was is changed for that one.  Trials are repeated, ever more rarely while they agree.
    `kept` is the choice of an earlier program with the same code, which is used until the first
    repetition.
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
        self._wait = SOON
        self._since = self._changed = clock()  # the last trial, and the last change of the choice
        self._found = {n: _Tally() for n in self.choices}  # in the last round of each
        self._now = _Tally()
        self._call = 1  # the steps of a whole call, over which threads start once
        self._order: list[int] = []  # the choices whose turn is to come in this round
        if not self.decided:
            self._begin()

    def _begin(self) -> None:
        """Begin a trial; its first turns, one step each, only fill caches and start threads."""
        self._left = list(self.choices)
        self._round, self._forward = -1, True
        self._order = list(self._left) if len(self.choices) > 1 else []
        self._all = {n: _Tally() for n in self.choices}  # in the whole trial
        self._turn = _Tally()

    def turn(self, steps: int) -> tuple[int, int]:
        """Return the number of threads for the next of a call's `steps`, and for how many."""
        self._call = steps
        if len(self.choices) == 1:
            return self.chosen, steps
        threads, left = self.chosen, WINDOW
        if self._order:
            threads = self._order[0]
            left = TURNS[self._round] - self._turn.seconds if self._round >= 0 else 0.0
        pace = self._found[threads].pace
        if not pace:  # nothing is known yet
            return threads, 1 if self._order else steps
        return threads, max(1, int(left / pace))

    def note(self, steps: int, seconds: float, starting: float = 0.0) -> None:
        """Take down that `steps` took `seconds`, of which the threads needed `starting`."""
        if len(self.choices) == 1:
            return
        if not self._order:
            self._watch(steps, seconds, starting)
            return
        self._turn.add(steps, seconds, starting)
        self._all[self._order[0]].add(steps, seconds, starting)
        if self._round >= 0 and self._turn.seconds < 0.8 * TURNS[self._round]:
            return
        self._found[self._order.pop(0)] = self._turn
        self._turn = _Tally()
        if not self._order:
            self._end_round()

    def _cost(self, threads: int) -> float:
        """Return the seconds of a step, with its share of starting threads for a call."""
        found = self._found[threads]
        return found.pace + found.starting / self._call

    def _end_round(self) -> None:
        best = min(self._left, key=self._cost)
        # Turns shorter than a step say no more than one step does.
        reached = sum(turn <= self._found[best].pace for turn in TURNS)
        if self._round >= 0 or reached == len(TURNS):
            most = GIVE_UP[self._round if self._round >= 0 else 1] * self._cost(best)
            self._left = [n for n in self._left if self._cost(n) <= most]
        last = self._round == len(TURNS) - 1
        self._round = min(max(self._round + 1, reached), len(TURNS) - 1)
        if len(self._left) == 1 or last:
            self._decide()
        else:  # the last of a round is the first of the next one, so that no choice is favored
            self._order = self._left[:: -1 if self._forward else 1]
            self._forward = not self._forward

    def _decide(self) -> None:
        def cost(threads: int) -> float:
            usual = threads == (self.chosen if self.decided else self.choices[0])
            return self._cost(threads) / (BETTER if usual else 1.0)

        before, self.chosen = self.chosen, min(self._left, key=cost)
        agrees = self.decided and before == self.chosen
        pace = self._found[self.chosen].pace
        lost = sum(tally.seconds - tally.steps * pace for tally in self._all.values())
        self._wait = max(
            min(2 * self._wait, LATE) if agrees else self._wait, min(RARE * lost, LONGEST)
        )
        self.decided, self._since = True, self._clock()
        if before != self.chosen:
            self._changed = self._since
        self._now = _Tally()

    def _watch(self, steps: int, seconds: float, starting: float) -> None:
        """Change a choice that has become slow, and begin a trial when it is time to."""
        self._now.add(steps, seconds, starting)
        if self._now.seconds < WINDOW:
            return
        now = self._clock()
        self._found[self.chosen], self._now = self._now, _Tally()
        known = [n for n in self.choices if self._found[n].steps]
        best = min(known, key=self._cost)
        if self._cost(self.chosen) > BETTER * self._cost(best):
            settled = now - self._changed > SETTLED
            self._wait = SOON if settled else min(2 * self._wait, LATE)
            self.chosen, self._since, self._changed = best, now, now
        elif now - self._since > self._wait:
            self._begin()
