"""chainrule draw: text on standard output, or a file in the format of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import chainrule as cr
from chainrule import nn


@pytest.fixture
def saved(place: Path) -> Path:
    model = nn.Sequential([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)])
    data = (np.eye(2, dtype=np.float32), [0, 1])
    return cr.fit(model, data, loss="cross_entropy", epochs=1, progress=False).save(place / "a")


def test_the_layers_are_printed(call: Callable[..., Result], saved: Path) -> None:
    result = call("draw", saved)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "○  x               f32[n,2]",
        "●  0 Linear(2, 3)  f32[n,3]  9 parameters  matmul, add",
        "●  1 Tanh          f32[n,3]  tanh",
        "●  2 Linear(3, 2)  f32[n,2]  8 parameters  → output  matmul, add",
    ]


def test_a_training_step_is_drawn_as_kernels(call: Callable[..., Result], saved: Path) -> None:
    result = call("draw", saved, "--level", "kernels", "--optimizer", "sgd")
    assert result.exit_code == 0
    assert "-- barrier --" in result.stdout


def test_a_file_is_written_whole_and_not_replaced(
    call: Callable[..., Result], saved: Path, place: Path
) -> None:
    file = place / "net.svg"
    assert call("draw", saved, "--level", "neurons", "--out", file).exit_code == 0
    before = file.read_text("utf-8")
    assert before.startswith("<svg")
    refused = call("draw", saved, "--out", file)
    assert refused.exit_code == 2
    assert "net.svg exists; nothing was written. Give another name, or --force." in refused.stderr
    assert file.read_text("utf-8") == before
    assert call("draw", saved, "--out", file, "--force").exit_code == 0
    assert file.read_text("utf-8") != before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "net.png"], "drawings are written as .svg, .html, .dot, .txt, not .png"),
        (["--level", "layer"], "'layer' is not one of 'layers'"),
        (["--optimizer", "adm"], "unknown optimizer 'adm'. Did you mean 'adam'?"),
    ],
)
def test_wrong_words_are_told(
    call: Callable[..., Result], saved: Path, words: list[str], message: str
) -> None:
    result = call("draw", saved, *words)
    assert result.exit_code == 2
    assert message in result.stderr
