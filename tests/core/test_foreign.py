"""Names that users of PyTorch, Keras and scikit-learn bring along lead somewhere that exists."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim, tabular
from chainrule.core.errors import did_you_mean
from chainrule.core.foreign import ADVICE, CALLED, MEMBERS, advice, no_member
from chainrule.data.splits import split
from chainrule.nn.initializers import initializer
from chainrule.step.objective import BY_NAME

X = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")
Y = np.array([0, 1] * 10)


def model() -> nn.Sequential:
    return nn.Sequential([nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)])


class Keras:
    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None: ...


def fit(**named: Any) -> Any:
    return cr.fit(model(), (X, Y), **{"loss": "cross_entropy", "epochs": 1, **named})


def names_here() -> set[str]:
    """Return every name that a user of chainrule may write."""
    names = {*cr.__all__, *nn.__all__, *optim.__all__, *data.__all__, *tabular.__all__, *BY_NAME}
    names |= set(optim.optimizer_names())
    names |= {"lr", "quiet"}  # options of the command alone
    for function in (cr.fit, nn.Linear, split, optim.Adam, tabular.read_problem):
        names |= set(inspect.signature(function).parameters)
    return names | {f.name for f in dataclasses.fields(tabular.Settings)}


@pytest.mark.parametrize("name", CALLED)
def test_every_name_leads_to_one_that_exists(name: str) -> None:
    for called in CALLED[name]:
        if called not in names_here():
            initializer(called)  # raises where it is not one either
        assert called in did_you_mean(name, [called, "Density"])


@pytest.mark.parametrize("name", [*ADVICE, *CALLED])
def test_names_are_written_as_they_are_looked_up(name: str) -> None:
    assert name == name.lower().replace("_", "").replace("-", "")


@pytest.mark.parametrize("text", sorted({*ADVICE.values(), *MEMBERS.values()}))
def test_what_advice_names_exists(text: str) -> None:
    assert text.endswith(".")
    for package, name in re.findall(r"\b(chainrule|nn|optim)\.(\w+)", text):
        home = {"chainrule": cr, "nn": nn, "optim": optim}[package]
        assert hasattr(home, name), text
    for method in re.findall(r"\bx\.(\w+)", text):
        assert hasattr(cr.tensor(1.0), method), text
    for method in re.findall(r"\brun\.(\w+)", text):
        assert hasattr(cr.Run, method) or method in {"history", "model"}, text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.Dense, "no attribute 'Dense'. It is called 'Linear' here"),
        (lambda: nn.Conv2d, "Convolutions are not in chainrule yet"),
        (lambda: nn.LSTM, "Recurrent layers are not in chainrule yet"),
        (lambda: nn.CrossEntropyLoss, "It is called 'cross_entropy' here"),
        (lambda: optim.StepLR, "It is called 'StepDecay' here"),
        (lambda: cr.no_grad, "computed only by chainrule.grad"),
        (lambda: fit(loss="categorical_crossentropy"), "It is called 'cross_entropy' here"),
        (lambda: fit(loss="BCEWithLogitsLoss"), "It is called 'binary_cross_entropy' here"),
        (lambda: fit(loss="mean_squared_error"), "It is called 'mse' here"),
        (lambda: fit(callbacks=[Keras()]), "'on_epoch_end', .* It is called 'on_epoch' here"),
        (lambda: fit(device="cuda"), "runs on the CPU"),
        (lambda: fit(validation_split=0.2), "It is called 'validation' here"),
        (lambda: fit(max_iter=5), "It is called 'epochs' here"),
        (lambda: fit(lr=0.1), "It belongs to the optimizer"),
        (lambda: optim.SGD(lr=0.1), "It is called 'learning_rate' here"),
        (lambda: optim.SGD(lambda step: 0.1), "learning_rate is a function.*optim.Cosine"),
        (lambda: model().fit(X, Y), "no attribute 'fit'. Train it with run = chainrule.fit"),
        (lambda: model().parameters(), "chainrule.nn.parameters"),
        (lambda: model().eval(), "no training mode to set"),
        (lambda: optim.Adam().zero_grad(), "Gradients are returned"),
        (lambda: cr.tensor(1.0).backward(), "Gradients are returned"),
        (lambda: cr.tensor(1.0).detach(), "chainrule.stop_gradient"),
    ],
)
def test_what_users_bring_along_leads_on(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((AttributeError, cr.OptionError), match=words):
        call()


class Forward:
    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return x


def test_a_class_with_forward_is_told_of_call() -> None:
    with pytest.raises(cr.OptionError, match="rename forward to __call__"):
        cr.fit(Forward(), (X, Y), loss="cross_entropy")
    with pytest.raises(cr.OptionError, match="rename its method forward to __call__"):
        nn.Sequential([nn.Linear(3, 2), Forward()])


def test_a_name_is_answered_only_where_its_answer_is_an_option() -> None:
    assert advice("Dense", ["Adam"]) == ""
    assert "adam" in did_you_mean("adm", ["adam", "sgd"])
    assert str(no_member(cr.tensor(1.0), "zzz")) == "'Tensor' object has no attribute 'zzz'"


def test_models_and_tensors_are_still_copied() -> None:
    first = model()
    second = copy.deepcopy(first)
    assert repr(second) == repr(first)
    assert not hasattr(first, "__array__")
    assert pickle.loads(pickle.dumps(optim.Adam(0.01))) == optim.Adam(0.01)
