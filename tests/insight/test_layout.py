"""Layered layouts: nothing overlaps, lines lead down, and the work is bounded by the graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.insight.render import layout as module
from chainrule.insight.render.layout import Layout, Point, layered

Edge = tuple[int, int]


def random_graph(seed: int, count: int, fan: int) -> tuple[list[Point], list[Edge]]:
    rng = np.random.default_rng(seed)
    sizes = [(float(rng.integers(20, 160)), float(rng.integers(20, 60))) for _ in range(count)]
    edges = [
        (int(source), target)
        for target in range(1, count)
        for source in rng.integers(0, target, rng.integers(0, fan + 1))
    ]
    return sizes, edges


def overlaps(sizes: list[Point], layout: Layout) -> list[Edge]:
    found = []
    for i, j in itertools.combinations(range(len(sizes)), 2):
        (x, y), (u, v) = layout.centers[i], layout.centers[j]
        apart_x = abs(x - u) >= (sizes[i][0] + sizes[j][0]) / 2 - 1e-6
        apart_y = abs(y - v) >= (sizes[i][1] + sizes[j][1]) / 2 - 1e-6
        if not (apart_x or apart_y):
            found.append((i, j))
    return found


@pytest.mark.parametrize(("seed", "count", "fan"), [(0, 1, 1), (1, 12, 2), (2, 60, 3), (3, 60, 1)])
def test_no_boxes_overlap_and_every_line_leads_from_box_to_box(
    seed: int, count: int, fan: int
) -> None:
    sizes, edges = random_graph(seed, count, fan)
    layout = layered(sizes, edges)
    assert overlaps(sizes, layout) == []
    assert set(layout.routes) == set(edges)
    for (a, b), points in layout.routes.items():
        assert points[0] == (
            layout.centers[a][0],
            pytest.approx(layout.centers[a][1] + sizes[a][1] / 2),
        )
        end_x, end_y = points[-1]
        assert abs(end_x - layout.centers[b][0]) <= sizes[b][0] / 2
        assert end_y == pytest.approx(layout.centers[b][1] - sizes[b][1] / 2)
        heights = [y for _, y in points]
        assert heights == sorted(heights)
    for (x, y), (width, height) in zip(layout.centers, sizes, strict=True):
        assert x - width / 2 >= -1e-6
        assert x + width / 2 <= layout.width + 1e-6
        assert y - height / 2 >= -1e-6
        assert y + height / 2 <= layout.height + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_lines_pass_beside_the_boxes(seed: int) -> None:
    sizes, edges = random_graph(seed, 40, 2)
    layout = layered(sizes, edges)
    for (a, b), points in layout.routes.items():
        for (x, top), (_, bottom) in zip(points[2:-2:2], points[3:-2:2], strict=True):
            for i, ((cx, cy), (width, height)) in enumerate(
                zip(layout.centers, sizes, strict=True)
            ):
                beside = abs(cx - x) >= width / 2
                assert beside or cy + height / 2 <= top or cy - height / 2 >= bottom, (a, b, i)


def test_bands_lie_below_one_another() -> None:
    sizes = [(40.0, 20.0)] * 5
    layout = layered(sizes, [(0, 1), (0, 4), (1, 2), (2, 3)], [0, 0, 1, 1, 1])
    (top,) = layout.band_tops
    assert [y < top for _, y in layout.centers] == [True, True, False, False, False]


def test_a_chain_is_straight() -> None:
    sizes = [(40.0, 20.0), (100.0, 20.0), (40.0, 20.0), (80.0, 30.0)]
    layout = layered(sizes, [(0, 1), (1, 2), (2, 3)])
    assert len({round(x, 6) for x, _ in layout.centers}) == 1


def test_what_can_be_untangled_is() -> None:
    # Ladders whose boxes come in reverse order: without sweeps every pair of rungs crosses.
    n = 8
    edges = [(i, 2 * n - 1 - i) for i in range(n)]
    layout = layered([(20.0, 20.0)] * (2 * n), edges)
    left_to_right = sorted(range(n), key=lambda i: layout.centers[i][0])
    order = [layout.centers[2 * n - 1 - i][0] for i in left_to_right]
    assert order == sorted(order)


def test_a_source_is_drawn_near_what_reads_it() -> None:
    edges = [(i, i + 1) for i in range(9)]
    layout = layered([(20.0, 20.0)] * 11, [*edges, (10, 9)])
    assert layout.centers[10][1] == layout.centers[8][1]


def test_lines_of_one_source_share_their_lanes() -> None:
    """At most one lane for each box and rank, however many edges: that bounds all sweeps."""
    count = 40
    edges = list(itertools.combinations(range(count), 2))
    rank = module._ranks(count, edges, [0] * count)
    slots = module._make_slots([(10.0, 10.0)] * count, edges, rank)
    assert len(edges) == 780
    assert len(slots.lane) == sum(count - 2 - i for i in range(count - 2))
    assert sum(map(len, slots.down)) == len(edges) + len(slots.lane)


def test_the_sweeps_do_not_grow_with_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    true = module._crossings
    monkeypatch.setattr(module, "_crossings", lambda slots: counted.append(1) or true(slots))
    for count in (30, 120):
        counted.clear()
        layered(*random_graph(0, count, 3))
        assert len(counted) <= module.ORDER_SWEEPS + 1


def test_cycles_and_ways_back_are_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        layered([(1.0, 1.0)] * 2, [(0, 1), (1, 0)])
    with pytest.raises(ValueError, match="up from band 1 to 0"):
        layered([(1.0, 1.0)] * 2, [(0, 1)], [1, 0])


def test_crossings_are_counted() -> None:
    rank = [0, 0, 1, 1]
    for edges, crossings in (([(0, 2), (1, 3)], 0), ([(0, 3), (1, 2)], 1)):
        slots = module._make_slots([(1.0, 1.0)] * 4, edges, rank)
        slots.ranks[:] = [[0, 1], [2, 3]]
        assert module._crossings(slots) == crossings


def test_sweeps_untangle_what_the_first_order_tangles() -> None:
    gained = 0
    for seed in range(5):
        sizes, edges = random_graph(seed, 40, 2)
        rank = module._ranks(40, edges, [0] * 40)
        slots = module._make_slots(sizes, edges, rank)
        before = module._crossings(slots)
        module._order(slots)
        assert module._crossings(slots) <= before
        gained += before - module._crossings(slots)
    assert gained > 0
