"""A backend for ONNX's own test suite, ``onnx.backend.test``: models run on our graph.

Run: ``make onnx``.

Read next: :mod:`chainrule.interop.from_onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.interop.from_onnx import WIDER, OnnxModel, read_model
from chainrule.interop.onnx_library import onnx_library
from chainrule.run.reference import evaluate

__all__ = ["ChainruleBackend", "Prepared"]

Array = np.ndarray[Any, Any]


class Prepared:
    """A model that is ready to be run, as ``onnx.backend.base.BackendRep``."""

    def __init__(self, model: OnnxModel, dtypes: Sequence[Any]):
        self.model, self.dtypes = model, dtypes

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Return the outputs for `inputs`: a list in order, or arrays by name."""
        names = self.model.inputs
        given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=False))
        found = self.model.values({name: _entered(value) for name, value in given.items()})
        return tuple(map(_left, found, self.dtypes))


class ChainruleBackend:
    """The functions that ``onnx.backend.base.Backend`` asks for."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **options: Any) -> bool:
        """Return True: a model that can't be run raises an error that says why."""
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **options: Any) -> Prepared:
        """Return the model, a ``ModelProto``, ready to be run."""
        helper = onnx_library().helper
        dtypes = [
            helper.tensor_dtype_to_np_dtype(part.type.tensor_type.elem_type)
            if part.type.HasField("tensor_type")
            else None
            for part in model.graph.output
        ]
        return Prepared(read_model(model.SerializeToString()), dtypes)

    @classmethod
    def run_model(
        cls, model: Any, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of the model for `inputs`."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether `device` is the CPU."""
        return device.split(":")[0] == "CPU"


def _entered(value: Any) -> Any:
    """Return an array as a tensor; sequences and what is absent are only passed on."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    wider = WIDER.get(value.dtype.name)
    return as_tensor(np.asarray(value) if wider is None else np.asarray(value).astype(wider))


def _left(value: Any, dtype: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    found: Array = evaluate(Graph({"y": value}))["y"]
    return found if dtype is None else found.astype(dtype)
