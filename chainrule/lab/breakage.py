"""The definition of a fault, and functions that the files of faults share.

Read next: :mod:`chainrule.lab.setting_faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.doctor.case import Case
from chainrule.doctor.finding import CATEGORIES
from chainrule.lab.recipe import Recipe
from chainrule.nn.layer import Linear, Sequential

__all__ = ["FAULTS", "Fault", "Place", "fault"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Inject: TypeAlias = "Callable[[Recipe, np.random.Generator], Case]"


@dataclass(frozen=True)
class Place:
    """Where a fault sits: a layer by its path, a unit of it, a column of X, or rows of a part."""

    layer: str | None = None
    unit: int | None = None
    column: int | None = None
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Fault:
    """A named way to break a healthy training.

    category: what is wrong, one of :data:`~chainrule.doctor.finding.CATEGORIES`; causes: the
    categories that a true diagnosis may name, the category first.  structural: whether the set-up
    alone shows it, before the first step.  `inject` makes the broken training of a recipe that
    `suits`; `place` says where the fault sits.

    harm: what becomes worse.  "score": the answers to sound rows.  "deceives": the score on the
    validation rows, which no longer tells what sound rows get.  "idle": a part of the network
    does nothing or learns nothing, which a score need not show.
    rows and answers: how sound rows are given to the broken model, and its outputs read, where
    they differ; alone: it is asked about each row by itself.
    """

    name: str
    category: str
    causes: tuple[str, ...]
    structural: bool
    description: str
    inject: Inject
    suits: Callable[[Recipe], bool]
    place: Callable[[Recipe], Place | None]
    harm: str = "score"
    rows: Callable[[Recipe, Array], Array] | None = None
    answers: Callable[[Recipe, Array], Array] | None = None
    alone: bool = False


FAULTS: dict[str, Fault] = {}


def any_recipe(recipe: Recipe) -> bool:
    """Return True: the fault suits every recipe."""
    return True


def no_place(recipe: Recipe) -> Place | None:
    """Return None: the fault sits nowhere in particular."""
    return None


def fault(
    category: str,
    *more_causes: str,
    structural: bool = False,
    suits: Callable[[Recipe], bool] = any_recipe,
    place: Callable[[Recipe], Place | None] = no_place,
    **judging: Any,
) -> Callable[[Inject], Inject]:
    """Return a decorator that enters a function in `FAULTS`, by its name and its docstring."""
    if category not in CATEGORIES:
        raise OptionError(f"fault: {category!r} is not a category.")

    def enter(inject: Inject) -> Inject:
        name = getattr(inject, "__name__", "")
        description = (inject.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        causes = (category, *more_causes)
        FAULTS[name] = Fault(
            name, category, causes, structural, description, inject, suits, place, **judging
        )
        return inject

    return enter


def layers_of(case: Case) -> list[Any]:
    """Return the list of the layers of the case's model, to be changed in place."""
    assert isinstance(case.model, Sequential)
    assert isinstance(case.model.layers, list)
    return case.model.layers


def linears(layers: list[Any]) -> list[int]:
    """Return the places of the Linear layers, the output's last."""
    return [i for i, layer in enumerate(layers) if isinstance(layer, Linear)]


def middle(recipe: Recipe) -> int:
    """Return the place of the middle hidden layer in the list of layers."""
    found = linears(list(recipe.network().layers))
    place: int = found[(len(found) - 1) // 2]
    return place


def middle_layer(recipe: Recipe) -> Place:
    """Return the middle hidden layer as a place."""
    return Place(layer=str(middle(recipe)))


def after_middle(recipe: Recipe) -> Place:
    """Return the place of a layer put behind the middle hidden layer and its activation."""
    return Place(layer=str(middle(recipe) + 2 + recipe.batch_norm))


def output_layer(recipe: Recipe) -> Place:
    """Return the last layer as a place."""
    return Place(layer=str(len(recipe.network().layers) - 1))


def behind_output(recipe: Recipe) -> Place:
    """Return the place of a layer put behind the last."""
    return Place(layer=str(len(recipe.network().layers)))


def column_of(recipe: Recipe) -> int:
    """Return the column that a fault of one column breaks."""
    width: int = recipe.sample.X.shape[1]
    return recipe.seed % width


def one_column(recipe: Recipe) -> Place:
    """Return the column that a fault of one column breaks, as a place."""
    return Place(column=column_of(recipe))


def draw_weights(case: Case, recipe: Recipe, change: Callable[[int, Array], Any]) -> None:
    """Set the weights of all Linear layers to what `change` makes of the healthy first ones."""
    found = [layers_of(case)[i] for i in linears(layers_of(case))]
    for place, layer in enumerate(found):
        rng = np.random.default_rng([recipe.seed, 3, place])
        layer.weight.value = change(place, layer.weight.draw(rng))


# Which recipes a fault suits.


def plain(recipe: Recipe) -> bool:
    """Whether nothing evens out what weights of other sizes do, and all layers are Linear."""
    return not recipe.batch_norm and recipe.activation != "maxout"


def values(recipe: Recipe) -> bool:
    """Whether the targets are real values."""
    return recipe.kind == "values"


def labels(recipe: Recipe) -> bool:
    """Whether the targets are yes-or-no labels."""
    return recipe.kind == "labels"


def classes(recipe: Recipe) -> bool:
    """Whether the targets are one of three classes or more."""
    return recipe.kind == "classes" and recipe.outputs > 2


def of_classes(recipe: Recipe) -> bool:
    """Whether the targets are classes or labels."""
    return recipe.kind != "values"


def descending(recipe: Recipe) -> bool:
    """Whether the length of a step follows from the gradient's."""
    return recipe.optimizer in ("sgd", "momentum", "nesterov")


def curved(recipe: Recipe) -> bool:
    """Whether no linear network does well on the data."""
    return recipe.data in ("xor", "rings", "wave", "moons", "friedman") and (
        recipe.activation != "maxout"
    )
