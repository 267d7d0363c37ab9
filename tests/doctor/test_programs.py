"""Keras programs made again: losses as plain formulas, entries as layers, errors for the unknown.

The programs of this file are made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from bench.doctor_programs import agrees, encode, main, programs, read_programs, score
from bench.keras_losses import BY_NAME, CLIP, keras_loss
from bench.keras_parts import (
    Adamax,
    InverseTime,
    Normal,
    Softmax,
    Uniform,
    initializer_of,
    layers_of,
    optimizer_of,
)
from chainrule import nn, optim
from chainrule.core.errors import OptionError

GENERATOR = np.random.default_rng(0)
P = GENERATOR.uniform(0.05, 0.95, (6, 3))
T = np.eye(3)[[0, 1, 2, 0, 1, 2]]
COLUMN = np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]])


def value(name: str, output: Any, target: Any) -> Any:
    """Return the loss of each row in float64."""
    return keras_loss(name)(cr.tensor(output), cr.tensor(target)).numpy()


def shares(p: Any) -> Any:
    return np.clip(p / p.sum(-1, keepdims=True), CLIP, 1 - CLIP)


def bce(p: Any, t: Any) -> Any:
    p = np.clip(p, CLIP, 1 - CLIP)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(-1)


FORMULAS: dict[str, Any] = {
    "mse": lambda p, t: ((p - t) ** 2).mean(-1),
    "mae": lambda p, t: np.abs(p - t).mean(-1),
    "mape": lambda p, t: 100 * (np.abs(p - t) / np.maximum(np.abs(t), CLIP)).mean(-1),
    "msle": lambda p, t: ((np.log1p(p) - np.log1p(np.maximum(t, CLIP))) ** 2).mean(-1),
    "huber": lambda p, t: (0.5 * (p - t) ** 2).mean(-1),
    "logcosh": lambda p, t: np.log(np.cosh(p - t)).mean(-1),
    "poisson": lambda p, t: (p - t * np.log(p + CLIP)).mean(-1),
    "binary_crossentropy": bce,
    "binary_crossentropy(from_logits)": lambda z, t: bce(1 / (1 + np.exp(-z)), t),
    "hinge": lambda z, t: np.maximum(0, 1 - (2 * t - 1) * z).mean(-1),
    "squared_hinge": lambda z, t: (np.maximum(0, 1 - (2 * t - 1) * z) ** 2).mean(-1),
    "categorical_crossentropy": lambda p, t: -(t * np.log(shares(p))).sum(-1),
    "categorical_crossentropy(from_logits)": lambda z, t: -(t * np.log(shares(np.exp(z)))).sum(-1),
    "kld": lambda p, t: (np.clip(t, CLIP, 1) * np.log(np.clip(t, CLIP, 1) / p)).sum(-1),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("target", [T, COLUMN], ids=["rows", "column"])
def test_a_loss_is_its_formula_also_where_targets_broadcast(name: str, target: Any) -> None:
    np.testing.assert_allclose(value(name, P, target), FORMULAS[name](P, target), rtol=2e-6)


def test_class_numbers_ask_for_their_share() -> None:
    numbers = T.argmax(1).astype(np.int32)
    expected = -np.log((P / P.sum(1, keepdims=True))[np.arange(6), numbers])
    for target in (numbers, numbers[:, None].astype(float)):
        np.testing.assert_allclose(
            value("sparse_categorical_crossentropy", P, target), expected, rtol=1e-6
        )


def test_rows_that_are_further_apart_than_one() -> None:
    np.testing.assert_allclose(value("huber", np.array([[3.0]]), np.array([[0.0]])), 2.5)
    scores = np.array([[2.0, 1.5, 0.0]])
    np.testing.assert_allclose(value("categorical_hinge", scores, np.eye(3)[[0]]), 0.5)
    lengths = value("cosine_similarity", np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(lengths, -0.6)


def test_classes_in_a_single_column_teach_nothing() -> None:
    output = cr.tensor(COLUMN * 0.3 + 0.2)
    loss = keras_loss("categorical_crossentropy")(output, cr.tensor(COLUMN))
    assert not cr.grad(loss.sum(), output).numpy().any()


def test_a_sure_and_wrong_answer_costs_a_finite_loss() -> None:
    np.testing.assert_allclose(
        value("binary_crossentropy", np.array([[0.0]]), np.array([[1.0]])), -np.log(CLIP)
    )


def test_every_loss_says_what_it_reads() -> None:
    for loss in BY_NAME.values():
        assert loss.kind in ("classes", "labels", "values", "counts")  # type: ignore[attr-defined]
        assert loss.takes in (  # type: ignore[attr-defined]
            "probabilities", "logits", "values", "rates", "scores",
        )  # fmt: skip


def test_entries_become_layers() -> None:
    built = layers_of(
        [
            {"type": "flatten"},
            {"type": "dense", "units": 3, "activation": "relu", "init": "N(0,1)"},
            {"type": "dropout", "rate": 0.2},
            {"type": "batchnorm"},
            {"type": "dense", "units": 2, "activation": "linear", "trainable": False, "l2": 0.1},
            {"type": "activation", "activation": "softmax"},
        ],
        (2, 2),
    )
    assert [type(layer) for layer in built.layers] == [
        nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.BatchNorm, nn.Linear, Softmax,
    ]  # fmt: skip
    assert built.layers[1].weight_init == Normal(0.0, 1.0)
    assert built.layers[5].inputs == 3
    assert built.frozen == ["5.*"]
    assert built.regularizers == {"5.weight": nn.L1L2(0.0, 0.1)}
    model = nn.Sequential(built.layers)
    assert model(cr.input("x", ("n", 2, 2))).shape[1:] == (2,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal(0,0.05)", Normal(0.0, 0.05)),
        ("uniform(-0.1, 0.1)", Uniform(-0.1, 0.1)),
        ("random_normal(mean=1, stddev=2)", Normal(1.0, 2.0)),
        ("he_normal", nn.HeNormal()),
        ("Glorot Uniform", nn.GlorotUniform()),
        ("zeros", nn.Zeros()),
        ("constant(0.5)", nn.Constant(0.5)),
        (0.5, nn.Constant(0.5)),
    ],
)
def test_initializers(text: Any, expected: Any) -> None:
    assert initializer_of(text) == expected


def test_optimizers() -> None:
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "decay": 0.01}
    assert optimizer_of(sgd) == optim.SGD(InverseTime(0.1, 0.01), 0.9, True)
    assert optimizer_of({"name": "adam", "lr": None}) == optim.Adam(1e-3, epsilon=1e-7)
    assert optimizer_of({"name": "RMSprop", "lr": 0.1}) == optim.RMSProp(0.1, 0.9, 1e-7)
    assert optimizer_of({"name": "adam", "amsgrad": True}) == optim.AMSGrad(1e-3, epsilon=1e-7)
    frozen = optimizer_of({"name": "sgd", "lr": 0.1, "clipnorm": 1}, ["0.*"])
    assert frozen == optim.chain(
        optim.ClipNorm(1.0), optim.groups({"0.*": optim.freeze}, default=optim.SGD(0.1))
    )


def test_the_rate_falls_with_the_inverse_of_the_steps() -> None:
    plan = InverseTime(0.1, 0.5)
    rates = optim.tabulate(plan, 3)
    np.testing.assert_allclose(rates, [0.1, 0.1 / 1.5, 0.05])


def test_adamax_takes_steps_of_the_learning_rate_under_one_gradient() -> None:
    model = nn.Linear(1, 1, use_bias=False)
    model.weight.value = np.array([[1.0]])
    # With a target far away, each step is the learning rate long but for the rounding.
    cr.fit(
        model, (np.ones((1, 1)), np.array([[1e3]])), loss=keras_loss("mae"),
        optimizer=Adamax(0.1), epochs=3, progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(model.weight.value, 1.3, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: keras_loss("msee"), "mse"),
        (lambda: initializer_of("he_norml"), "he_normal"),
        (lambda: initializer_of("normal(a)"), "normal"),
        (lambda: initializer_of("normal(0, 1, 2)"), "normal"),
        (lambda: layers_of([{"type": "dens"}], (2,)), r"layers\[0\].*dense"),
        (lambda: layers_of([{"type": "dense"}], (2,)), "units"),
        (lambda: layers_of([{"type": "dense", "units": 1, "activation": "rel"}], (2,)), "relu"),
        (lambda: layers_of([{"type": "dropout", "rat": 0.5}], (2,)), "rate"),
        (lambda: layers_of([{"type": "dense", "units": 1, "regularizer": "l3"}], (2,)), "l2"),
        (lambda: optimizer_of({"name": "adamm"}), "adam"),
        (lambda: optimizer_of({"name": "sgd", "momentm": 0.9}), "momentum"),
        (lambda: optimizer_of({"name": "sgd", "amsgrad": True}), "amsgrad"),
        (lambda: encode([0, 1], "one-hot"), "onehot"),
        (lambda: score("acc", P, T), "accuracy"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_nearest(make: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make()


def test_encodings() -> None:
    assert encode([1.0, 0.0], "onehot").tolist() == [[0, 1], [1, 0]]
    assert encode([1, 0], "column").tolist() == [[1.0], [0.0]]
    assert encode([1.0, 0.0], "integer").dtype == np.int32
    assert encode([[1, 0]], "multihot").tolist() == [[1.0, 0.0]]


def entry(name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "id": name, "strength": "strong", "labels": ["act", "lr"], "feedforward": True,
        "data": {"target_encoding": "column"}, "loss": "binary_crossentropy", "batch": 5,
        "epochs": 4, "optimizer": {"name": "sgd", "lr": 0.1},
        "layers": [
            {"type": "dense", "units": 4, "activation": "tanh"},
            {"type": "dense", "units": 1, "activation": "softmax"},
        ],
        "recheck": {"metric": "accuracy", "buggy": [0.5, 0.5, 0.5]},
    }  # fmt: skip
    return usual | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of made-up programs."""
    entries = [
        entry("one"),
        entry("picture", feedforward=False),
        entry("unknown", layers=None),
        entry("odd", loss="no_such_loss"),
        entry("narrow", loss="mse", labels=["wrong"]),
        entry("nodata"),
    ]
    (tmp_path / "faults.json").write_text(json.dumps(entries))
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def make(id):\n"
        "    if id == 'nodata': return None\n"
        "    return np.arange(40.0).reshape(20, 2) / 40, np.arange(20) % 2\n"
    )
    return tmp_path


