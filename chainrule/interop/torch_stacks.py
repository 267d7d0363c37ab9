"""Plain stacks of layers from PyTorch and to it, with their weights, verified by their outputs.

Read next: :mod:`chainrule.interop.from_onnx`, which reads any feed-forward network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, OptionError, not_installed
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import as_tensor
from chainrule.data.frames import read_array
from chainrule.nn import activations as ours
from chainrule.nn.embedding import Embedding
from chainrule.nn.layer import Flatten, Layer, Linear, Sequential
from chainrule.nn.noise import Dropout
from chainrule.nn.normalize import BatchNorm, LayerNorm, RMSNorm
from chainrule.nn.summary import describe

__all__ = ["from_torch", "to_torch"]

Array = np.ndarray[Any, Any]
ROWS = 16  # random rows on which outputs are compared
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of the largest output, or of 1


@dataclass(frozen=True)
class Counterpart:
    """A layer here and the one of PyTorch called `theirs`, each made from the other.

    `weights` are the names of each array in both.  A matrix of a Linear is transposed.
    """

    kind: type
    theirs: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], Any]
    weights: tuple[tuple[str, str], ...] = ()


def from_torch(module: Any, rows: Any = None) -> Sequential:
    """Return a ``torch.nn.Sequential`` of known layers as a model with the same weights.

    Known are Linear, Flatten, Embedding, Dropout, BatchNorm1d, LayerNorm, RMSNorm, the activations
    that have a counterpart here, and Sequential itself, which may be nested.  PyTorch keeps the
    weight of a Linear as (outputs, inputs); here it is (inputs, outputs).  Parameters without
    ``requires_grad`` stay fixed in training.  An Embedding here joins the vectors of a row,
    (n, k) to (n, k * size), so a Flatten has to follow it there, unless it looks up (n,) codes.

    Both models are evaluated on `rows`, or on 16 random rows, (16, inputs), and must agree to
    1e-5 of the largest output (1e-12 for float64).  `module` is not changed.
    Raises OptionError, with the place, for a layer or an option without a counterpart, and for
    outputs that differ, as those of a layer with hooks may.

    >>> import chainrule as cr
    >>> import torch  # doctest: +SKIP
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())  # doctest: +SKIP
    >>> model = cr.from_torch(module)  # doctest: +SKIP
    """
    torch = _torch()
    model = _read(module, "the module")
    model = model if isinstance(model, Sequential) else Sequential([model])
    _compare(torch, model, module, rows, "from_torch")
    return model


def to_torch(model: Layer, rows: Any = None) -> Any:
    """Return a model of layers that PyTorch has as a ``torch.nn.Sequential`` with its weights.

    The layers are those of :func:`from_torch`.  The module is in the mode for prediction: call its
    ``train()`` before training it.  Weights are copies.  Both are compared as there.
    Raises OptionError, with the place, for a layer without a counterpart.

    >>> import chainrule as cr
    >>> module = cr.to_torch(cr.nn.Linear(3, 2))  # doctest: +SKIP
    """
    torch = _torch()
    module = _write(torch, model, "the model")
    module = module if isinstance(module, torch.nn.Sequential) else torch.nn.Sequential(module)
    _compare(torch, model, module, rows, "to_torch")
    return module.eval()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise not_installed("a stack of PyTorch", "torch", "torch", error) from error
    return torch


# --- which layer is which ----------------------------------------------------------------------


def _plain(kind: type, theirs: str, **options: str) -> Counterpart:
    """Return the counterpart of a layer without weights, its `options` by their names there."""

    def read(layer: Any) -> Any:
        return kind(**{name: getattr(layer, other) for name, other in options.items()})

    def write(nn: Any, layer: Any) -> Any:
        found = {other: getattr(layer, name) for name, other in options.items()}
        return getattr(nn, theirs)(**found)

    return Counterpart(kind, theirs, read, write)


def _refuse(unless: bool, what: str) -> None:
    if not unless:
        raise OptionError(f"{what} has no counterpart here")


def _of(layer: Any) -> dict[str, Any]:
    """Return the dtype of a layer as PyTorch's constructors take it."""
    return {"dtype": getattr(_torch(), layer.dtype)}


def _dtype(array: Any) -> str:
    name = "float32" if array is None else str(array.dtype).removeprefix("torch.")
    _refuse(name in TOLERANCE, f"the dtype {name}")
    return name


def _gelu(layer: Any) -> Any:
    return ours.GELU(layer.approximate == "tanh")


def _softplus(layer: Any) -> Any:
    _refuse((layer.beta, layer.threshold) == (1, 20), "a beta other than 1")
    return ours.Softplus()


