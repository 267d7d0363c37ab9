"""`fit_many`: each of many trainings is, bit for bit, that of one `fit`."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer, optimizer_names
from chainrule.run.llvm import training_loop
from chainrule.run.llvm.training_loop import shuffled
from chainrule.run.program import prepare, trainer
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step
from chainrule.train.variations import shape_of, with_number

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4)).astype("float32")
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 1)
USUAL: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16}


def network(*extra: Any) -> nn.Sequential:
    return nn.Sequential([nn.Linear(4, 6), nn.Tanh(), *extra, nn.Linear(6, 3)])


def alone(
    model: Any, variation: Mapping[str, Any], data: tuple[Any, Any] = (X, Y), **options: Any
) -> cr.Run:
    """Train a copy of `model` by `fit` as `variation` says."""
    given = {**options, **variation}
    rows, held = given.pop("rows", None), given.pop("held_out", None)
    if held is not None:
        given["validation"] = tuple(a[held] for a in data)
    if rows is not None:
        data = data[0][rows], data[1][rows]
        if "sample_weight" in given:
            given["sample_weight"] = given["sample_weight"][rows]
    return cr.fit(copy.deepcopy(model), data, progress=False, **given)


def told(run: cr.Run) -> list[dict[str, Any]]:
    clock = ("seconds", "samples_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in run.history]


def weights(run: cr.Run) -> dict[str, Array]:
    return {path: p.value for path, p in nn.parameters(run.model).items()}


def check_same(run: cr.Run, single: cr.Run) -> None:
    assert told(run) == told(single)
    assert [list(record) for record in run.history] == [list(r) for r in single.history]
    for (path, ours), (other, theirs) in zip(
        weights(run).items(), weights(single).items(), strict=True
    ):
        assert path == other
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes(), path
    assert (run.settings, run.best_epoch) == (single.settings, single.best_epoch)


def check_many(
    model: Any,
    variations: list[dict[str, Any]],
    singles: list[dict[str, Any]] | None = None,
    data: tuple[Any, Any] = (X, Y),
    **options: Any,
) -> Any:
    """Check that each of `variations` is what `fit` makes of it, or of its entry in `singles`."""
    given = {**USUAL, **options}
    runs = cr.fit_many(model, data, variations, progress=False, **given)
    assert len(runs) == len(variations)
    for i, variation in enumerate(singles or variations):
        check_same(runs[i], alone(model, variation, data, **given))
    return runs


# --- the same as fit -------------------------------------------------------------------------


def test_seeds() -> None:
    runs = check_many(network(), [{"seed": 3}, {"seed": 4}, {"seed": 3}])
    assert (runs.losses[0] == runs.losses[2]).all()
    assert (runs.losses[0] != runs.losses[1]).any()


def test_a_number_of_variations_is_as_many_seeds() -> None:
    runs = cr.fit_many(network(), (X, Y), 3, seed=5, progress=False, **USUAL)
    check_same(runs[2], alone(network(), {"seed": 7}, **USUAL))
    assert runs.variations == [{"seed": 5}, {"seed": 6}, {"seed": 7}]


METHODS: dict[str, optim.Optimizer] = {
    "sgd": optim.SGD(0.1),
    "nesterov": optim.SGD(0.1, momentum=0.9, nesterov=True),
    "adamw": optim.AdamW(0.01),
    "rmsprop": optim.RMSProp(0.01, momentum=0.5),
    "nadam": optim.Nadam(0.01),
    "clipped": optim.chain(optim.ClipNorm(0.5), optim.Adam(0.01), optim.WeightDecay(1e-3)),
    "averaged": optim.EMA(optim.SGD(0.1), decay=0.9),
    "groups": optim.groups({"0.*": optim.freeze, "*": optim.Adam(0.01)}),
    "accumulated": optim.Accumulate(2, optim.SGD(0.1)),
    "cosine": optim.SGD(optim.Cosine(0.1)),
    "warmup": optim.Adam(optim.Warmup(optim.Cosine(0.1), steps=3)),
    "piecewise": optim.SGD(optim.Piecewise([0.1, 0.01], at=[5])),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", METHODS)
def test_optimizers_and_schedules(name: str) -> None:
    check_many(network(), [{"seed": 1}, {"seed": 2}], optimizer=METHODS[name])


def test_numbers_of_the_optimizer_differ_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    numbers = [{"learning_rate": 0.1, "momentum": 0.5}, {"learning_rate": 0.05, "momentum": 0.9}]
    singles = [{"optimizer": optim.SGD(**one)} for one in numbers]
    check_many(network(), numbers, singles, optimizer=optim.SGD(0.2, momentum=0.8))
    assert made == [1]


def test_a_schedule_is_varied_by_its_numbers_or_as_a_whole() -> None:
    method = optim.chain(optim.ClipNorm(1.0), optim.SGD(optim.Cosine(0.1)))
    given = [
        {"start": 0.2}, {"1.learning_rate": optim.Cosine(0.3)}, {"max_norm": 0.1},
        {"learning_rate": 0.05},
    ]  # fmt: skip
    rates = [optim.Cosine(0.2), optim.Cosine(0.3), optim.Cosine(0.1), 0.05]
    norms = [1.0, 1.0, 0.1, 1.0]
    singles = [
        {"optimizer": optim.chain(optim.ClipNorm(norm), optim.SGD(rate))}
        for norm, rate in zip(norms, rates, strict=True)
    ]
    check_many(network(), given, singles, optimizer=method)


def test_a_number_of_0_is_another_step() -> None:
    numbers = [{"momentum": 0.0}, {"momentum": 0.9}]
    singles = [{"optimizer": optim.SGD(0.1, **one)} for one in numbers]
    check_many(network(), numbers, singles, optimizer=optim.SGD(0.1, momentum=0.5))


def test_optimizers_differ_as_a_whole() -> None:
    check_many(network(), [{"optimizer": "adam"}, {"optimizer": optim.Lion(1e-3)}])


@pytest.mark.thorough
def test_penalties_differ_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    check_many(network(), [{"regularizer": nn.L2(r)} for r in (1e-2, 0.3, 7e-5)])
    assert made == [1]
    named = [{"regularizer": {"0.*": nn.L1(a), "*.weight": nn.L1L2(b, 0.0)}, "seed": 1}
             for a, b in ((1e-2, 0.2), (0.1, 0.03))]  # fmt: skip
    check_many(network(), named)
    check_many(network(), [{"regularizer": nn.L2(0.0)}, {}, {"regularizer": nn.L2(0.1)}])


def test_noise_follows_the_seed() -> None:
    model = network(nn.Dropout(0.4), nn.GaussianNoise(0.1))
    runs = check_many(model, [{"seed": 1}, {"seed": 2}], optimizer="sgd")
    assert runs.losses[0, 0] != runs.losses[1, 0]


def test_running_statistics() -> None:
    model = network(nn.BatchNorm(6))
    check_many(model, [{"seed": 1}, {"seed": 2}], validation=(X[:9], Y[:9]))


def test_float64() -> None:
    model = nn.Sequential([nn.Linear(4, 3, dtype="float64")])
    check_many(model, [{"seed": 1}, {"regularizer": nn.L2(0.1)}])


def test_layers_of_two_dtypes() -> None:
    model = nn.Sequential([nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, dtype="float64")])
    check_many(model, [{"regularizer": nn.L2(0.1)}, {"regularizer": nn.L2(0.2)}, {"seed": 1}])


def test_weights_that_were_given_are_where_all_start() -> None:
    model = network()
    model.layers[0].weight.value = np.full((4, 6), 0.1)
    model.layers[2].bias.trainable = False
    before = {path: p.assigned for path, p in nn.parameters(model).items()}
    check_many(model, [{"seed": 1}, {"seed": 2}])
    assert {path: p.assigned for path, p in nn.parameters(model).items()} == before
    assert (model.layers[0].weight.value == np.float32(0.1)).all()


def test_the_best_epoch_need_not_be_the_last() -> None:
    runs = check_many(
        network(), [{"seed": 1}, {"seed": 2}], optimizer=optim.SGD(5.0), validation=(X[:9], Y[:9])
    )
    assert min(run.best_epoch for run in runs) < 3


def test_real_values_and_metrics() -> None:
    y = (X[:, :1] * 2 + 1).astype("float32")
    model = nn.Sequential([nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)])
    check_many(
        model, [{"seed": 1}, {"seed": 2}], data=(X, y), loss="mse", metrics=["mae", "r2", "rmse"],
        validation=(X[:7], y[:7]),
    )  # fmt: skip


def test_an_index_as_input() -> None:
    codes = RNG.integers(5, size=(30, 2))
    model = nn.Sequential([nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 3)])
    check_many(model, [{"seed": 1}, {"seed": 2}], data=(codes, Y[:30]))


# --- rows --------------------------------------------------------------------------------


def test_folds_of_different_length() -> None:
    folds = [*data.folds(50, 3), (np.arange(40), np.arange(40, 50))]
    given = [{"seed": 1, "rows": a, "held_out": b} for a, b in folds]
    runs = check_many(network(), given, optimizer=optim.SGD(optim.Cosine(0.1)))
    assert runs.scores("val_accuracy").shape == (4, 3)


def test_fewer_rows_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    check_many(network(), [{"rows": np.arange(n)} for n in (5, 20, 16, 1)])


def test_rows_as_a_mask_and_more_than_once() -> None:
    mask = np.arange(50) % 3 > 0
    rows = np.array([4, 4, 7, 1, 9, 4])
    singles = [{"rows": np.flatnonzero(mask)}, {"rows": rows}]
    check_many(network(), [{"rows": mask}, {"rows": rows.tolist()}], singles)


def test_a_share_is_held_out_by_the_seed() -> None:
    rows = np.arange(5, 45)
    given = [{"seed": 1}, {"seed": 2}, {"seed": 2, "rows": rows}]
    check_many(network(), given, validation=0.3, metrics=["accuracy"])


def test_sample_weights_and_class_weights() -> None:
    weight = RNG.uniform(0.5, 2.0, 50)
    given = [{"rows": a, "held_out": b} for a, b in data.folds(50, 2)] + [
        {"rows": np.arange(50)[::2], "held_out": np.arange(5)}
    ]
    check_many(network(), given, sample_weight=weight)
    check_many(network(), given, class_weight="balanced", sample_weight=weight)
    check_many(network(), [{}, {"rows": np.arange(40)}], class_weight={0: 3.0},
               validation=(X[:9], Y[:9]))  # fmt: skip
    check_many(network(), [{"seed": 3}], class_weight="balanced", validation=0.2)


def test_scores_that_need_all_rows_at_once() -> None:
    def centered(x: cr.Tensor) -> cr.Tensor:
        return x - x.mean(0)

    many = np.repeat(X, 30, axis=0)
    model = nn.Sequential([nn.Linear(4, 3), centered])
    with pytest.warns(UserWarning, match="can't be saved"):
        check_many(model, [{"seed": 1}], validation=(many, np.repeat(Y, 30)))


def test_scores_of_more_rows_than_the_engine_takes_at_once() -> None:
    many, answers = np.repeat(X, 50, axis=0), np.repeat(Y, 50)
    check_many(network(), [{"seed": 1}], validation=(many, answers))
    check_many(network(), [{"seed": 1}], data=(many, answers), validation=0.6, epochs=1)


def test_scores_are_summed_in_the_blocks_of_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.step.part.BLOCK_BYTES", 16 * 7)
    check_many(network(), [{"seed": 1}], validation=0.5)


# --- engines --------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every recorded step adds an entry."""
    made: list[int] = []

    def record(*args: Any, **named: Any) -> Any:
        made.append(1)
        return record_step(*args, **named)

    monkeypatch.setattr("chainrule.train.many_group.record_step", record)
    return made


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads: int) -> None:
    usual = cr.fit_many(network(), (X, Y), 7, progress=False, **USUAL)
    runs = cr.fit_many(network(), (X, Y), 7, progress=False, threads=threads, **USUAL)
    assert (runs.losses == usual.losses).all()
    assert (runs.weights("0.weight") == usual.weights("0.weight")).all()