def test_a_folder_becomes_programs_and_reasons(folder: Path) -> None:
    found, skipped = read_programs(folder)
    assert [p.id for p in found] == ["one"]
    assert found[0].categories == ("activation", "learning_rate")
    assert set(skipped) == {"picture", "unknown", "odd", "narrow", "nodata"}
    assert "layers" in skipped["unknown"]
    assert "no_such_loss" in skipped["odd"]


def test_a_case_trains_and_epochs_are_cut_to_the_steps(folder: Path) -> None:
    (program,) = programs(folder)
    case = program.case(seed=3)
    assert (case.epochs, case.batch_size, case.seed, program.steps_cut) == (4, 5, 3, False)
    assert program.case(0, most_steps=9).epochs == 2
    assert program.steps_cut
    assert program.case(0, most_steps=1).epochs == 1
    run = cr.fit(case.model, case.data, progress=False, **case.options())
    np.testing.assert_allclose(run.predict(case.data[0]), 1.0)


def test_a_batch_of_all_rows_is_as_small_a_share_as_in_the_larger_data(folder: Path) -> None:
    (program,) = programs(folder)
    for batch, own, used in ((100, 200, 10), (100, 20, 100), (100, None, 100), (10, 200, 10)):
        program.entry = entry("one", batch=batch, data={"n": own, "target_encoding": "column"})
        assert program.case(0).batch_size == used