def _hard_tanh(layer: Any) -> Any:
    _refuse((layer.min_val, layer.max_val) == (-1, 1), "a range other than -1 to 1")
    return ours.HardTanh()


def _flatten(layer: Any) -> Any:
    _refuse((layer.start_dim, layer.end_dim) == (1, -1), "flattening some of the axes")
    return Flatten()


def _prelu(layer: Any) -> Any:
    units = layer.num_parameters
    return ours.PReLU(None if units == 1 else units, dtype=_dtype(layer.weight))


def _linear(layer: Any) -> Any:
    use_bias = layer.bias is not None
    return Linear(layer.in_features, layer.out_features, use_bias, dtype=_dtype(layer.weight))


def _embedding(layer: Any) -> Any:
    for option in ("padding_idx", "max_norm"):
        _refuse(getattr(layer, option) is None, option)
    return Embedding(layer.num_embeddings, layer.embedding_dim, dtype=_dtype(layer.weight))


def _batch_norm(layer: Any) -> Any:
    _refuse(layer.running_mean is not None, "a BatchNorm1d without running averages")
    _refuse(layer.momentum is not None, "an average over all batches (momentum=None)")
    return BatchNorm(layer.num_features, layer.momentum, layer.eps, _dtype(layer.running_mean))


def _row_norm(kind: type) -> Callable[[Any], Any]:
    def read(layer: Any) -> Any:
        _refuse(len(layer.normalized_shape) == 1, "normalizing over several axes")
        dtype = _dtype(layer.weight)
        epsilon = float(np.finfo(dtype).eps) if layer.eps is None else layer.eps
        return kind(layer.normalized_shape[0], epsilon, dtype)

    return read


_AFFINE = (("scale", "weight"), ("shift", "bias"))
COUNTERPARTS = (
    Counterpart(
        Linear, "Linear", _linear,
        lambda nn, a: nn.Linear(a.inputs, a.outputs, a.use_bias, **_of(a)),
        (("weight", "weight"), ("bias", "bias")),
    ),
    Counterpart(
        Embedding, "Embedding", _embedding,
        lambda nn, a: nn.Embedding(a.categories, a.size, **_of(a)),
        (("weight", "weight"),),
    ),
    Counterpart(
        BatchNorm, "BatchNorm1d", _batch_norm,
        lambda nn, a: nn.BatchNorm1d(a.features, a.epsilon, a.momentum, **_of(a)),
        (*_AFFINE, ("running_mean", "running_mean"), ("running_var", "running_var")),
    ),
    Counterpart(
        LayerNorm, "LayerNorm", _row_norm(LayerNorm),
        lambda nn, a: nn.LayerNorm(a.features, a.epsilon, **_of(a)), _AFFINE,
    ),
    Counterpart(
        RMSNorm, "RMSNorm", _row_norm(RMSNorm),
        lambda nn, a: nn.RMSNorm(a.features, a.epsilon, **_of(a)), _AFFINE[:1],
    ),
    Counterpart(
        ours.PReLU, "PReLU", _prelu,
        lambda nn, a: nn.PReLU(a.units or 1, **_of(a)), (("slope", "weight"),),
    ),
    Counterpart(Flatten, "Flatten", _flatten, lambda nn, a: nn.Flatten()),
    Counterpart(
        ours.GELU, "GELU", _gelu,
        lambda nn, a: nn.GELU("tanh" if a.approximate else "none"),
    ),
    Counterpart(ours.Softplus, "Softplus", _softplus, lambda nn, a: nn.Softplus()),
    Counterpart(ours.HardTanh, "Hardtanh", _hard_tanh, lambda nn, a: nn.Hardtanh()),
    _plain(Dropout, "Dropout", rate="p"),
    _plain(ours.LeakyReLU, "LeakyReLU", slope="negative_slope"),
    _plain(ours.ELU, "ELU", alpha="alpha"),
    _plain(ours.ReLU, "ReLU"), _plain(ours.ReLU6, "ReLU6"), _plain(ours.SELU, "SELU"),
    _plain(ours.SiLU, "SiLU"), _plain(ours.Mish, "Mish"), _plain(ours.Tanh, "Tanh"),
    _plain(ours.Softsign, "Softsign"), _plain(ours.Sigmoid, "Sigmoid"),
    _plain(ours.HardSwish, "Hardswish"), _plain(ours.HardSigmoid, "Hardsigmoid"),
    _plain(ours.Identity, "Identity"),
)  # fmt: skip
THEIRS = {one.theirs: one for one in COUNTERPARTS}
OURS = {one.kind: one for one in COUNTERPARTS}


# --- reading and writing -----------------------------------------------------------------------


