"""The basic layers, and the functions that find and initialize the parameters of a model.

A layer is any callable from tensor to tensor.  One with parameters is an object, usually a
dataclass, with :class:`~chainrule.core.parameter.Parameter` fields; :func:`parameters` finds
them in fields, lists and dictionaries, and names each by its path.

Read next: :mod:`chainrule.nn.activations`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError, ShapeError
from chainrule.core.foreign import no_member
from chainrule.core.graph import drawn, scope
from chainrule.core.options import check_whole, float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.pickling import check_named
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import GlorotUniform, Initializer, initializer
from chainrule.nn.summary import Summary, describe, summarize

__all__ = [
    "Flatten",
    "Layer",
    "Linear",
    "Sequential",
    "initialize",
    "named_layers",
    "outline",
    "parameters",
    "summary",
]

Layer: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Linear:
    """Multiply by a weight matrix and add a bias: ``y = x @ weight + bias``.

    Each output is one linear neuron: a weighted sum of all inputs, plus a bias.
    x: (n, inputs), weight: (inputs, outputs), bias: (outputs,), y: (n, outputs).
    The default `weight_init` is the one suited to the following activation (inside
    :class:`Sequential`), else Glorot-uniform; biases start at 0.  A `bias_init` of
    0.01 before a ReLU makes fewer of its units start dead.

    Raises OptionError for sizes that are not positive integers, and ShapeError
    for an input of another width.

    >>> import chainrule as cr
    >>> layer = Linear(2, 1)
    >>> layer.weight.value, layer.bias.value = [[2.0], [3.0]], [1.0]
    >>> layer(cr.tensor([[1.0, 1.0]]))
    Tensor([[6.]], f32[1,1])
    """

    inputs: int
    outputs: int
    use_bias: bool = True
    weight_init: str | Initializer | None = None
    bias_init: str | float | Initializer = "zeros"
    dtype: str = "float32"
    weight: Parameter = field(init=False, repr=False)
    bias: Parameter | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.inputs = check_whole("Linear: inputs", self.inputs)
        self.outputs = check_whole("Linear: outputs", self.outputs)
        self.dtype = float_dtype("Linear: dtype", self.dtype)
        start = GlorotUniform() if self.weight_init is None else initializer(self.weight_init)
        shape = (self.inputs, self.outputs)
        self.weight = Parameter(shape, start, self.dtype, "weight")
        if self.use_bias:
            self.bias = Parameter(shape[1], initializer(self.bias_init), self.dtype, "bias")

    def start(self, choice: Initializer) -> None:
        """Set the initializer of the weights."""
        self.weight.initializer = choice

    def __call__(self, x: Tensor) -> Tensor:
        if not x.shape or x.shape[-1] != self.inputs:
            raise ShapeError(
                f"Linear({self.inputs}, {self.outputs}) needs {self.inputs} features on the last "
                f"axis, but got shape {x.shape}."
            )
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


@dataclass(eq=False)
class Flatten:
    """Flatten each example to one row: (n, a, b, ...) to (n, a * b * ...)."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.reshape((x.shape[0], -1))


def check_layer(name: str, layer: Any) -> None:
    """Raise OptionError, starting with `name`, if `layer` is a class or not a layer."""
    if isinstance(layer, type):
        kind = layer.__name__
        raise OptionError(
            f"{name} is the class {kind}; call it to make a layer: "
            f"{kind}({'...' if layer is Linear else ''})."
        )
    if not callable(layer):
        renamed = "; rename its method forward to __call__" if hasattr(layer, "forward") else ""
        raise OptionError(f"{name} is {layer!r}, which is not a layer{renamed}.")


def check_input(layers: Iterable[Any], X: Any) -> None:
    """Call the method `check_input` of each of `layers` that has one, on the data `X`.

    Embeddings raise DataError in it for invalid codes; containers call it for the layers that
    receive the data.
    """
    for layer in layers:
        check = getattr(layer, "check_input", None)
        if check is not None:
            check(X)