def test_scores() -> None:
    y = np.array([0.0, 1.0, 2.0])
    assert score("accuracy", np.eye(3), y) == 1.0
    assert score("accuracy", np.array([[0.1], [0.7], [0.9]]), y) == pytest.approx(2 / 3)
    assert score("accuracy", np.full((3, 3), np.nan), y) == pytest.approx(1 / 3)
    assert score("element accuracy", np.array([[0.9, 0.1]]), np.array([[1, 1]])) == 0.5
    pair = np.array([[0.0, 0.0], [1.0, 10.0]])
    assert score("r2", pair + np.array([1.0, 0.0]), pair) == pytest.approx(1 - 2 / 50.5)


def test_scores_agree_where_their_ranges_meet() -> None:
    assert agrees([0.4, 0.6], [0.65, 0.7])
    assert not agrees([0.4, 0.5], [0.65, 0.7])
    assert agrees([-900.0], [-1000.0])
    assert not agrees([float("nan")], [0.5])
    assert not agrees(["diverged"], [0.5])


def test_a_program_that_diverges_is_compared_by_the_score_of_nan(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = entry("wild", loss="mse", optimizer={"name": "sgd", "lr": 1e6}, epochs=200)
    wild["layers"] = [{"type": "dense", "units": 2, "activation": "linear"}]
    (folder / "faults.json").write_text(json.dumps([wild]))
    assert main(["--faults", str(folder), "--seeds", "1", "--steps", "50"]) == 0
    assert "| diverged | 0.5 0.5 0.5 | cut |" in capsys.readouterr().out
    wild["recheck"]["buggy"] = [0.9]
    (folder / "faults.json").write_text(json.dumps([wild]))
    assert main(["--faults", str(folder), "--seeds", "1"]) == 1


def test_the_table_compares_with_the_scores_of_the_entry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--faults", str(folder), "--seeds", "1"]) == 0
    assert "| one | accuracy | 0.5 | 0.5 0.5 0.5 |" in capsys.readouterr().out
