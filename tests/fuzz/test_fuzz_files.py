"""Changed valid files and random bytes: only our errors, quickly, whatever is in a file."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Test files are not a package; make fuzz imports the same file.
_spec = importlib.util.spec_from_file_location("targets", Path(__file__).with_name("targets.py"))
assert _spec is not None
assert _spec.loader is not None
targets = sys.modules["targets"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(targets)

FAST = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20")),
    deadline=10_000,
    suppress_health_check=list(HealthCheck),
    database=None,
)
PARTS = (
    b"", b"\0", b"\xff", b'"', b"{", b"[" * 2000, b"}", b",", b"\n", b"null", b"-1", b"1e999",
    b"NaN", b"9" * 400, b"1000000000000", b"true", b'"x"', b"[]", b"{}", b"(", b")" * 60, b"**",
)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """Return a valid input with some parts cut, doubled, flipped or replaced, or other bytes."""
    valid = draw(st.sampled_from(targets.TARGETS[name][1]()))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.sampled_from([0, 1, 2, 4, 8, 40])))
        part = draw(
            st.sampled_from([*PARTS, bytes(content[start:stop]) * 2]) | st.binary(max_size=8)
        )
        content[start:stop] = part
    return bytes(content)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_bytes(name: str) -> None:
    @FAST
    @given(changed(name))
    def try_one(content: bytes) -> None:
        targets.TARGETS[name][0](content)

    try_one()


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 2.5, 1e308, 10**12, 10**30, "", "x", "float32", [], [1], [[1, 2]], {},
    {"type": "ReLU"}, {"type": "dict", "entries": {}},
    {"type": "Linear", "inputs": 1, "outputs": 1},
)  # fmt: skip


def mutated(value: Any, chance: random.Random) -> Any:
    """Return JSON of the same form with a value, a key or an entry that is another."""
    if chance.random() < 0.08:
        return chance.choice(VALUES)
    if isinstance(value, dict):
        kept = {k: mutated(v, chance) for k, v in value.items() if chance.random() > 0.02}
        return kept | ({"added": chance.choice(VALUES)} if chance.random() < 0.03 else {})
    if isinstance(value, list):
        kept = [mutated(v, chance) for v in value if chance.random() > 0.02]
        return kept * 2 if chance.random() < 0.02 else kept
    return value


@pytest.mark.parametrize("name", ["run.json", "model", "pipeline.json", "metrics.json", "json"])
def test_values(name: str) -> None:
    @FAST
    @given(st.integers(0, 2**32), st.integers(0, 99))
    def try_one(seed: int, which: int) -> None:
        target, valid = targets.TARGETS[name]
        whole = json.loads(valid()[which % len(valid())])
        target(json.dumps(mutated(whole, random.Random(seed))).encode())

    try_one()