def suit(layer: Layer, following: Layer) -> None:
    """Give `layer` the initializer suited to the `following` layer, unless it has its own.

    An activation has it as `suited_initializer`; a layer takes it in a method `start`.
    """
    suited, start = getattr(following, "suited_initializer", None), getattr(layer, "start", None)
    if suited is not None and start is not None and getattr(layer, "weight_init", None) is None:
        start(suited)


@dataclass(eq=False)
class Sequential:
    """Apply `layers` one after another: ``y = layers[-1](... layers[0](x))``.

    A Linear without an initializer of its own uses the one suited to the activation
    that follows it (He for ReLU and its variants, LeCun for SELU, else Glorot).
    Raises ShapeError naming the layer whose input does not fit.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)])
    >>> model(cr.input("x", ("n", 2))).shape
    (n, 1)
    """

    layers: Sequence[Layer]

    def __init__(self, layers: Sequence[Layer], *more: Layer):
        if more or not isinstance(layers, Iterable):
            raise OptionError("Sequential takes its layers in a list: Sequential([first, ...]).")
        self.layers = list(layers)
        for i, layer in enumerate(self.layers):
            check_layer(f"Sequential: entry {i}", layer)
        # Layers such as Dropout between a Linear and its activation do not change the choice.
        acting = [layer for layer in self.layers if not getattr(layer, "keeps_scale", False)]
        for layer, following in itertools.pairwise(acting):
            suit(layer, following)

    def __call__(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            with scope(str(i)):
                try:
                    x = layer(x)
                except ShapeError as error:
                    raise ShapeError(f"layer {i}: {error}") from None
        return x

    def draw(self, level: str | None = None, **options: Any) -> Any:
        """Return a picture of the network, as :func:`chainrule.draw` does."""
        return drawn(self, level, **options)

    def check_input(self, X: Any) -> None:
        """Raise DataError for rows of `X` that the first layer rejects; see :func:`check_input`."""
        check_input(self.layers[:1], X)

    def summary(self, features: int | Sequence[int] | None = None) -> Summary:
        """Return a table of the layers; see :func:`summary`."""
        return summary(self, features)

    def named_layers(self) -> dict[str, Layer]:
        """Return the layers by their names in paths, which are their numbers."""
        return {str(i): layer for i, layer in enumerate(self.layers)}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    def __getstate__(self) -> dict[str, Any]:
        for i, layer in enumerate(self.layers):
            check_named(f"layer {i} of a Sequential", layer)
        return self.__dict__

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)


