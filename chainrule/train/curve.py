"""Fit a curve: find the parameters of a function, with their standard errors.

The function is recorded once; its derivatives to the parameters are exact, and
Levenberg-Marquardt does the rest, in float64.

Read next: :mod:`chainrule.optim.levenberg_marquardt`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, DivergedError, OptionError, ShapeError, did_you_mean
from chainrule.core.graph import Graph, reachable
from chainrule.core.options import check_whole, checks_arguments
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, input
from chainrule.core.wording import counted
from chainrule.data.check_arrays import check_numbers, check_same_length
from chainrule.nn.initializers import Zeros
from chainrule.ops.shape import broadcast_to
from chainrule.optim.levenberg_marquardt import LeastSquares, LevenbergMarquardt
from chainrule.run.program import prepare_function
from chainrule.run.reference import Interpreter
from chainrule.step.objective import check_recorded
from chainrule.step.record import ROWS
from chainrule.transform.jacobian import push_forward
from chainrule.transform.simplify import simplify

__all__ = ["Curve", "fit_curve"]

Array = np.ndarray[Any, Any]
MANY_ROWS = 10_000  # from here on, compiling the function pays


@dataclass(frozen=True, repr=False)
class Curve:
    """A fitted curve: what :func:`fit_curve` found.

    `values` and `errors` are the parameters and their standard errors by name.  An error is
    infinite if the data do not determine the parameter, and NaN if there are no more rows than
    parameters.  `covariance` is that of the parameters, in the order of `values`.  `deviation` is
    the standard deviation of the residuals, ``sqrt(squares / (rows - parameters))``, and `squares`
    their sum of squares.  `reason` says why the search ended, and `converged` whether it ended
    before its limit of steps.
    """

    values: dict[str, float]
    errors: dict[str, float]
    deviation: float
    squares: float
    covariance: Array
    rows: int
    iterations: int
    reason: str
    converged: bool
    _model: _Model = field(compare=False)

    def predict(self, x: Any) -> Array:
        """Return the curve at each row of `x`."""
        return self._model.predict(list(self.values.values()), _rows_of(x, "x"))

    def __repr__(self) -> str:
        """Show each parameter with its standard error, the residuals' spread, and the reason."""
        width = max(map(len, self.values))
        lines = [
            f"Curve through {counted(self.rows, 'row')}, after "
            f"{counted(self.iterations, 'iteration')}:"
        ]
        for name, value in self.values.items():
            lines.append(f"  {name:<{width}}  {value:<14.8g} ± {self.errors[name]:.3g}")
        lines.append(f"  residual standard deviation {self.deviation:.6g}")
        lines.append(f"  stopped: {self.reason}")
        return "\n".join(lines)


@checks_arguments()
def fit_curve(
    function: Callable[..., Tensor],
    x: Any,
    y: Any,
    start: Mapping[str, float],
    *,
    optimizer: LevenbergMarquardt | None = None,
    iterations: int = 2000,
    engine: str | None = None,
) -> Curve:
    """Find the parameters with which `function` comes closest to `y`, in the least squares.

    `function` takes x and then the parameters by name, computes with chainrule's operations,
    and returns one number for each row of x.  x: (n,) or (n, k); y: (n,); `start` holds a first
    guess for each parameter.  Without `engine`, only 10,000 rows or more are compiled.

    Raises OptionError, DataError or ShapeError for what does not fit together, and
    DivergedError where the function is not finite with the first guesses.

    >>> import chainrule as cr
    >>> x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    >>> y = np.array([5.1, 3.0, 1.9, 1.1, 0.65])
    >>> curve = fit_curve(lambda x, a, b: a * cr.exp(-b * x), x, y, start={"a": 1.0, "b": 1.0})
    >>> {name: round(value, 3) for name, value in curve.values.items()}
    {'a': 5.085, 'b': 0.509}
    >>> curve.predict([5.0]).round(2)
    array([0.4])
    """
    method = LevenbergMarquardt() if optimizer is None else optimizer
    if not isinstance(method, LevenbergMarquardt):
        raise OptionError(
            f"fit_curve: optimizer must be an optim.LevenbergMarquardt(), not {optimizer!r}."
        )
    iterations = check_whole("fit_curve: iterations", iterations)
    first = _check_start(start)
    _check_names(function, first)
    rows, target = _rows_of(x, "x"), _rows_of(y, "y")
    check_same_length(rows, target)
    if target.ndim != 1:
        raise ShapeError(f"fit_curve: y has shape {target.shape}; give one number a row, (n,).")
    if len(target) < len(first):
        raise DataError(
            f"fit_curve: {counted(len(target), 'row')} can't determine "
            f"{counted(len(first), 'parameter')}; give at "
            "least as many rows."
        )
    model = _Model(function, list(first), rows, engine)
    guess = np.array(list(first.values()))
    _check_first(model.predict(list(guess), rows), rows, first)
    found = method.minimize(
        lambda p: model.predict(p, rows) - target,
        lambda p: model.slopes(p, rows),
        guess,
        iterations,
    )
    return _curve(found, model, iterations)


