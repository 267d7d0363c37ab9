"""Record the whole training step as one graph: forward, loss, backward, update.

A model, an objective and an optimizer go in; a :class:`Step` comes out, whose
graph can be printed, verified and compiled like any other.  Parameters, slots,
hyper-parameters and the count of steps are its state.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, ShapeError
from chainrule.core.graph import Graph, Node, reachable, scope
from chainrule.core.handle import recording
from chainrule.core.parameter import Parameter
from chainrule.core.spec import SUPPORTED, Dim
from chainrule.core.tensor import Tensor, input
from chainrule.data.check_arrays import check_features
from chainrule.nn.layer import Layer, parameters
from chainrule.nn.regularizers import Regularizer, penalties
from chainrule.nn.scale import reads_pixels
from chainrule.ops.arithmetic import add
from chainrule.ops.reduce import sum
from chainrule.ops.shape import broadcast_to
from chainrule.optim.optimizer import Optimizer
from chainrule.step.metrics import Metric
from chainrule.step.objective import Objective, check_output, check_range, check_recorded
from chainrule.step.part import Part
from chainrule.step.probes import LayerProbe, layer_probes, watch_outputs
from chainrule.step.update import choose_trained, record_update
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_training

__all__ = ["Step", "forward", "record_step", "record_totals"]

Array = np.ndarray[Any, Any]
ROWS = Dim("n")


@dataclass(frozen=True)
class Step:
    """A training step: its graph, the state it starts from, and what in it is watched.

    `shown` and `rate` are those of :class:`chainrule.step.update.Update`.
    """

    graph: Graph
    state: dict[str, Array]
    probes: tuple[LayerProbe, ...] = ()
    shown: Mapping[str, str] = field(default_factory=dict)
    rate: Graph | None = None


def check_rows(X: Any, name: str, dtype: np.dtype[Any]) -> Array:
    """Return checked features in a dtype that graphs hold; others become float32.

    Raises DataError for what :func:`~chainrule.data.check_arrays.check_features` refuses, and for a
    number too large for the `dtype` that the model computes in.
    """
    array = check_features(X, name)
    check_range(array, name, dtype)
    return array if array.dtype in SUPPORTED else array.astype(np.float32)


def model_dtype(model: Layer) -> np.dtype[Any]:
    """Return the dtype a model computes in, that of its first parameter."""
    found = parameters(model)
    return next(iter(found.values())).dtype if found else np.dtype(np.float32)


def data_input(name: str, array: Array) -> Tensor:
    """Return the named input that rows of `array` will be given to."""
    return input(name, (ROWS, *array.shape[1:]), array.dtype)


def forward(model: Layer, x: Tensor) -> Tensor:
    """Return the model's output for the input `x`, converted to the model's dtype.

    The pixels of images, as :func:`~chainrule.nn.scale.reads_pixels` tells them, are scaled to
    [0, 1] by 1/255.
    """
    scaled = x.astype(model_dtype(model))
    if reads_pixels(model, x.dtype, x.ndim):
        scaled = scaled * (1 / 255)
    try:
        with recording():
            output = model(scaled)
    except ShapeError as error:
        if x.ndim > 1:
            raise
        hint = "X has one axis; where its numbers are the single feature of rows, give X[:, None]."
        raise ShapeError(f"{error} {hint}") from None
    check_output(output)
    return output


def record_totals(
    objective: Objective,
    metrics: Sequence[Metric],
    output: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss, and the sums over rows of the loss and of each metric.

    `weight`, a number for each row or each element of the target, multiplies its loss; metrics
    count every row as one.
    """
    if objective.function is None:
        raise OptionError(
            f"loss {objective.name!r} was a function of your own, which a saved run does not "
            "hold; give it again: load(path, loss=...)."
        )
    with scope("loss"):
        by_element = weight is not None and weight.ndim > 1
        losses = objective.function(output, y, **({"weight": weight} if by_element else {}))
        check_recorded(f"loss {objective.name!r}", losses)
        if losses.shape not in ((ROWS,), ()):
            raise ShapeError(
                f"loss {objective.name!r} returned shape {losses.shape}; it must be a scalar or "
                "one number per row."
            )
        if weight is not None and not by_element:
            if losses.shape != (ROWS,):
                raise OptionError(
                    f"loss {objective.name!r} returned one number for the batch, so rows can't be "
                    "weighted; let it return one number for each row."
                )
            losses = losses * weight
        loss = losses.mean()
    with scope("metrics"):
        totals = {"loss": _over_rows(losses)}
        totals.update({m.name: _total(m, output, y) for m in metrics})
    return loss, totals


