"""Threads: the same bits every time, several programs at once, forks, and crowded machines."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.graph import Graph
from chainrule.run.llvm.caller import Caller
from chainrule.run.llvm.machine import available_cores, thread_limit
from chainrule.run.llvm.native import NativeFunction, NativeProgram
from chainrule.run.llvm.pace import Pace
from tests.run.agreement import Case, distance, network, shuffled, training


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(61, 20)).astype("float32")
    model = network((20, 33, 10), "relu", "float32")
    optimizer = optim.chain(optim.ClipNorm(0.5), optim.Adam(0.01))
    return training(model, "cross_entropy", optimizer, x, rng.integers(0, 10, 61))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_run_after_run(case: Case, threads: int) -> None:
    first = None
    for _ in range(4):
        program = case.native(16, threads)
        sums = program.run(shuffled(61, 5), 16)
        bits = {k: v.tobytes() for k, v in program.state.items()} | {"sums": repr(sums)}
        assert first is None or bits == first
        first = bits


def test_many_calls_are_one_call(case: Case) -> None:
    order = shuffled(61, 40)
    whole, pieces = case.native(16, 2), case.native(16, 2)
    total = whole.run(order, 16)
    parts = [pieces.run(order[i : i + 16], 16) for i in range(0, len(order), 16)]
    assert distance({k: sum(p[k] for p in parts) for k in total}, total) < 1e-12
    for name, value in whole.state.items():
        np.testing.assert_array_equal(pieces.state[name], value)


def test_a_row_is_computed_alike_on_any_thread() -> None:
    model = network((7, 33, 65), "gelu", "float32")
    output = nn.Sequential([*model.layers, cr.softmax])(cr.input("x", ("n", 7)))
    graph = Graph({"y": output.node})
    x = np.random.default_rng(1).normal(size=(1030, 7)).astype("float32")
    whole = [NativeFunction(graph, {"x"}, threads)({"x": x})["y"] for threads in (1, 2, 3)]
    for other in whole[1:]:
        np.testing.assert_array_equal(other, whole[0])


def test_programs_in_a_thread_pool_do_not_disturb_each_other(case: Case) -> None:
    reference = case.reference()
    theirs = reference.run(shuffled(61, 2), 16)

    def work(i: int) -> None:
        program = case.native(16, 1 + i % 3)
        ours = program.run(shuffled(61, 2), 16)
        assert distance(ours, theirs) < 1e-3
        assert distance(program.state, reference.state) < 1e-3

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_one_function_called_from_many_threads() -> None:
    x = cr.input("x", ("n", 5))
    function = NativeFunction(Graph({"y": cr.tanh(x).sum(1).node}), {"x"}, threads=2)
    rng = np.random.default_rng(2)
    blocks = [rng.normal(size=(rows, 5)).astype("float32") for rows in (1, 3, 1500, 40) * 4]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda block: function({"x": block})["y"], blocks))
    for block, result in zip(blocks, results, strict=True):
        np.testing.assert_allclose(result, np.tanh(block).sum(1), rtol=1e-5, atol=1e-6)


def test_eight_threads_on_fewer_cores_make_progress(case: Case) -> None:
    program, reference = case.native(16, 8), case.reference()
    started = time.monotonic()
    ours = program.run(shuffled(61, 20), 16)
    assert time.monotonic() - started < 30
    assert distance(ours, reference.run(shuffled(61, 20), 16)) < 1e-2


def test_threads_by_argument_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_limit(None) == available_cores()
    monkeypatch.setenv("CHAINRULE_THREADS", "3")
    assert thread_limit(None) == 3
    assert thread_limit(2) == 2
    for bad in ("0", "-1", "many", "1.5", ""):
        monkeypatch.setenv("CHAINRULE_THREADS", bad)
        with pytest.raises(cr.OptionError, match="positive integer"):
            thread_limit(None)
    with pytest.raises(cr.OptionError, match="threads"):
        thread_limit(0)
    with pytest.raises(cr.OptionError, match="threads=9999 is more than"):
        thread_limit(9999)


def test_small_work_stays_on_one_thread(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_THREADS", "2")
    assert NativeProgram(case.graph, case.state, case.data, 16).threads == 1
    assert NativeProgram(case.graph, case.state, case.data, 16, threads=2).threads == 2


FORK = """
    import os, warnings
    import numpy as np
    from chainrule import optim
    from tests.run.agreement import distance, network, shuffled, training

    warnings.simplefilter("ignore")  # Python warns of forks beside threads
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    case = training(network((4, 6, 3)), "cross_entropy", optim.SGD(0.1), x, y)
    parent, fresh = case.native(5, 2), case.native(5, 2)
    first = parent.run(shuffled(20, 3), 5)
    child = os.fork()
    if child == 0:
        same = fresh.run(shuffled(20, 3), 5)  # a program made before the fork
        mine = case.native(5, 2).run(shuffled(20, 3), 5)  # and one made after
        used = parent.run(shuffled(20, 1), 5)  # and one whose threads stayed behind
        os._exit(0 if same == mine == first and used else 1)
    assert os.waitpid(child, 0)[1] == 0
    parent.run(shuffled(20, 1), 5)
    print("done")