def test_the_interpreter_trains_the_same_way() -> None:
    given = [{"seed": 1, "rows": np.arange(20), "held_out": np.arange(20, 30)},
             {"seed": 2, "rows": np.arange(10), "held_out": np.arange(20, 30)}]  # fmt: skip
    runs = check_many(network(), given, engine="reference")
    native = cr.fit_many(network(), (X, Y), given, progress=False, **USUAL)
    assert runs.losses == pytest.approx(native.losses, rel=1e-5)


def test_a_training_in_many_calls_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_loop, "CALL_SECONDS", 1e-9)
    check_many(network(nn.Dropout(0.2)), [{"seed": 1}], epochs=5, validation=0.2)


def test_an_error_in_a_thread_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def train(self: Any, *args: Any) -> Any:
        started.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_loop.NativeTrainer, "train", train)
    with pytest.raises(KeyboardInterrupt):
        cr.fit_many(network(), (X, Y), 50, threads=2, progress=False, **USUAL)
    assert len(started) <= 2
    assert all(trainer.stopped for trainer in started)


def test_a_trainer_can_be_stopped() -> None:
    part = Part(X, Y.astype("int32"))
    step = record_step(network(), objective("cross_entropy"), optim.SGD(), (), part)
    made = trainer(prepare(step.graph, step.state, part.arrays, 16, "native"), None, {}, 0)
    assert made is not None
    given = (part.arrays, np.arange(50), 16, 3, 0, 0, lambda epoch: np.arange(50), None)
    assert made.train(*given)[0] == 3
    made.stopped = True
    assert made.train(*given)[0] == 0


