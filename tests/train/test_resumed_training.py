"""A training is resumed by the same training only, and from nothing but its own checkpoints."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.durable import read_folder, write_folder
from chainrule.train import description
from chainrule.train.checkpoint import Checkpoint, steps
from chainrule.train.directory import pack_weights, unpack_weights

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
WEIGHTS = np.linspace(0.5, 1.5, 40)
Files = dict[str, bytes]


def network() -> Any:
    return nn.Sequential([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)])


def cut_short(folder: Path, model: Any = None, data: Any = (X, Y), **options: Any) -> None:
    """Leave the checkpoints of a training that ended in the middle."""

    def cut(run: cr.Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            raise InterruptedError

    given = {"loss": "cross_entropy", "every": 1} | options
    plan = Checkpoint(folder, every=given.pop("every"))
    with pytest.raises(InterruptedError):
        cr.fit(model or network(), data, epochs=5, progress=False, on_epoch=cut, checkpoint=plan,
               **given)  # fmt: skip


def resume(folder: Path, *data: Any, **options: Any) -> cr.Run:
    return cr.resume(folder, *data, progress=False, on_epoch=lambda run, record: None, **options)


# --- another training ----------------------------------------------------------------------------


def test_another_constant_is_another_training(tmp_path: Path) -> None:
    def loss_of(last: float) -> Callable[..., Any]:
        scale = np.array([1.0] * 8 + [last], np.float32)  # a graph shows fewer numbers
        return lambda output, target: ((output - target) ** 2 * scale).mean(axis=1)

    data = (X, np.repeat(X, 3, axis=1))
    cut_short(tmp_path, nn.Linear(3, 9), data, loss=loss_of(1.0))
    with pytest.raises(cr.RunError, match="model, loss, metrics or regularizer is another"):
        resume(tmp_path, loss=loss_of(2.0))
    resume(tmp_path, loss=loss_of(1.0))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"class_weight": {0: 2.0}}, "whose sample_weight or class_weight is another"),
        ({"sample_weight": None}, "whose sample_weight or class_weight is another"),
        ({"watch": True}, "whose watch is another: False then, True now"),
    ],
)
def test_what_is_another_is_named(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    cut_short(tmp_path, sample_weight=WEIGHTS)
    options: dict[str, Any] = {"loss": "cross_entropy", "epochs": 5, "sample_weight": WEIGHTS}
    with pytest.raises(cr.RunError, match=named):
        cr.fit(network(), (X, Y), **options | changed, progress=False,
               checkpoint=Checkpoint(tmp_path, resume=True))  # fmt: skip


def test_changed_data_above_the_size_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.zeros((3 * 2**20 // 4, 32), np.float32)  # 96 MiB
    monkeypatch.setattr(description, "MOST_BYTES", 2**20)
    cut_short(tmp_path, nn.Linear(32, 1), (wide, wide[:, 0] + np.arange(len(wide)) % 2), loss="mse",
              batch_size=2**16)  # fmt: skip
    changed = wide.copy()
    changed[2**13 + 5] = 1
    with pytest.raises(cr.RunError, match="training data is another"):
        resume(tmp_path, (changed, wide[:, 0] + np.arange(len(wide)) % 2))


def test_weights_of_rows_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "MOST_BYTES", 1)
    cut_short(tmp_path, sample_weight=WEIGHTS)
    with pytest.raises(cr.OptionError, match=r"weights of the rows are not kept.*sample_weight="):
        resume(tmp_path, (X, Y))
    assert len(resume(tmp_path, (X, Y), sample_weight=WEIGHTS).history) == 5


def test_a_function_that_acted_is_asked_for(tmp_path: Path) -> None:
    cut_short(tmp_path)
    with pytest.warns(UserWarning, match="begun with on_epoch or callbacks, which are not given"):
        cr.resume(tmp_path, progress=False)
    cr.resume(tmp_path, progress=False)  # it has ended, so there is nothing left to do


# --- numbers of any kind -------------------------------------------------------------------------


def test_numbers_and_arrays_of_every_kind(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "every": np.int64(1), "class_weight": {np.int64(0): np.float32(2.0)},
        "validation": np.float32(0.2), "early_stopping": np.int64(9),
    }  # fmt: skip
    cut_short(tmp_path, data=(X.astype(">f4"), Y.astype(">i8")), **options)
    whole = cr.fit(network(), (X, Y), loss="cross_entropy", epochs=5, progress=False,
                   **{k: v for k, v in options.items() if k != "every"})  # fmt: skip
    again = resume(tmp_path)
    assert again.history["loss"] == whole.history["loss"]


def test_long_doubles_are_given_again(tmp_path: Path) -> None:
    data = (X.astype(np.longdouble), Y)
    cut_short(tmp_path, data=data)
    with pytest.raises(cr.OptionError, match="not kept"):
        resume(tmp_path)
    assert len(resume(tmp_path, data).history) == 5


# --- checkpoints whose digests are right and whose content is not --------------------------------


def about(**changes: Any) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        found = json.loads(files["progress.json"]) | changes
        found = {name: value for name, value in found.items() if value != "gone"}
        return files | {"progress.json": json.dumps(found).encode()}

    return change


def arrays(**changes: Any) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        found = unpack_weights(files["state.safetensors"], Path("state.safetensors"))
        found |= {name.replace("__", "/"): array for name, array in changes.items()}
        found = {name: array for name, array in found.items() if array is not None}
        return files | {"state.safetensors": pack_weights(found)}

    return change


@pytest.mark.parametrize(
    "change",
    [
        arrays(**{"state__parameter/0.weight": np.zeros((1, 1), np.float32)}),
        arrays(**{"state__parameter/0.weight": np.zeros((3, 4))}),
        arrays(**{"state__parameter/0.weight": None}),
        arrays(**{"best__parameter/0.weight": None}),
        arrays(state__more=np.zeros(1)),
        about(done=-5),
        about(done=40),
        about(done=8),  # without sums
        about(sums={"loss": 1.0}),
        about(epoch="x"),
        about(epoch=7),
        about(ended="gone"),
        about(rates="gone"),
        about(history=5),
        about(history=[5]),
        about(stopped=1),
        about(step="x"),
        about(best=None),
        lambda files: files | {"progress.json": b"[" * 100_000},
        lambda files: files | {"state.safetensors": b"x"},
    ],
    ids=range(20),
)
def test_a_checkpoint_that_does_not_fit(change: Callable[[Files], Files], tmp_path: Path) -> None:
    cut_short(tmp_path)
    for path in steps(tmp_path):
        write_folder(change(read_folder(path)), path)
    with pytest.raises(cr.RunError, match=r"damaged|can't be read"):
        resume(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": [1]},
        {"made_with": None},
        {"arguments": [1]},
        {"arguments": {"epochs": 5}},
        {"keep": "a"},
        {"model": {"type": "Linear", "inputs": 3, "outputs": 2_000_000_000}},
        {"frozen": 5},
        {"class_weight": 5.5},
        None,
    ],
    ids=range(9),
)
def test_a_description_that_does_not_fit(change: dict[str, Any] | None, tmp_path: Path) -> None:
    cut_short(tmp_path)
    files = read_folder(tmp_path / "training")
    found = json.loads(files["training.json"])
    for name, value in (change or {}).items():
        (found if name in found else found["arguments"])[name] = value
    text = "[" * 100_000 if change is None else json.dumps(found)
    write_folder(files | {"training.json": text.encode()}, tmp_path / "training")
    with pytest.raises((cr.RunError, cr.OptionError), match=r"training\.json|class_weight"):
        resume(tmp_path)


def test_a_network_that_is_too_large_takes_no_memory(tmp_path: Path) -> None:
    cut_short(tmp_path)
    files = read_folder(tmp_path / "training")
    found = json.loads(files["training.json"])
    text = json.dumps(found).replace(" 4", " 2000000000").encode()
    assert text != json.dumps(found).encode()
    write_folder(files | {"training.json": text}, tmp_path / "training")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((cr.RunError, cr.OptionError), match=r"training\.json"):
        resume(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


# --- standard error ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_a_training_needs_no_standard_error(where: str) -> None:
    script = (
        "import numpy as np, chainrule as cr; from chainrule import nn\n"
        "from chainrule.train import progress\n"
        "progress.QUIET_SECONDS = progress.LINE_SECONDS = -1.0\n"
        "X = np.eye(4, dtype='float32')\n"
        "run = cr.fit(nn.Linear(4, 1), (X, X[:, 0]), loss='mse', epochs=3, check=True)\n"
        "print(len(run.history))\n"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {where}', sys.executable, script], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}, check=False,
    )  # fmt: skip
    assert done.stdout == b"3\n"
