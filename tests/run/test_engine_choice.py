"""Which engine runs a step: by argument, by environment, and when native code can't be had."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.core.primitive import Primitive
from chainrule.core.tensor import record
from chainrule.run import engines
from chainrule.run.program import prepare, workers
from tests.run.agreement import Case, distance, shuffled

CUBED = Primitive("cubed", infer=lambda spec: spec, meaning=lambda a: a**3)  # not registered


def _case(supported: bool = True) -> Case:
    x, w = cr.input("x", ("n", 4), "float64"), cr.input("w", (4,), "float64")
    change = w if supported else record(CUBED, x).sum(0)
    total = (x * w).sum()
    graph = Graph({"loss": total.node, "w": (w - 0.1 * change).node}, {"x": x.node, "w": w.node})
    rng = np.random.default_rng(0)
    return Case(graph, {"w": rng.normal(size=4)}, {"x": rng.normal(size=(7, 4))})


@pytest.mark.parametrize(
    ("argument", "variable", "engine"),
    [
        (None, None, "native"),
        ("auto", None, "native"),
        ("native", None, "native"),
        ("reference", None, "reference"),
        (None, "reference", "reference"),
        (None, "native", "native"),
        ("native", "reference", "native"),
        ("auto", "reference", "native"),
    ],
)
def test_the_argument_goes_before_the_environment(
    argument: str | None, variable: str | None, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("CHAINRULE_ENGINE", variable)
    case = _case()
    program = prepare(case.graph, case.state, case.data, 3, engine=argument)
    assert program.engine == engine
    assert ("Native" in program.explain()) == (engine == "native")


def test_an_unknown_engine_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case()
    with pytest.raises(cr.OptionError, match=r"'natve'.*native"):
        prepare(case.graph, case.state, case.data, 3, engine="natve")
    monkeypatch.setenv("CHAINRULE_ENGINE", "gpu")
    with pytest.raises(cr.OptionError, match="'gpu'"):
        prepare(case.graph, case.state, case.data, 3)


def test_state_and_data_must_be_the_inputs() -> None:
    case = _case()
    with pytest.raises(cr.GraphError, match="z"):
        prepare(case.graph, case.state, {**case.data, "z": np.zeros(7)}, 3)
    with pytest.raises(cr.GraphError, match="w"):
        prepare(case.graph, {}, case.data, 3)


def test_arrays_must_be_what_the_graph_says() -> None:
    case = _case()
    with pytest.raises(cr.ShapeError, match="'x'"):
        prepare(case.graph, case.state, {"x": case.data["x"][:, :3]}, 3)
    with pytest.raises(cr.DTypeError, match="'x' must be float64"):
        prepare(case.graph, case.state, {"x": case.data["x"].astype("float32")}, 3)
    with pytest.raises(cr.DTypeError, match="'w'"):
        prepare(case.graph, {"w": case.state["w"].astype(">f8")}, case.data, 3)


def test_native_code_stays_inside_its_arrays() -> None:
    case = _case()
    program = prepare(case.graph, case.state, case.data, 3)
    for batch in (0, -1, 4):
        with pytest.raises(cr.OptionError, match=r"1\.\.3"):
            program.run(np.arange(7), batch)
    for order in ([0, 7], [-1], [2**40]):
        with pytest.raises(cr.RunError, match=r"0\.\.6"):
            program.run(np.array(order), 2)
    assert program.run(np.array([], np.int64), 3) == {"loss": 0.0}


def test_data_may_be_strided() -> None:
    case = _case()
    wide = np.repeat(case.data["x"], 2, axis=1)[:, ::2]
    a, b = (prepare(case.graph, case.state, {"x": x}, 3) for x in (wide, case.data["x"]))
    assert not wide.flags.c_contiguous
    assert a.run(np.arange(7), 3) == b.run(np.arange(7), 3)


def test_what_has_no_native_form_is_computed_by_the_interpreter_and_said() -> None:
    case = _case(supported=False)
    with pytest.warns(UserWarning, match="cubed") as caught:
        program = prepare(case.graph, case.state, case.data, 3)
    assert len(caught) == 1
    assert __file__ in str(caught[0].message)
    assert "interpreter computes" in program.explain()
    reference = case.reference()
    assert distance(program.run(shuffled(7, 3), 3), reference.run(shuffled(7, 3), 3)) < 1e-12
    assert distance(program.state, reference.state) < 1e-12


def test_native_asked_for_in_words_is_native_or_an_error() -> None:
    case = _case(supported=False)
    with pytest.raises(cr.OptionError, match=r"can't run this: .*f64\[.*test_engine_choice.py:\d+"):
        prepare(case.graph, case.state, case.data, 3, engine="native")


WITHOUT = """
    import sys, warnings
    sys.modules["llvmlite"] = None
    import numpy as np
    import chainrule as cr
    from chainrule.core.graph import Graph
    from chainrule.run.program import prepare

    w, x = cr.input("w", (4,)), cr.input("x", ("n", 4))
    graph = Graph({"w": (w * 0.9).node, "loss": (x * w).sum().node}, {"w": w.node, "x": x.node})
    state = {"w": np.ones(4, np.float32)}
    data = {"x": np.ones((7, 4), np.float32)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program = prepare(graph, state, data, 3)
    assert program.engine == "reference"
    assert "llvmlite" in program.explain()
    program.run(np.arange(7), 3)
    try:
        prepare(graph, state, data, 3, engine="native")
    except cr.OptionError as error:
        assert "llvmlite" in str(error)
    assert len(caught) == 1
    print(caught[0].message)
"""


def test_without_llvmlite_one_warning_and_the_reference() -> None:
    source = textwrap.dedent(WITHOUT)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "llvmlite" in done.stdout
    assert "reference engine" in done.stdout


@pytest.mark.parametrize("name", ["chainrule.core.gone", "chainrule"])
def test_an_import_that_fails_in_our_own_engine_is_not_a_missing_llvmlite(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(module: str) -> None:
        raise ImportError("cannot import name 'gone'", name=name)

    monkeypatch.setattr(engines, "import_module", broken)
    case = _case()
    with pytest.raises(ImportError, match="gone"):
        prepare(case.graph, case.state, case.data, 3)
    with pytest.raises(ImportError, match="gone"):
        workers(None)
