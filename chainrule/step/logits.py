"""Reject a model that ends in an operation that its loss already applies.

A model that ends in a sigmoid or softmax, with a loss that applies one itself, learns little or
nothing, and its history does not show why.  The error names the layer to remove.

Read next: :mod:`chainrule.transform.bounds`.
"""

from __future__ import annotations

from chainrule.core.errors import OptionError
from chainrule.core.graph import Node
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, named_layers, parameters
from chainrule.nn.summary import describe
from chainrule.step.objective import Objective
from chainrule.transform.bounds import bounds, origin

__all__ = ["check_logits"]


def check_logits(model: Layer, aim: Objective, output: Tensor) -> None:
    """Raise OptionError where `output` lies in [0, 1] and the loss takes logits.

    Numbers in [0, 1] are read as probabilities by those who make them, but as raw scores by the
    loss: as labels they all mean yes, and as classes none is ever sure.  Only what cannot have
    been meant is refused: ``log_softmax`` before ``cross_entropy`` changes nothing, scores of 0
    and above, such as those of ReLU, can be learned, and a sigmoid before ``mse`` is right.
    For counts, refuse an exponential: the loss takes the logarithm of the rate.
    """
    last = origin(output.node)
    if aim.kind == "counts":
        if _is_rate(last):
            raise OptionError(
                f"{aim.name} takes the logarithm of the expected count, but the model ends in "
                f"{_name(model, last)}, which makes it the count itself. Leave it out: predict "
                "gives counts."
            )
        return
    takes_scores = aim.kind in ("labels", "ordered") or (
        aim.kind == "classes" and aim.probabilistic
    )
    if not takes_scores:
        return
    low, high = bounds(output.node)
    if low >= 0 and high <= 1:
        gives = ": predict_proba gives probabilities" if aim.probabilistic else ""
        raise OptionError(
            f"{aim.name} takes raw scores (logits), but the model ends in {_name(model, last)}, "
            f"which keeps its outputs between 0 and 1. Leave it out{gives}."
        )


def _is_rate(node: Node) -> bool:
    """Whether `node` is an exponential or a softplus, ``max(x, 0) + log1p(...)``."""
    name = node.primitive.name
    return name == "exp" or (name == "add" and node.inputs[1].primitive.name == "log1p")


def _name(model: Layer, node: Node) -> str:
    """Return the layer that does nothing but `node`, or the operation and where it stands."""
    layer = dict(named_layers(model)).get(node.scope)
    if layer is not None and not parameters(layer):
        return f"layer {node.scope}, {describe(layer)}"
    shares = node.primitive.name == "div" and origin(node.inputs[1]).primitive.name == "sum"
    return f"{'softmax' if shares else node.primitive.name} ({node.line})"
