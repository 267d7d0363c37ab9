"""Read an ONNX model as a layer: its operators become operations of our graph.

A file from a stranger contains no code, and is checked before memory is taken: the size of each
array against its bytes in the file, and the size of each value that an operator makes.

Read next: :mod:`chainrule.interop.onnx_operators`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.durable import read_file
from chainrule.core.errors import ChainruleError, DamagedError, OptionError
from chainrule.core.parameter import Parameter
from chainrule.core.spec import SUPPORTED
from chainrule.core.tensor import Tensor, as_tensor, record
from chainrule.interop.onnx_call import Call, Step, check_size
from chainrule.interop.onnx_library import onnx_library
from chainrule.interop.onnx_operators import OPERATORS, primitive_of
from chainrule.interop.onnx_training import PREVIEW, TRAINING
from chainrule.nn.initializers import initializer
from chainrule.transform.grad import grad

__all__ = ["OnnxModel", "from_onnx", "read_model", "supported"]

Array = np.ndarray[Any, Any]
MOST_BYTES = 1 << 31  # of a file; protobuf itself allows no more
MOST_SHARED = 4  # arrays that may be made of one byte of a second file
GRADIENT = PREVIEW + "Gradient"
# The inputs of an operator that training must not change.
FIXED = {"BatchNormalization": (3, 4)}
# Dtypes that our graphs lack, and the next wider one that they have.
WIDER = {
    "float16": "float32", "int8": "int32", "int16": "int32", "uint16": "int32", "uint64": "int64",
}  # fmt: skip


@dataclass(eq=False)
class OnnxModel:
    """A network that was read from an ONNX file, to be called, trained and explained as a layer.

    Called with a tensor for each of `inputs`, it returns its output, or a tuple of several.
    `weights` are its float arrays with one axis or more, by their names in the file; they are
    parameters, so that :func:`chainrule.fit` trains them further.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: dict[str, Parameter] = field(repr=False)
    constants: dict[str, Array] = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)

    def __call__(self, *given: Tensor) -> Any:
        if len(given) != len(self.inputs):
            raise OptionError(
                f"the model takes {len(self.inputs)} inputs, {', '.join(self.inputs)}; "
                f"got {len(given)}."
            )
        found = self.values(dict(zip(self.inputs, map(as_tensor, given), strict=True)))
        return found[0] if len(found) == 1 else found

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the outputs for inputs by name; others than tensors are only passed on."""
        known: dict[str, Any] = {name: as_tensor(a) for name, a in self.constants.items()}
        known |= {**self.weights, **given}
        for step in self.steps:
            self._take(step, known)
        return tuple(_named(known, name, "an output") for name in self.outputs)

    def _take(self, step: Step, known: dict[str, Any]) -> None:
        """Add the results of `step` to the values that are `known` by name."""
        inputs = [_named(known, name, step.operator) if name else None for name in step.inputs]
        if step.operator == GRADIENT:
            found: Any = self._gradient(step, inputs, known)
        else:
            found = _computed(Call(step, inputs))
        results = found if isinstance(found, tuple) else (found,)
        for name, value in zip(step.outputs, results, strict=False):
            if isinstance(value, Tensor):
                check_size(f"{step.operator}: its result {name!r}", value.shape)
            known[name] = value

    def _gradient(self, step: Step, inputs: Sequence[Any], known: Mapping[str, Any]) -> Any:
        """Return the gradients of the value ``y`` with respect to the values ``xs``."""
        xs, y = step.attributes.get("xs", ()), step.attributes.get("y", "")
        given = dict(zip((*xs, *step.attributes.get("zs", ())), inputs, strict=True))
        inner = {name: value for name, value in known.items() if name in self._leaves()} | given
        for other in self.steps[: self.steps.index(step)]:
            if other.operator != GRADIENT and not set(other.outputs) & given.keys():
                ready = all(not name or name in inner for name in other.inputs)
                if ready:
                    self._take(other, inner)
        total = _named(inner, y, GRADIENT).sum()
        return tuple(grad(total, [given[x] for x in xs], unused="zero"))

    def _leaves(self) -> set[str]:
        return {*self.constants, *self.weights, *self.inputs}


def _named(known: Mapping[str, Any], name: str, who: str) -> Any:
    if name not in known:
        raise DamagedError(f"the ONNX model is damaged: {who} needs {name!r}, which nothing makes.")
    return known[name]


def _computed(call: Call) -> Any:
    """Return the result, or results, of one operator."""
    operator = call.step.operator
    function = OPERATORS.get(operator) or TRAINING.get(operator)
    try:
        if function is not None:
            return function(call)
        primitive = primitive_of(operator)
        if primitive is None:
            raise OptionError(f"the ONNX operator {operator!r} is not supported.")
        if operator == "Identity":
            return call.given[0]
        return record(primitive, *call.tensors())
    except ChainruleError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError) as error:
        raise DamagedError(
            f"the ONNX operator {operator!r} has inputs or attributes that it can't have: {error}."
        ) from error


def supported(operator: str) -> bool:
    """Return whether an operator can be read."""
    known = operator in OPERATORS or operator in TRAINING or operator == GRADIENT
    return known or primitive_of(operator) is not None


def from_onnx(path: str | os.PathLike[str]) -> OnnxModel:
    """Return the network in the ONNX file `path`, as a layer of our graph.

    Feed-forward networks are supported: matrix products, activations, normalization, reductions
    and moves of elements.  Its float arrays become parameters, so that the model can be trained
    further.  Raises OptionError, which names them, for operators that are not supported, and
    DamagedError for a file that is missing, truncated or not an ONNX model.

    >>> import chainrule as cr
    >>> model = cr.from_onnx("model.onnx")  # doctest: +SKIP
    >>> run = cr.fit(model, (X, y), loss="mse")  # doctest: +SKIP
    """
    file = Path(path)
    return read_model(read_file(file, most=MOST_BYTES), str(file), file.parent)


def read_model(
    content: bytes, where: str = "the ONNX model", folder: Path | None = None
) -> OnnxModel:
    """Return the network in `content`, the bytes of an ONNX model; see :func:`from_onnx`.

    Arrays that the model keeps in other files are read from `folder`.
    """
    onnx = onnx_library()
    try:
        proto = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's errors have no class of their own in all versions
        raise DamagedError(f"{where} is not an ONNX model: {error}.") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise DamagedError(f"{where} is not an ONNX model: it has no graph, or no operators.")
    return _Reading(onnx, proto, where, folder).model()


class _Reading:
    """The parts of a model's protobuf, as plain values."""

    def __init__(self, onnx: Any, proto: Any, where: str, folder: Path | None):
        self.onnx, self.proto, self.where, self.folder = onnx, proto, where, folder
        self.files: dict[str, bytes] = {}
        self.taken: dict[str, int] = {}  # bytes of each file that arrays were made of
        self.versions = {entry.domain: entry.version for entry in proto.opset_import}

    def model(self) -> OnnxModel:
        graph = self.proto.graph
        steps = tuple(self._step(node) for node in graph.node)
        unknown = sorted({s.operator for s in steps if not supported(s.operator)})
        if unknown:
            raise OptionError(
                f"{self.where} uses {', '.join(unknown)}: these ONNX operators are not supported."
            )
        arrays = {_text(tensor.name): self.array(tensor) for tensor in graph.initializer}
        fixed = {
            step.inputs[i]
            for step in steps
            for i in FIXED.get(step.operator, ())
            if i < len(step.inputs)
        }
        weights = {
            name: _parameter(name, array, name not in fixed)
            for name, array in arrays.items()
            if array.dtype.kind == "f" and array.ndim
        }
        return OnnxModel(
            inputs=tuple(n for part in graph.input if (n := _text(part.name)) not in arrays),
            outputs=tuple(_text(part.name) for part in graph.output),
            weights=weights,
            constants={name: array for name, array in arrays.items() if name not in weights},
            steps=steps,
        )

    def _step(self, node: Any) -> Step:
        domain, kind = _text(node.domain), _text(node.op_type)
        domain = "" if domain == "ai.onnx" else domain
        operator = f"{domain}.{kind}" if domain else kind
        attributes = {_text(a.name): self._attribute(kind, a) for a in node.attribute}
        version = self.versions.get(domain, self.versions.get("ai.onnx", 1))
        inputs, outputs = (tuple(map(_text, names)) for names in (node.input, node.output))
        return Step(operator, inputs, outputs, attributes, version)

    def _attribute(self, operator: str, attribute: Any) -> Any:
        kinds = self.onnx.AttributeProto
        if attribute.type == kinds.TENSOR:
            return self.array(attribute.t)
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            raise OptionError(
                f"{self.where}: {operator} contains a graph of its own; branches and loops are "
                "not supported."
            )
        if attribute.name == "to" and operator == "Cast":
            return self._dtype(attribute.i)
        if attribute.type not in (
            kinds.INT, kinds.FLOAT, kinds.STRING, kinds.INTS, kinds.FLOATS, kinds.STRINGS,
        ):  # fmt: skip
            raise DamagedError(f"{self.where}: {operator} has an attribute of an unknown kind.")
        found = self.onnx.helper.get_attribute_value(attribute)
        if isinstance(found, (int, float)):
            return found
        if isinstance(found, bytes):
            return _text(found)
        return [_text(e) if isinstance(e, bytes) else e for e in found]

    def _dtype(self, number: int) -> str:
        try:
            name = str(np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(number)).name)
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{self.where} has an unknown dtype, {number}.") from error
        return WIDER.get(name, name)

    def array(self, tensor: Any) -> Array:
        """Return the array in a tensor of the file, whose size was compared with its bytes."""
        number, shape = tensor.data_type, list(tensor.dims)
        if any(d < 0 for d in shape):
            raise DamagedError(f"{self.where}: {tensor.name!r} has a negative length, {shape}.")
        name = self._dtype(number)
        if np.dtype(name) not in SUPPORTED:
            raise OptionError(f"{self.where}: {tensor.name!r} holds {name}, which is unsupported.")
        elements = math.prod(shape)
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL or tensor.external_data:
            kept = self._bytes_elsewhere(tensor)
            wide = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(number)).newbyteorder("<")
            if len(kept) != elements * wide.itemsize:
                raise DamagedError(
                    f"{self.where}: {tensor.name!r} should have {elements * wide.itemsize:,} bytes "
                    f"in its file; it has {len(kept):,}."
                )
            return np.frombuffer(kept, wide).reshape(shape).astype(name)
        stored = max(tensor.ByteSize(), len(tensor.raw_data))
        if elements > stored:  # an element has a byte or more, in every form of storage
            raise DamagedError(
                f"{self.where}: {tensor.name!r} should have {elements:,} elements, but its part "
                f"of the file has {stored:,} bytes."
            )
        try:
            found: Array = self.onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise DamagedError(f"{self.where}: {tensor.name!r} is damaged: {error}.") from error
        return np.asarray(found, np.dtype(name))

    def _bytes_elsewhere(self, tensor: Any) -> memoryview:
        """Return the bytes of an array that is kept in a file beside the model."""
        entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        name = entries.get("location", "")
        if self.folder is None or not name or Path(name).name != name or "\0" in name:
            raise OptionError(
                f"{self.where} keeps {tensor.name!r} in the file {name!r}; only files in the "
                "folder of the model are read."
            )
        file = self.folder / name
        if file.is_symlink():
            raise OptionError(f"{self.where}: {str(file)!r} is a link, which is not followed.")
        if name not in self.files:
            self.files[name] = read_file(file, most=MOST_BYTES)
        try:
            start = int(entries.get("offset", 0))
            size = int(entries.get("length", len(self.files[name]) - start))
        except ValueError as error:
            raise DamagedError(f"{self.where}: the place of {tensor.name!r}: {error}.") from error
        if not 0 <= start <= start + size <= len(self.files[name]):
            raise DamagedError(
                f"{self.where}: {tensor.name!r} lies outside of the file {str(file)!r}."
            )
        self.taken[name] = self.taken.get(name, 0) + size
        if self.taken[name] > MOST_SHARED * len(self.files[name]):
            raise DamagedError(f"{self.where}: its arrays share the same bytes of {str(file)!r}.")
        return memoryview(self.files[name])[start : start + size]


def _text(value: str | bytes) -> str:
    """Return a name of the file; one that is no UTF-8 is given as bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _parameter(name: str, array: Array, trainable: bool) -> Parameter:
    found = Parameter(array.shape, initializer("zeros"), array.dtype, name, trainable)
    found.value = array
    return found