def _curve(found: LeastSquares, model: _Model, iterations: int) -> Curve:
    covariance = found.covariance()
    n, p = found.jacobian.shape
    errors = np.sqrt(np.diagonal(covariance))
    return Curve(
        values=dict(zip(model.names, map(float, found.point), strict=True)),
        errors=dict(zip(model.names, map(float, errors), strict=True)),
        deviation=math.sqrt(found.squares / (n - p)) if n > p else math.nan,
        squares=found.squares,
        covariance=covariance,
        rows=n,
        iterations=found.iterations,
        reason=found.reason or f"not done after {counted(iterations, 'iteration')}",
        converged=found.reason is not None,
        _model=model,
    )


class _Model:
    """The recorded function and its derivatives, ready to be called with other parameters."""

    def __init__(
        self, function: Callable[..., Tensor], names: list[str], rows: Array, engine: str | None
    ):
        self.names = names
        self.parameters = {n: Parameter((), Zeros(), "float64", n) for n in names}
        xs = input("x", (ROWS, *rows.shape[1:]), np.float64)
        value = function(xs, **self.parameters)
        check_recorded("fit_curve: the function", value)
        if value.shape not in ((ROWS,), ()):
            raise ShapeError(
                f"fit_curve: the function returned shape {value.shape} for x of shape "
                f"{xs.shape}; it must return one number for each row, (n,)."
            )
        used = set(reachable([value.node]))
        if unused := [n for n, p in self.parameters.items() if p.node not in used]:
            raise OptionError(
                f"fit_curve: the function's result does not depend on {', '.join(unused)}, so "
                "nothing can be said about it; leave it out of start."
            )
        value = broadcast_to(value, (ROWS,)) if value.shape == () else value
        one = Tensor(value.node).astype(np.float64)
        slopes = {
            name: push_forward(one, [p], [broadcast_to(1.0, ()).astype(np.float64)])
            for name, p in self.parameters.items()
        }
        few = engine is None and len(rows) < MANY_ROWS
        self._value = self._ready({"value": one}, xs, few, engine)
        self._slopes = self._ready(slopes, xs, few, engine)

    def _ready(
        self, outputs: dict[str, Tensor], xs: Tensor, few: bool, engine: str | None
    ) -> Callable[[Mapping[str, Array]], dict[str, Any]]:
        named = {f"parameter/{name}": p.node for name, p in self.parameters.items()}
        nodes = {name: t.node for name, t in outputs.items()}
        graph = simplify(Graph(nodes, {"x": xs.node, **named}))
        return Interpreter(graph) if few else prepare_function(graph, ["x"], engine=engine)

    def _at(self, point: Any) -> None:
        for parameter, value in zip(self.parameters.values(), point, strict=True):
            parameter.value = value

    def predict(self, point: Any, rows: Array) -> Array:
        self._at(point)
        value: Array = self._value({"x": rows})["value"]
        return value

    def slopes(self, point: Any, rows: Array) -> Array:
        self._at(point)
        columns = self._slopes({"x": rows})
        return np.stack([columns[name] for name in self.names], axis=1)


def _check_start(start: Any) -> dict[str, float]:
    if not isinstance(start, Mapping) or not start:
        raise OptionError(
            "fit_curve: start must name each parameter with a first guess, such as "
            f"start={{'a': 1.0, 'b': 0.5}}; got {start!r}."
        )
    for name, value in start.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not math.isfinite(float(value)):
            raise OptionError(f"fit_curve: start[{name!r}] must be a finite number, not {value!r}.")
    return {str(name): float(value) for name, value in start.items()}


def _check_names(function: Any, start: Mapping[str, float]) -> None:
    """Raise OptionError unless `start` names the parameters of `function` after the first."""
    if not callable(function):
        raise OptionError(
            "fit_curve: the first argument must be a function of x and parameters, such as "
            f"lambda x, a, b: a * x + b; got {function!r}."
        )
    try:
        taken = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some callables do not tell
        return
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return
    names = [p.name for p in taken[1:] if p.kind is not p.VAR_POSITIONAL]
    needed = [p.name for p in taken[1:] if p.default is p.empty and p.name in names]
    if unknown := [name for name in start if name not in names]:
        raise OptionError(
            f"fit_curve: the function has no parameter {unknown[0]!r}. "
            f"{did_you_mean(unknown[0], names)}"
        )
    if missing := [name for name in needed if name not in start]:
        raise OptionError(
            f"fit_curve: start has no first guess for {', '.join(missing)}; give one for each "
            "parameter after x."
        )


def _rows_of(values: Any, name: str) -> Array:
    array: Array = np.asarray(check_numbers(values, name), np.float64)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"fit_curve: {name} must hold rows, not {array!r}.")
    return array


def _check_first(value: Array, rows: Array, start: Mapping[str, float]) -> None:
    if not np.isfinite(value).all():
        row = int(np.argmin(np.isfinite(value)))
        given = ", ".join(f"{name} = {v:g}" for name, v in start.items())
        raise DivergedError(
            f"fit_curve: with {given} the function is {value[row]} in row {row}, where x is "
            f"{rows[row]}; start with other values."
        )
