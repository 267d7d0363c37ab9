"""What differs between the trainings of :func:`chainrule.fit_many`, and which share their code.

Numbers that :func:`chainrule.fit` records as constants, the strength of a penalty and the keys of
random draws, become inputs of the step here, so that one step serves them all.

Read next: :mod:`chainrule.train.many`.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, DataError, OptionError, did_you_mean
from chainrule.core.options import check_whole, is_number
from chainrule.core.tensor import Tensor, input
from chainrule.nn.regularizers import L1, L1L2, L2, Regularizer
from chainrule.optim.hyper import Tunable
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.transform.mode import draw_keys

__all__ = ["Lifted", "Variation", "read_variations", "shape_of", "with_number"]

Array = np.ndarray[Any, Any]
Penalty = Regularizer | Mapping[str, Regularizer] | None
OWN = ("seed", "rows", "held_out", "optimizer", "regularizer")
STRENGTHS = (L1, L2, L1L2)  # whose numbers can differ in one code


@dataclass(frozen=True)
class Variation:
    """The settings of one training; `rows` and `held_out` are row numbers, None for all or none."""

    given: Mapping[str, Any]
    seed: int
    optimizer: Optimizer
    regularizer: Penalty
    rows: Array | None = None
    held_out: Array | None = None


def read_variations(
    given: Any, rows: int, seed: int, optimizer: Optimizer, regularizer: Penalty
) -> list[Variation]:
    """Return the checked variations of a training on `rows` rows with these usual settings.

    `given` is a list of mappings, or the number of trainings that differ in their seed alone.
    Raises OptionError or DataError that names the variation.
    """
    if is_number(given) or isinstance(given, bool):
        count = check_whole("fit_many: variations", given)
        given = [{"seed": seed + i} for i in range(count)]
    if isinstance(given, (str, Mapping)) or not hasattr(given, "__iter__"):
        raise OptionError(
            "fit_many: variations must be a list of dictionaries, one for each training, such as "
            f'[{{"seed": 0}}, {{"seed": 1}}], or a number of seeds, not {given!r}.'
        )
    known: dict[int, Array] = {}  # folds that many variations share are checked once
    kept = list(given)
    found = []
    for i, one in enumerate(kept):
        try:
            found.append(_read(one, rows, seed, optimizer, regularizer, known))
        except ChainruleError as error:
            raise type(error)(f"fit_many: variation {i}: {error}") from None
    if not found:
        raise OptionError("fit_many: there are no variations, so there is nothing to train.")
    if len({one.held_out is None for one in found}) > 1:
        i = next(i for i, one in enumerate(found) if one.held_out is None)
        raise OptionError(
            f"fit_many: variation {i} has no 'held_out' rows, but others have; give them to all."
        )
    return found


def _read(
    given: Any,
    rows: int,
    seed: int,
    optimizer: Optimizer,
    regularizer: Penalty,
    known: dict[int, Array],
) -> Variation:
    if not isinstance(given, Mapping):
        raise OptionError(f'must be a dictionary such as {{"seed": 1}}, not {given!r}.')
    if "optimizer" in given:
        if isinstance(given["optimizer"], type):
            name = given["optimizer"].__name__
            raise OptionError(f"optimizer is the class {name}; call it: {name}().")
        optimizer = optimizer_of(given["optimizer"])
    for name, value in given.items():
        if name not in OWN:
            optimizer = with_number(optimizer, name, value)
    return Variation(
        dict(given),
        check_whole("seed", given.get("seed", seed), least=0, below=2**63),
        optimizer,
        given.get("regularizer", regularizer),
        *(_row_numbers(given.get(name), name, rows, known) for name in ("rows", "held_out")),
    )


def _row_numbers(given: Any, name: str, rows: int, known: dict[int, Array]) -> Array | None:
    """Return row numbers, or those where a mask of all rows is True; raise DataError for others."""
    if given is None:
        return None
    if id(given) in known:
        return known[id(given)]
    array = np.asarray(given)
    if array.dtype == bool and array.shape == (rows,):
        array = np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise DataError(
            f"{name!r} must be the numbers of one row or more, in one axis, or a mask of all "
            f"{rows} rows, not {array.dtype} of shape {array.shape}."
        )
    wrong = (array < 0) | (array >= rows)
    if wrong.any():
        raise DataError(f"{name!r} has row {array[wrong][0]}; rows are numbered 0 to {rows - 1}.")
    known[id(given)] = numbers = array.astype(np.intp)
    return numbers


# --- numbers of an optimizer -----------------------------------------------------------------


def with_number(optimizer: Optimizer, name: str, value: Any) -> Optimizer:
    """Return `optimizer` with another number, which may be a schedule, under `name`.

    A name is that of a field, with those of the parts that it is in if it is in several.
    Raises OptionError for a number that `optimizer` does not have.

    >>> from chainrule import optim
    >>> method = optim.chain(optim.ClipNorm(1.0), optim.SGD(0.1))
    >>> with_number(method, "learning_rate", 0.5).hyper()
    {'0.max_norm': 1.0, '1.learning_rate': 0.5, '1.momentum': 0.0}
    """
    places = {full: place for full, *place in _numbers(optimizer)}
    fits = [full for full in places if full == name] or [
        full for full in places if full.endswith(f".{name}")
    ]
    if not fits:
        raise OptionError(
            f"there is no {name!r} to vary in {optimizer!r}. "
            f"{did_you_mean(str(name), [*OWN, *places])}"
        )
    if len(fits) > 1:
        raise OptionError(f"{name!r} could be each of {', '.join(fits)}; give the whole name.")
    owner, at = places[fits[0]]

    def change(part: Tunable) -> Tunable:
        return replace(part, **{str(at): value}) if part is owner else part.rebuilt(change)

    changed = change(optimizer)
    assert isinstance(changed, Optimizer)
    return changed


def _numbers(optimizer: Optimizer) -> Iterator[tuple[str, Tunable, str]]:
    """Yield the name of each number or schedule, the part that has it, and its field."""
    for prefix, part in optimizer.walk():
        for f in fields(part):
            held = getattr(part, f.name)
            if is_number(held) or (isinstance(held, Tunable) and not isinstance(held, Optimizer)):
                yield (f"{prefix}.{f.name}" if prefix else f.name), part, f.name


# --- which trainings share code ----------------------------------------------------------------


def shape_of(thing: Any, lifted: bool = False) -> Hashable:
    """Return what decides the code of an optimizer or penalty: all but numbers that are inputs.

    0 and 1 stay, since a term without effect may be left out.  `lifted` says whether `thing` is a
    number that is an input.  Whatever is unknown is equal to itself alone.
    """
    if lifted and is_number(thing) and thing not in (0, 1):
        return "number"
    if isinstance(thing, (tuple, list)):
        return tuple(shape_of(part) for part in thing)
    if isinstance(thing, Mapping):
        return tuple((key, shape_of(part)) for key, part in thing.items())
    if isinstance(thing, Tunable) or type(thing) in STRENGTHS:
        # A class of the user's may use a number in other ways than as an input.
        ours = type(thing).__module__.startswith("chainrule.")
        parts = ((f.name, shape_of(getattr(thing, f.name), ours)) for f in fields(thing))
        return type(thing), tuple(parts)
    return (type(thing), thing) if is_number(thing) or isinstance(thing, str) else id(thing)


@dataclass
class Lifted:
    """Constants of a step as inputs: `leaves` by name, all of them state that stays as it is.

    `dtype` is that of the parameters, None if they have several: then strengths stay constants.
    """

    dtype: np.dtype[Any] | None
    leaves: dict[str, Tensor] = field(default_factory=dict)

    def penalty(self, asked: Penalty) -> Penalty:
        """Return `asked` with inputs instead of its strengths, other than 0."""
        if not isinstance(asked, Mapping):
            alone: Penalty = self._strong("", asked)
            return alone
        return {key: self._strong(f"{i}.", one) for i, (key, one) in enumerate(asked.items())}

    def _strong(self, prefix: str, one: Any) -> Any:
        if type(one) not in STRENGTHS or self.dtype is None:
            return one
        changed = copy.copy(one)
        for name, value in _strengths(one):
            leaf = input(f"strength/{prefix}{name}", (), self.dtype)
            if value:
                self.leaves[f"strength/{prefix}{name}"] = leaf
                object.__setattr__(changed, name, leaf)
        return changed

    def keys(self, count: int) -> Sequence[Tensor]:
        """Return inputs for the keys of `count` random draws of a step."""
        drawn = {f"draw/{i}": input(f"draw/{i}", (), np.int64) for i in range(count)}
        self.leaves |= drawn
        return list(drawn.values())

    def values(self, variation: Variation) -> dict[str, float]:
        """Return the values of the leaves in a training."""
        if not self.leaves:
            return {}
        draws = sum(name.startswith("draw/") for name in self.leaves)
        found: dict[str, float] = {
            f"draw/{i}": key for i, key in enumerate(draw_keys(variation.seed, draws))
        }
        asked = variation.regularizer
        kinds = enumerate(asked.values()) if isinstance(asked, Mapping) else [("", asked)]
        for i, one in kinds:
            prefix = f"{i}." if isinstance(asked, Mapping) else ""
            if type(one) in STRENGTHS:
                found |= {f"strength/{prefix}{name}": v for name, v in _strengths(one) if v}
        return {name: found[name] for name in self.leaves}


def _strengths(one: Any) -> Iterator[tuple[str, float]]:
    return ((f.name, getattr(one, f.name)) for f in fields(one))
