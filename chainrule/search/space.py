"""What is searched: a range or some choices for each setting, by default or as a user says.

Read next: :mod:`chainrule.search.study`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import is_number
from chainrule.tabular.settings import options

__all__ = ["Choices", "Range", "Space", "as_settings", "default_space", "parse_space", "space_of"]

LAYERS, UNITS = "hidden_layers", "hidden_units"  # which make up the setting hidden
FEWEST_BATCHES = 4  # of an epoch, for the largest batch that is tried
LOG_RATIO = 20  # a range whose ends differ by such a factor is searched on a logarithmic scale


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `log`: all orders of magnitude alike; `whole`: integers.

    With a `step`, only `low` and whole steps from there.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None

    def __str__(self) -> str:
        more = f" in steps of {self.step:g}" if self.step else " (log)" if self.log else ""
        return f"{self.low:g}..{self.high:g}{more}"


@dataclass(frozen=True)
class Choices:
    """Some values: names, numbers, or sizes of hidden layers."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return " | ".join(map(str, self.values))


Space = Mapping[str, "Range | Choices"]

# Learning rate and weight decay are inputs of the compiled step; all others are part of it.  These
# have few values, so that many trainings find their code in the cache.
EVERYTHING: dict[str, Range | Choices] = {
    "learning_rate": Range(1e-4, 0.1, log=True),
    LAYERS: Range(1, 3, whole=True),
    UNITS: Choices((16, 32, 64, 128, 256)),
    "dropout": Range(0.0, 0.5, step=0.1),
    "weight_decay": Range(1e-6, 0.1, log=True),
    "batch_size": Choices((16, 32, 64, 128, 256)),
    "optimizer": Choices(("adamw", "nadam", "rmsprop", "momentum")),
    "activation": Choices(("relu", "tanh", "gelu", "elu")),
}


def default_space(rows: int, fixed: Sequence[str] = ()) -> dict[str, Range | Choices]:
    """Return what is searched by default for `rows` training rows, without the `fixed` settings.

    >>> list(default_space(1000, ["hidden", "optimizer"]))
    ['learning_rate', 'dropout', 'weight_decay', 'batch_size', 'activation']
    """
    gone = {*fixed, *((LAYERS, UNITS) if "hidden" in fixed else ())}
    space = {name: part for name, part in EVERYTHING.items() if name not in gone}
    if "batch_size" in space:
        usual = EVERYTHING["batch_size"]
        assert isinstance(usual, Choices)
        few = tuple(n for n in usual.values if n * FEWEST_BATCHES <= rows)
        space["batch_size"] = Choices(few or usual.values[:1])
    return space


def space_of(asked: Mapping[str, Any], rows: int) -> dict[str, Range | Choices]:
    """Return the space that a user `asked` for: for each setting a range or choices.

    A pair of numbers is a range, a list choices, and None the default range of the setting.
    Raises OptionError for a setting that does not exist or values that it does not take.

    >>> space_of({"learning_rate": (1e-3, 0.1), "activation": ["relu", "tanh"]}, 100)["activation"]
    Choices(values=('relu', 'tanh'))
    """
    known, usual = options(), default_space(rows)
    searchable = [name for name in known if known[name].part]
    space: dict[str, Range | Choices] = {}
    for name, values in asked.items():
        if name not in searchable:
            raise OptionError(f"space: there is no {name!r}. {did_you_mean(name, searchable)}")
        if values is None and name == "hidden":
            space |= {LAYERS: usual[LAYERS], UNITS: usual[UNITS]}
        elif values is None and name in usual:
            space[name] = usual[name]
        elif values is None:
            raise OptionError(f"space: {name} has no default range; give one, or choices.")
        else:
            space[name] = _part(name, values)
    if not space:
        raise OptionError("space: give at least one setting to search.")
    return space


def _part(name: str, values: Any) -> Range | Choices:
    """Return the range or the choices that `values` stand for."""
    if isinstance(values, (Range, Choices)):
        return values
    option = options()[name]
    pair = isinstance(values, tuple) and len(values) == 2 and all(map(is_number, values))
    if pair and option.kind in ("number", "count"):
        low, high = values
        if not (low < high < math.inf):
            raise OptionError(f"space: {name} must have a lower end first, not {low}..{high}.")
        log = low > 0 and high / low >= LOG_RATIO
        return Range(low, high, log, option.kind == "count")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise OptionError(
            f"space: {name} must be a pair (low, high) of numbers or a list of choices, not "
            f"{values!r}."
        )
    made = (tuple(v) if isinstance(v, list) else v for v in values)
    return Choices(tuple(dict.fromkeys(made)))


def parse_space(texts: Sequence[str]) -> dict[str, Any]:
    """Return what `texts` such as ``lr=1e-4..1e-1`` ask for, by the names of settings.

    >>> parse_space(["lr=1e-4..0.1", "hidden=64|128,64", "dropout"])
    {'learning_rate': (0.0001, 0.1), 'hidden': [(64,), (128, 64)], 'dropout': None}
    """
    flags = {option.flag: name for name, option in options().items() if option.flag}
    asked: dict[str, Any] = {}
    for text in texts:
        flag, sign, values = text.partition("=")
        name = flag.strip().replace("-", "_")
        name = flags.get(name, name)
        ends = re.fullmatch(r"\s*(\S+?)\s*\.\.\s*(\S+)\s*", values)
        try:
            if not sign:
                asked[name] = None
            elif ends:
                asked[name] = (_number(ends[1]), _number(ends[2]))
            else:
                asked[name] = [_value(name, v.strip()) for v in values.split("|")]
        except ValueError:
            raise OptionError(
                f"--space {text}: give NAME, NAME=LOW..HIGH or NAME=ONE|OTHER, as in "
                "lr=1e-4..1e-1 or activation=relu|tanh."
            ) from None
    return asked


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and "." not in text and "e" not in text else value


def _value(name: str, text: str) -> Any:
    """Return one choice as the setting `name` takes it; ValueError if it does not."""
    kind = options()[name].kind if name in options() else "name"
    if kind == "sizes":
        return () if text == "none" else tuple(int(size) for size in text.split(","))
    if kind == "switch":
        return {"yes": True, "no": False}[text] if text in ("yes", "no") else bool(int(text))
    if kind in ("count", "number"):
        return _number(text)
    if not text:
        raise ValueError
    return text.replace("-", "_")


def as_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return drawn `params` as settings: layers and units become `hidden`.

    >>> as_settings({"hidden_layers": 2, "hidden_units": 32, "dropout": 0.1})
    {'dropout': 0.1, 'hidden': (32, 32)}
    """
    found = {name: value for name, value in params.items() if name not in (LAYERS, UNITS)}
    if UNITS in params:
        found["hidden"] = (params[UNITS],) * params[LAYERS]
    return found
