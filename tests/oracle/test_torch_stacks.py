"""Stacks of PyTorch's layers are read and written with the same outputs, also after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.interop.torch_stacks import COUNTERPARTS

pytestmark = pytest.mark.oracle


@pytest.fixture
def t() -> Any:
    """PyTorch's layers, which draw the same weights in each test."""
    torch = pytest.importorskip("torch", reason="make oracle installs PyTorch")
    torch.manual_seed(0)
    return torch.nn


def trained(t: Any, module: Any) -> Any:
    """Return the module with weights and running averages other than those it starts with."""
    import torch

    with torch.no_grad():
        for array in [*module.parameters(), *module.buffers()]:
            if array.is_floating_point():
                array.add_(torch.rand_like(array))
    return module


STACKS: dict[str, Callable[[Any], list[Any]]] = {
    "Linear": lambda t: [t.Linear(5, 3)],
    "no bias": lambda t: [t.Linear(5, 3, bias=False)],
    "float64": lambda t: [t.Linear(5, 3, dtype=t.Linear(1, 1).weight.double().dtype)],
    "nested": lambda t: [t.Linear(5, 4), t.Sequential(t.Tanh(), t.Linear(4, 4)), t.Linear(4, 2)],
    "Flatten": lambda t: [t.Flatten(), t.Linear(6, 3)],
    "BatchNorm1d": lambda t: [t.Linear(5, 4), t.BatchNorm1d(4, eps=0.1, momentum=0.3)],
    "LayerNorm": lambda t: [t.LayerNorm(5, eps=0.1), t.Linear(5, 2)],
    "LayerNorm plain": lambda t: [t.LayerNorm(5, elementwise_affine=False), t.Linear(5, 2)],
    "BatchNorm1d plain": lambda t: [t.BatchNorm1d(5, affine=False), t.Linear(5, 2)],
    "RMSNorm": lambda t: [t.RMSNorm(5), t.Linear(5, 2)],
    "Embedding alone": lambda t: [t.Embedding(7, 3), t.Tanh()],
    "Embedding": lambda t: [t.Embedding(7, 3), t.Linear(3, 2)],
    "Embedding of columns": lambda t: [t.Embedding(7, 3), t.Flatten(), t.Linear(6, 2)],
    "Dropout": lambda t: [t.Dropout(0.3), t.Linear(5, 2)],
    "PReLU": lambda t: [t.Linear(5, 4), t.PReLU(4), t.Linear(4, 2), t.PReLU()],
    "LeakyReLU": lambda t: [t.Linear(5, 4), t.LeakyReLU(0.3)],
    "ELU": lambda t: [t.Linear(5, 4), t.ELU(0.7)],
    "GELU": lambda t: [t.Linear(5, 4), t.GELU(), t.Linear(4, 4), t.GELU("tanh")],
}
STACKS |= {
    one.theirs: lambda t, name=one.theirs: [t.Linear(5, 4), getattr(t, name)()]  # type: ignore[misc]
    for one in COUNTERPARTS
    if one.theirs not in STACKS
}


def rows_for(name: str) -> Any:
    generator = np.random.default_rng(1)
    if name.startswith("Embedding"):
        return generator.integers(0, 7, (9, 2) if "columns" in name else 9)
    if name == "Flatten":
        return generator.normal(size=(9, 2, 3)).astype("f4")
    return generator.normal(size=(9, 5)).astype("f8" if name == "float64" else "f4")


