"""Weights of rows and what is held out: what they count, and what can't be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.step.weighting import class_weights, row_weights

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


def fit(**options: Any) -> cr.Run:
    model = nn.Sequential([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)])
    return cr.fit(model, (X, Y), loss="cross_entropy", epochs=2, progress=False, **options)


def test_several_labels_a_row_are_no_classes() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]])  # each row has a 1, as one-hot rows have
    with pytest.raises(cr.DataError, match="class_weight needs one class for each row"):
        class_weights("balanced", labels)
    np.testing.assert_allclose(
        class_weights("balanced", np.eye(3)[[0, 0, 1, 2]]), [2 / 3, 4 / 3, 4 / 3]
    )


def test_huge_weights_count_by_their_ratio() -> None:
    given = np.array([1e308, 1e308, 0.5e308])
    found = row_weights(given, None, np.zeros(3), np.dtype("float64"))
    np.testing.assert_allclose(found, [1.2, 1.2, 0.6])


def test_rows_held_out_must_weigh_something() -> None:
    one = np.zeros(60)
    one[0] = 1
    with pytest.raises(cr.DataError, match=r"rows (held out|that train) .* have weight 0"):
        fit(sample_weight=one, validation=0.2)


def test_a_fraction_of_any_type_of_number_is_held_out() -> None:
    assert fit(validation=np.float32(0.25)).settings["rows"] == 45


def test_validation_of_more_than_three_parts_is_refused() -> None:
    with pytest.raises(cr.DataError, match="must be a pair"):
        fit(validation=(X, Y, None, 3))


def test_a_batch_of_any_size_takes_all_rows() -> None:
    assert fit(batch_size=10**20).history[-1]["loss"] == fit(batch_size=60).history[-1]["loss"]
