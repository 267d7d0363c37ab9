"""Charts: well-formed, every number in its place and told, odd numbers survived."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.core.errors import ShapeError
from chainrule.insight.render.axes import WIDTH, Scale, measured, scale_for
from chainrule.insight.render.chart import (
    bar_chart,
    heat_map,
    histogram,
    image_grid,
    line_chart,
    scatter,
)
from chainrule.insight.render.png import data_uri, png

SVG = "{http://www.w3.org/2000/svg}"
NAN, INF = float("nan"), float("inf")


def parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for element in root.iter():
        for name, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if name in element.attrib:
                assert 0 <= float(element.attrib[name]) <= limit + 0.1, element.attrib
    return root


def titles(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}title")]


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_line_chart_tells_its_numbers_and_names() -> None:
    root = parse(line_chart({"loss <train>": [3, 2, 1.5], "val": [4, 3]}, title="Loss & more",
                            x_label="epoch", y_label="nats"))  # fmt: skip
    assert titles(root)[0] == "loss <train>: 3 at 1"
    assert len(titles(root)) == 5
    assert {"Loss & more", "epoch", "nats", "loss <train>", "val", "1.5"} <= set(words(root))
    colors = {path.get("stroke") for path in root.iter(f"{SVG}path")}
    assert colors == {"var(--s0)", "var(--s1)"}


def test_points_lie_where_the_axes_say() -> None:
    root = parse(line_chart({"a": [0.0, 5.0, 10.0]}, [0, 50, 100]))
    dots = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in root.iter(f"{SVG}circle")]
    grid = {t.text: float(t.get("y", 0)) - 4 for t in root.iter(f"{SVG}text")}
    assert dots[1][0] == pytest.approx((dots[0][0] + dots[2][0]) / 2, abs=0.1)
    assert dots[2][1] == pytest.approx(grid["10"], abs=0.1)
    assert dots[0][1] > dots[1][1] > dots[2][1]


def test_long_labels_of_an_axis_are_within_the_chart() -> None:
    root = parse(line_chart({"a": [1e7, 1e-3, 1e20, 1e35]}, log_y=True))
    labels = [t for t in root.iter(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert "1e+35" in words(root)
    assert all(float(t.get("x", 0)) >= measured(t.text or "") for t in labels)


def test_names_of_a_legend_do_not_overlap() -> None:
    names = ["SGD", "momentum", "Adam", "WWWWWWWW", "a name that is far too long for a legend"]
    root = parse(line_chart({name: [1.0, 2.0] for name in names}))
    squares = [(float(r.get("y", 0)), float(r.get("x", 0))) for r in root.iter(f"{SVG}rect")]
    texts = [t for t in root.iter(f"{SVG}text") if t.get("class") is None]
    assert len(squares) == len(texts) == len(names)
    for (y, x), t in zip(squares[1:], texts, strict=False):
        ends = float(t.get("x", 0)) + measured(t.text or "")
        assert ends < x or y > float(t.get("y", 0))  # in the next line
        assert ends < WIDTH


def test_a_gap_stays_a_gap() -> None:
    root = parse(line_chart({"a": [1, NAN, 2, 3, INF]}))
    [path] = root.iter(f"{SVG}path")
    assert path.get("d", "").count("M") == 2
    assert len(titles(root)) == 3
    log = parse(line_chart({"a": [100, 0, 1, -1]}, log_y=True))
    assert len(titles(log)) == 2
    assert "10" in words(log)


def test_a_long_line_is_thinned_and_keeps_its_peaks() -> None:
    values = np.sin(np.arange(100_000) / 1000.0)
    values[54_321] = 9.0
    svg = line_chart({"a": values})
    assert len(svg) < 40_000
    assert svg.count("<circle") <= 60
    top = min(float(pair.split()[1]) for pair in svg.split('d="M')[1].split('"')[0].split("L"))
    quiet = min(
        float(pair.split()[1])
        for pair in line_chart({"a": np.append(values[:10_000], 9.0)})
        .split('d="M')[1].split('"')[0].split("L")
    )  # fmt: skip
    assert top == quiet


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [NAN], [0.0, 0.0], [1e300, -1e300], [1e-300, 2e-300], [5.0, 5.0 + 1e-13], [-7.0]],
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_numbers_are_drawn(values: list[float], log: bool) -> None:
    parse(line_chart({"a": values}, log_y=log))
    parse(scatter({"a": (values, values)}, log_x=log))
    parse(bar_chart(dict(zip("abc", values, strict=False))))
    parse(heat_map([values]) if values else heat_map(np.zeros((0, 0))))
    if not values or max(map(abs, values)) < 1e299:
        parse(histogram(values))


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_are_few_round_distinct_and_within(low: float, width: float) -> None:
    scale = scale_for([low, low + width], 0, 100)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 8
    assert len({label for _, label in ticks}) == len(ticks) or width < 1e-10 * abs(low)
    assert all(-1e-6 <= scale(value) <= 100 + 1e-6 for value, _ in ticks)


def test_a_logarithmic_scale_spaces_decades_evenly() -> None:
    scale = Scale(1, 1000, 0, 30, log=True)
    assert [scale(v) for v in (1, 10, 100, 1000)] == pytest.approx([0, 10, 20, 30])
    assert [label for _, label in Scale(3, 8, 0, 1, log=True).ticks()] == ["5"]
    assert len(Scale(1e-30, 1e30, 0, 1, log=True).ticks()) <= 7


def test_bars_are_as_long_as_their_numbers() -> None:
    root = parse(bar_chart({"a": 1.0, "b": 3.0, "c": -2.0, "d": NAN}, title="t", label="weight"))
    wide = [float(bar.get("width", 0)) for bar in root.iter(f"{SVG}rect")]
    assert wide[1] == pytest.approx(3 * wide[0], rel=0.02)
    assert wide[2] == pytest.approx(2 * wide[0], rel=0.02)
    assert titles(root) == ["a: 1", "b: 3", "c: -2"]
    assert {"nan", "-2", "weight"} <= set(words(root))


def test_a_histogram_counts() -> None:
    root = parse(histogram([0, 0, 1, NAN], 2))
    assert titles(root) == ["2 from 0 to 0.5", "1 from 0.5 to 1"]
    low, high = (float(bar.get("height", 0)) for bar in root.iter(f"{SVG}rect"))
    assert low == pytest.approx(2 * high, abs=0.05)


def test_a_heat_map_prints_every_number() -> None:
    matrix = np.array([[50, 1], [0, 1234]])
    root = parse(heat_map(matrix, ["cat", "dog"], ["cat", "dog"], title="Confusion",
                          row_label="true", column_label="taken for"))  # fmt: skip
    assert {"50", "1", "0", "1,234", "rows: true · columns: taken for"} <= set(words(root))
    assert titles(root)[1] == "cat, dog: 1"
    shades = [float(cell.get("fill-opacity", 0)) for cell in root.iter(f"{SVG}rect")]
    assert shades == pytest.approx([50 / 1234, 1 / 1234, 0, 1], abs=1e-3)
    signed = heat_map([[1.0, -1.0]])
    assert "--minus" in signed
    assert "--plus" in signed
    big = parse(heat_map(np.arange(3600).reshape(60, 60)))
    assert words(big) == []
    assert len(titles(big)) == 3600
    with pytest.raises(ShapeError, match="2 names of rows"):
        heat_map([[1]], ["a", "b"], ["c"])


def decode(uri: str) -> Any:
    """Return the pixels of a PNG, read by the format's own rules."""
    data = b64decode(uri.partition(",")[2])
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack(">I", data[at + 8 + length :][:4])[0]
        chunks[name], at = body, at + 12 + length
    width, height, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    channels = {0: 1, 2: 3, 6: 4}[kind]
    raw = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (raw[:, 0] == 0).all()
    return raw[:, 1:].reshape(height, width, channels).squeeze()


