"""A resumed training equals, bit for bit, one that was never interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim.optimizer import OPTIMIZERS
from chainrule.optim.schedules import SCHEDULES
from chainrule.train import checkpoint, loop
from chainrule.train.checkpoint import Checkpoint, Kept, Saver, steps
from chainrule.train.run import Run

THOROUGH = pytest.mark.thorough
Make = Callable[[], Any]
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(90, 5)).astype(np.float32)
LABELS = GENERATOR.integers(0, 3, 90)
VALUES = np.tanh(X @ GENERATOR.normal(size=(5, 1))).astype(np.float32)


def some(names: list[str]) -> list[Any]:
    """Mark all but a few of the `names` as thorough."""
    few = ("adam", "momentum", "cosine", "warmup")
    return [name if name in few else pytest.param(name, marks=THOROUGH) for name in names]


class KilledError(Exception):
    """Stands for the end of the process."""


def plain() -> Any:
    return nn.Sequential([nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)])


def regression() -> Any:
    return nn.Sequential([nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)])


def history_of(run: Run) -> list[dict[str, Any]]:
    clock = ("seconds", "samples_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in run.history]


def assert_equal(run: Run, other: Run) -> None:
    """Assert that two runs are the same to the last bit, but for the seconds."""
    assert history_of(run) == history_of(other)
    assert (run.stopped, run.best_epoch) == (other.stopped, other.best_epoch)
    found, expected = nn.parameters(run.model), nn.parameters(other.model)
    assert list(found) == list(expected)
    for path, parameter in found.items():
        assert parameter.value.tobytes() == expected[path].value.tobytes(), path
    assert run.outputs(X).tobytes() == other.outputs(X).tobytes()


def kill_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Write a checkpoint after each step, and kill training after `count` of them."""
    save, left = Saver.save, [count]

    def saving(self: Saver, kept: Kept) -> None:
        save(self, kept)
        self.wait()
        left[0] -= 1
        if left[0] == 0:
            raise KilledError

    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e-9)  # the engine is called for each step
    monkeypatch.setattr(Saver, "save", saving)
    monkeypatch.setattr(Saver, "due", lambda self, epoch=None: True)


def interrupted_and_resumed(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, after: int = 4, **options: Any
) -> tuple[Run, Run]:
    """Return a run that was killed after some checkpoints and resumed, and one that was not."""
    data = options.pop("data", (X, LABELS))
    options = {"loss": "cross_entropy", "epochs": 3, "batch_size": 16, "progress": False} | options
    whole = cr.fit(make(), data, **options)
    with monkeypatch.context() as patch:
        kill_after(patch, after)
        with pytest.raises(KilledError):
            cr.fit(make(), data, **options, checkpoint=folder)
    return cr.resume(folder, progress=False), whole


@pytest.mark.parametrize("name", some(sorted(set(OPTIMIZERS) - {"lbfgs", "levenberg_marquardt"})))
def test_every_optimizer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed, whole = interrupted_and_resumed(plain, tmp_path, monkeypatch, optimizer=name)
    assert_equal(resumed, whole)


