"""``chainrule train --resume``: trainings that were interrupted, killed, or are someone else's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import chainrule as cr
from chainrule.train import checkpoint
from chainrule.train.checkpoint import Saver, steps
from chainrule.train.loop import Loop

Call = Callable[..., Result]


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that lets trainings be killed after their third epoch from now on."""

    def kill(saver: Saver, kept: Any) -> None:
        save(saver, kept)
        saver.wait()
        if kept.about["epoch"] == 4:
            raise KilledError

    save = Saver.save
    return lambda: monkeypatch.setattr(Saver, "save", kill)


def history_of(folder: str | Path) -> list[dict[str, Any]]:
    clock = ("seconds", "samples_per_second")
    return [{k: v for k, v in r.items() if k not in clock} for r in cr.load(folder).history]


def assert_same_run(one: str | Path, other: str | Path) -> None:
    assert history_of(one) == history_of(other)
    for name in ("weights.safetensors", "metrics.json"):
        assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes(), name
    pipelines = [json.loads((Path(run) / "pipeline.json").read_text()) for run in (one, other)]
    for pipeline in pipelines:
        pipeline.pop("notes")  # that the target was chosen by its name is no news any more
    assert pipelines[0] == pipelines[1]


def test_a_killed_training_is_resumed(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("train", colors, "--epochs", 8, "--dropout", 0.2, "--seed", 3, "--l2", 1e-4,
             "--checkpoint-every", 1)  # fmt: skip
    assert call(*asked, "--out", "whole").exit_code == 0
    with monkeypatch.context():
        killed()
        assert isinstance(call(*asked).exception, KilledError)
    monkeypatch.undo()
    os.chdir(colors.parent)
    assert len(steps(Path("runs/colors-1/checkpoints"))) >= 2  # the newest, and the best
    again = call(*asked, "--out", "runs/colors-1")
    assert again.exit_code == 2
    assert "not finished" in again.stderr
    assert "--resume runs/colors-1" in again.stderr
    resumed = call("train", "--resume", "runs/colors-1")
    assert resumed.exit_code == 0, resumed.stderr
    assert_same_run("runs/colors-1", "whole")
    assert not Path("runs/colors-1/checkpoints").exists()
    ended = call("train", "--resume", "runs/colors-1")
    assert ended.exit_code == 2
    assert "has ended" in ended.stderr


def test_a_streamed_table_is_resumed(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("train", colors, "--epochs", 6, "--stream", "--checkpoint-every", 1)
    assert call(*asked, "--out", "whole").exit_code == 0
    killed()
    assert isinstance(call(*asked, "--out", "cut").exception, KilledError)
    monkeypatch.undo()
    os.chdir(colors.parent)
    assert call("train", "--resume", "cut").exit_code == 0
    assert_same_run("cut", "whole")


def test_a_table_that_changed_meanwhile_is_refused(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed()
    assert isinstance(
        call("train", colors, "--epochs", 8, "--checkpoint-every", 1, "--out", "cut").exception,
        KilledError,
    )
    monkeypatch.undo()
    os.chdir(colors.parent)
    words = ("--lr", 0.5, "--epochs", 8, "--seed", 1, "--threads", 1)
    other = call("train", "--resume", "cut", *words)
    assert other.exit_code == 2
    assert "no other settings than those of the training: leave out --lr, --seed." in other.stderr
    lines = colors.read_text().splitlines()
    colors.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    result = call("train", "--resume", "cut")
    assert result.exit_code == 2
    told = f"training data is another: it began with the rows that {colors} had then."
    assert told in result.stderr
    with pytest.raises(cr.RunError, match="chainrule train --resume cut"):
        cr.resume("cut/checkpoints")


def test_what_else_is_tried_on_an_unfinished_training_says_how_to_go_on(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed()
    asked = ("train", colors, "--epochs", 8, "--checkpoint-every", 1, "--out", "cut")
    assert isinstance(call(*asked).exception, KilledError)
    monkeypatch.undo()
    os.chdir(colors.parent)
    for words in (["show", "cut"], ["predict", "cut", colors], ["show", "cut/checkpoints"]):
        result = call(*words)
        assert result.exit_code == 2
        assert "not finished. Go on with it by chainrule train --resume cut." in result.stderr
    with pytest.raises(cr.RunError, match=r"Go on with it by chainrule train --resume cut\."):
        cr.resume("cut")
    colors.rename("away.csv")
    result = call("train", "--resume", "cut")
    assert result.exit_code == 2
    assert f"reads the table again from {colors}, which is gone; put it back." in result.stderr
    Path("away.csv").rename(colors)
    for path in steps(Path("cut/checkpoints")):
        (path / "state.safetensors").write_bytes(b"damaged")
    result = call("train", "--resume", "cut")
    again = "--config cut/checkpoints/training/config.toml --out cut --force"
    assert f"Begin again by chainrule train {again}." in result.stderr
    assert call("train", *again.split()).exit_code == 0


def test_nothing_to_resume(call: Call, place: Path) -> None:
    result = call("train", "--resume", "nowhere")
    assert result.exit_code == 2
    assert "there is no such directory" in result.stderr
    (place / "empty").mkdir()
    result = call("train", "--resume", "empty")
    assert result.exit_code == 2
    assert "holds no checkpoint" in result.stderr


def test_a_short_training_leaves_no_checkpoint(call: Call, colors: Path) -> None:
    assert call("train", colors, "--epochs", 3).exit_code == 0
    names = {path.name for path in Path("runs/colors-1").iterdir()}
    assert "run.json" in names
    assert "checkpoints" not in names


def test_force_begins_anew(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("train", colors, "--checkpoint-every", 1, "--out", "cut")
    killed()
    assert isinstance(call(*asked, "--epochs", 8).exception, KilledError)
    monkeypatch.undo()
    os.chdir(colors.parent)
    assert call(*asked, "--epochs", 5, "--force").exit_code == 0
    assert len(history_of("cut")) == 5


@pytest.mark.parametrize("every", ["0", "often", "-1", "1.5", "5 parsecs"])
def test_an_interval_that_is_none(call: Call, colors: Path, every: str) -> None:
    result = call("train", colors, "--checkpoint-every", every)
    assert result.exit_code == 2
    assert "must be a number of epochs, or a time such as 30s or 5m" in result.stderr


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """Let SIGINT have its usual effect, which it does not have in a test run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
@pytest.mark.filterwarnings("default:interrupted in")
def test_an_interrupted_training_is_saved_and_resumed(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C saves the best network so far, and what is needed to go on."""
    asked = ("train", colors, "--epochs", 6, "--patience", 0)
    assert call(*asked, "--out", "whole").exit_code == 0
    run_epoch = Loop._run_epoch

    def asking(loop: Loop, bar: Any, signals: Any) -> Any:
        if loop.epoch == 4:
            signal.raise_signal(signal.SIGINT)
        return run_epoch(loop, bar, signals)

    monkeypatch.setattr(Loop, "_run_epoch", asking)
    result = call(*asked, "--out", "cut")
    assert result.exit_code == 130
    on = "go on with: chainrule train --resume cut."
    where = "interrupted in epoch 4 of 6; saved in cut/checkpoints; "
    assert f"warning: {where}{on}" in result.stderr.splitlines()
    assert re.search(r"^next +chainrule train --resume cut\n\Z", result.stdout, re.M)
    monkeypatch.undo()
    os.chdir(colors.parent)
    early = cr.load("cut")
    assert early.stopped == "interrupted"
    assert len(early.history) == 3
    again = call(*asked, "--out", "cut")
    assert again.exit_code == 2
    assert "was not finished" in again.stderr
    assert "Go on with it by chainrule train --resume cut," in again.stderr
    resumed = call("train", "--resume", "cut")
    assert resumed.exit_code == 0
    assert "going on from epoch 4 of 6" in resumed.stderr
    assert_same_run("cut", "whole")


@pytest.mark.parametrize("quiet", [True, False])
def test_sigterm_exits_with_143_after_saving(tmp_path: Path, quiet: bool) -> None:
    """A process that is told to end saves, says where, and ends."""
    command = [sys.executable, "-m", "chainrule", "train", "iris", "--epochs", "200000",
               "--patience", "0", "--lr", "1e-6", "--no-check", "--out", "cut",
               "--checkpoint-every", "1", *(["--quiet"] if quiet else [])]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    while process.poll() is None and not steps(tmp_path / "cut" / "checkpoints"):
        pass
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, (out, err)
    assert "Traceback" not in err
    assert "--resume cut" in err
    newest = steps(tmp_path / "cut" / "checkpoints")[-1]
    assert not json.loads((newest / "progress.json").read_text())["ended"]


def test_a_second_training_in_the_same_directory_is_refused(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that began first is not to be replaced by the one that ends first."""
    second: list[Result] = []

    def begin_another(loop: Loop, *args: Any) -> Any:
        if not second:
            second.append(call("train", colors, "--epochs", 2, "--out", "deep/same dir"))
        return run_epoch(loop, *args)

    run_epoch = Loop._run_epoch
    monkeypatch.setattr(Loop, "_run_epoch", begin_another)
    assert call("train", colors, "--epochs", 3, "--out", "deep/same dir").exit_code == 0
    assert second[0].exit_code == 2
    assert "another training is under way in 'deep/same dir'" in second[0].stderr
    assert len(history_of("deep/same dir")) == 3
    assert os.listdir("deep") == ["same dir"]


def test_what_a_training_leaves_that_was_killed_at_once(call: Call, colors: Path) -> None:
    Path("cut/checkpoints").mkdir(parents=True)
    Path("cut/checkpoints/.lock").touch()
    for name in (".training.writing-0a1b", ".step-000000000003.writing-0a1b", "training"):
        Path("cut/checkpoints", name).mkdir()
        Path("cut/checkpoints", name, "training.json").touch()
    Path("cut/checkpoints/diverged.json").touch()
    done = call("train", colors, "--epochs", 2, "--checkpoint-every", 1, "--out", "cut")
    assert done.exit_code == 0, done.stderr
    assert not Path("cut/checkpoints").exists()


def test_what_others_keep_in_a_folder_of_that_name_stays(call: Call, colors: Path) -> None:
    Path("mine/checkpoints/training").mkdir(parents=True)
    Path("mine/checkpoints/training/weights.pt").touch()
    done = call("train", colors, "--epochs", 2, "--out", "mine")
    assert "exists and is not a chainrule run" in done.stderr
    assert Path("mine/checkpoints/training/weights.pt").exists()


@pytest.fixture
def too_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave room on the disk for what is trained, but not for its first checkpoint."""

    def full(files: Any, target: Path) -> None:
        if target.name.startswith("step-"):
            raise cr.RunError(f"can't write {str(target)!r}: No space left on device.")
        write(files, target)

    write = checkpoint.write_folder
    monkeypatch.setattr(checkpoint, "write_folder", full)


@pytest.mark.usefixtures("too_full")
@pytest.mark.filterwarnings("default:.*not saved")
def test_a_disk_too_full_for_checkpoints_keeps_the_network(call: Call, colors: Path) -> None:
    done = call("train", colors, "--epochs", 3, "--checkpoint-every", 1, "--out", "deep/full")
    assert done.exit_code == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "not saved" in line]
    assert "a checkpoint was not saved: can't write" in told[0]
    assert told[0].startswith("warning: ")
    assert told[1:] == ["warning: 3 checkpoints were not saved."]
    assert len(cr.load("deep/full").history) == 3
    assert not Path("deep/full/checkpoints").exists()


def test_a_report_too_large_for_the_disk_does_not_cost_the_network(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(run: cr.Run, place: Any, force: bool, extra: Any) -> Path:
        if "report.html" in extra:
            raise cr.RunError("can't write 'cut': File too large.")
        return save(run, place, force, extra)

    save = cr.Run.save
    monkeypatch.setattr(cr.Run, "save", full)
    done = call("train", colors, "--epochs", 2, "--out", "cut")
    assert done.exit_code == 0
    assert "saved without its report: can't write 'cut': File too large." in done.stderr
    assert len(cr.load("cut").history) == 2


def test_a_network_that_cant_be_saved_is_kept_in_its_checkpoints(
    call: Call, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise cr.RunError("can't write 'cut': No space left on device.")

    monkeypatch.setattr(cr.Run, "save", full)
    asked = ("train", colors, "--epochs", 3, "--out", "cut")
    assert "train it again with --out DIR, on another disk" in call(*asked).stderr
    failed = call(*asked, "--checkpoint-every", 1)
    assert failed.exit_code == 1
    assert "move 'cut' to another disk; chainrule train --resume" in failed.stderr
    monkeypatch.undo()
    os.chdir(colors.parent)
    Path("cut").rename("moved")
    assert call("train", "--resume", "moved").exit_code == 0
    assert len(cr.load("moved").history) == 3


def test_force_deletes_nothing_for_settings_that_are_none(
    call: Call, colors: Path, killed: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed()
    asked = ("train", colors, "--checkpoint-every", 1, "--out", "a b", "--epochs", 8)
    assert isinstance(call(*asked).exception, KilledError)
    monkeypatch.undo()
    os.chdir(colors.parent)
    assert "--resume 'a b', or" in call(*asked).stderr
    monkeypatch.setattr("chainrule.cli.train.check_settings", lambda s, task: 1 / 0 if task else 0)
    assert call(*asked, "--force").exit_code != 0
    assert steps(Path("a b/checkpoints"))


def test_sigterm_while_a_table_is_encoded_leaves_no_files(tmp_path: Path, colors: Path) -> None:
    script = (
        "import os, signal\n"
        "from chainrule.cli.commands import main\n"
        "from chainrule.data import streaming\n"
        "def ended(*args):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "streaming.store_table = ended\n"
        "main()\n"
    )
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, "train", str(colors), "--stream"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
             "TMPDIR": str(tmp_path / "tmp")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert os.listdir(tmp_path / "tmp") == []