def test_data_in_another_order_of_memory() -> None:
    folded = np.asfortranarray(np.repeat(X, 2, axis=1))[:, ::2]
    assert not folded.flags.c_contiguous
    check_many(network(), [{"seed": 1}], data=(folded, Y), validation=(folded[::2], Y[::2]))
    check_many(network(), [{"seed": 1}], data=(folded, Y), validation=0.4)


def test_shuffles_are_those_of_numpy() -> None:
    for rows in (np.arange(0), np.arange(1), np.arange(2), np.arange(70_000), np.arange(9, 400)):
        for seed, stream in ((0, 2**32 + 1), (2**63 - 1, 2**32 + 7)):
            generator = np.random.Generator(np.random.Philox(key=[seed, stream]))
            assert (shuffled(rows, seed, stream) == generator.permutation(rows)).all()


def test_another_numpy_shuffles_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = copy.copy(training_loop._compiled())
    assert loop.agrees
    loop.agrees = False
    monkeypatch.setattr(training_loop, "_compiled", lambda: loop)
    check_many(network(), [{"seed": 1}, {"seed": 2}], validation=(X[:9], Y[:9]))


@pytest.mark.parametrize(
    "name", [name for name in optimizer_names() if not isinstance(optimizer(name), FullBatch)]
)
def test_numbers_do_not_change_the_step(name: str) -> None:
    """Where two optimizers have one shape, they have one graph."""
    method = optimizer(name)
    changed: optim.Optimizer = method
    for number, value in method.hyper().items():
        if 0 < value < 1:
            changed = with_number(changed, number, value * 0.9)
    assert changed != method
    assert shape_of(changed) == shape_of(method)
    graphs = [
        str(record_step(network(), objective("cross_entropy"), one, (), Part(X, Y)).graph)
        for one in (method, changed)
    ]
    assert graphs[0] == graphs[1]


