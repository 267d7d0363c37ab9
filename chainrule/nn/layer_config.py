"""Conversion of layers to JSON and back, by a registry, so that model files hold no code.

Read next: :mod:`chainrule.train.run`, which saves with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.nn.layer import parameters

__all__ = ["from_config", "model_config", "register_layer", "register_public", "to_config"]

T = TypeVar("T", bound=type)

# The classes that a model file may name; `chainrule.nn` registers its own.
_registry: dict[str, type] = {}


def register_public(objects: Iterable[object]) -> None:
    """Register those of the `objects` that are dataclasses, so that models can be saved."""
    for kind in objects:
        if isinstance(kind, type) and is_dataclass(kind):
            _registry[kind.__name__] = kind


def register_layer(kind: T) -> T:
    """Register the dataclass `kind`, so that models with it can be saved; use it as a decorator.

    A saved model then loads only where the same class is registered.
    Raises OptionError for a name that is taken, or a class that is not a dataclass.
    """
    if not is_dataclass(kind):
        raise OptionError(f"register_layer: {kind!r} is not a dataclass.")
    if _registry.get(kind.__name__, kind) is not kind:
        raise OptionError(f"register_layer: the name {kind.__name__!r} is taken; rename the class.")
    _registry[kind.__name__] = kind
    return kind


def to_config(model: Any, kinds: Mapping[str, type] | None = None) -> Any:
    """Return `model` as plain JSON values; `kinds` are the classes that it may hold.

    Raises OptionError for an object that can't be saved, such as a lambda.

    >>> from chainrule import nn
    >>> to_config(nn.LeakyReLU(0.1))
    {'type': 'LeakyReLU', 'slope': 0.1}
    """
    kinds = _registry if kinds is None else kinds
    if model is None or isinstance(model, (bool, int, float, str)):
        return model
    if isinstance(model, np.generic):
        return to_config(model.item(), kinds)
    if isinstance(model, (list, tuple)):
        return [to_config(entry, kinds) for entry in model]
    if isinstance(model, dict):
        return {"type": "dict", "entries": {k: to_config(v, kinds) for k, v in model.items()}}
    kind = type(model)
    if kinds.get(kind.__name__) is not kind:
        raise OptionError(
            f"{model!r} can't be saved: {kind.__name__} is not a registered layer. {_cure(model)}"
        )
    entries = {f.name: to_config(getattr(model, f.name), kinds) for f in fields(model) if f.init}
    return {"type": kind.__name__, **entries}


def _cure(model: Any) -> str:
    """Return what to do about a layer that can't be saved."""
    if str(getattr(model, "__module__", "")).startswith("chainrule."):
        name = getattr(model, "__name__", "").replace("_", "")
        if same := [known for known in _registry if known.lower() == name]:
            return f"Use the layer nn.{same[0]}() in its place."
    if isinstance(model, FunctionType):
        return "Write it as a dataclass with __call__, decorated with @chainrule.nn.register_layer."
    return "Make it a dataclass and decorate it with chainrule.nn.register_layer."


def model_config(model: Any) -> Any:
    """Return :func:`to_config` of a model, checked to load with the same parameters.

    Raises OptionError if it would not, because a layer is used in more than one place.
    """
    config = to_config(model)
    again = parameters(from_config(config))
    if extra := sorted(set(again) - set(parameters(model))):
        raise OptionError(
            "the model can't be saved: a layer is used in more than one place, and its copies "
            f"would be loaded as separate parameters: {', '.join(extra)}."
        )
    return config


def from_config(config: Any, kinds: Mapping[str, type] | None = None, sequence: type = list) -> Any:
    """Return the model that a result of :func:`to_config` describes; lists become `sequence`.

    Raises OptionError for a type that is not registered.

    >>> from_config({"type": "LeakyReLU", "slope": 0.1})
    LeakyReLU(slope=0.1)
    """
    kinds = _registry if kinds is None else kinds
    if isinstance(config, list):
        return sequence(from_config(entry, kinds, sequence) for entry in config)
    if not isinstance(config, dict):
        return config
    kind = config.get("type")
    if kind == "dict":
        return {k: from_config(v, kinds, sequence) for k, v in config["entries"].items()}
    if not isinstance(kind, str) or kind not in kinds:
        raise OptionError(
            f"unknown layer type {kind!r}. {did_you_mean(str(kind), kinds)} If it is a layer "
            "of your own, import the module that registers it first."
        )
    named = ((key, value) for key, value in config.items() if key != "type")
    entries = {key: from_config(value, kinds, sequence) for key, value in named}
    return kinds[kind](**entries)
