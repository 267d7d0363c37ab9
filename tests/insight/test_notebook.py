"""What a notebook shows: by a stand-in for its shell, and by IPython where there is one."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.insight.notebook import (
    graph_html,
    model_html,
    register,
    run_html,
    tensor_html,
    text_html,
)
from chainrule.nn.catalogue import ActivationTable
from chainrule.nn.summary import Summary

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)


def test_tensors_are_tables_of_their_numbers() -> None:
    html = tensor_html(cr.tensor([[1.5, 2.0], [3.0, 4.0]]))
    assert html is not None
    rows = ElementTree.fromstring(html).findall(".//tr")
    assert [[cell.text for cell in row] for row in rows] == [["1.5", "2"], ["3", "4"]]
    assert "f32[2,2]" in html
    large = tensor_html(cr.tensor(np.zeros((50, 40))))
    assert large is not None
    assert large.count("<tr>") == 11
    assert large.count("…") == 10


def test_tensors_without_a_table_keep_their_text() -> None:
    assert tensor_html(cr.tensor(1.0)) is None
    assert tensor_html(cr.input("x", ("n", 2)) * 2) is None
    assert tensor_html(cr.tensor(np.zeros((2, 2, 2)))) is None


def test_graphs_and_models_are_drawn() -> None:
    model = nn.Sequential([nn.Linear(2, 3), nn.Tanh()])
    assert "0 Linear(2, 3)" in (model_html(model) or "")
    assert model_html(nn.Sequential([nn.Tanh()])) is None  # nothing tells what it takes
    graph = cr.Graph({"y": model(cr.input("x", ("n", 2)))})
    assert ">tanh</text>" in graph_html(graph)
    ElementTree.fromstring(graph_html(graph))


def test_runs_show_their_measures_and_curves() -> None:
    model = nn.Sequential([nn.Linear(2, 2)])
    run = cr.fit(model, (X, [0, 1, 1, 0]), loss="cross_entropy", epochs=3, progress=False)
    root = ElementTree.fromstring(run_html(run))
    heads = [cell.text for cell in root.findall(".//th")]
    assert heads[0] == "loss"
    assert "seconds" not in heads
    assert f"{run.history[-1]['loss']:.4g}" in [cell.text for cell in root.findall(".//td")]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) == 1
    run.history.clear()
    assert "<svg" not in run_html(run)


def test_every_kind_is_registered() -> None:
    taught: dict[type, Any] = {}
    formatter = SimpleNamespace(for_type=taught.__setitem__)
    register(
        SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter}))
    )
    assert set(taught) == {
        cr.Tensor, cr.Graph, nn.Sequential, nn.Network, nn.Neurons, cr.Run, Summary,
        ActivationTable,
    }  # fmt: skip


def test_tables_in_characters_stay_as_they_are() -> None:
    summary = nn.Sequential([nn.Linear(2, 3)]).summary()
    for table in (summary, cr.activations()):
        pre = ElementTree.fromstring(text_html(table))
        assert (pre.tag, pre.text) == ("pre", str(table))


def test_an_explanation_is_its_circuit() -> None:
    html = cr.explain("x*y + x", x=2, y=3)._repr_html_()
    assert html is not None
    svg = ElementTree.fromstring(html).find("{http://www.w3.org/2000/svg}svg")
    assert svg is not None
    assert svg.get("class") == "drawing circuit"
    assert ".circuit .box rect" in html
    assert not re.search(r"[;}]\s*(svg|:root|text)\s[^}]*{", html)  # styles nothing else there
    large = " + ".join(f"x*{k}.5" for k in range(100))
    assert cr.explain(large, x=2)._repr_html_() is None


def test_importing_chainrule_in_ipython_is_enough() -> None:
    pytest.importorskip("IPython", reason="IPython is not installed")
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(history_length=0)
shell.display_formatter.active_types = ["text/plain", "text/html"]
import chainrule as cr
shown, _ = shell.display_formatter.format(cr.tensor([1.0, 2.0]))
assert "<table>" in shown["text/html"], shown
weight = cr.Parameter((2,), lambda shape, generator: generator.normal(size=shape))
shown, _ = shell.display_formatter.format(weight)
assert "<table>" in shown["text/html"], shown
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
