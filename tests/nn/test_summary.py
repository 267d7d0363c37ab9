"""The summary's numbers are those a person counts."""

from __future__ import annotations

import pytest

import chainrule as cr
from chainrule import nn


def test_counts_of_a_small_network() -> None:
    model = nn.Sequential(
        [
            nn.Linear(4, 8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Sequential([nn.Linear(8, 3, use_bias=False)]),
        ]
    )
    told = model.summary()
    assert [(row.path, row.layer, row.shape[1:]) for row in told.rows] == [
        ("0", "Linear(4, 8)", (8,)), ("1", "ReLU", (8,)), ("2", "Dropout(0.5)", (8,)),
        ("3.0", "Linear(8, 3)", (3,)),
    ]  # fmt: skip
    assert [row.parameters for row in told.rows] == [40, 0, 0, 24]
    assert [row.flops for row in told.rows] == [2 * 4 * 8 + 8, 8, 0, 2 * 8 * 3]
    assert (told.parameters, told.parameter_bytes) == (64, 256)
    assert told.row_bytes == (8 + 8 + 8 + 3) * 4
    assert "64 parameters, 256 bytes" in str(told)


def test_frozen_parameters_and_running_statistics_are_told_apart() -> None:
    model = nn.Sequential([nn.Linear(2, 3), nn.BatchNorm(3)])
    model[0].weight.trainable = False  # type: ignore[attr-defined]
    told = model.summary()
    assert [(row.parameters, row.trainable) for row in told.rows] == [(9, 3), (12, 6)]
    assert "12 of them not trainable" in str(told)


def test_any_callable_can_be_summarized() -> None:
    layer = nn.Linear(3, 2)
    assert nn.summary(layer).rows[0].flops == 2 * 3 * 2 + 2
    assert nn.summary(lambda x: cr.tanh(x @ layer.weight), 3).flops == 2 * 3 * 2 + 2
    with pytest.raises(cr.OptionError, match="give the shape of one row"):
        nn.Sequential([nn.ReLU()]).summary()


def test_images_are_described_by_their_shape() -> None:
    told = nn.Sequential([nn.Flatten(), nn.Linear(784, 2)]).summary((28, 28))
    assert told.rows[0].shape[1:] == (784,)
    assert told.rows[0].flops == 0