def test_images_come_back_pixel_by_pixel() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (decode(data_uri(gray)) == gray).all()
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (decode(data_uri(rgb)) == rgb).all()
    assert decode(data_uri([[0.0, 0.5], [1.0, -1.0]])).tolist() == [[128, 191], [255, 0]]
    weights = decode(data_uri([[0.0, 2.0], [-2.0, NAN]], signed=True))
    assert weights[0, 0].tolist() == weights[1, 1].tolist() == [255, 255, 255]
    assert weights[0, 1].tolist() == [31, 95, 168]
    for bad in (np.zeros((0, 3), np.uint8), np.zeros((2, 2, 5), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ShapeError, match="8-bit pixels"):
            png(bad)


def test_an_image_grid_keeps_order_and_captions() -> None:
    images = [np.full((2, 2), k, np.uint8) for k in range(5)]
    root = parse(image_grid(images, [f"class {k}" for k in range(5)], columns=2, title="Five"))
    assert titles(root) == [f"class {k}" for k in range(5)]
    found = list(root.iter(f"{SVG}image"))
    assert [decode(image.get("href", ""))[0, 0] for image in found] == list(range(5))
    places = [(float(i.get("y", 0)), float(i.get("x", 0))) for i in found]
    assert places == sorted(places)
    assert max(x for _, x in places) < WIDTH
    with pytest.raises(ShapeError, match="5 images have 1 captions"):
        image_grid(images, ["a"])
    few = parse(image_grid(images * 2, ["pullover"] * 10))
    assert words(few) == ["pullover"] * 10  # 8 in a row would be cut off
    assert len({image.get("x") for image in few.iter(f"{SVG}image")}) == 7


def test_a_mark_stands_at_its_place_and_its_words_within_the_chart() -> None:
    for x in (1.0, 3.0, 5.0):
        root = ElementTree.fromstring(line_chart({"a": [1, 2, 3, 4, 5]}, marks={"best epoch": x}))
        name = "{http://www.w3.org/2000/svg}"
        [line] = [e for e in root.iter(f"{name}line") if e.get("class") == "mark"]
        [dot] = [e for e in root.iter(f"{name}circle") if f"at {x:g}" in (e[0].text or "")]
        assert float(line.get("x1", 0)) == pytest.approx(float(dot.get("cx", 1)))
        [words] = [e for e in root.iter(f"{name}text") if e.text == "best epoch"]
        room = 400 - float(words.get("x", 0))
        assert words.get("text-anchor", "start") == ("start" if x < 5 else "end")
        assert words.get("text-anchor") == "end" or room > 60
