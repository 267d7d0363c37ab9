"""Sparse linear layers, and the patterns that say which inputs each unit is connected to.

A :class:`SparseLinear` has one weight for each edge, from a mask, a density, receptive fields or
a list of edges.  An absent edge has no weight, no gradient and no cost.  A pattern is stored as
its definition (a density and a seed, the size of a field) or packed, so that a saved model
stays small.

Read next: :mod:`chainrule.ops.sparse`.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError, ShapeError
from chainrule.core.options import check_size, check_whole, float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import GlorotUniform, Initializer, initializer
from chainrule.ops.sparse import Wiring, sparse_matmul

__all__ = [
    "Density",
    "Edges",
    "ImageFields",
    "LocalFields",
    "SparseLinear",
]

Array: TypeAlias = "np.ndarray[Any, Any]"


class Pattern(Protocol):
    """An object that defines which inputs are connected to which outputs."""

    def wiring(self, inputs: int, outputs: int) -> Wiring: ...


@dataclass(frozen=True)
class Density:
    """Connect each output to random inputs, by a share `density` of all possible edges.

    The outputs' numbers of inputs are at least 1 and differ by at most 1.  The same seed gives
    the same edges on any machine.  Raises OptionError for a density outside (0, 1].

    >>> Density(0.1, seed=1).wiring(10, 20).edges
    20
    """

    density: float
    seed: int = 0

    def __post_init__(self) -> None:
        number = isinstance(self.density, (int, float, np.number))
        if not number or isinstance(self.density, bool) or not 0 < self.density <= 1:
            raise OptionError(f"density must be above 0 and at most 1, not {self.density!r}.")
        object.__setattr__(self, "density", float(self.density))
        object.__setattr__(self, "seed", check_whole("seed", self.seed, 0, 2**64))

    def wiring(self, inputs: int, outputs: int) -> Wiring:
        """Draw the edges."""
        edges = max(outputs, round(self.density * inputs * outputs))
        check_size("the number of edges", edges)
        bits = np.random.Philox(key=[self.seed, 0])
        each, more = divmod(edges, outputs)
        counts = np.full(outputs, each)
        counts[:more] += 1
        sources = [_distinct(bits, int(count), inputs) for count in counts]
        return Wiring(
            inputs, outputs, np.concatenate(sources), np.repeat(np.arange(outputs), counts)
        )


def _distinct(bits: np.random.Philox, count: int, below: int) -> Array:
    """Draw `count` distinct numbers from raw bits, which are the same in all NumPy versions."""
    found = np.empty(0, np.int64)
    while len(found) < count:
        drawn = (bits.random_raw(2 * count) % np.uint64(below)).astype(np.int64)
        joined = np.concatenate([found, drawn])
        first = np.unique(joined, return_index=True)[1]
        found = joined[np.sort(first)]
    return found[:count]


@dataclass(frozen=True)
class LocalFields:
    """Connect each output to `field` neighboring inputs; the fields are spread evenly.

    Raises OptionError for a field larger than the inputs.

    >>> LocalFields(2).wiring(4, 3).sources.tolist()
    [0, 1, 1, 2, 2, 3]
    """

    field: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", check_whole("field", self.field))

    def wiring(self, inputs: int, outputs: int) -> Wiring:
        """Place the fields; the first begins at the first input, the last ends at the last."""
        if self.field > inputs:
            raise OptionError(f"a field of {self.field} is larger than the {inputs} inputs.")
        check_size("the number of edges", self.field * outputs)
        steps = np.arange(outputs) * (inputs - self.field) / max(1, outputs - 1)
        starts = np.floor(steps + 0.5).astype(np.int64)
        sources = starts[:, None] + np.arange(self.field)
        return Wiring(inputs, outputs, sources.ravel(), np.repeat(np.arange(outputs), self.field))


@dataclass(frozen=True)
class ImageFields:
    """Connect outputs to rectangular fields of an image, with `units` outputs per field.

    shape: (height, width) or (height, width, channels) of the image, whose pixels are the
    inputs, row by row; field and stride: (rows, columns).  A field sees all channels.  Unlike a
    convolution, each unit has weights of its own.  Raises OptionError for sizes that do not fit.

    >>> ImageFields((28, 28), (5, 5), (2, 2), units=3).outputs
    432
    """

    shape: tuple[int, ...]
    field: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    units: int = 1

    def __post_init__(self) -> None:
        for name, lengths in (("shape", (2, 3)), ("field", (2,)), ("stride", (2,))):
            given = getattr(self, name)
            sizes = (given,) * 2 if name == "stride" and isinstance(given, int) else given
            if not isinstance(sizes, (tuple, list)) or len(sizes) not in lengths:
                raise OptionError(f"{name} must hold {lengths[-1]} sizes, not {given!r}.")
            plain = tuple(check_whole(f"{name}[{i}]", s) for i, s in enumerate(sizes))
            object.__setattr__(self, name, plain)
        object.__setattr__(self, "units", check_whole("units", self.units))
        if self.field[0] > self.shape[0] or self.field[1] > self.shape[1]:
            raise OptionError(f"a field of {self.field} is larger than the image {self.shape}.")

    @property
    def inputs(self) -> int:
        """The number of pixels, times channels."""
        return math.prod(self.shape)

    @property
    def places(self) -> tuple[int, int]:
        """The numbers of fields down and across."""
        down, across = ((self.shape[a] - self.field[a]) // self.stride[a] + 1 for a in (0, 1))
        return down, across

    @property
    def outputs(self) -> int:
        """The number of units, which are in the order of their fields."""
        return math.prod(self.places) * self.units

    def wiring(self, inputs: int, outputs: int) -> Wiring:
        """Place the fields; raise OptionError unless the sizes are those of this pattern."""
        for name, have, need in (
            ("inputs", inputs, self.inputs),
            ("outputs", outputs, self.outputs),
        ):
            if have != need:
                raise OptionError(f"{self} has {need} {name}, not {have}.")
        check_size("the number of inputs", inputs)
        check_size("the number of edges", outputs * math.prod((*self.field, *self.shape[2:])))
        numbers = np.arange(inputs).reshape((*self.shape[:2], -1))
        windows = np.lib.stride_tricks.sliding_window_view(numbers, self.field, (0, 1))
        windows = windows[:: self.stride[0], :: self.stride[1]]
        sources = np.repeat(windows.reshape((math.prod(self.places), -1)), self.units, axis=0)
        targets = np.repeat(np.arange(outputs), sources.shape[1])
        return Wiring(inputs, outputs, sources.ravel(), targets)


@dataclass(frozen=True)
class Edges:
    """Connect the edges of a list, which is packed into about one byte per edge.

    packed: the differences between the numbers ``target * inputs + source`` of the `count`
    edges in their order, as integers of `size` bytes, compressed, in base64.  See :meth:`of`.
    """

    packed: str = field(repr=False)
    count: int
    size: int

    @classmethod
    def of(cls, wiring: Wiring) -> Edges:
        """Pack the edges of `wiring`.

        >>> Edges.of(Wiring(3, 2, [0, 2], [0, 1])).wiring(3, 2).sources.tolist()
        [0, 2]
        """
        numbers = wiring.targets.astype(np.int64) * wiring.inputs + wiring.sources
        steps = np.diff(numbers, prepend=0)
        size = next(n for n in (1, 2, 4, 8) if steps.max() < 256**n)
        raw = zlib.compress(steps.astype(f"<u{size}").tobytes(), 9)
        return cls(base64.b64encode(raw).decode("ascii"), wiring.edges, size)

    def wiring(self, inputs: int, outputs: int) -> Wiring:
        """Unpack the edges; raise OptionError for data that :meth:`of` did not pack."""
        check_size("the number of edges", self.count)
        try:
            unzip = zlib.decompressobj()
            raw = unzip.decompress(base64.b64decode(self.packed), self.count * self.size + 1)
            numbers = np.frombuffer(raw, f"<u{self.size}").cumsum(dtype=np.int64)
        except (binascii.Error, zlib.error, TypeError, ValueError):
            numbers = np.empty(0, np.int64)
        if len(numbers) != self.count:
            raise OptionError(f"{self} is damaged: it does not unpack to {self.count} edges.")
        return Wiring(inputs, outputs, numbers % inputs, numbers // inputs)


@dataclass(frozen=True, eq=False)
class PerUnit:
    """Draw the weights of `wiring` as `start` draws those of dense layers of the same fan-in.

    A unit of k inputs gets a column of a matrix of k rows, which has as many columns as an input
    has edges on average.  `fan_in` holds the units' numbers of inputs, if `wiring` has only a part.
    """

    start: Initializer
    wiring: Wiring = field(repr=False)
    fan_in: Array | None = field(repr=False, default=None)

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        wiring, value = self.wiring, np.empty(shape)
        columns = max(1, round(wiring.edges / np.count_nonzero(wiring.fan_out)))
        here = wiring.fan_in
        fans = np.stack([here, here if self.fan_in is None else self.fan_in])
        for edges, fan_in in np.unique(fans[:, here > 0], axis=1).T.tolist():
            units = np.flatnonzero((fans[0] == edges) & (fans[1] == fan_in))
            times = -(-len(units) // columns)
            drawn = [self.start((fan_in, columns), generator) for _ in range(times)]
            places = wiring.starts[units] + np.arange(edges)[:, None]
            value[places] = np.concatenate(drawn, axis=1)[:edges, : len(units)]
        return value


@dataclass(eq=False)
class SparseLinear:
    """Multiply by a sparse weight matrix and add a bias: ``y = x @ W + bias``.

    W is `weight` at the edges of the pattern and 0 elsewhere.  x: (n, inputs),
    weight: (edges,) in the order of their targets, then sources, bias: (outputs,),
    y: (n, outputs).  Weights are initialized by each unit's own number of inputs; the default
    `weight_init` is that of :class:`~chainrule.nn.Linear`.  See the constructors
    :meth:`from_mask`, :meth:`from_density`, :meth:`local` and :meth:`from_edges`.

    Raises OptionError for a pattern that does not fit, or in which a unit has no input.

    >>> layer = SparseLinear.from_edges([(0, 0), (1, 0), (2, 1)])
    >>> layer.inputs, layer.outputs, layer.edges
    (3, 2, 3)
    """

    inputs: int
    outputs: int
    pattern: Pattern
    use_bias: bool = True
    weight_init: str | Initializer | None = None
    bias_init: str | float | Initializer = "zeros"
    dtype: str = "float32"
    wiring: Wiring = field(init=False, repr=False)
    weight: Parameter = field(init=False, repr=False)
    bias: Parameter | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.inputs = check_whole("SparseLinear: inputs", self.inputs)
        self.outputs = check_whole("SparseLinear: outputs", self.outputs)
        self.dtype = float_dtype("SparseLinear: dtype", self.dtype)
        if not callable(getattr(self.pattern, "wiring", None)):
            raise OptionError(
                "SparseLinear: pattern must be an object such as nn.Density(0.05), not "
                f"{self.pattern!r:.60}; see SparseLinear.from_mask and from_edges."
            )
        check_size("SparseLinear: inputs and outputs", self.inputs + self.outputs)
        self.wiring = self.pattern.wiring(self.inputs, self.outputs)
        alone = np.flatnonzero(self.wiring.fan_in == 0)
        if len(alone):
            raise OptionError(
                f"SparseLinear: unit {alone[0]} has no input ({len(alone)} of {self.outputs} have "
                "none); give each an edge, or leave it out."
            )
        self.weight = Parameter(
            (self.wiring.edges,), GlorotUniform(), self.dtype, "weight", is_weight=True
        )
        self.start(GlorotUniform() if self.weight_init is None else initializer(self.weight_init))
        if self.use_bias:
            self.bias = Parameter((self.outputs,), initializer(self.bias_init), self.dtype, "bias")

    @classmethod
    def from_mask(cls, mask: Any, **options: Any) -> SparseLinear:
        """Connect where `mask` (inputs, outputs) is true.

        Raises OptionError for what is not a matrix of booleans, or of 0 and 1.

        >>> SparseLinear.from_mask([[True, False], [True, True]]).edges
        3
        """
        array = np.asarray(mask)
        if array.ndim != 2 or not np.isin(array, (0, 1)).all():
            raise OptionError("from_mask takes a matrix (inputs, outputs) of booleans or 0 and 1.")
        return cls._of(Wiring(*array.shape, *np.nonzero(array)), **options)

    @classmethod
    def from_density(
        cls, inputs: int, outputs: int, density: float, seed: int = 0, **options: Any
    ) -> SparseLinear:
        """Connect each output to equally many random inputs; see :class:`Density`."""
        return cls(inputs, outputs, Density(density, seed), **options)

    @classmethod
    def local(
        cls,
        inputs: int | Sequence[int],
        outputs: int,
        field: int | Sequence[int],
        stride: int | Sequence[int] = (1, 1),
        **options: Any,
    ) -> SparseLinear:
        """Connect each output to a field of neighboring inputs.

        With numbers, `outputs` fields of `field` inputs are spread evenly; see
        :class:`LocalFields`.  With the shape of an image and of a field, `outputs` is the
        number of units at each place; see :class:`ImageFields`.

        >>> SparseLinear.local(100, 50, 9).edges
        450
        >>> SparseLinear.local((28, 28), 4, (5, 5), stride=2).outputs
        576
        """
        if isinstance(inputs, Sequence):
            shape, sides, steps = (
                tuple(x) if isinstance(x, Sequence) else (x, x) for x in (inputs, field, stride)
            )
            image = ImageFields(shape, sides, steps, outputs)  # type: ignore[arg-type]
            return cls(image.inputs, image.outputs, image, **options)
        if isinstance(field, Sequence):
            raise OptionError(f"a field of {field!r} needs the shape of an image as inputs.")
        return cls(inputs, outputs, LocalFields(field), **options)

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[int, int]] | Array,
        inputs: int | None = None,
        outputs: int | None = None,
        **options: Any,
    ) -> SparseLinear:
        """Connect each (source, target) of `edges`; by default, sizes are the largest numbers + 1.

        Raises OptionError naming an edge that is out of range or given twice.
        """
        pairs = np.asarray(edges if isinstance(edges, np.ndarray) else list(edges))
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise OptionError("from_edges takes pairs of whole numbers: [(source, target), ...].")
        reach = pairs.max(axis=0) + 1
        sizes = (
            int(reach[0]) if inputs is None else inputs,
            int(reach[1]) if outputs is None else outputs,
        )
        return cls._of(Wiring(*sizes, pairs[:, 0], pairs[:, 1]), **options)

    @classmethod
    def _of(cls, wiring: Wiring, **options: Any) -> SparseLinear:
        return cls(wiring.inputs, wiring.outputs, Edges.of(wiring), **options)

    @property
    def edges(self) -> int:
        """The number of edges, which equals that of weights."""
        return self.wiring.edges

    def start(self, choice: Initializer) -> None:
        """Set the initializer of the weights, applied by each unit's own number of inputs."""
        self.weight.initializer = PerUnit(choice, self.wiring)

    def __call__(self, x: Tensor) -> Tensor:
        if len(x.shape) != 2 or x.shape[-1] != self.inputs:
            raise ShapeError(
                f"SparseLinear({self.inputs}, {self.outputs}) needs rows of {self.inputs} "
                f"features, but got shape {x.shape}."
            )
        y = sparse_matmul(x, self.weight, self.wiring)
        return y if self.bias is None else y + self.bias