@pytest.mark.parametrize("name", some(sorted(SCHEDULES)))
def test_every_schedule(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = optim.SGD(optim.schedule(name, 0.05), momentum=0.9)
    resumed, whole = interrupted_and_resumed(plain, tmp_path, monkeypatch, optimizer=method)
    assert_equal(resumed, whole)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "method",
    [
        optim.chain(optim.ClipNorm(0.5), optim.Adam(optim.Warmup(0.01, 5)), optim.MaxNorm(2.0)),
        optim.EMA(optim.Adam(0.01), 0.9),
        optim.Accumulate(3, optim.SGD(0.1)),
        optim.groups({"0.*": optim.freeze, "*": optim.Adam(0.01)}),
        optim.SGD(optim.ReduceOnPlateau(0.5, patience=1, min_delta=0.5)),
        optim.SGD(optim.StepDecay(0.1, every=optim.epochs(1))),
        optim.SGD(optim.Piecewise((0.1, 0.01), at=(7,))),
    ],
    ids=["chain", "ema", "accumulate", "groups", "plateau", "epochs", "piecewise"],
)
def test_what_optimizers_are_made_of(
    method: optim.Optimizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, whole = interrupted_and_resumed(
        plain, tmp_path, monkeypatch, after=9, optimizer=method, validation=0.2, epochs=5
    )
    assert_equal(resumed, whole)


@pytest.mark.parametrize("method", [optim.LBFGS(), optim.LevenbergMarquardt(1e-15)])
@pytest.mark.parametrize("after", [1, 4])
def test_full_batch_methods(
    method: optim.Optimizer, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, whole = interrupted_and_resumed(
        regression, tmp_path, monkeypatch, after, optimizer=method, data=(X, VALUES), loss="mse",
        epochs=9,
    )  # fmt: skip
    assert len(whole.history) == 9
    assert_equal(resumed, whole)


def with_state() -> Any:
    return nn.Sequential([
        nn.Linear(5, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Maxout(8, 4, 2),
        nn.GaussianNoise(0.1), nn.Linear(4, 3),
    ])  # fmt: skip


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=THOROUGH)])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_layers_with_state_and_everything_that_watches(
    engine: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_ENGINE", engine)
    resumed, whole = interrupted_and_resumed(
        with_state, tmp_path, monkeypatch, after, watch=True, metrics=["accuracy"], epochs=6,
        validation=(X[:20], LABELS[:20]), early_stopping=cr.EarlyStopping(4), batch_size=7,
        regularizer={"0.*": nn.L2(1e-3)}, class_weight={0: 2.0, 2: 0.5},
        sample_weight=np.linspace(0.5, 1.5, 90),
    )  # fmt: skip
    assert_equal(resumed, whole)


def test_weights_that_were_given_and_frozen_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Any:
        model = plain()
        model.layers[0].weight.value = np.full((5, 6), 0.25)
        model.layers[0].bias.trainable = False
        return model

    resumed, whole = interrupted_and_resumed(make, tmp_path, monkeypatch)
    assert_equal(resumed, whole)
    assert not nn.parameters(resumed.model)["0.bias"].trainable


def test_it_can_be_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 4, "batch_size": 8,
                               "optimizer": "momentum", "progress": False}  # fmt: skip
    whole = cr.fit(with_state(), (X, LABELS), **options)
    kills = 0
    with monkeypatch.context() as patch:
        for _ in range(100):
            patch.undo()
            kill_after(patch, 3)
            try:
                run = cr.fit(with_state(), (X, LABELS), **options,
                             checkpoint=Checkpoint(tmp_path, resume=True))  # fmt: skip
                break
            except KilledError:
                kills += 1
    assert kills > 2
    assert_equal(run, whole)


def test_the_doctor_goes_on_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed, whole = interrupted_and_resumed(
        plain, tmp_path, monkeypatch, check=True, optimizer=optim.SGD(1e-7)
    )
    assert_equal(resumed, whole)
    assert resumed.findings is not None
    assert whole.findings is not None
    assert [f.cause for f in resumed.findings] == [f.cause for f in whole.findings]


def test_the_doctor_may_begin_to_watch_when_a_training_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "progress": False,
                               "optimizer": optim.SGD(1e-7)}  # fmt: skip
    whole = cr.fit(plain(), (X, LABELS), **options)
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(KilledError):
            cr.fit(plain(), (X, LABELS), **options, checkpoint=tmp_path)
    plan = Checkpoint(tmp_path, resume=True)
    resumed = cr.fit(plain(), (X, LABELS), **options, check=True, checkpoint=plan)
    assert_equal(resumed, whole)
    assert resumed.findings