def outputs(module: Any, rows: Any) -> Any:
    import torch

    with torch.no_grad():
        return module.eval()(torch.tensor(rows)).numpy()


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_read_and_written_back(t: Any, name: str) -> None:
    module, rows = trained(t, t.Sequential(*STACKS[name](t))), rows_for(name)
    before = {key: array.clone() for key, array in module.state_dict().items()}
    model = cr.from_torch(module)
    assert module.training  # as it was
    assert all(bool((array == before[key]).all()) for key, array in module.state_dict().items())
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(model(cr.tensor(rows)).numpy(), outputs(module, rows), **close)
    back = cr.to_torch(model)
    assert not back.training
    np.testing.assert_allclose(outputs(back, rows), outputs(module, rows), **close)
    kept = {key: a for key, a in back.state_dict().items() if key in before}
    assert all(np.array_equal(a.numpy(), before[key].numpy()) for key, a in kept.items()
               if "num_batches" not in key)  # fmt: skip


def test_a_network_that_was_read_trains_on_and_goes_back(t: Any) -> None:
    X = np.random.default_rng(0).normal(size=(200, 4)).astype("f4")
    y = (X[:, 0] > X[:, 1]).astype("i8")
    module = t.Sequential(t.Linear(4, 32), t.BatchNorm1d(32), t.ReLU(), t.Linear(32, 2))
    module[0].weight.requires_grad_(False)
    model = cr.from_torch(module)
    first = model.layers[0].weight.value.copy()
    adam = cr.optim.Adam(0.02)
    run = cr.fit(model, (X, y), loss="cross_entropy", optimizer=adam, epochs=40, progress=False)
    assert run.evaluate((X, y))["accuracy"] > 0.9
    np.testing.assert_array_equal(model.layers[0].weight.value, first)  # it was fixed there
    back = cr.to_torch(run.model)
    assert not back[0].weight.requires_grad
    np.testing.assert_allclose(outputs(back, X), run.outputs(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: [t.Linear(4, 4), t.Conv1d(4, 4, 1)], r"layer 1 of the module, a torch.*Conv1d"),
        (lambda t: [t.Sequential(t.Softmax(1))], "layer 0 of layer 0 of the module.*take logits"),
        (lambda t: [t.Linear(4, 4), t.Softplus(2.0)], "layer 1 .*a beta other than 1"),
        (lambda t: [t.Hardtanh(0, 1)], "a range other than -1 to 1"),
        (lambda t: [t.BatchNorm1d(4, track_running_stats=False)], "without running averages"),
        (lambda t: [t.BatchNorm1d(4, momentum=None)], "momentum=None"),
        (lambda t: [t.LayerNorm((2, 2))], "several axes"),
        (lambda t: [t.Flatten(0)], "some of the axes"),
        (lambda t: [t.Embedding(4, 2, padding_idx=0)], "padding_idx has no counterpart"),
        (lambda t: [t.Dropout(1.0)], r"rate must be in \[0, 1\)"),
        (lambda t: [t.Linear(4, 4).half()], "the dtype float16 has no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_its_place(
    t: Any, make: Callable[[Any], list[Any]], words: str
) -> None:
    with pytest.raises(cr.OptionError, match=words):
        cr.from_torch(t.Sequential(*make(t)))


def test_other_outputs_are_found(t: Any) -> None:
    module = t.Sequential(t.Linear(3, 2))
    module[0].register_forward_hook(lambda layer, given, out: out + 0.001)
    with pytest.raises(cr.OptionError, match=r"from_torch: the outputs differ by 0\.001"):
        cr.from_torch(module)
    codes = np.zeros((4, 2), "i8")
    with pytest.raises(cr.OptionError, match="PyTorch needs a Flatten"):
        cr.from_torch(t.Sequential(t.Embedding(7, 2)), rows=codes)


def test_layers_without_a_counterpart_in_pytorch_are_refused(t: Any) -> None:
    with pytest.raises(cr.OptionError, match=r"layer 1 of the model, Maxout\(2, 2\), has no"):
        cr.to_torch(nn.Sequential([nn.Linear(2, 2), nn.Maxout(2, 2)]))
    with pytest.raises(cr.OptionError, match="has no counterpart in PyTorch"):
        cr.to_torch(nn.Sequential([nn.Linear(2, 2), cr.tanh]))
