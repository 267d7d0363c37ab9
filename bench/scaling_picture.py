"""Draw a training step on four devices: what each keeps, what it computes, and what is sent.

Run `python bench/scaling_picture.py`; it writes the picture of `docs/scaling.md`.  What is drawn is
read from the step that XLA compiled: the parts of arrays from its shardings, products and
collectives from its code, in the order in which they run.

Read next: `bench/scaling.py`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from scaling import NETWORKS, SHAPE, Event, events, prepared
from workloads import Workload

from chainrule.insight.render.axes import color, svg, tag, text, titled
from chainrule.insight.render.page import standalone

FILE = Path(__file__).parents[1] / "docs" / "scaling-step.svg"
MARGIN, COLUMN, GAP, ROW, HEIGHT = 200.0, 160.0, 12.0, 30.0, 22.0
Part = tuple[float, float, float, float]  # of an array: start and length, across and down, up to 1


def pictured(workload: Workload, devices: int, shard: bool = True) -> str:
    """Return the SVG of a step of the `workload` on so many devices."""
    program = prepared(workload, devices, shard)
    code = program.codes[workload.batch].run
    (state, _, data, *_), _ = code.input_shardings
    arrays = {**program.state, **program.data}
    own = workload.batch // devices
    lines, body = count(1), [text(f"device {k}", at(k), 16, "head") for k in range(devices)]
    body += heading("Each keeps, between steps", next(lines))
    for label, name in kept(program.state, state):
        body += array_row(label, arrays[name].shape, state[name], next(lines))
    for name in program.data:
        body += array_row(f"data: {name}", arrays[name].shape, data[name], next(lines))
    body += heading(f"Each computes, with {own:,} of {workload.batch:,} rows", next(lines))
    for event in events(code.as_text()):
        body += event_row(event, own, devices, next(lines))
    sizes = "-".join(map(str, workload.sizes))
    title = f"A step of the network {sizes} with {workload.optimizer} on {devices} devices"
    return standalone(svg(at(devices), next(lines) * ROW, "".join(body), title))


def kept(state: Mapping[str, Any], places: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a label and a name for the parameters, each with its slots that are placed the same."""
    for name, array in state.items():
        if not name.startswith("parameter/"):
            continue
        short = name.removeprefix("parameter/")
        slots = [other.partition("/")[0] for other in state
                 if other != name and other.endswith(f"/{short}")
                 and places[other].is_equivalent_to(places[name], array.ndim)]  # fmt: skip
        yield ", ".join([short, *slots]), name


def at(device: int) -> float:
    """Return the left end of the column of a device."""
    return MARGIN + device * (COLUMN + GAP)


def heading(words: str, line: int) -> list[str]:
    return [text(words, 4, line * ROW + 14, "head", room=at(4))]


def array_row(label: str, shape: tuple[int, ...], sharding: Any, line: int) -> list[str]:
    """Draw an array on every device: an outline, with the part that the device has filled."""
    y, parts = line * ROW, []
    places = sorted(sharding.devices_indices_map(shape).items(), key=lambda place: place[0].id)
    for k, (_, index) in enumerate(places):
        left, wide, top, high = part(shape, index)
        told = "×".join(map(str, sharding.shard_shape(shape)))
        box = {"fill": color(0), "fill_opacity": 0.55}
        parts += [
            tag("rect", x=at(k), y=y, width=COLUMN, height=HEIGHT, fill="none", class_="axis"),
            titled("rect", f"{label}: {told} on device {k}", x=at(k) + left * COLUMN,
                   y=y + top * HEIGHT, width=wide * COLUMN, height=high * HEIGHT, **box),
        ]  # fmt: skip
    how = "whole" if sharding.is_fully_replicated else "split"
    size = "×".join(f"{n:,}" for n in shape)
    return [text(f"{label}: {size}, {how}", 4, y + 15, room=MARGIN), *parts]


def part(shape: tuple[int, ...], index: tuple[slice, ...]) -> Part:
    """Return where the part of an array is: its last axis goes across, and its first one down."""
    ends = [
        ((one.start or 0) / length, (length if one.stop is None else one.stop) / length)
        for one, length in zip(index, shape, strict=True)
    ]
    (left, right), (top, bottom) = ends[-1], ends[0] if len(ends) > 1 else (0.0, 1.0)
    return left, right - left, top, bottom - top


def event_row(event: Event, own: int, devices: int, line: int) -> list[str]:
    """Draw a product in the column of each device, or a collective across all of them."""
    y = line * ROW
    where = text(event.place if event.kind != "all-reduce" else "gradients, loss", 4, y + 15)
    if event.kind == "product":
        over = "its rows" if f"[{own}," in event.shapes else "sum of its rows"
        words = f"{short(event.shapes)}: {over}"
        return [where] + [
            tag("rect", x=at(k), y=y, width=COLUMN, height=HEIGHT, rx=4, fill="none",
                stroke=color(2), stroke_width=1.4)
            + text(words, at(k) + COLUMN / 2, y + 15, anchor="middle", room=COLUMN)
            for k in range(devices)
        ]  # fmt: skip
    width = at(devices) - GAP - MARGIN
    said = f"{event.kind} {short(event.shapes)}: {event.megabytes:.3f} MB"
    box = {"x": MARGIN, "y": y, "width": width, "height": HEIGHT, "fill": color(1)}
    return [
        where, titled("rect", str(event).strip(), fill_opacity=0.3, **box),
        text(said, MARGIN + width / 2, y + 15, anchor="middle", room=width),
    ]  # fmt: skip


def short(shapes: str) -> str:
    """Return shapes in XLA's notation as a reader writes them."""
    found = [lengths.replace(",", "×") or "a number" for _, lengths in SHAPE.findall(shapes)]
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="the SVG  [docs/scaling-step.svg]")
    out = parser.parse_args().out
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"  # before JAX is imported
    os.environ["JAX_PLATFORMS"] = "cpu"
    out.write_text(pictured(NETWORKS[0], 4), encoding="utf-8")


if __name__ == "__main__":
    main()
