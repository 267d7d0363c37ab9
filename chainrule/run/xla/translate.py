"""From a graph to functions of JAX arrays, which XLA compiles.

A node is evaluated by its own implementation, or by one of :data:`FORMS`.  Lengths that depend on
data are numbers when JAX traces, so XLA compiles for each number of rows.  Code for XLA can't raise
an error: indices that are out of range are reported beside the results, and the caller of the code
raises it.

Read next: :mod:`chainrule.run.xla.compiled`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.core.errors import ChainruleError, OptionError, ShapeError
from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import Dim, resolve
from chainrule.core.wording import counted
from chainrule.run.xla.forms import FORMS
from chainrule.run.xla.traced import Traced, bare

__all__ = ["Check", "Tracing", "all_bits", "nodes_for", "raise_for", "takes_bf16"]

Array = np.ndarray[Any, Any]


@contextmanager
def all_bits() -> Iterator[None]:
    """Let JAX use 64-bit numbers, and products as precise as their dtype, in a block."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


def nodes_for(graph: Graph, names: Iterable[str]) -> list[Node]:
    """Return the nodes that the named outputs of `graph` depend on, in order, without inputs."""
    given = set(graph.inputs.values())
    nodes = reachable((graph.outputs[name] for name in names), given)
    return [node for node in nodes if node not in given]


@dataclass(frozen=True)
class Check:
    """What was checked of the indices of `node`, an array of `shape`: to be in -rows..rows-1."""

    node: Node
    rows: int
    shape: tuple[int, ...]


@dataclass
class Tracing:
    """The values of nodes in JAX, beginning with those of the inputs of a graph.

    A row of `reports` belongs to each of `checks`: the place of the first index that is out of
    range, or -1, and this index.  With `bf16`, matrix products are those of float32 numbers that
    were rounded to bfloat16, added up in float32.
    """

    table: dict[Node, Any]
    lengths: Mapping[Dim, int]
    bf16: bool = False
    checks: list[Check] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def evaluate(self, nodes: Iterable[Node]) -> None:
        """Add the values of `nodes` to the table, where they are not there yet."""
        for node in nodes:
            if node in self.table:
                continue
            inputs = [self.table[source] for source in node.inputs]
            params = node.params
            try:
                if node.symbolic:
                    params = {key: resolve(value, self.lengths) for key, value in params.items()}
                if node.primitive.indexed:
                    self._check(node, params.get("rows", inputs[0].shape[:1]), inputs[-1])
                brief = self.bf16 and takes_bf16(node)
                if brief:
                    inputs = [value.astype(jnp.bfloat16) for value in inputs]
                with jax.named_scope(f"{node.scope}:{node.primitive.name}"):  # in what XLA prints
                    found = _value(node, inputs, params)
                self.table[node] = found.astype(node.spec.dtype) if brief else found
            except ChainruleError as error:
                raise type(error)(f"{_named(node)}: {error} Recorded at {node.line}.") from None

    def output(self, node: Node) -> Any:
        """Return the value of an output, with the dtype that the graph says."""
        return jnp.asarray(self.table[node]).astype(node.spec.dtype)

    @property
    def reports(self) -> Any:
        """The reports as an array (checks, 2)."""
        return jnp.stack(self.found) if self.found else jnp.zeros((0, 2), np.int64)

    def _check(self, node: Node, length: Any, indices: Any) -> None:
        (rows,) = length if isinstance(length, tuple) else (length,)
        known = ((c.node.inputs[-1], c.rows) for c in self.checks)
        if not indices.size or (node.inputs[-1], rows) in known:
            return
        self.checks.append(Check(node, rows, indices.shape))
        flat = indices.astype(np.int64).ravel()
        outside = (flat < -rows) | (flat >= rows)
        first = outside.argmax()
        self.found.append(jnp.stack([jnp.where(outside[first], first, -1), flat[first]]))


def takes_bf16(node: Node) -> bool:
    """Return whether `node` is a matrix product of float32 numbers."""
    kinds = {source.spec.dtype.name for source in node.inputs}
    return node.primitive.product == "matmul" and kinds == {"float32"}


def raise_for(checks: Sequence[Check], reports: Array) -> None:
    """Raise ShapeError for the first of `reports` about an index that is out of range."""
    for check, (flat, index) in zip(checks, reports.tolist(), strict=True):
        if flat >= 0:
            place = tuple(int(i) for i in np.unravel_index(flat, check.shape))
            raise ShapeError(
                f"{_named(check.node)}: index {index} at {place} is out of range for "
                f"{counted(check.rows, 'row')}. Recorded at {check.node.line}."
            )


def _value(node: Node, inputs: Sequence[Any], params: Mapping[str, Any]) -> Any:
    primitive = node.primitive
    if primitive.name in FORMS:
        return FORMS[primitive.name](*inputs, **params)
    try:
        return jnp.asarray(bare(primitive.meaning(*map(Traced, inputs), **params)))
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise OptionError(
            f"engine='xla' can't compute this: {reason}. An operation's implementation must "
            "consist of NumPy's functions of its inputs; choose another engine."
        ) from error


def _named(node: Node) -> str:
    layer = f" in layer {node.scope!r}" if node.scope else ""
    return f"{node.primitive.name}{layer}"