def test_shapes_tell_apart_what_needs_other_code() -> None:
    shapes = [
        shape_of(one)
        for one in (
            optim.SGD(0.1), optim.SGD(0.1, momentum=0.9), optim.SGD(0.1, 0.9, nesterov=True),
            optim.SGD(optim.Cosine(0.1)), optim.SGD(1.0), optim.chain(optim.SGD(0.1)),
            optim.Piecewise([0.1, 0.2], at=[3]), optim.Piecewise([0.1, 0.3], at=[3]),
            nn.L1(0.1), nn.L2(0.1), nn.L2(0.0), {"a": nn.L2(0.1)}, {"b": nn.L2(0.1)}, None,
        )
    ]  # fmt: skip
    assert len(set(shapes)) == len(shapes)
    assert shape_of(optim.SGD(0.1)) == shape_of(optim.SGD(0.2))
    assert shape_of({"a": nn.L2(0.1)}) == shape_of({"a": nn.L2(0.2)})


# --- trainings that diverge ------------------------------------------------------------------


def test_one_that_diverges_does_not_end_the_others() -> None:
    y = X[:, :1].astype("float32")
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)])
    rates = [{"learning_rate": r, "seed": s} for s, r in enumerate((0.01, 1e12, 0.02))]
    given = {**USUAL, "loss": "mse", "epochs": 4}
    runs = cr.fit_many(model, (X, y), rates, optimizer=optim.SGD(), progress=False, **given)
    assert runs.diverged.tolist() == [False, True, False]
    assert np.isfinite(runs.losses).all(axis=1).tolist() == [True, False, True]
    for i in (0, 2):
        single = {"optimizer": optim.SGD(rates[i]["learning_rate"]), "seed": i}
        check_same(runs[i], alone(model, single, (X, y), **given))
    with pytest.raises(cr.DivergedError) as ours:
        runs[1]
    with pytest.raises(cr.DivergedError) as theirs:
        alone(model, {"optimizer": optim.SGD(1e12), "seed": 1}, (X, y), **given)
    assert str(ours.value) == str(theirs.value)
    assert ours.value.run is not None
    assert theirs.value.run is not None
    first = weights(ours.value.run)["0.weight"], weights(theirs.value.run)["0.weight"]
    assert (first[0] == first[1]).all()  # both are what its seed drew
    assert sorted(runs.ranking()) == [0, 2]
    assert "1 diverged" in repr(runs)
    assert runs.outputs(X).shape == (2, 50, 1)
    only = cr.fit_many(model, (X, y), rates[1:2], optimizer=optim.SGD(), progress=False, **given)
    for ask in (only.best, lambda: only.predict(X), lambda: list(only)):
        with pytest.raises(cr.DivergedError):
            ask()
    assert "best" not in repr(only)


