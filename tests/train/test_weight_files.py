"""Weights alone: written and read under plain names, by others as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import DamagedError


def model(dtype: str = "float32") -> nn.Sequential:
    return nn.Sequential([nn.Linear(3, 4, dtype=dtype), nn.BatchNorm(4, dtype=dtype), nn.PReLU()])


def test_weights_go_out_and_in_under_plain_names(tmp_path: Path) -> None:
    first, second = model(), model()
    for name, parameter in nn.parameters(first).items():
        parameter.value = np.random.default_rng(len(name)).normal(size=parameter.shape)
    file = cr.save_weights(first, tmp_path / "w.safetensors")
    there = load_file(file)
    assert set(there) == set(nn.parameters(first))
    assert there["0.weight"].shape == (3, 4)
    assert there["2.slope"].shape == ()
    cr.load_weights(second, str(file))
    for name, parameter in nn.parameters(second).items():
        np.testing.assert_array_equal(parameter.value, nn.parameters(first)[name].value)
        np.testing.assert_array_equal(parameter.value, there[name])
    save_file({name: np.asarray(array + 1) for name, array in there.items()}, file)
    cr.load_weights(second, file)
    np.testing.assert_array_equal(second.layers[0].weight.value, there["0.weight"] + 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Linear(3, 4), r"do not fit the model: 0\.bias, 0\.weight"),
        (lambda: model("float64"), "'0.weight' has shape .* float64 there, and .* float32 in the"),
        (lambda: nn.Sequential([nn.Linear(3, 5), nn.BatchNorm(4), nn.PReLU()]), r"\(3, 5\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    make: Callable[[], nn.Layer], words: str, tmp_path: Path
) -> None:
    file = cr.save_weights(model(), tmp_path / "w.safetensors")
    other = make()
    before = {name: p.value.copy() for name, p in nn.parameters(other).items()}
    with pytest.raises(DamagedError, match=words):
        cr.load_weights(other, file)
    for name, parameter in nn.parameters(other).items():
        np.testing.assert_array_equal(parameter.value, before[name])


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(cr.RunError, match=r"none\.safetensors"):
        cr.load_weights(model(), tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(DamagedError, match="text"):
        cr.load_weights(model(), tmp_path / "text")
    with pytest.raises(cr.RunError):
        cr.save_weights(model(), tmp_path / "no folder" / "w")