def _total(metric: Metric, output: Tensor, y: Tensor) -> Tensor:
    """Return the sum over rows of a metric, checked as the loss is."""
    values = metric.per_row(output, y)
    check_recorded(f"metric {metric.name!r}", values)
    if values.shape not in ((ROWS,), ()):
        raise ShapeError(
            f"metric {metric.name!r} returned shape {values.shape}; it must be a scalar or one "
            "number per row."
        )
    return _over_rows(values)


def _over_rows(values: Tensor) -> Tensor:
    """Return the sum over rows; a scalar counts once for each row."""
    return sum(values if values.shape == (ROWS,) else broadcast_to(values, (ROWS,)))


def _check_found(loss: Tensor, found: Mapping[str, Parameter]) -> None:
    """Raise OptionError where there is something that would not be trained."""
    known = {parameter.node for parameter in found.values()}
    for node in reachable([loss.node]):
        for leaf in node.inputs:
            if leaf.primitive.name == "parameter" and leaf not in known:
                raise OptionError(
                    f"the loss depends on a parameter {leaf.params['name']!r} {leaf.spec}, used at "
                    f"{node.line}, that training can't find in the model. Keep every layer in the "
                    "model itself: in a Sequential, or as an attribute of an object with __call__, "
                    "best a dataclass (@dataclass(eq=False)); a function's variables aren't seen."
                )


def record_step(
    model: Layer,
    objective: Objective,
    optimizer: Optimizer,
    metrics: Sequence[Metric],
    part: Part,
    *,
    watch: bool = False,
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None,
    seed: int | Callable[[int], Sequence[Tensor]] = 0,
    carried: Mapping[str, Tensor] | None = None,
) -> Step:
    """Return the training step of `model` on batches of rows of `part`.

    With `watch`, it also computes the statistics of :mod:`chainrule.step.probes`.  `regularizer`
    penalizes parameters, see :func:`chainrule.nn.regularizers.penalties`; `seed` decides what
    layers draw at random, see :func:`chainrule.transform.mode.for_training`.  `carried` are
    inputs that the regularizer or the seed uses, by name: state that no step changes.
    """
    found = parameters(model)
    data = {name: data_input(name, array) for name, array in part.arrays.items()}
    taken = input("step", (), np.int64)
    output = forward(model, data["x"])
    loss, totals = record_totals(objective, metrics, output, data["y"], data.get("weight"))
    seen = for_training([output, loss, *totals.values()], taken, seed)
    output, loss, *sums = seen.tensors
    totals = dict(zip(totals, sums, strict=True))
    _check_found(loss, found)
    trained = choose_trained(optimizer, found)
    with scope("penalty"):
        if charges := [*seen.penalties, *penalties(regularizer, trained)]:
            penalty = reduce(add, (charge.astype(loss.dtype) for charge in charges))
            totals["penalty"] = _over_rows(penalty)
            loss = loss + penalty
    probes = layer_probes(output) if watch else []
    with scope("backward"):
        wanted = [*trained.values(), *(probe.product for probe in probes)]
        slopes = grad(loss, wanted, unused="zero")  # a model may hold what this loss leaves out
    inputs: dict[str, Node] = {name: leaf.node for name, leaf in data.items()}
    outputs = {name: total.node for name, total in totals.items()}
    if probes:
        with scope("watch"):
            outputs.update(watch_outputs(probes, slopes[len(trained) :]))
    for path, p in found.items():
        inputs[f"parameter/{path}"] = outputs[f"parameter/{path}"] = p.node
    outputs.update(_kept(found, seen.updates))
    with scope("update"):
        update = record_update(optimizer, trained, slopes[: len(trained)], taken)
        inputs |= {**update.inputs, "step": taken.node}
        outputs |= {**update.outputs, "step": (taken + 1).node}
    state = {f"parameter/{path}": p.value for path, p in found.items()}
    state |= {**update.state, "step": np.array(0)}
    for name, leaf in (carried or {}).items():
        inputs[name] = outputs[name] = leaf.node
        state[name] = np.zeros((), leaf.dtype)
    return Step(Graph(outputs, inputs), state, tuple(probes), update.shown, update.rate)


def _kept(
    found: Mapping[str, Parameter], updates: Sequence[tuple[Node, Tensor]]
) -> dict[str, Node]:
    """Return what becomes of the parameters that are not trained: new state, or what they were."""
    fresh = {state: value.node for state, value in updates}
    kept = {p.node: path for path, p in found.items() if not p.trainable}
    for state in fresh:
        if state not in kept:
            raise OptionError(
                f"a layer sets {state.params['name']!r} in training, but it is not found in the "
                "model. Keep it as an attribute of a layer of the model."
            )
    return {f"parameter/{path}": fresh.get(node, node) for node, path in kept.items()}
