"""The errors that chainrule raises, and the suggestion of the closest name.

Every message says what was wrong, where, and what to do.  Each class also
inherits the built-in exception a Python programmer would try to catch, so
``except ValueError`` works without knowing this module.

Read next: :mod:`chainrule.core.spec`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from chainrule.core.foreign import advice

__all__ = [
    "ChainruleError",
    "DTypeError",
    "DamagedError",
    "DataError",
    "DivergedError",
    "GraphError",
    "OptionError",
    "RunError",
    "ShapeError",
    "did_you_mean",
]


class ChainruleError(Exception):
    """Base of every error chainrule raises on purpose."""


class ShapeError(ChainruleError, ValueError):
    """Shapes do not fit the operation or layer they were given to."""


class DTypeError(ChainruleError, TypeError):
    """A dtype is not supported, or does not fit the operation."""


class GraphError(ChainruleError, ValueError):
    """A graph is malformed, or lacks a value it needs to be evaluated."""


class DivergedError(ChainruleError, ArithmeticError):
    """Training produced infinite or undefined numbers and was stopped.

    `epoch`, `step` (both from 1) and `rows` are the step that broke the numbers and the rows of
    its batch, where they could be found.  `run` is the run as far as it came, with the weights that
    are kept.  After ``fit(check=True)``, `findings` say what was wrong and what to change, and
    ``run.trial()`` tries the remedies.
    """

    findings: Any = ()
    run: Any = None
    epoch: int = 0
    step: int = 0
    rows: tuple[int, ...] = ()


class OptionError(ChainruleError, ValueError):
    """An argument, a name or a command-line option is unknown or out of range."""


class DataError(ChainruleError, ValueError):
    """A file, a table or an array can't be used for training or prediction."""


class RunError(ChainruleError, OSError):
    """A run directory can't be written or read, or would be overwritten."""


class DamagedError(RunError):
    """A saved file is missing, truncated or changed, or not what it should be."""


def not_installed(
    purpose: str,
    package: str,
    install: str,
    error: Exception,
    kind: type[ChainruleError] = OptionError,
) -> ChainruleError:
    """Return the error of a `kind` for an optional package that can't be imported.

    `purpose` is the subject of the sentence, `install` what pip is given, and `error` the one that
    the import raised, which may also come from within an installed package.

    >>> str(not_installed("tune", "optuna", "optuna", ImportError("no module")))
    "tune needs the package optuna, which can't be imported (no module): pip install optuna"
    """
    return kind(
        f"{purpose} needs the package {package}, which can't be imported ({error}): "
        f"pip install {install}"
    )


def no_attribute(module: str, name: str, names: Iterable[str]) -> AttributeError:
    """Return the error for a name that `module` does not have, suggesting the closest of `names`.

    >>> str(no_attribute("chainrule.nn", "Relu", ["ReLU", "Tanh"]))
    "module 'chainrule.nn' has no attribute 'Relu'. Did you mean 'ReLU'? Choose from: ReLU, Tanh."
    """
    hint = "" if name.startswith("__") else did_you_mean(name, names)
    return AttributeError(f"module {module!r} has no attribute {name!r}. {hint}".rstrip())


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a sentence naming the closest of `options`, and all of them when they are few.

    For a name known from PyTorch, Keras or scikit-learn, the sentence gives its name in chainrule.

    >>> did_you_mean("rellu", ["relu", "tanh"])
    "Did you mean 'relu'? Choose from: relu, tanh."
    >>> did_you_mean("zzz", ["relu", "tanh"])
    'Choose from: relu, tanh.'
    >>> did_you_mean("Dense", ["Density", "Linear"])
    "It is called 'Linear' here."
    """
    choices = [str(option) for option in options]
    known = advice(str(name), choices)
    if known:
        return known
    folded = {choice.lower(): choice for choice in choices}
    near = get_close_matches(str(name).lower(), folded, n=1, cutoff=0.6)
    parts = [f"Did you mean {folded[near[0]]!r}?"] if near else []
    if len(choices) <= 40:
        parts.append(f"Choose from: {', '.join(choices)}.")
    return " ".join(parts)