def test_a_training_that_ended_is_returned_as_it_ended(tmp_path: Path) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 40, "progress": False,
                               "validation": 0.3, "early_stopping": 2}  # fmt: skip
    run = cr.fit(plain(), (X, LABELS), **options, optimizer=optim.Adam(0.3), checkpoint=tmp_path)
    assert run.stopped is not None
    assert_equal(cr.resume(tmp_path, progress=False), run)


# --- what is needed again ----------------------------------------------------------------------


def test_functions_of_the_users_are_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return ((output - target) ** 2).mean(axis=1)  # type: ignore[no-any-return]

    def largest(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        return abs(output - target).max(axis=1)  # type: ignore[no-any-return]

    options: dict[str, Any] = {"loss": loss, "metrics": [largest], "progress": False, "epochs": 3}
    whole = cr.fit(regression(), (X, VALUES), **options)
    kill_after(monkeypatch, 2)
    with pytest.raises(KilledError):
        cr.fit(regression(), (X, VALUES), **options, checkpoint=tmp_path)
    monkeypatch.undo()
    with pytest.raises(cr.OptionError, match=r"the loss was a function.*resume\(.*loss="):
        cr.resume(tmp_path, metrics=[largest])
    with pytest.raises(cr.OptionError, match=r"a metric was a function.*metrics="):
        cr.resume(tmp_path, loss=loss)
    resumed = cr.resume(tmp_path, loss=loss, metrics=[largest], progress=False)
    assert_equal(resumed, whole)
    with pytest.raises(cr.RunError, match="model, loss, metrics or regularizer"):
        cr.resume(tmp_path, loss=largest, metrics=[largest], progress=False)


def test_memory_mapped_data_is_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    whole = cr.fit(plain(), (mapped, LABELS), **options)
    kill_after(monkeypatch, 2)
    with pytest.raises(KilledError):
        cr.fit(plain(), (mapped, LABELS), **options, checkpoint=tmp_path / "saved")
    monkeypatch.undo()
    with pytest.raises(cr.OptionError, match=r"not kept with it.*data="):
        cr.resume(tmp_path / "saved")
    with pytest.raises(cr.RunError, match="training data is another"):
        cr.resume(tmp_path / "saved", (X + 1, LABELS), progress=False)
    assert_equal(cr.resume(tmp_path / "saved", (mapped, LABELS), progress=False), whole)


def test_a_model_that_cant_be_saved_goes_on_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Any:
        return nn.Sequential([nn.Linear(5, 3), lambda x: x * 2])

    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    warnings.simplefilter("ignore")
    whole = cr.fit(make(), (X, LABELS), **options)
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(KilledError):
            cr.fit(make(), (X, LABELS), **options, checkpoint=tmp_path)
    with pytest.raises(cr.OptionError, match=r"can't be saved.*resume=True"):
        cr.resume(tmp_path)
    again = cr.fit(make(), (X, LABELS), **options, checkpoint=Checkpoint(tmp_path, resume=True))
    assert_equal(again, whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"epochs": 9}, "number of epochs is another: 3 then, 9 now"),
        ({"seed": 1}, "seed is another: 0 then, 1 now"),
        ({"batch_size": 8}, "batch size is another"),
        ({"optimizer": "sgd"}, r"optimizer is another: Adam\(.*\) then, SGD\(.*\) now"),
        ({"optimizer": optim.Adam(0.1)}, r"another: learning rate 0\.001 then, 0\.1 now\. Give"),
        ({"early_stopping": 2}, "early stopping is another"),
        ({"validation": 0.1}, "training data is another"),
        ({"regularizer": nn.L2(0.1)}, "model, loss, metrics or regularizer is another"),
    ],
)
def test_another_training_is_refused(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    cr.fit(plain(), (X, LABELS), **options, checkpoint=tmp_path)
    plan = Checkpoint(tmp_path, resume=True)
    with pytest.raises(cr.RunError, match=named):
        cr.fit(plain(), (X, LABELS), **options | changed, checkpoint=plan)
    with pytest.raises(cr.RunError, match="holds checkpoints of another training"):
        cr.fit(plain(), (X, LABELS), **options | changed, checkpoint=tmp_path)


def test_other_versions_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 2, "progress": False}
    cr.fit(plain(), (X, LABELS), **options, checkpoint=tmp_path)
    monkeypatch.setattr(np, "__version__", "0.9")
    with pytest.warns(UserWarning, match=r"numpy [\d.]+, now 0\.9"):
        cr.resume(tmp_path, progress=False)


