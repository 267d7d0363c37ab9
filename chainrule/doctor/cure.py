"""Apply a remedy: make the `change` of a finding to a case.

Each kind of change is one function of the table :data:`CURES`.

Read next: :mod:`chainrule.doctor.remedies`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.options import is_number
from chainrule.data.scaling import Standardize
from chainrule.doctor.case import Case
from chainrule.nn.activations import BY_NAME, activation
from chainrule.nn.cross_fitted import CrossFitted
from chainrule.nn.layer import Layer, parameters
from chainrule.nn.layer_config import from_config, model_config
from chainrule.nn.scale import leading_scale
from chainrule.optim.hyper import Tunable
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Schedule

__all__ = ["CURES", "cured"]

Array = np.ndarray[Any, Any]
Apply: TypeAlias = Callable[[Case, Any], Case]
WEIGHTED = ("Linear", "Maxout", "MemberLinear", "SparseLinear")
RATES = ("start", "end", "peak", "values", "then")  # the fields of schedules that are rates


def cured(case: Case, change: Mapping[str, Any]) -> Case:
    """Return a copy of `case` with the `change` of a finding made; the model is copied, too.

    Raises OptionError for a change that is not known, or can't be made to this case, such as a
    change of layers in a model that is a function.

    >>> from chainrule.doctor.specimens import classes
    >>> cured(classes(), {"learning_rate": 0.1}).optimizer.learning_rate
    0.00030000000000000003
    """
    if not change:
        raise OptionError("this finding has no change that can be made to the settings.")
    made = replace(case, model=copy.deepcopy(case.model))
    for name, value in change.items():
        if name not in CURES:
            raise OptionError(f"the change {name!r} can't be made automatically.")
        made = CURES[name](made, value)
    return made


def _learning_rate(case: Case, factor: float) -> Case:
    return _with_rates(case, lambda rate: _times(rate, factor), "learning rate to change")


def _with_rates(case: Case, change: Callable[[Any], Any], what: str) -> Case:
    """Return `case` with each learning rate changed, but no schedule of anything else."""

    def changed(part: Tunable) -> Tunable:
        if isinstance(part, Schedule):
            return part
        found = part.rebuilt(changed)
        rate = getattr(found, "learning_rate", None)
        return found if rate is None else replace(found, learning_rate=change(rate))  # type: ignore[call-arg]

    return _with_method(case, changed, what)


def _with_method(case: Case, change: Callable[[Tunable], Tunable], what: str) -> Case:
    """Return `case` with its optimizer changed; raise OptionError if it has no `what`."""
    method = optimizer_of(case.optimizer)
    changed = change(method)
    if changed == method:
        raise OptionError(f"{method!r} has no {what}.")
    assert isinstance(changed, Optimizer)
    return replace(case, optimizer=changed)


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, Schedule):
        own = {f.name: getattr(value, f.name) for f in fields(value) if f.name in RATES}
        return replace(value, **{name: _times(v, factor) for name, v in own.items()})
    if isinstance(value, tuple):
        return tuple(_times(v, factor) for v in value)
    return value * factor if is_number(value) else value


def _schedule(case: Case, _: None) -> Case:
    """Keep the learning rate at the highest that its schedule names."""
    return _with_rates(
        case,
        lambda rate: _peak(rate) if isinstance(rate, Schedule) else rate,
        "schedule of its learning rate",
    )


def _peak(value: Any) -> float:
    """Return the highest learning rate that a schedule, or a field of one, names."""
    if isinstance(value, Schedule):
        value = [getattr(value, f.name, None) for f in fields(value) if f.name in RATES]
    if isinstance(value, (list, tuple)):
        return max((_peak(one) for one in value), default=0.0)
    return float(value) if is_number(value) else 0.0


def _optimizer(case: Case, name: str) -> Case:
    return replace(case, optimizer=name)


def _momentum(case: Case, value: float) -> Case:
    def set_in(part: Tunable) -> Tunable:
        found = part.rebuilt(set_in)
        return replace(found, momentum=value) if hasattr(found, "momentum") else found  # type: ignore[call-arg]

    changed = set_in(optimizer_of(case.optimizer))
    assert isinstance(changed, Optimizer)
    return replace(case, optimizer=changed)


def _epochs(case: Case, factor: float) -> Case:
    return replace(case, epochs=round(case.epochs * factor))


def _batch_size(case: Case, size: int) -> Case:
    return replace(case, batch_size=size)


def _inputs(case: Case, _: str) -> Case:
    """Standardize the columns of X, by the rows given for training."""
    if isinstance(case.data[0], np.memmap):
        raise OptionError("X is read from a file row by row; standardize it in the file.")
    scale = leading_scale(case.model)
    factor = 1.0 if scale is None else scale.factor
    scaled = _standardizer(case.data[0])

    def on_x(X: Any) -> Array:
        made = (scaled(X) / factor).astype(np.float32)
        if isinstance(case.model, CrossFitted):  # the last column is the part of a row
            made[:, -1] = X[:, -1]
        return made

    return _with_data(case, on_x, lambda y: y)


def _targets(case: Case, _: str) -> Case:
    """Standardize the columns of y, by the rows given for training."""
    y = np.asarray(case.data[1], np.float64)
    known = np.isfinite(y)  # others belong to masked entries
    if not known.any(axis=0).all():
        raise OptionError("a column of y has no finite number to standardize it by.")
    mean, spread = np.mean(y, axis=0, where=known), np.std(y, axis=0, where=known)
    spread = np.where(spread > 0, spread, 1.0)
    return _with_data(
        case, lambda X: X, lambda y: ((np.asarray(y) - mean) / spread).astype(np.float32)
    )


def _standardizer(values: Any) -> Callable[[Any], Array]:
    """Return a function that standardizes rows by the mean and spread of `values`."""

    def flat(rows: Any) -> Array:
        wide = np.asarray(rows, np.float64)
        return wide.reshape(len(wide), -1)

    fitted = Standardize().fit(flat(values))
    return lambda rows: np.asarray(fitted.transform(flat(rows))).reshape(np.shape(rows))


def _with_data(case: Case, on_x: Callable[[Any], Any], on_y: Callable[[Any], Any]) -> Case:
    held = case.validation
    if isinstance(held, tuple):
        held = (on_x(held[0]), on_y(held[1]), *held[2:])
    return replace(case, data=(on_x(case.data[0]), on_y(case.data[1])), validation=held)


def _early_stopping(case: Case, patience: int) -> Case:
    return replace(case, more={**case.more, "early_stopping": patience})


def _loss(case: Case, name: str) -> Case:
    return replace(case, loss=name)


def _class_weight(case: Case, weights: Any) -> Case:
    return replace(case, more={**case.more, "class_weight": weights})


# --- changes of the model, made in the form in which it is saved ----------------------------------


def _activation(case: Case, name: str) -> Case:
    kinds = {kind().__class__.__name__ for kind in BY_NAME.values()}
    fresh = model_config(activation(name))

    def swap(config: Any) -> Any:
        return fresh if isinstance(config, dict) and config.get("type") in kinds else config

    config = model_config(case.model)
    changed = _mapped(config, swap)
    if _is_sequential(config):  # what follows the last layer with weights is the output's
        end = _last_weighted(config) + 1
        changed["layers"][end:] = config["layers"][end:]
    for name in _ends(config):
        changed["layers"]["entries"][name] = config["layers"]["entries"][name]
    if fresh not in _flat(changed):  # no activation was there to be swapped
        changed = _between(changed, fresh)
    return _with_model(case, changed, keep=True)


def _ends(config: Any) -> list[str]:
    """Return the layers of a Network, given by name, behind which no layer with weights follows."""
    if not isinstance(config, dict) or config.get("type") != "Network":
        return []
    layers = config["layers"].get("entries", {}) if isinstance(config["layers"], dict) else {}
    inner = {name for name, one in layers.items() if one.get("type") in WEIGHTED}
    for _ in config["edges"]:  # each round goes one edge back at least
        inner |= {one for one, other in config["edges"] if other in inner}
    return [name for name in layers if name not in inner]


def _flat(config: Any) -> list[Any]:
    if isinstance(config, list):
        return [entry for part in config for entry in _flat(part)]
    if isinstance(config, dict):
        return [config, *(entry for part in config.values() for entry in _flat(part))]
    return []


def _between(config: Any, layer: Any) -> Any:
    """Return the config of a Sequential with `layer` behind each Linear but the last."""
    if not _is_sequential(config):
        raise OptionError("activations can be added to a Sequential only.")
    linear = [i for i, one in enumerate(config["layers"]) if one.get("type") == "Linear"]
    layers: list[Any] = []
    for i, one in enumerate(config["layers"]):
        layers += [one, layer] if i in linear[:-1] else [one]
    return {**config, "layers": layers}


def _dropout(case: Case, most: float) -> Case:
    """Lower the rate of each Dropout to `most`."""

    def lower(config: Any) -> Any:
        strong = isinstance(config, dict) and config.get("type") == "Dropout"
        return {**config, "rate": min(config["rate"], most)} if strong else config

    return _with_model(case, _mapped(model_config(case.model), lower), keep=True)


def _first_weights(case: Case, _: None) -> Case:
    """Draw the weights anew, by the default of each layer; frozen ones that were set are kept."""
    trains = optimizer_of(case.optimizer).trains
    before = parameters(case.model)
    kept = [k for k, p in before.items() if p.assigned and not (p.trainable and trains(p))]

    def plain(config: Any) -> Any:
        if not isinstance(config, dict):
            return config
        return {k: v for k, v in config.items() if k not in ("weight_init", "bias_init")}

    made = _with_model(case, _mapped(model_config(case.model), plain), keep=False)
    after = parameters(made.model)
    for path in kept:
        after[path].value = before[path].value
    return made


def _first_biases(case: Case, value: float) -> Case:
    def set_in(config: Any) -> Any:
        has = isinstance(config, dict) and "bias_init" in config
        return {**config, "bias_init": value} if has else config

    return _with_model(case, _mapped(model_config(case.model), set_in), keep=False)


def _output(case: Case, end: str | None) -> Case:
    """Leave out what follows the last Linear layer, and put the activation `end` in its place."""
    config = model_config(case.model)
    if not _is_sequential(config):
        raise OptionError("the output can be changed in a Sequential only.")
    if end not in (None, *BY_NAME):
        raise OptionError(f"the output can't be changed to {end!r} automatically.")
    last = _last_weighted(config) + 1
    kept = config["layers"][:last]
    if end is not None:
        kept = [*kept, model_config(BY_NAME[end]())]
    kept += [one for one in config["layers"][last:] if one.get("type") == "AverageMembers"]
    return _with_model(case, {**config, "layers": kept}, keep=True)


def _width(case: Case, units: int) -> Case:
    """Give each hidden Linear layer at least so many units."""
    config = model_config(case.model)
    if not _is_sequential(config):
        raise OptionError("layers can be widened in a Sequential only.")
    if any(one.get("type") == "MemberLinear" for one in config["layers"]):
        raise OptionError("the layers of an ensemble of networks can't be widened automatically.")
    last, width, layers = _last_weighted(config), None, []
    for i, one in enumerate(config["layers"]):
        one = dict(one)
        if width is not None:
            one |= {name: width for name in ("inputs", "features") if name in one}
        if one.get("type") == "Linear" and i < last:
            width = one["outputs"] = max(units, one["outputs"])
        elif "outputs" in one:
            width = None
        layers.append(one)
    changed = {**config, "layers": layers}
    if changed == config:
        raise OptionError(f"every hidden layer has {units} units or more.")
    return _with_model(case, changed, keep=False)


def _is_sequential(config: Any) -> bool:
    return isinstance(config, dict) and config.get("type") in ("Sequential", "CrossFitted")


def _last_weighted(config: Any) -> int:
    """Return the place of the last layer with weights in the config of a Sequential."""
    found = [i for i, one in enumerate(config["layers"]) if one.get("type") in WEIGHTED]
    if not found:
        raise OptionError(
            "no layer of the Sequential itself is a Linear, so it is not known where its end is."
        )
    return found[-1]


def _mapped(config: Any, change: Callable[[Any], Any]) -> Any:
    """Return `config` with `change` made to each layer in it, the innermost first."""
    if isinstance(config, list):
        return [_mapped(entry, change) for entry in config]
    if isinstance(config, dict):
        return change({name: _mapped(entry, change) for name, entry in config.items()})
    return config


def _with_model(case: Case, config: Any, keep: bool) -> Case:
    """Return `case` with the model of `config`; `keep` the values that were set by hand."""
    model: Layer = from_config(config)
    found = parameters(model)
    for path, before in parameters(case.model).items():
        if path in found and found[path].shape == before.shape:
            found[path].trainable = before.trainable
            if keep and before.assigned:
                found[path].value = before.value
    return replace(case, model=model)


CURES: dict[str, Apply] = {
    "activation": _activation,
    "batch_size": _batch_size,
    "bias_init": _first_biases,
    "class_weight": _class_weight,
    "dropout": _dropout,
    "early_stopping": _early_stopping,
    "epochs": _epochs,
    "init": _first_weights,
    "learning_rate": _learning_rate,
    "loss": _loss,
    "momentum": _momentum,
    "optimizer": _optimizer,
    "output": _output,
    "preprocess": _inputs,
    "schedule": _schedule,
    "target": _targets,
    "width": _width,
}
