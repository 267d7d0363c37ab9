"""All faults by name: known ways to break a healthy training.

A recipe and a name go in, a broken training comes out.  Set-ups that :func:`chainrule.fit` refuses
before training are none of these: outputs kept between 0 and 1 under a built-in loss that takes raw
scores, targets that would broadcast under a built-in loss, numbers that are not finite, class
numbers beyond the outputs, real targets that the dtype cannot tell apart.  Rows in an order that
is not shuffled cannot happen, since ``fit`` shuffles.

>>> from chainrule.lab.recipe import Recipe
>>> case = break_recipe(Recipe("iris"), "rate_too_high")
>>> case.optimizer.learning_rate
0.3

Read next: :mod:`chainrule.lab.trial`.
"""

from __future__ import annotations

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.doctor.case import Case
from chainrule.lab import data_faults, network_faults, setting_faults
from chainrule.lab.breakage import FAULTS, Fault, Place
from chainrule.lab.recipe import Recipe

__all__ = ["FAULTS", "FILES", "Fault", "Place", "break_recipe"]

FILES = (setting_faults, network_faults, data_faults)  # each enters its faults in FAULTS


def break_recipe(recipe: Recipe, name: str, seed: int = 0) -> Case:
    """Return the training of `recipe`, broken by the fault called `name`.

    Raises OptionError naming the nearest, or for a recipe that the fault does not suit.
    """
    if name not in FAULTS:
        raise OptionError(f"There is no fault {name!r}. {did_you_mean(name, FAULTS)}")
    if not FAULTS[name].suits(recipe):
        raise OptionError(f"The fault {name!r} does not suit {recipe}.")
    return FAULTS[name].inject(recipe, np.random.default_rng([recipe.seed, seed]))
