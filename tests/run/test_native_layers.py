"""Layers that train otherwise than they predict, penalties and weights: native as reference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule import nn, optim

sys.path.insert(0, str(Path(__file__).parent))
from agreement import Case, assert_agree, shuffled, training

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)
# The last batch has two rows; where they are nearly alike, batch normalization divides by a tiny
# spread, and float32's rounding grows as much.
BOUND = {"float64": 1e-9, "float32": 5e-3}


def _layers(kind: str, dtype: str) -> list[Any]:
    return {
        "dropout": lambda: [nn.Dropout(0.4)],
        "noise": lambda: [nn.GaussianNoise(0.3)],
        "batch norm": lambda: [nn.BatchNorm(10, dtype=dtype)],
        "layer norm": lambda: [nn.LayerNorm(10, dtype=dtype)],
        "rms norm": lambda: [nn.RMSNorm(10, dtype=dtype)],
        "residual": lambda: [nn.Residual([nn.Linear(10, 10, dtype=dtype), nn.Tanh()])],
        "shortcut": lambda: [
            nn.Residual(nn.Linear(10, 4, dtype=dtype), nn.Linear(10, 4, dtype=dtype)),
            nn.Linear(4, 10, dtype=dtype),
        ],
        "activity": lambda: [nn.ActivityPenalty(nn.L1(0.01))],
        "all": lambda: [
            nn.BatchNorm(10, dtype=dtype), nn.Dropout(0.1), nn.LayerNorm(10, dtype=dtype),
            nn.Dropout(0.2), nn.GaussianNoise(0.1),
        ],
    }[kind]()  # fmt: skip


def case(kind: str, dtype: str, **more: Any) -> Case:
    model = nn.Sequential(
        [
            nn.Linear(6, 10, dtype=dtype),
            nn.ReLU(),
            *_layers(kind, dtype),
            nn.Linear(10, 3, dtype=dtype),
        ]
    )
    nn.initialize(model, 3)
    return training(model, "cross_entropy", optim.Adam(0.01), X.astype(dtype), Y, **more)


KINDS = [
    "dropout", "noise", "batch norm", "layer norm", "residual", "shortcut", "activity", "all",
]  # fmt: skip


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_native_agrees_with_the_reference(kind: str, dtype: str) -> None:
    # 50 rows in batches of 8: each epoch ends with a batch of two.
    order = np.concatenate([shuffled(50, 1, seed) for seed in range(3)])
    found = case(kind, dtype)
    assert not found.native(8).code.left_to_reference()
    for part in np.split(order, 3):
        assert_agree(found, part, 8, BOUND[dtype])


@pytest.mark.parametrize("kind", ["all", "residual"])
def test_any_number_of_threads_gives_the_same_bits(kind: str) -> None:
    order = shuffled(50, 2)
    states = []
    for threads in (1, 2, 3):
        program = case(kind, "float32").native(8, threads)
        program.run(order, 8)
        states.append({name: value.tobytes() for name, value in program.state.items()})
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize(
    "more",
    [
        {"regularizer": nn.L2(0.1)},
        {"regularizer": {"*.weight": nn.L1(0.01), "0.bias": nn.L1L2(0.1, 0.2)}},
        {"weight": RNG.random(50)},
        {"weight": RNG.random(50), "regularizer": nn.L1L2(), "watch": True},
    ],
    ids=["L2", "by name", "weights", "all and watched"],
)
def test_penalties_and_weights(more: dict[str, Any]) -> None:
    assert_agree(case("dropout", "float64", **more), shuffled(50, 3), 7, 1e-9)
