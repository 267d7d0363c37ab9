"""Record the update of a training step: what the optimizer does with the gradients.

The state that the update carries from step to step consists of the parameters, the optimizer's
slots and the hyper-parameters.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.graph import Graph, Node
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, input
from chainrule.optim.optimizer import Optimizer

__all__ = ["Update", "choose_trained", "record_update"]

Array = np.ndarray[Any, Any]


@dataclass
class Update:
    """The state of an update: its inputs, outputs and first values, by name.

    `shown` names, by path of a parameter, the state that predictions use where that is an
    average of the parameter.  `rate` computes the learning rate of the last step from the state.
    """

    inputs: dict[str, Node] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    state: dict[str, Array] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    rate: Graph | None = None

    def carry(self, name: str, leaf: Tensor, value: Array) -> Tensor:
        """Make `leaf` an input that keeps its value until an output of its name replaces it."""
        self.inputs[name], self.outputs[name], self.state[name] = leaf.node, leaf.node, value
        return leaf


def choose_trained(optimizer: Optimizer, found: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return those of the parameters `found` that `optimizer` changes, by path.

    Raises OptionError for an optimizer that does not fit them, or that changes none.
    """
    if optimizer.stage != "optimizer":
        raise OptionError(
            f"{optimizer!r} makes no changes out of gradients; chain it with an optimizer: "
            "optim.chain(optim.ClipNorm(1.0), optim.Adam())."
        )
    for path, parameter in found.items():
        parameter.name = path
    trainable = {path: p for path, p in found.items() if p.trainable}
    optimizer.check(list(trainable.values()))
    trained = {path: p for path, p in trainable.items() if optimizer.trains(p)}
    if not trained:
        none = "no parameter of the model is trainable" if found else "the model has no parameters"
        if trainable:
            none = f"all {len(trainable)} parameters are frozen"
        raise OptionError(f"{none}, so there is nothing to train.")
    return trained


def record_update(
    optimizer: Optimizer,
    trained: Mapping[str, Parameter],
    gradients: Sequence[Tensor],
    step: Tensor,
) -> Update:
    """Record what `optimizer` does in the step after the first `step`, an int64 scalar.

    The inputs `step` and ``parameter/...`` are the caller's to carry; the new values of the
    parameters that are `trained` are among the outputs.
    """
    update = Update()
    slots: list[dict[str, Tensor]] = []
    for path, p in trained.items():
        leaves = {}
        for name, value in optimizer.slots_of(p).items():
            full = f"{name}/{path}"
            leaves[name] = update.carry(full, input(full, value.shape, value.dtype), value)
        slots.append(leaves)
        if (shown := optimizer.shown(p)) is not None:
            update.shown[path] = f"{shown}/{path}"
    hyper = {
        name: update.carry(f"hyper/{name}", input(f"hyper/{name}", (), np.float64), np.array(value))
        for name, value in optimizer.hyper().items()
    }
    t = (step + 1).astype(np.float64)
    changes, renewed = optimizer.update_all(gradients, list(trained.values()), slots, hyper, t)
    for (path, p), change, new in zip(trained.items(), changes, renewed, strict=True):
        update.outputs[f"parameter/{path}"] = (p + change).node
        update.outputs.update({f"{name}/{path}": slot.node for name, slot in new.items()})
    if (rate := optimizer.rate_at(hyper, step.astype(np.float64))) is not None:
        update.rate = Graph({"learning_rate": rate.node})
    return update
