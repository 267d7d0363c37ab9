"""The folder of checkpoints: one training at a time, whatever happens to the folder meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.durable import read_folder
from chainrule.tabular import choose_settings, fit_table, read_problem
from chainrule.train.checkpoint import Checkpoint, remove_all, steps

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = X[:, 0] - X[:, 1]


def train(plan: Any, epochs: int = 4, **options: Any) -> cr.Run:
    return cr.fit(nn.Linear(3, 1), (X, Y), loss="mse", epochs=epochs, progress=False,
                  checkpoint=plan, **options)  # fmt: skip


def test_two_trainings_at_once_are_refused(tmp_path: Path) -> None:
    def begin_another(run: cr.Run, record: dict[str, Any]) -> None:
        for resume in (False, True):
            with pytest.raises(cr.RunError, match="another training is under way"):
                train(Checkpoint(tmp_path / "saved", resume=resume), epochs=9)

    # Before the first checkpoint is written.
    run = train(tmp_path / "saved", epochs=1, on_epoch=begin_another)
    assert len(run.history) == 1
    assert len(train(Checkpoint(tmp_path / "saved", resume=True), epochs=1).history) == 1


def test_a_training_that_saves_nothing_leaves_no_folder(tmp_path: Path) -> None:
    train(Checkpoint(tmp_path / "deep" / "saved", at_end=False))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_deleted_is_written_again(tmp_path: Path) -> None:
    def delete(run: cr.Run, record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            while not steps(tmp_path / "saved"):
                pass
            shutil.rmtree(tmp_path / "saved", ignore_errors=True)

    run = train(Checkpoint(tmp_path / "saved", every=2), on_epoch=delete)
    again = cr.resume(tmp_path / "saved", progress=False)
    assert (again.predict(X) == run.predict(X)).all()


def test_what_a_training_leaves_that_was_killed_before_its_first_checkpoint(
    tmp_path: Path,
) -> None:
    train(tmp_path, epochs=2)
    for path in steps(tmp_path):
        shutil.rmtree(path)
    run = train(Checkpoint(tmp_path, resume=True), epochs=3)
    assert cr.resume(tmp_path, progress=False).history["loss"] == run.history["loss"]


def test_a_change_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    train(Checkpoint("saved", every=1), on_epoch=lambda run, record: os.chdir(tmp_path / "other"))
    assert os.listdir(tmp_path / "other") == []
    assert len(steps(tmp_path / "saved")) >= 2


def test_a_table_trained_from_python_is_not_resumed_without_it(tmp_path: Path) -> None:
    problem, settings = read_problem("iris"), choose_settings(102, epochs=2, hidden=(2,))
    run = fit_table(problem, settings, progress=False, checkpoint=Checkpoint(tmp_path / "saved"))
    with pytest.raises(cr.RunError, match=r"training of a table. Go on with fit_table\("):
        cr.resume(tmp_path / "saved")
    assert "data.safetensors" not in read_folder(tmp_path / "saved" / "training")
    plan = Checkpoint(tmp_path / "saved", resume=True)
    assert fit_table(problem, settings, progress=False, checkpoint=plan).scores == run.scores


def test_folders_that_hold_something_else_say_what(tmp_path: Path) -> None:
    with pytest.raises(cr.RunError, match="there is no such directory"):
        cr.resume(tmp_path / "nowhere")
    run = train(tmp_path / "mine" / "checkpoints")
    for use in (cr.load, cr.resume):
        with pytest.raises(cr.RunError, match=r"chainrule\.resume\('.*/mine/checkpoints'\)"):
            use(tmp_path / "mine")
    with pytest.raises(cr.RunError, match=r"chainrule\.resume\('.*/mine/checkpoints'\)"):
        cr.load(tmp_path / "mine" / "checkpoints")
    with pytest.raises(cr.RunError, match=r"mine/checkpoints'\), or .* with force=True\.$"):
        run.save(tmp_path / "mine")
    run.save(tmp_path / "ended")
    with pytest.raises(cr.RunError, match=r"has ended; chainrule\.load\('.*/ended'\) reads it"):
        cr.resume(tmp_path / "ended")


def test_numbers_of_numpy_in_a_record(tmp_path: Path) -> None:
    def note(run: cr.Run, record: dict[str, Any]) -> None:
        record["mine"], record["more"] = np.float32(0.1), np.arange(2)

    run = train(Checkpoint(tmp_path, every=1), on_epoch=note)
    assert cr.resume(tmp_path, progress=False).history[1]["mine"] == run.history[1]["mine"]


def test_what_cant_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    def note(run: cr.Run, record: dict[str, Any]) -> None:
        record["mine"] = object()

    with pytest.warns(UserWarning, match="not saved") as told:
        run = train(Checkpoint(tmp_path, every=1), on_epoch=note)
    assert "not saved: TypeError: a object can't be written" in str(told[0].message)
    assert [str(one.message) for one in told][1:] == ["5 checkpoints were not saved."]
    assert told[1].filename == __file__
    assert len(run.history) == 4


def test_a_checkpoint_put_aside_comes_back(tmp_path: Path) -> None:
    """A kill between the two renames of a checkpoint that is rewritten leaves none by its name."""
    run = train(Checkpoint(tmp_path, keep=1))
    (newest,) = steps(tmp_path)
    newest.rename(tmp_path / f".{newest.name}.old")
    again = train(Checkpoint(tmp_path, keep=1, resume=True), on_epoch=lambda *args: 1 / 0)
    assert (again.predict(X) == run.predict(X)).all()


@pytest.mark.parametrize("name", ["a" * 300, "b\0c", "loop"])
def test_paths_that_cant_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    run = train(None, epochs=1)
    for use in (train, run.save, cr.load, cr.resume):
        with pytest.raises(cr.RunError, match=r"can't use|can't be the name"):
            use(tmp_path / name)
    assert os.listdir(tmp_path) == ["loop"]


def test_runs_saved_at_once_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(None, epochs=1)
    other = train(None, epochs=2)

    def slow(*args: Any) -> None:  # what is written meanwhile was not there when it was checked
        monkeypatch.undo()
        other.save(tmp_path / "run")

    monkeypatch.setattr("chainrule.core.durable._keep_others", slow)
    with pytest.raises(cr.RunError, match="File exists"):
        run.save(tmp_path / "run")
    assert len(cr.load(tmp_path / "run").history) == 2


def test_the_start_of_a_training_goes_after_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed in between leaves what can be resumed, and so be removed."""
    folder = tmp_path / "checkpoints"
    for name in ("step-000000000002", "step-000000000001", "training"):
        (folder / name).mkdir(parents=True)
    order: list[str] = []
    usual = shutil.rmtree

    def note(path: Path, **options: Any) -> None:
        order.append(path.name)
        usual(path, **options)

    monkeypatch.setattr(shutil, "rmtree", note)
    remove_all(folder)
    assert order == ["step-000000000001", "step-000000000002", "checkpoints"]
    assert not folder.exists()