# --- which are kept, and damage ----------------------------------------------------------------


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    plan = Checkpoint(tmp_path, every=1, keep=2)
    saver = Saver(plan, lambda: {"training.json": b"{}"})
    best = [True, True, False, False, False, False]
    for epoch, is_best in enumerate(best, 1):
        saver.save(Kept(epoch, {"ended": False}, {"state/w": np.ones(2)}, is_best))
    saver.wait()
    assert [path.name for path in steps(tmp_path)] == [f"step-{n:012d}" for n in (2, 5, 6)]


def test_which_checkpoint_is_the_best(tmp_path: Path) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 12, "progress": False}
    run = cr.fit(plain(), (X, LABELS), **options, validation=0.3, optimizer=optim.Adam(0.3),
                 checkpoint=Checkpoint(tmp_path, every=1, keep=1))  # fmt: skip
    assert run.best_epoch < 11
    found = steps(tmp_path)
    assert len(found) == 2
    best = Kept.read(found[0])
    assert best.best
    assert best.about["epoch"] == run.best_epoch + 1


def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 3, "progress": False}
    whole = cr.fit(plain(), (X, LABELS), **options)
    kill_after(monkeypatch, 3)
    with pytest.raises(KilledError):
        cr.fit(plain(), (X, LABELS), **options, checkpoint=tmp_path)
    monkeypatch.undo()
    older, newer = steps(tmp_path)
    content = bytearray((newer / "state.safetensors").read_bytes())
    content[-3] ^= 1
    (newer / "state.safetensors").write_bytes(content)
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    with pytest.warns(UserWarning, match=f"{newer.name}.*damaged.*Going on.*{older.name}"):
        assert_equal(cr.resume(tmp_path, progress=False), whole)
    copy = tmp_path.parent / "copy"
    (copy / older.name / "progress.json").unlink()
    with pytest.raises(cr.RunError, match=r"no checkpoint in .* is whole.* in another folder"):
        cr.resume(copy, progress=False)


@pytest.mark.filterwarnings("ignore:5 checkpoints were not saved")
def test_a_full_disk_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 6, "progress": False}
    whole = cr.fit(plain(), (X, LABELS), **options)
    write, calls = checkpoint.write_folder, [0]

    def full(files: Any, target: Path) -> None:
        calls[0] += 1
        if calls[0] > 3:
            raise cr.RunError(f"can't write {str(target)!r}: No space left on device.")
        write(files, target)

    monkeypatch.setattr(checkpoint, "write_folder", full)
    plan = Checkpoint(tmp_path, every=1)
    with pytest.warns(UserWarning, match=r"not saved: can't write .*No space.*Training goes on"):
        run = cr.fit(plain(), (X, LABELS), **options, checkpoint=plan)
    monkeypatch.undo()
    assert_equal(run, whole)
    assert len(steps(tmp_path)) == 2
    run.save(tmp_path / "elsewhere")
    assert_equal(cr.resume(tmp_path, progress=False), whole)


def test_a_folder_that_cant_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.RunError, match="is a file"):
        cr.fit(plain(), (X, LABELS), loss="cross_entropy", checkpoint=tmp_path / "file" / "c")