def _read(module: Any, place: str) -> Any:
    kind = type(module)
    own = kind.__module__.startswith("torch.nn.modules.")
    if own and kind.__name__ == "Sequential":
        return Sequential([_read(one, f"layer {i} of {place}") for i, one in enumerate(module)])
    found = THEIRS.get(kind.__name__) if own else None
    if found is None:
        raise OptionError(
            f"from_torch: {place}, a {kind.__module__}.{kind.__qualname__}, has no counterpart "
            "here. torch.onnx.export writes it for chainrule.from_onnx, which reads more. A "
            "softmax at the end is left out: losses such as cross_entropy take logits."
        )
    try:
        layer = found.read(module)
    except ChainruleError as error:
        raise OptionError(f"from_torch: {place}, {module}: {str(error).rstrip('.')}.") from error
    for name, other in found.weights:
        parameter, array = getattr(layer, name), getattr(module, other)
        if array is None and parameter is not None:  # an affine step that is left out
            parameter.value = np.full(parameter.shape, float(name == "scale"), layer.dtype)
            parameter.trainable = False
        elif parameter is not None:
            value = array.detach().cpu().numpy()
            parameter.value = _turned(value, layer).reshape(parameter.shape).copy()
            parameter.trainable = bool(array.requires_grad)
    return layer


def _write(torch: Any, model: Any, place: str) -> Any:
    if type(model) is Sequential:
        places = ((one, f"layer {i} of {place}") for i, one in enumerate(model.layers))
        return torch.nn.Sequential(*[_write(torch, one, where) for one, where in places])
    found = OURS.get(type(model))
    if found is None:
        raise OptionError(
            f"to_torch: {place}, {describe(model)}, has no counterpart in PyTorch. "
            "chainrule.export writes it as an ONNX model instead."
        )
    module = found.write(torch.nn, model)
    for name, other in found.weights:
        parameter, array = getattr(model, name), getattr(module, other)
        if isinstance(parameter, Parameter):
            value = np.ascontiguousarray(_turned(parameter.value, model))
            with torch.no_grad():
                array.copy_(torch.from_numpy(value.copy()).reshape(array.shape))
            if isinstance(array, torch.nn.Parameter):
                array.requires_grad_(parameter.trainable)
    return module


def _turned(value: Array, layer: Any) -> Array:
    return value.T if isinstance(layer, Linear) and value.ndim == 2 else value


# --- the comparison ----------------------------------------------------------------------------


def _layers(model: Any) -> Iterator[Any]:
    """Yield the layers of nested stacks in order."""
    for one in model.layers if isinstance(model, Sequential) else [model]:
        yield from _layers(one) if isinstance(one, Sequential) else [one]


def _drawn(model: Any) -> Array | None:
    """Return random rows, or codes, of the width that the first layer with a width asks for."""
    generator = np.random.default_rng(0)
    layers = list(_layers(model))
    for i, layer in enumerate(layers):
        if isinstance(layer, Embedding):
            wide = next((one.inputs for one in layers[i:] if isinstance(one, Linear)), layer.size)
            flat = isinstance(layers[min(i + 1, len(layers) - 1)], Flatten)
            shape = (ROWS, wide // layer.size) if flat else (ROWS,)
            return generator.integers(0, layer.categories, shape)
        width = getattr(layer, "inputs", None) or getattr(layer, "features", None)
        if width is not None:
            return generator.normal(size=(ROWS, width)).astype(layer.dtype)
    return None


def _compare(torch: Any, model: Any, module: Any, rows: Any, who: str) -> None:
    """Raise OptionError if the two differ in what they predict for the rows."""
    given = _drawn(model) if rows is None else np.asarray(read_array(rows, "rows"))
    if given is None:  # activations alone
        given = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    device = next((p.device for p in module.parameters()), "cpu")
    modes = {one: one.training for one in module.modules()}
    try:
        with torch.no_grad():
            wanted = module.eval()(torch.tensor(given, device=device)).cpu().numpy()
    finally:
        for one, mode in modes.items():
            one.training = mode
    found = model(as_tensor(given)).numpy()
    if found.shape != wanted.shape:
        raise OptionError(
            f"{who}: for rows {given.shape}, the model returns {found.shape} and the module "
            f"{wanted.shape}. After an Embedding of several codes, PyTorch needs a Flatten."
        )
    most = TOLERANCE[found.dtype.name] * max(1.0, float(np.abs(wanted).max(initial=0)))
    away = float(np.abs(found - wanted).max(initial=0))
    if not away <= most:
        raise OptionError(
            f"{who}: the outputs differ by {away:.3g} on {len(given)} rows, where {most:.3g} is "
            "allowed. Hooks and parametrizations of a module are not read."
        )