def test_weights_that_the_loss_does_not_show() -> None:
    """The last step of all breaks a weight, and every loss before it is finite."""
    given = {**USUAL, "epochs": 1, "batch_size": 50, "regularizer": nn.L2(100.0)}
    rates = [{"learning_rate": r} for r in (0.1, 3e38)]
    runs = cr.fit_many(network(), (X, Y), rates, optimizer="sgd", progress=False, **given)
    assert runs.diverged.tolist() == [False, True]
    with pytest.raises(cr.DivergedError, match=r"0.weight became -?(inf|nan)"):
        runs[1]


def test_a_score_that_is_not_finite_is_a_divergence() -> None:
    held = np.full((3, 4), 3e38, "float32")
    given = {**USUAL, "validation": (held, Y[:3])}
    model = nn.Sequential([nn.Linear(4, 3)])
    runs = cr.fit_many(model, (X, Y), 1, progress=False, **given)
    with pytest.raises(cr.DivergedError, match="val_loss"):
        alone(model, {"seed": 0}, **given)
    assert runs.diverged.tolist() == [True]


# --- what is returned ------------------------------------------------------------------------


def test_columns_ranking_and_best() -> None:
    rates = [{"seed": s, "learning_rate": r} for s in (1, 2) for r in (1e-4, 0.05)]
    runs = cr.fit_many(network(), (X, Y), rates, validation=(X, Y), progress=False, **USUAL)
    assert runs.losses.shape == (4, 3)
    assert (runs.scores("val_loss")[1] == runs[1].history["val_loss"]).all()
    last = runs.scores("val_loss")[:, -1]
    assert runs.ranking() == np.argsort(last).tolist()
    accurate = runs.scores("val_accuracy")[:, -1]
    assert accurate[runs.ranking("val_accuracy")[0]] == accurate.max()
    assert runs.best().history["val_loss"][-1] == last.min()
    assert [run.settings["seed"] for run in runs] == [1, 1, 2, 2]
    assert [run.settings["seed"] for run in runs[1:3]] == [1, 2]
    assert runs[-1].settings["seed"] == 2
    assert runs.weights("2.bias").shape == (4, 3)
    assert (runs.weights("2.bias")[3] == weights(runs[3])["2.bias"]).all()
    with pytest.raises(IndexError):
        runs[4]
    with pytest.raises(cr.OptionError, match=r"no 'val_acuracy'\. Did you mean 'val_accuracy'"):
        runs.scores("val_acuracy")
    with pytest.raises(cr.OptionError, match=r"no parameter '0.weigt'\. Did you mean '0.weight'"):
        runs.weights("0.weigt")
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        runs.fit  # noqa: B018
    assert repr(runs).startswith("4 trainings of 3 epochs\n  best val_loss: ")


