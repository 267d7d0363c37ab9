"""Layered layout of acyclic graphs: positions of boxes, and routes of edges.

The steps are those of Sugiyama, Tagawa and Toda (1981).  Every box gets a rank below its sources.
An edge across ranks goes through a slot in each, shared by all edges of the same source.  Slots
are ordered by barycenters, keeping the order with the fewest crossings.  Then each rank is placed
by least squares, with the gaps as constraints.  Every step is a fixed number of sweeps over slots
and edges.

Read next: :mod:`chainrule.insight.render.diagram`, the diagrams to lay out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Layout", "Point", "layered"]

Point: TypeAlias = "tuple[float, float]"
Edge: TypeAlias = "tuple[int, int]"
GAP_X, GAP_Y = 18.0, 30.0
LEAST_GAP = 8.0  # smallest gap beside a lane that is straightened
LANE = 6.0  # width reserved for a line through a rank
RANK_SWEEPS, ORDER_SWEEPS, PLACE_SWEEPS, STRAIGHTEN_SWEEPS = 3, 16, 16, 3


@dataclass(frozen=True)
class Layout:
    """The centers of boxes, the points of each edge's line, and the size of the drawing.

    `routes` lead down from the bottom of one box to the top of another; every second segment is
    vertical and goes through a rank.  `band_tops` are the y coordinates at which bands begin.
    """

    centers: list[Point]
    routes: dict[Edge, list[Point]]
    width: float
    height: float
    band_tops: list[float]


@dataclass
class _Slots:
    """Boxes and the lanes of long edges, by rank; slots with numbers under `boxes` are boxes."""

    boxes: int
    ranks: list[list[int]]
    widths: list[float]
    up: list[list[int]]
    down: list[list[int]]
    lane: dict[Edge, int] = field(default_factory=dict)  # (box, rank) to slot


def layered(
    sizes: Sequence[Point], edges: Iterable[Edge], bands: Sequence[int] | None = None
) -> Layout:
    """Return a layout in which edges lead down and no two boxes overlap.

    `sizes` are the (width, height) of boxes.  Boxes with a higher number in `bands` are placed
    below all with a lower one.  Raises ValueError if the edges form a cycle or lead to a lower
    band.

    >>> layered([(40, 20), (40, 20)], [(0, 1)]).centers
    [(20.0, 10.0), (20.0, 60.0)]
    """
    pairs = list(dict.fromkeys(edges))
    bands = bands if bands is not None else [0] * len(sizes)
    rank = _ranks(len(sizes), pairs, bands)
    slots = _make_slots(sizes, pairs, rank)
    _order(slots)
    x = _place(slots)
    return _draw(sizes, pairs, bands, rank, slots, x)


def _ranks(count: int, edges: list[Edge], bands: Sequence[int]) -> list[int]:
    """Return a rank for each box: below its sources, and as close to its targets as possible."""
    sources: list[list[int]] = [[] for _ in range(count)]
    targets: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        if bands[a] > bands[b]:
            raise ValueError(f"edge {a} -> {b} leads up from band {bands[a]} to {bands[b]}")
        sources[b].append(a)
        targets[a].append(b)
    waiting = [len(s) for s in sources]
    ready = [i for i in range(count) if not waiting[i]]
    for node in ready:  # the list grows during the loop
        for target in targets[node]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if len(ready) < count:
        raise ValueError("the edges form a cycle")
    rank, last = [0] * count, {}
    first = 0
    for band in sorted(set(bands)):
        members = [i for i in ready if bands[i] == band]
        for i in members:
            rank[i] = max([first, *(rank[s] + 1 for s in sources[i])])
        last[band] = max(rank[i] for i in members)
        first = last[band] + 1
    free = [False] * count  # whether no other box depends on the ancestors of a box
    for i in ready:
        free[i] = all(free[s] and len(targets[s]) == 1 for s in sources[i])
    for _ in range(RANK_SWEEPS):
        for i in reversed(ready):
            if targets[i]:
                rank[i] = _lowered(i, last[bands[i]], rank, sources, targets, free)
    used = {r: k for k, r in enumerate(sorted(set(rank)))}
    return [used[r] for r in rank]


def _lowered(
    i: int,
    last: int,
    rank: list[int],
    sources: list[list[int]],
    targets: list[list[int]],
    free: list[bool],
) -> int:
    """Return the rank, not above its own, that minimizes the lengths of the lines of box `i`.

    The lines of a source share their lanes, so its line to `i` costs only the part below its
    lowest other target.  A source that only `i` needs moves with it and costs nothing.
    """
    most = min([last, *(rank[t] - 1 for t in targets[i])])
    if free[i]:
        return most
    follows = [free[s] and len(targets[s]) == 1 for s in sources[i]]
    others = [
        max((rank[t] for t in targets[s] if t != i), default=0)
        for s, follow in zip(sources[i], follows, strict=True)
        if not follow
    ]
    choices = {rank[i], most, *(o for o in others if rank[i] < o < most)}
    return min(sorted(choices), key=lambda r: most - r + sum(max(0, r - o) for o in others))


def _make_slots(sizes: Sequence[Point], edges: list[Edge], rank: list[int]) -> _Slots:
    """Return the slots of all ranks, in the order of a depth-first search from each source."""
    count = len(sizes)
    ranks: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    widths = [width for width, _ in sizes]
    slots = _Slots(count, ranks, widths, [[] for _ in sizes], [[] for _ in sizes])

    def link(a: int, b: int) -> None:
        slots.down[a].append(b)
        slots.up[b].append(a)

    for a, b in edges:
        here = a
        for r in range(rank[a] + 1, rank[b]):
            if (a, r) not in slots.lane:
                slots.lane[a, r] = len(widths)
                widths.append(LANE)
                slots.up.append([])
                slots.down.append([])
                link(here, slots.lane[a, r])
            here = slots.lane[a, r]
        link(here, b)
    level = rank + [r for _, r in slots.lane]
    seen = [False] * len(widths)
    for root in sorted(range(count), key=lambda i: rank[i]):
        pending = [root]
        while pending:
            slot = pending.pop()
            if not seen[slot]:
                seen[slot] = True
                ranks[level[slot]].append(slot)
                pending.extend(reversed(slots.down[slot]))
    return slots


def _order(slots: _Slots) -> None:
    """Order each rank by the mean position of its neighbors, sweeping down and up."""
    best = [list(rank) for rank in slots.ranks]
    fewest = _crossings(slots)
    for sweep in range(ORDER_SWEEPS):
        if not fewest:
            break
        downward = sweep % 2 == 0
        near = slots.up if downward else slots.down
        ranks = slots.ranks if downward else slots.ranks[::-1]
        place = {slot: float(i) for i, slot in enumerate(ranks[0])} if ranks else {}
        for rank in ranks[1:]:
            middle = {
                slot: sum(place[n] for n in near[slot]) / len(near[slot]) if near[slot] else i
                for i, slot in enumerate(rank)
            }
            rank.sort(key=middle.__getitem__)
            place = {slot: float(i) for i, slot in enumerate(rank)}
        if (crossings := _crossings(slots)) < fewest:
            fewest, best = crossings, [list(rank) for rank in slots.ranks]
    slots.ranks[:] = best


def _crossings(slots: _Slots) -> int:
    """Return the number of crossings of lines between neighboring ranks."""
    total = 0
    for upper, lower in zip(slots.ranks, slots.ranks[1:], strict=False):
        place = {slot: i for i, slot in enumerate(lower)}
        ends: list[int] = []
        for slot in upper:
            own = sorted(place[t] for t in slots.down[slot])
            total += sum(len(ends) - bisect_left(ends, end + 1) for end in own)
            for end in own:
                ends.insert(bisect_left(ends, end), end)
    return total


def _place(slots: _Slots) -> list[float]:
    """Return the center of each slot along its rank: near its neighbors, with straight lanes."""
    x = [0.0] * len(slots.widths)
    for rank in slots.ranks:
        at = 0.0
        for slot in rank:
            x[slot] = at + slots.widths[slot] / 2
            at += slots.widths[slot] + GAP_X
        for slot in rank:
            x[slot] -= at / 2
    for sweep in range(PLACE_SWEEPS):
        downward = sweep % 2 == 0
        for rank in slots.ranks if downward else slots.ranks[::-1]:
            wanted, weights = [], []
            for slot in rank:
                near = slots.up[slot] if downward else slots.down[slot]
                if sweep >= PLACE_SWEEPS // 2:
                    near = slots.up[slot] + slots.down[slot]
                pull = [_stiffness(slots, slot, n) for n in near]
                total = sum(pull)
                mean = sum(p * x[n] for p, n in zip(pull, near, strict=True))
                alone = not (slots.up[slot] or slots.down[slot])
                wanted.append(mean / total if near else 0.0 if alone else x[slot])
                weights.append(total or 0.1)
            for slot, center in zip(rank, _spread(slots, rank, wanted, weights), strict=True):
                x[slot] = center
    _straighten(slots, x)
    left = min((x[s] - slots.widths[s] / 2 for s in range(len(x))), default=0.0)
    return [center - left for center in x]


def _straighten(slots: _Slots, x: list[float]) -> None:
    """Align the lanes of each line, and chains of boxes, vertically where neighbors allow it."""
    near: dict[int, tuple[int | None, int | None]] = {}
    for rank in slots.ranks:
        for left, slot, right in zip([None, *rank], rank, [*rank[1:], None], strict=False):
            near[slot] = left, right
    lines: dict[int, list[int]] = {}
    for (box, _), slot in sorted(slots.lane.items()):
        lines.setdefault(box, []).append(slot)
    follower = {
        a: below[0] for a, below in enumerate(slots.down)
        if len(below) == len(slots.up[below[0] if below else 0]) == 1
    }  # fmt: skip
    for start in sorted(follower.keys() - set(follower.values())):
        chain = [start]
        while chain[-1] in follower:
            chain.append(follower[chain[-1]])
        lines[-1 - start] = chain
    for _ in range(STRAIGHTEN_SWEEPS):
        for line in lines.values():
            _straighten_line(slots, x, line, near)


def _straighten_line(
    slots: _Slots,
    x: list[float],
    line: list[int],
    near: dict[int, tuple[int | None, int | None]],
) -> None:
    stretch: list[int] = []
    low, high = float("-inf"), float("inf")
    for slot in [*line, None]:
        lowest, highest = float("-inf"), float("inf")
        if slot is not None:
            left, right = near[slot]
            if left is not None:
                lowest = x[left] + _apart(slots, left, slot)
            if right is not None:
                highest = x[right] - _apart(slots, slot, right)
        if slot is None or max(low, lowest) > min(high, highest):
            middle = sum(x[s] for s in stretch) / max(1, len(stretch))
            for s in stretch:
                x[s] = min(max(middle, low), high)
            stretch, low, high = [], float("-inf"), float("inf")
        if slot is not None:
            stretch.append(slot)
            low, high = max(low, lowest), min(high, highest)


def _apart(slots: _Slots, a: int, b: int) -> float:
    """Return the smallest distance of the centers of two neighbors in a rank."""
    gap = GAP_X if max(a, b) < slots.boxes else LEAST_GAP
    return (slots.widths[a] + slots.widths[b]) / 2 + gap


def _stiffness(slots: _Slots, a: int, b: int) -> float:
    """Return the weight of making the line between two slots vertical: most for lanes, chains."""
    upper, lower = (a, b) if b in slots.down[a] else (b, a)
    chained = len(slots.down[upper]) == len(slots.up[lower]) == 1
    return 8.0 if chained else {2: 1.0, 1: 2.0, 0: 8.0}[(a < slots.boxes) + (b < slots.boxes)]


def _spread(
    slots: _Slots, rank: list[int], wanted: list[float], weights: list[float]
) -> list[float]:
    """Return the positions closest to `wanted` by weighted least squares that keep order and gaps.

    With the gaps subtracted, this is isotonic regression, solved by pooling adjacent violators.
    """
    offsets, at = [], 0.0
    for i, slot in enumerate(rank):
        if i:
            at += (slots.widths[rank[i - 1]] + slots.widths[slot]) / 2 + GAP_X
        offsets.append(at)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, heavy, many = want - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            before, other, more = pools.pop()
            mean = (before * other + mean * heavy) / (other + heavy)
            heavy, many = heavy + other, many + more
        pools.append((mean, heavy, many))
    flat = [mean for mean, _, many in pools for _ in range(many)]
    return [base + offset for base, offset in zip(flat, offsets, strict=True)]


def _draw(
    sizes: Sequence[Point],
    edges: list[Edge],
    bands: Sequence[int],
    rank: list[int],
    slots: _Slots,
    x: list[float],
) -> Layout:
    heights = [
        max((sizes[s][1] for s in row if s < slots.boxes), default=0.0) for row in slots.ranks
    ]
    tops, y, band_tops = [], 0.0, []
    first = {b: min(r for r, own in zip(rank, bands, strict=True) if own == b) for b in set(bands)}
    starts = {r: b for b, r in first.items()}
    for r, height in enumerate(heights):
        if starts.get(r):
            y += GAP_Y
            band_tops.append(y - GAP_Y)
        tops.append(y)
        y += height + GAP_Y
    centers = [(x[i], tops[rank[i]] + heights[rank[i]] / 2) for i in range(len(sizes))]
    ports = _ports(sizes, edges, rank, slots, x)
    routes = {}
    for a, b in edges:
        points = [(x[a], centers[a][1] + sizes[a][1] / 2), (x[a], tops[rank[a]] + heights[rank[a]])]
        for r in range(rank[a] + 1, rank[b]):
            lane = x[slots.lane[a, r]]
            points += [(lane, tops[r]), (lane, tops[r] + heights[r])]
        end = ports[a, b]
        points += [(end, tops[rank[b]]), (end, centers[b][1] - sizes[b][1] / 2)]
        routes[a, b] = points
    width = max((x[s] + slots.widths[s] / 2 for s in range(len(x))), default=0.0)
    return Layout(centers, routes, width, max(y - GAP_Y, 0.0), band_tops)


def _ports(
    sizes: Sequence[Point], edges: list[Edge], rank: list[int], slots: _Slots, x: list[float]
) -> dict[Edge, float]:
    """Return the x coordinate at which each edge ends on its target: spaced, without crossings."""
    arriving: dict[int, list[tuple[float, int]]] = {}
    for a, b in edges:
        above = x[slots.lane[a, rank[b] - 1]] if rank[b] - rank[a] > 1 else x[a]
        arriving.setdefault(b, []).append((above, a))
    ports = {}
    for b, ends in arriving.items():
        step = min(16.0, sizes[b][0] * 0.8 / len(ends))
        for i, (_, a) in enumerate(sorted(ends)):
            ports[a, b] = x[b] + (i - (len(ends) - 1) / 2) * step
    return ports