_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType)
_PLAIN = {NoneType, bool, int, float, str, np.ndarray}  # which hold no layers


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields of a dataclass, None for another type."""
    return tuple(entry.name for entry in fields(kind)) if is_dataclass(kind) else None


def _children(thing: Any) -> Iterator[tuple[str, Any]]:
    if type(thing) in _PLAIN or isinstance(thing, (type, *_FUNCTIONS)):
        return
    named = _fields(type(thing))  # type: ignore[arg-type]  # a type can be hashed
    if named is not None or (callable(thing) and hasattr(thing, "__dict__")):
        named = named or ()
        yield from ((name, getattr(thing, name)) for name in named)
        rest = getattr(thing, "__dict__", {})
        yield from ((name, child) for name, child in rest.items() if name not in named)
    elif isinstance(thing, (list, tuple)):
        yield from ((str(i), child) for i, child in enumerate(thing))
    elif isinstance(thing, Mapping):
        yield from ((str(key), child) for key, child in thing.items())


def parameters(model: Any) -> dict[str, Parameter]:
    """Return every parameter of `model` under its path, such as ``'0.weight'``.

    Walks the fields of dataclasses, the attributes of callable objects, lists, tuples
    and dictionaries; a parameter shared by two layers is listed once, under its first path.
    Raises OptionError if two have the same path.
    """
    found: dict[str, Parameter] = {}
    seen: dict[int, Any] = {}  # keeps objects alive, so that no id is used again

    def walk(thing: Any, path: tuple[str, ...]) -> None:
        if id(thing) in seen:
            return
        seen[id(thing)] = thing
        if isinstance(thing, Parameter):
            name = ".".join(path)
            if name in found:
                raise OptionError(
                    f"two parameters of the model are called {name!r}, because a layer's name "
                    "contains a dot; give one of their layers another name."
                )
            found[name] = thing
            return
        for name, child in _children(thing):
            if isinstance(child, Parameter) or next(_children(child), None) is not None:
                # "layers" adds nothing to a path that has the layer's number or name.
                hidden = name == "layers" and hasattr(thing, "named_layers")
                walk(child, path if hidden else (*path, name))

    walk(model, ())
    return found


def initialize(model: Any, seed: int = 0, keep_assigned: bool = False) -> None:
    """Draw the initial values of all parameters of `model` from `seed`.

    Each parameter has its own random stream, by its place in the model, so
    changing one layer's initializer does not change the others.
    With `keep_assigned`, values that were set or trained are kept.
    """
    for place, (path, parameter) in enumerate(parameters(model).items()):
        parameter.name = path
        if not (keep_assigned and parameter.assigned):
            parameter.value = parameter.draw(
                np.random.Generator(np.random.Philox(key=[seed, place]))
            )


def summary(model: Layer, features: int | Sequence[int] | None = None) -> Summary:
    """Return a table of shapes, parameters, floating-point operations and memory of `model`.

    `features` is the shape of one row; by default it is `inputs` of the first layer that has it.
    Raises OptionError if none has.

    >>> from chainrule import nn
    >>> print(nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)]).summary())
    layer                output  parameters  flops per row
    ------------------------------------------------------
    0      Linear(4, 8)  (n, 8)          40             72
    1      ReLU          (n, 8)           0              8
    2      Linear(8, 3)  (n, 3)          27             51
    ------------------------------------------------------
    67 parameters, 268 bytes
    131 floating-point operations per row to predict, about 393 to train
    76 bytes of layer outputs per row
    """
    found = parameters(model)
    dtype = next(iter(found.values())).dtype if found else np.float32
    shape = row_shape(model, features)
    return summarize(model, found, dict(named_layers(model)), shape, dtype)


def row_shape(model: Layer, features: int | Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the shape of one input row of `model`: `features`, or that of its first layer.

    The number of features is the `row_width` of the model or of a layer, or else its `inputs`.
    Raises OptionError if no layer has one.
    """
    if features is None and hasattr(type(model), "row_width"):
        features = getattr(model, "row_width", None)
    if features is None:
        layers = dict(named_layers(model))
        told = (
            getattr(layer, "row_width", getattr(layer, "inputs", None))
            for layer in (*layers.values(), model)
        )
        sizes = (len(names) if isinstance(names, list) else names for names in told)
        features = next((size for size in sizes if isinstance(size, int)), None)
        if features is None:
            raise OptionError(
                "no layer has a number of inputs: give the shape of one row, as in features=784."
            )
    return (features,) if isinstance(features, int) else tuple(features)


def named_layers(model: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield the path and layer of each layer of a container, and of containers within it."""
    if isinstance(model, type) or not hasattr(model, "named_layers"):
        return
    for name, layer in model.named_layers().items():
        inner = [(f"{name}.{path}", part) for path, part in named_layers(layer)]
        yield from inner or [(name, layer)]


LAYERS_TOLD = 8  # by outline


def outline(model: object) -> str:
    """Return a model in one short line: its layers, those in the middle left out if they are many.

    >>> from chainrule import nn
    >>> outline(nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)]))
    'Sequential([Linear(2, 8), Tanh, Linear(8, 1)])'
    """
    if not isinstance(model, Sequential):
        return describe(model)
    names = [describe(layer) for layer in model.layers]
    if len(names) > LAYERS_TOLD:
        names[LAYERS_TOLD // 2 : -LAYERS_TOLD // 2] = ["..."]
    return f"Sequential([{', '.join(names)}])"
