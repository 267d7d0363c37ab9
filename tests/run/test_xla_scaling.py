"""The model of scaling counts what is in the code that XLA compiles for several devices."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.xla
BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("jax", reason="JAX is not installed: make xla")
    monkeypatch.syspath_prepend(BENCH)
    return import_module("scaling")


@pytest.mark.parametrize(("devices", "shard"), [(1, False), (4, False), (8, True)])
def test_operations_and_bytes_are_those_of_compiled_code(
    scaling: Any, devices: int, shard: bool
) -> None:
    workload = replace(scaling.NETWORKS[0], sizes=(40, 64, 48, 10), batch=1024, rows=1024)
    code = scaling.compiled(workload, devices, shard)
    found = scaling.found_in(code.as_text())
    predicted = scaling.collectives(workload, devices, shard)
    kinds = ["all-reduce", "all-gather"] if shard else ["all-reduce"] if devices > 1 else []
    assert sorted(found) == sorted(predicted) == sorted(kinds)
    for kind, size in predicted.items():
        assert size <= found[kind] <= size + 8  # and the loss
    flops = workload.flops() / devices
    assert flops < code.cost_analysis()["flops"] < 1.2 * flops
    if shard:
        picture = list(map(str, scaling.events(code.as_text())))
        assert sum("product" in line for line in picture) == 8
        assert picture[0].startswith("<== all-gather")


@pytest.mark.parametrize("shard", [True, False])
def test_the_picture_shows_the_part_of_each_device(scaling: Any, shard: bool) -> None:
    picture = import_module("scaling_picture")
    workload = replace(scaling.NETWORKS[0], sizes=(40, 64, 10), batch=1024, rows=1024)
    found = ElementTree.fromstring(picture.pictured(workload, 4, shard))
    parts: dict[str, list[tuple[float, float]]] = {}
    collectives = []
    for box in found.findall(".//{*}rect"):
        for title in (one.text or "" for one in box.findall("{*}title")):
            if " on device " not in title:
                collectives.append(title.partition(" f32")[0].strip("< ="))
                continue
            k = len(parts.setdefault(title.partition(":")[0], []))
            left = (float(box.attrib["x"]) - picture.at(k)) / picture.COLUMN
            share = float(box.attrib["width"]) / picture.COLUMN
            parts[title.partition(":")[0]].append((left, share))
    whole = [(0.0, 1.0)] * 4
    quarters = [(k / 4, 0.25) for k in range(4)]
    assert parts["0.weight, m, v"] == parts["0.bias, m, v"] == (quarters if shard else whole)
    assert parts["2.bias, m, v"] == whole
    assert len(parts) == 5  # with the data, which share a title
    assert collectives == ["all-gather"] * 4 * shard + ["all-reduce"]


def test_speed_is_bounded_by_what_it_is_made_of(scaling: Any) -> None:
    machine = scaling.Machine(1e12, 1e12, 1e11, 1e10, 1e-6)
    for workload in scaling.NETWORKS:
        times = [scaling.step_seconds(workload, machine, n, False) for n in scaling.DEVICES]
        assert times[0] >= workload.flops() / machine.flops
        assert all(times[0] / t <= n for n, t in zip(scaling.DEVICES, times, strict=True))
        links = 8.0 * scaling.parameters(workload) * 1023 / 1024 / machine.far
        assert links < times[-1] < links + times[0] / 1024 + 40e-6 + times[0]
