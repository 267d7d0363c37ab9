"""Statistics of the input and gradient of every layer, recorded in some steps of a training.

They are outputs of the step's own graph named ``watch/...``, which engines
compute in the first step of a call and every tenth after it, from values that
training keeps in memory anyway.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.graph import Node, reachable
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim
from chainrule.core.tensor import Tensor, record, tensor

__all__ = ["LayerProbe", "layer_probes", "watch_outputs", "watch_report"]


@dataclass(frozen=True)
class LayerProbe:
    """A product of the forward graph, by the name of its layer: what is watched around it."""

    layer: str
    product: Tensor

    @property
    def input(self) -> Tensor:
        """What enters the layer: the activations of the layer before."""
        return Tensor(self.product.node.inputs[0])


def layer_probes(output: Tensor) -> list[LayerProbe]:
    """Return a probe for each product with weights over the rows of the batch behind `output`."""
    probes: list[LayerProbe] = []
    taken: set[str] = set()
    for node in reachable([output.node]):
        if not node.primitive.weighted or not isinstance(node.spec.shape[0], Dim):
            continue
        layer, again = node.scope or "model", 2
        while layer in taken:
            layer, again = f"{node.scope or 'model'}#{again}", again + 1
        taken.add(layer)
        probes.append(LayerProbe(layer, Tensor(node)))
    return probes


def watch_outputs(probes: Sequence[LayerProbe], gradients: Sequence[Tensor]) -> dict[str, Node]:
    """Return the outputs that let :func:`watch_report` describe each probe.

    `gradients` are those of the loss to each probe's product.  Those to weights are not looked at:
    they never reach memory, and writing them there in every step costs a tenth of it and more.
    """
    rows = next(d for p in probes for d in p.product.shape if isinstance(d, Dim))
    count = record(lookup("count"), lengths=(rows,), dtype="float64")
    outputs = {"watch/steps": tensor(1.0, "float64").node, "watch/rows": count.node}
    for probe, gradient in zip(probes, gradients, strict=True):
        x, g = probe.input, gradient
        wide = x.astype("float64")  # the spread is a small difference of large sums
        sums = {
            "sum": wide.sum(),
            "squares": (wide * wide).sum(),
            "zeros": (x == 0).astype(x.dtype).sum(),
            "gradient": (g * g).sum(),
        }
        outputs.update({f"watch/{probe.layer}/{k}": v.node for k, v in sums.items()})
    return outputs


def watch_report(
    probes: Sequence[LayerProbe], sums: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return for each layer the mean, spread and share of zeros of its input, and its gradient.

    ``input_mean``, ``input_std`` and ``input_zeros`` describe the activations
    that enter the layer, ``gradient_rms`` the root mean square of the gradient
    of the mean loss to its weighted sums.
    """
    report = {}
    rows = sums["watch/rows"]
    for probe in probes:
        found = {k: sums[f"watch/{probe.layer}/{k}"] for k in ("sum", "squares", "zeros")}
        inputs, units = (
            rows * math.prod(d for d in t.shape if isinstance(d, int))
            for t in (probe.input, probe.product)
        )
        mean = found["sum"] / inputs
        report[probe.layer] = {
            "input_mean": mean,
            "input_std": math.sqrt(max(0.0, found["squares"] / inputs - mean * mean)),
            "input_zeros": found["zeros"] / inputs,
            "gradient_rms": math.sqrt(sums[f"watch/{probe.layer}/gradient"] / units),
        }
    return report