"""


def test_a_forked_child_has_threads_of_its_own(code_cache: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "CHAINRULE_CACHE": code_cache},
    )
    assert done.stdout == "done\n", done.stderr


def test_the_number_of_threads_changes_no_bit(case: Case) -> None:
    found = []
    for threads in (1, 2, 3, None):
        program = NativeProgram(case.graph, case.state, case.data, 16, threads)
        sums = [program.run(np.arange(61), 16) for _ in range(3)]
        bits = {name: value.tobytes() for name, value in program.state.items()}
        found.append((sums, bits))
    assert all(other == found[0] for other in found[1:])


class Machine:
    """A clock, the seconds of a step on each number of threads, and those of starting threads."""

    def __init__(self, seconds: dict[int, float], starting: float = 0.0):
        self.now, self.seconds, self.spent = 0.0, seconds, dict.fromkeys(seconds, 0.0)
        self.starting = starting

    def run(self, pace: Pace, seconds: float, call: float = 0.1) -> None:
        """Run steps for about so many seconds, in calls of about `call` seconds."""
        end = self.now + seconds
        steps = max(1, round(call / min(self.seconds.values())))
        while self.now < end:
            left = steps
            while left:
                threads, most = pace.turn(steps)
                count = min(left, most)
                starting = self.starting if threads > 1 else 0.0
                took = count * self.seconds[threads] + starting
                self.now += took
                self.spent[threads] += took
                pace.note(count, took, starting)
                left -= count


def paced(
    seconds: dict[int, float], kept: int | None = None, starting: float = 0.0
) -> tuple[Machine, Pace]:
    machine = Machine(seconds, starting)
    return machine, Pace(tuple(seconds), kept, lambda: machine.now)


@pytest.mark.parametrize(("one", "two"), [(1e-4, 6e-5), (1e-4, 9e-5), (6e-5, 1e-4), (1e-4, 9.9e-5)])
def test_the_fastest_number_of_threads_is_found(one: float, two: float) -> None:
    machine, pace = paced({1: one, 2: two})
    machine.run(pace, 0.1)
    assert pace.decided
    assert pace.chosen == (2 if two < one / 1.03 else 1)
    machine.run(pace, 3.0)
    steps = sum(machine.spent[n] / machine.seconds[n] for n in (1, 2))
    assert machine.now <= 1.02 * steps * min(one, two) + 0.01


def test_a_clear_difference_is_found_in_a_few_milliseconds() -> None:
    machine, pace = paced({1: 1e-5, 2: 1e-4})
    machine.run(pace, 0.003)
    assert (pace.decided, pace.chosen) == (True, 1)


def test_starting_threads_counts_once_for_a_call() -> None:
    machine, pace = paced({1: 1e-4, 2: 6e-5}, starting=2e-4)
    machine.run(pace, 1.0)
    assert pace.chosen == 2  # in a call of 0.1 s, 0.2 ms are little
    machine, pace = paced({1: 1e-4, 2: 6e-5}, starting=2e-4)
    machine.run(pace, 1.0, call=2e-4)
    assert pace.chosen == 1


def test_long_steps_are_tried_rarely() -> None:
    machine, pace = paced({1: 0.3, 2: 0.16})
    machine.run(pace, 4.0, call=1.5)
    assert (pace.chosen, machine.spent[1]) == (2, 0.3)
    machine, pace = paced({1: 0.16, 2: 0.15})
    machine.run(pace, 60.0, call=1.5)
    assert pace.chosen == 2
    steps = sum(machine.spent[n] / machine.seconds[n] for n in (1, 2))
    assert machine.now < 1.01 * steps * 0.15


def test_a_pause_of_the_machine_does_not_fix_the_choice() -> None:
    machine, pace = paced({1: 1e-4, 2: 6e-5})
    while pace.turn(1)[0] != 2:
        machine.run(pace, 1e-5, call=1e-4)
    pace.note(1, 600.0)  # the machine slept in this turn
    machine.now += 600.0
    machine.run(pace, 70.0)
    assert pace.chosen == 2


def test_the_choice_is_looked_at_again() -> None:
    machine, pace = paced({1: 1e-4, 2: 6e-5})
    machine.run(pace, 1.0)
    assert pace.chosen == 2
    machine.seconds[2] = 2e-4  # another program uses the core
    machine.run(pace, 0.3)
    assert pace.chosen == 1
    machine.seconds[2] = 6e-5  # and ends, which no step on one thread can tell
    machine.run(pace, 1.0)
    assert pace.chosen == 2
    spent = dict(machine.spent)
    machine.run(pace, 60.0)  # trials become rare while they agree
    assert machine.spent[1] - spent[1] < 0.1


def test_four_threads_are_tried_beside_one_and_two() -> None:
    machine, pace = paced({1: 1e-4, 2: 6e-5, 4: 5e-5, 8: 9e-5})
    machine.run(pace, 0.2)
    assert pace.chosen == 4


def test_an_earlier_choice_is_kept_until_the_next_trial() -> None:
    machine, pace = paced({1: 1e-4, 2: 6e-5}, kept=1)
    assert pace.turn(9) == (1, 9)
    machine.run(pace, 1.0)
    assert pace.chosen == 2
    assert Pace((1, 2), kept=7).turn(9) == (1, 1)  # a choice that is not one of these


def test_a_program_begins_with_the_choice_of_the_last_one_with_its_code(case: Case) -> None:
    code = case.native(16, 1).code
    last, other = Caller(code, 1, 2), Caller(code, 1, 2, 3)
    assert not last.pace.decided
    assert not other.pace.decided
    last.pace.decided, last.pace.chosen = True, 2
    assert list(last._turns(16, 16))  # the end of a call
    begun = Caller(code, 1, 2)
    assert begun.pace.decided
    assert begun.pace.chosen == 2
    assert not Caller(code, 1, 2, 3).pace.decided  # of other numbers


def test_one_choice_is_no_trial() -> None:
    machine, pace = paced({3: 1e-4})
    machine.run(pace, 1.0)
    assert pace.turn(9) == (3, 9)