def test_each_run_has_a_model_of_its_own() -> None:
    model = network()
    runs = cr.fit_many(model, (X, Y), 2, progress=False, **USUAL)
    first = runs[0]
    weights(first)["0.weight"][...] = 7
    assert not (weights(runs[0])["0.weight"] == 7).any()
    runs.weights("0.weight")[...] = 7
    assert not (runs.weights("0.weight") == 7).any()
    assert not any(p.assigned for p in nn.parameters(model).values())


def test_runs_can_be_pickled_and_copied() -> None:
    runs = cr.fit_many(network(), (X, Y), 3, validation=0.2, progress=False, **USUAL)
    for other in (pickle.loads(pickle.dumps(runs)), copy.deepcopy(runs)):
        check_same(other[1], runs[1])
        assert (other.losses == runs.losses).all()
        assert (other.predict(X) == runs.predict(X)).all()


@pytest.mark.parametrize(
    ("loss", "outputs", "target", "combined"),
    [
        ("cross_entropy", 3, Y, lambda runs: np.mean(
            [run.predict_proba(X) for run in runs], axis=0).argmax(axis=1)),
        ("multiclass_hinge", 3, Y, lambda runs: np.mean(
            [run.outputs(X) for run in runs], axis=0).argmax(axis=1)),
        ("binary_cross_entropy", 1, Y > 0, lambda runs: (np.mean(
            [run.predict_proba(X) for run in runs], axis=0) > 0.5).astype(int)),
        ("mse", 1, X[:, 0], lambda runs: np.mean([run.predict(X) for run in runs], axis=0)),
    ],
)  # fmt: skip
def test_predictions_of_all_together(
    loss: str, outputs: int, target: Array, combined: Callable[[Any], Array]
) -> None:
    model = nn.Sequential([nn.Linear(4, outputs)])
    runs = cr.fit_many(model, (X, target), 4, progress=False, **{**USUAL, "loss": loss})
    found, wanted = runs.predict(X), combined(runs)
    assert found.shape == wanted.shape == (50,)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert (runs.outputs(X)[2] == runs[2].outputs(X)).all()


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        ([], "no variations"),
        (0, "variations must be a positive integer"),
        ({"seed": 1}, "variations must be a list of dictionaries"),
        ("seed", "variations must be a list of dictionaries"),
        (None, "variations must be a list of dictionaries"),
        ([{}, 3], r"variation 1: must be a dictionary such as \{\"seed\": 1\}, not 3"),
        ([{"sed": 3}], "variation 0: there is no 'sed' to vary.*Did you mean 'seed'"),
        ([{"learning_rat": 3}], "Did you mean 'learning_rate'"),
        ([{1: 3}], "there is no 1 to vary"),
        ([{}, {"learning_rate": -1.0}], "variation 1: Adam: learning_rate must be in"),
        ([{"seed": -1}], "variation 0: seed must be an integer"),
        ([{"seed": 1.5}], "variation 0: seed must be"),
        ([{"optimizer": "adm"}], "variation 0: .*Did you mean 'adam'"),
        ([{"optimizer": optim.Adam}], r"variation 0: optimizer is the class Adam; call it"),
        ([{"optimizer": optim.LBFGS()}], "LBFGS uses all rows"),
        ([{"learning_rate": optim.ReduceOnPlateau(0.1)}], "ReduceOnPlateau"),
        ([{"held_out": [1]}, {}], "variation 1 has no 'held_out'"),
        ([{"regularizer": 3.0}], "regularizer must be a function"),
    ],
)
def test_variations_that_mean_nothing(variations: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        cr.fit_many(network(), (X, Y), variations, progress=False, **USUAL)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "'rows' must be the numbers"),
        ([0.5], "'rows' must be the numbers"),
        ([[1]], "'rows' must be the numbers"),
        (3, "'rows' must be the numbers"),
        ([1, 50], "'rows' has row 50; rows are numbered 0 to 49"),
        ([-1], "'rows' has row -1"),
        (np.ones(49, bool), "mask of all 50 rows"),
    ],
)
def test_rows_that_are_not_there(rows: Any, message: str) -> None:
    with pytest.raises(cr.DataError, match=f"variation 0: {message}" if "mask" not in message
                       else message):  # fmt: skip
        cr.fit_many(network(), (X, Y), [{"rows": rows}], progress=False, **USUAL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": 3}, "same number of epochs"),
        ({"learning_rate": 0.1}, "Vary it"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"epochs": 0}, "fit_many: epochs must be a positive integer"),
        ({"batch_size": 0}, "fit_many: batch_size must be"),
        ({"threads": 0}, "fit_many: threads must be"),
        ({"seed": -1}, "fit_many: seed must be"),
        ({"validation": 1.5}, "validation must be a pair"),
        ({"validation": True}, "validation must be a pair"),
        ({"engine": "nativ"}, "Did you mean 'native'"),
        ({"loss": "crossentropy"}, "Did you mean 'cross_entropy'"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        cr.fit_many(network(), (X, Y), 2, **{**USUAL, "progress": False, **options})


def test_rows_are_held_out_in_one_way() -> None:
    given = [{"rows": [1, 2], "held_out": [3]}]
    with pytest.raises(cr.OptionError, match="either validation or 'held_out' rows"):
        cr.fit_many(network(), (X, Y), given, validation=0.2, progress=False, **USUAL)


def test_a_name_that_several_parts_have() -> None:
    method = optim.groups({"0.*": optim.SGD(0.1), "*": optim.SGD(0.2)})
    with pytest.raises(cr.OptionError, match=r"could be each of .*learning_rate, .*learning_rate"):
        with_number(method, "learning_rate", 0.1)
    changed = with_number(method, "*.learning_rate", 0.3)
    assert changed.hyper()["*.learning_rate"] == 0.3
    assert changed.hyper()["0.*.learning_rate"] == 0.1
    assert math.isclose(method.hyper()["*.learning_rate"], 0.2)
