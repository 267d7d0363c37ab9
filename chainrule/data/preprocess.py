"""Look up preprocessing by name, and combine a scaling and a projection into a `Plan`.

Names and values are checked here, before any data is read.

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.data.fitting import Fitted
from chainrule.data.projection import PCA, Projection, Projector, Whiten
from chainrule.data.scaling import Center, MinMax, Robust, Scaler, Scaling, Standardize, Unscaled

__all__ = ["NAMES", "Plan", "Preprocessing", "plan", "preprocessing", "restore_fitted"]

Preprocessing = str | Scaler | Projector | Sequence[str | Scaler | Projector] | None
"""A name, a specification, or at most one scaling and then at most one projection."""

_BY_NAME: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "none": (Unscaled, {}),
    "center": (Center, {}),
    "standardize": (Standardize, {}),
    "minmax": (MinMax, {}),
    "robust": (Robust, {}),
    "pca": (PCA, {}),
    "whiten": (Whiten, {}),
    "zca": (Whiten, {"kind": "zca"}),
}
NAMES = tuple(_BY_NAME)


def preprocessing(name: str, **options: Any) -> Scaler | Projector:
    """Return the preprocessing called `name`, with its options.

    Raises OptionError on an unknown name or option and on a value out of range.

    >>> preprocessing("pca", variance=0.95)
    PCA(components=None, variance=0.95)
    >>> preprocessing("zca")
    Whiten(kind='zca', components=None, variance=None, epsilon=0.0)
    """
    if name not in _BY_NAME:
        raise OptionError(f"preprocessing {name!r} is unknown. {did_you_mean(str(name), NAMES)}")
    make, fixed = _BY_NAME[name]
    known = [field.name for field in fields(make) if field.name not in fixed]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else "It has none."
            raise OptionError(f"preprocessing {name!r} has no option {option!r}. {hint}")
    made: Scaler | Projector = make(**fixed, **options)
    return made


@dataclass(frozen=True)
class Plan:
    """The scaling of the numbers of each column, and the projection of all features after it.

    None means not given.
    """

    scaler: Scaler | None = None
    projector: Projector | None = None


def plan(preprocess: Preprocessing) -> Plan:
    """Return the plan for `preprocess`.

    Raises OptionError if it is not a preprocessing, or not at most one scaling followed by at
    most one projection.

    >>> plan("minmax")
    Plan(scaler=MinMax(low=0.0, high=1.0), projector=None)
    >>> plan(["center", PCA(2)])
    Plan(scaler=Center(), projector=PCA(components=2, variance=None))
    """
    if preprocess is None:
        return Plan()
    single = isinstance(preprocess, (str, Scaler, Projector))
    if not (single or isinstance(preprocess, Sequence)):
        raise OptionError(
            f"preprocess must be a name, a specification such as PCA(10), or a list of these, "
            f"not {type(preprocess).__name__}. {did_you_mean('', NAMES)}"
        )
    asked = [
        preprocessing(one) if isinstance(one, str) else one
        for one in ([preprocess] if single else preprocess)  # type: ignore[union-attr]
    ]
    for one in asked:
        if not isinstance(one, (Scaler, Projector)):
            raise OptionError(
                f"{one!r} is not a preprocessing. "
                f"{did_you_mean(getattr(one, '__name__', ''), NAMES)}"
            )
    scalers = [one for one in asked if isinstance(one, Scaler)]
    projectors = [one for one in asked if isinstance(one, Projector)]
    if len(scalers) > 1 or len(projectors) > 1 or asked != [*scalers, *projectors]:
        raise OptionError(
            "preprocess takes at most one scaling (none, center, standardize, minmax, robust) and "
            f"then at most one of pca, whiten, zca; got {', '.join(map(repr, asked))}."
        )
    return Plan(scalers[0] if scalers else None, projectors[0] if projectors else None)


def restore_fitted(saved: Mapping[str, Any]) -> Fitted:
    """Restore a `Scaling` or a `Projection` from what its `to_json` returned."""
    try:
        kinds: dict[str, type[Scaling] | type[Projection]]
        kinds = {"scaling": Scaling, "projection": Projection}
        return kinds[saved["type"]].from_json(saved)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The saved preprocessing is damaged: {error!r}.") from error
