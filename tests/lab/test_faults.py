"""Each fault goes into a recipe that it suits, and trains or breaks off as it says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from chainrule.core.errors import DivergedError, OptionError
from chainrule.doctor.finding import CATEGORIES
from chainrule.lab.faults import FAULTS, break_recipe
from chainrule.lab.recipe import Recipe, healthy
from chainrule.lab.samples import MADE, sample
from chainrule.lab.trial import try_out
from chainrule.nn.layer import parameters
from chainrule.train.fit import fit

SMALL = [
    recipe
    for seed in range(250)
    if (recipe := healthy(seed)).train_rows < 1300 and recipe.steps < 6000
]


def suitable(name: str) -> Recipe:
    return next(recipe for recipe in SMALL if FAULTS[name].suits(recipe))


def test_there_are_many_faults_of_every_category() -> None:
    assert len(FAULTS) >= 40
    assert {fault.category for fault in FAULTS.values()} == set(CATEGORIES)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_is(name: str) -> None:
    fault = FAULTS[name]
    assert fault.name == name
    assert fault.causes[0] == fault.category
    assert set(fault.causes) <= set(CATEGORIES)
    assert fault.description.endswith(".")
    assert fault.harm in ("score", "deceives", "idle")
    assert sum(fault.suits(recipe) for recipe in SMALL) >= 3


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_trains_or_diverges(name: str) -> None:
    recipe = suitable(name)
    case = break_recipe(recipe, name)
    case.epochs = min(case.epochs, 2)
    if name == "hardly_any_updates":  # fit refuses to gather more batches than there are
        case.epochs = -(-recipe.epochs // 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = fit(case.model, case.data, progress=False, **case.options())
        except DivergedError:
            return
    assert run.history


@pytest.mark.parametrize("name", FAULTS)
def test_a_place_is_there(name: str) -> None:
    recipe = suitable(name)
    place = FAULTS[name].place(recipe)
    case = break_recipe(recipe, name)
    if place is None:
        return
    if place.layer is not None:
        assert int(place.layer) < len(case.model.layers)  # type: ignore[attr-defined]
    if place.column is not None:
        assert place.column < case.data[0].shape[1]
    if place.rows is not None:
        healthy_y, broken_y = recipe.case().data[1], case.data[1]
        assert np.flatnonzero(healthy_y != broken_y).tolist() == list(place.rows)


def test_a_fault_leaves_the_recipe_healthy() -> None:
    recipe = suitable("sentinel_left_in")
    before = recipe.sample.X.copy()
    break_recipe(recipe, "sentinel_left_in")
    assert np.array_equal(recipe.sample.X, before)
    assert not (recipe.case().data[0] == -999).any()


def test_a_fault_is_repeated_by_its_seed() -> None:
    recipe = suitable("targets_shuffled")
    first, second = (break_recipe(recipe, "targets_shuffled", seed=4).data[1] for _ in "ab")
    assert np.array_equal(first, second)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(OptionError, match="rate_too_high"):
        break_recipe(Recipe("iris"), "rate_to_high")
    with pytest.raises(OptionError, match="does not suit"):
        break_recipe(Recipe("iris"), "targets_not_scaled")


@pytest.mark.parametrize("seed", [1, 6, 11])
def test_healthy_recipes_learn(seed: int) -> None:
    recipe = healthy(seed)
    end = try_out(recipe, recipe.case())
    assert end.fell
    assert end.skill > 0.5


def test_healthy_recipes_vary() -> None:
    recipes = [healthy(seed) for seed in range(120)]
    assert len({recipe.data for recipe in recipes}) >= 12
    assert len({recipe.activation for recipe in recipes}) >= 9
    assert {len(recipe.hidden) for recipe in recipes} >= {1, 2, 3, 4, 6}
    assert {recipe.kind for recipe in recipes} == {"classes", "labels", "values"}


@pytest.mark.parametrize("name", MADE)
def test_a_made_up_sample_is_standardized(name: str) -> None:
    made = sample(name, 400, 1)
    assert made.X.shape[0] == 400
    assert np.abs(made.X.mean(axis=0)).max() < 1e-4
    assert np.abs(made.X.std(axis=0) - 1).max() < 1e-3
    assert made.classes == 0 or set(np.unique(made.y)) == set(range(made.classes))


def test_an_unknown_sample_is_refused() -> None:
    with pytest.raises(OptionError, match="moons"):
        sample("moon", 100)


def test_a_recipe_makes_the_same_model_each_time() -> None:
    recipe = Recipe("iris", hidden=(8, 4), batch_norm=True, dropout=0.1)
    assert list(parameters(recipe.network())) == list(parameters(recipe.network()))