@pytest.mark.parametrize("every", [0, -1, "0s", "soon", "5", "-3s", "nan s", "inf h", 1.5])
def test_an_interval_that_is_none(every: Any, tmp_path: Path) -> None:
    with pytest.raises(cr.OptionError, match="every"):
        Checkpoint(tmp_path, every=every)


def test_intervals() -> None:
    found = [Checkpoint("c", every=e).seconds for e in ("30s", "5m", "1.5h", "10 min", 3)]
    assert found == [30.0, 300.0, 5400.0, 600.0, None]


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(cr.RunError, match="holds no checkpoint"):
        cr.resume(tmp_path)


# --- numbers that are not finite ---------------------------------------------------------------


def test_the_step_that_broke_is_told_and_written_down(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[37] = 1e30  # its square is more than float32 holds
    with pytest.raises(cr.DivergedError) as caught:
        cr.fit(regression(), (X, values), loss="mse", batch_size=8, epochs=3, progress=False,
               optimizer="sgd", checkpoint=Checkpoint(tmp_path, every=1))  # fmt: skip
    error = caught.value
    assert error.epoch == 1
    assert 37 in error.rows
    assert len(error.rows) == 8
    assert f"epoch 1, step {error.step} (rows " in str(error)
    assert "check=True" in str(error)
    order = np.random.Generator(np.random.Philox(key=[0, 2**32 + 1])).permutation(90)
    assert list(order[8 * (error.step - 1) : 8 * error.step]) == list(error.rows)


def test_a_break_in_a_later_epoch_is_written_beside_the_checkpoints(tmp_path: Path) -> None:
    def spoil(run: Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            parameter = nn.parameters(run.model)["2.weight"]
            parameter.value = np.full(parameter.shape, 1e38)

    with pytest.raises(cr.DivergedError, match="the weights of epoch 2 are kept") as caught:
        cr.fit(regression(), (X * 10, VALUES), loss="mse", batch_size=8, epochs=4, progress=False,
               on_epoch=spoil, checkpoint=Checkpoint(tmp_path, every=1))  # fmt: skip
    error = caught.value
    assert (error.epoch, error.step) == (3, 1)
    told = json.loads((tmp_path / "diverged.json").read_text())
    assert told == {"epoch": 3, "step": 1, "rows": list(error.rows)}


# --- signals -----------------------------------------------------------------------------------

SCRIPT = """
import sys, numpy as np, chainrule as cr
from chainrule import nn
X = np.random.default_rng(0).normal(size=(400, 6)).astype("float32")
y = (X.sum(axis=1) > 0).astype(int)
model = nn.Sequential([nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)])
def on_epoch(run, record):
    if record["epoch"] == 20:
        print("going", flush=True)
plan = cr.Checkpoint(sys.argv[1], every="1h", resume=True)
run = cr.fit(model, (X, y), loss="cross_entropy", epochs=int(sys.argv[2]), on_epoch=on_epoch,
             checkpoint=plan, optimizer="momentum")
run.save(sys.argv[3])
print("saved", run.stopped)
"""


def started(folder: Path, epochs: int, out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(epochs), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_script_goes_on_from_there(number: int, tmp_path: Path) -> None:
    epochs = 40_000
    process = started(tmp_path / "saved", epochs, tmp_path / "early")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert f"go on with chainrule.resume({str(tmp_path / 'saved')!r})" in err
    if number == signal.SIGINT:  # the script goes on with the best weights so far
        assert (process.returncode, out) == (0, "saved interrupted\n")
    else:
        assert (process.returncode, out) == (-number, "")
    (found,) = steps(tmp_path / "saved")
    before = Kept.read(found)
    assert 0 < before.step < epochs * 13
    assert not before.about["ended"]


def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    slow = SCRIPT.replace('print("going", flush=True)', 'print("going", flush=True); '
                          "import time; time.sleep(60)")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(tmp_path / "saved"), "40000", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "saved interrupted\n"
    assert not (tmp_path / "saved").exists()
