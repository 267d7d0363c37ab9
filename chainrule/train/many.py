"""Train one network many times, with other seeds, numbers and rows, on all cores.

The step is compiled once, and each core runs whole trainings, one after another, without Python.

Read next: :mod:`chainrule.train.variations`, then :mod:`chainrule.train.many_runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.core.options import check_whole, checks_arguments
from chainrule.data.frames import read_array
from chainrule.nn.layer import Layer
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, workers
from chainrule.step.metrics import metrics_of
from chainrule.step.objective import objective
from chainrule.step.read_parts import check_made, names_of, read_pair
from chainrule.step.weighting import ClassWeight
from chainrule.train.many_group import train_all
from chainrule.train.many_runs import Runs
from chainrule.train.many_trainings import Asked, ManyTrainings

__all__ = ["fit_many"]


@checks_arguments(
    positional="Features and targets go together: fit_many(model, (X, y), variations, loss=...).",
    learning_rate='Vary it, [{"learning_rate": 1e-3}], or set it: optimizer=optim.Adam(1e-3).',
    early_stopping="Every training of fit_many ends after the same number of epochs.",
)
def fit_many(
    model: Layer,
    data: tuple[Any, Any],
    variations: Sequence[Mapping[str, Any]] | int,
    *,
    loss: str | Callable[..., Any],
    optimizer: str | Optimizer = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation: tuple[Any, ...] | float | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None,
    seed: int = 0,
    threads: int | None = None,
    engine: str | None = None,
    progress: bool = True,
) -> Runs:
    """Train `model` once for each of the `variations`, and return all the runs.

    Each training gives the weights and the history of one call of :func:`chainrule.fit` with
    the same settings, bit for bit.  The step is compiled once, and the trainings share the
    cores without Python in between.  `model` is not changed.  Every training starts from the
    weights that it was given; the others are drawn from the seed of the training.

    `variations` is a list of dictionaries, one for each training, or a number n, for n
    trainings with the seeds ``seed, seed + 1, ...``.  A dictionary says what is different:

    - ``"seed"``: the seed of the weights, of the order of rows, and of noise;
    - a number of the optimizer by its name, such as ``"learning_rate"`` or ``"momentum"``, or
      a schedule for it; where parts of the optimizer have numbers of one name, it is given with
      its place, as in ``"1.learning_rate"``;
    - ``"rows"``: the rows to train on, as row numbers or as a mask;
    - ``"held_out"``: the rows to score after each epoch, as ``val_loss`` and so on;
    - ``"optimizer"`` and ``"regularizer"``, as a whole.

    With ``rows`` and ``held_out`` a training is that of ``fit(model, (X[rows], y[rows]),
    validation=(X[held_out], y[held_out]))``, with the weights of these rows.  The other arguments
    are those of :func:`chainrule.fit`.  `threads` is how many trainings run at a time.

    One compiled step serves all numbers.  A number of 0 or 1, another kind of optimizer or
    penalty, and fewer rows than `batch_size` may need another step, which is also compiled once.

    ``runs[i]`` is an ordinary Run; see :class:`~chainrule.train.many_runs.Runs` for the arrays
    of losses and weights, the best run, and predictions of all of them together.  A training whose
    loss or weights become infinite or undefined does not end the others: ``runs.diverged`` tells
    which did, and ``runs[i]`` raises its DivergedError.

    Early stopping, checkpoints, and the doctor are not available.  Raises OptionError for them,
    for unknown names, for methods that use all rows at once (``optim.LBFGS``) and for
    ``optim.ReduceOnPlateau``; DataError, ShapeError or OptionError for what can't be trained.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)])
    >>> rates = [{"seed": s, "learning_rate": r} for s in range(3) for r in (0.01, 0.1)]
    >>> runs = fit_many(model, (X, [0, 1, 1, 0]), rates, loss="cross_entropy", epochs=50,
    ...                 batch_size=4)
    >>> runs.losses.shape
    (6, 50)
    >>> runs.best().predict(X)
    array([0, 1, 1, 0])
    """
    check_made(model, optimizer)
    aim = objective(loss)
    names = names_of(data)
    data, validation = read_pair(data), read_pair(validation, names)
    sample_weight = read_array(sample_weight, "sample_weight")
    asked = Asked(
        model, data, aim, metrics_of(metrics, aim), check_whole("fit_many: epochs", epochs),
        check_whole("fit_many: batch_size", batch_size), validation, sample_weight, class_weight,
        Engine(engine, 1),
        {"loss": loss, "metrics": metrics, "epochs": epochs, "batch_size": batch_size,
         "class_weight": class_weight, "engine": engine, "threads": threads, "progress": False},
        names,
    )  # fmt: skip
    check_whole("fit_many: threads", 1 if threads is None else threads)
    seed = check_whole("fit_many: seed", seed, least=0, below=2**63)
    many = ManyTrainings(asked, variations, seed, optimizer_of(optimizer), regularizer)
    return train_all(many, workers(threads), progress)
