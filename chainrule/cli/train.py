"""``chainrule train``: train a network with the given options, save the run, print the results.

Options are checked before training starts; :mod:`chainrule.tabular.table_training` does the work.

Read next: :mod:`chainrule.cli.train_options`, :mod:`chainrule.cli.show`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import click

from chainrule.cli.config_file import (
    as_options,
    as_toml,
    check_resumed,
    from_anywhere,
    read_config,
    read_resumed,
)
from chainrule.cli.cured_config import CURED, cured_options, in_options, remedies_in_options
from chainrule.cli.output import SavingError, emit, tell
from chainrule.cli.runs import write_report
from chainrule.cli.show import progress_bar, show_problem, show_results
from chainrule.cli.train_options import (
    method_options,
    network_options,
    parse_devices,
    parse_every,
    parse_threshold,
    positive,
    stream_option,
    take_reading,
    test_fraction_option,
)
from chainrule.core.claim import claimed
from chainrule.core.errors import DivergedError, OptionError, RunError
from chainrule.core.wording import counted
from chainrule.doctor.remedies import described
from chainrule.insight.report.overview import REPORT
from chainrule.insight.report.remarks import warnings_on
from chainrule.interop.tensorboard import TensorBoard, tensorboard_library
from chainrule.run.program import ENGINES
from chainrule.tabular.build import check_settings
from chainrule.tabular.cross_validation import cross_validate
from chainrule.tabular.problem import Problem, fold_problems, read_problem
from chainrule.tabular.settings import Settings, choose_settings
from chainrule.tabular.suit_target import suited, task_of
from chainrule.tabular.table_training import fit_table, settings_for
from chainrule.tabular.verdict import verdict
from chainrule.train.checkpoint import TABLE, Checkpoint, remove_all, steps
from chainrule.train.directory import CHECKPOINTS, check_writable
from chainrule.train.run import Run

__all__ = ["train"]

REPLAY_SECONDS = 5.0  # a training that diverged sooner is replayed to find the step


@click.command("train")
@click.argument("source", required=False)
@click.option("--config", metavar="FILE", is_eager=True, callback=read_config,
              help="TOML file of options, such as the config.toml of a run.")  # fmt: skip
@click.option("--target", metavar="COLUMN", help="Column to predict, or several with commas  "
              "[default: the column named target, label, class or y, otherwise the "
              "last]")  # fmt: skip
@click.option("--task", type=click.Choice(["classification", "regression"]), metavar="TASK",
              help="classification or regression  [default: inferred from the target]")  # fmt: skip
@network_options
@method_options
@test_fraction_option
@click.option("--folds", type=click.IntRange(min=2), metavar="K", help="First train K times, each "
              "time on all but one of K parts of the rows, to score every row once.")  # fmt: skip
@click.option("--threshold", metavar="RULE", callback=parse_threshold, help="Of two classes, when "
              "to predict the second: balanced, f1 or cost=C (missing it costs C false alarms), "
              "chosen on validation rows; or a probability  [default: 0.5]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Seed of the split, the initial weights and the order of rows.")  # fmt: skip
@click.option("--threads", type=positive, metavar="N", help="Threads of the native engine.")
@click.option("--engine", type=click.Choice(ENGINES), metavar="ENGINE", help="auto, native, "
              "reference, or xla, which needs JAX  [default: auto]")  # fmt: skip
@click.option("--devices", metavar="N", callback=parse_devices,
              help="Devices among which --engine xla divides every batch, a number or all  "
              "[default: 1]")  # fmt: skip
@click.option(
    "--shard",
    type=click.Choice(["parameters"]),
    metavar="WHAT",
    help="parameters: divide them and the optimizer's state among the devices, too.",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16"]),
    metavar="KIND",
    help="bf16: --engine xla computes matrix products of numbers rounded to bfloat16.",
)
@stream_option
@click.option("--out", metavar="DIR", help="Where to save the run  [default: runs/NAME-1, -2, ...]")
@click.option("--force", is_flag=True, help="Replace an existing run in --out.")
@click.option("--checkpoint-every", metavar="N|TIME", default="60s", callback=parse_every,
              help="How often to save a training that is under way: a number of epochs, or a time "
              "such as 30s or 5m  [default: 60s]")  # fmt: skip
@click.option("--resume", metavar="RUN", is_eager=True, callback=read_resumed,
              help="Go on with the training in the directory RUN, which was interrupted or "
              "killed.")  # fmt: skip
@click.option("--check/--no-check", default=True, help="Whether to check the set-up, as "
              "chainrule doctor does, and to watch the layers  [default: check]")  # fmt: skip
@click.option("--cure", is_flag=True, help="If something is wrong, train again with and without "
              "each remedy, and say which helped.")  # fmt: skip
@click.option("--tensorboard", metavar="DIR", help="Write event files for TensorBoard to a folder "
              "in DIR, named like the run.")  # fmt: skip
@click.option("--report/--no-report", "wanted", default=True, help="Whether to write report.html "
              "into the run  [default: report]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print only where the run was saved; "
              "warnings go to standard error.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")
def train(
    source: str | None,
    config: str | None,
    target: str | None,
    task: str | None,
    test_fraction: float | None,
    folds: int | None,
    threshold: str | None,
    seed: int,
    threads: int | None,
    engine: str | None,
    devices: int | str | None,
    shard: str | None,
    precision: str | None,
    out: str | None,
    force: bool,
    checkpoint_every: int | str,
    resume: str | None,
    check: bool,
    cure: bool,
    tensorboard: str | None,
    wanted: bool,
    quiet: bool,
    as_json: bool,
    preprocess: list[str] | None,
    roles: dict[str, str | list[str]],
    weight: str | None,
    stream: bool | None,
    **asked: Any,
) -> int:
    """Train a network to predict one column of SOURCE, and score it on held-out rows.

    SOURCE is a built-in data set (see chainrule datasets), a CSV, TSV, Parquet or
    JSON file, plain or gzipped, or an SQL query over such files.  Every option has a
    default, chosen by the size of the data.  Ctrl-C ends training early and
    saves the best network so far; --resume goes on from there as if nothing had
    happened.

    \b
    Examples:
      chainrule train digits
      chainrule train houses.csv --target price
      chainrule train "select * from 'log.parquet' where year > 2020" --target failed
      chainrule train iris --hidden 16,16 --activation tanh --epochs 50 --out runs/small
      chainrule train digits --dropout 0.2 --schedule cosine --l2 1e-4
      chainrule train --config runs/digits-1/config.toml --seed 1
      chainrule train digits --lr 1 --cure
      chainrule train houses.csv --target price,heating
      chainrule train visits.csv --target visits --loss poisson
      chainrule train --resume runs/digits-1
    """  # noqa: D301 - \b tells click to keep the lines
    if source is None:
        raise click.UsageError("give SOURCE: a file, a data set or SQL; or --config with a source.")
    if cure and not check:
        raise click.UsageError("--cure tries what the checks find: leave --no-check out.")
    if tensorboard is not None:
        tensorboard_library()
    reading = take_reading(asked)
    if folds is not None and reading["time"] is not None:
        raise click.UsageError(
            "--folds can't be combined with --time: they would train on the future. Leave --folds "
            "out."
        )
    asked |= {"seed": seed}
    task = task or task_of(asked.get("loss"))
    check_settings(choose_settings(1, **asked), task)  # before a file is read
    if resume is not None:
        check_resumed(click.get_current_context())
        out, force = resume, True
        if os.path.isabs(source) and not os.path.exists(source):  # as config.toml names a file
            again = f"--resume reads the table again from {source}"
            raise RunError(f"{again}, which is gone; put it back.")
    if out is not None:
        check_writable(out, force, "--force")
    click.get_current_context().with_resource(_ending())
    given: dict[str, Any] = {
        "task": task, "seed": seed, "roles": roles, "preprocess": preprocess, "weight": weight,
        **reading,
    }  # fmt: skip
    problem = read_problem(
        source,
        target,
        test_fraction=0.2 if test_fraction is None else test_fraction,
        stream=stream,
        progress=not quiet,
        **given,
    )
    place = Path(out) if out is not None else _reserved(problem.name)
    _claim(place)
    if (told_place := click.get_current_context().obj) is not None:  # chainrule launch asks for it
        told_place(place)
    if out is not None:
        check_writable(out, force, "--force")
    checkpoints = place / CHECKPOINTS

    def choose(part: Problem) -> Settings:
        return settings_for(part, **asked)

    settings = choose(problem)
    several = bool(problem.pipeline.target.parts)
    if several and folds is not None:
        raise OptionError("--folds scores one target; leave the others out.")
    if folds is not None and problem.raw is None:  # streamed
        raise OptionError(
            "--folds reads the whole table, but a streamed one is too large for the memory; leave "
            "--folds out, give --no-stream, or train on some rows by a query, such as "
            "\"select * from 'FILE' using sample 100000\"."
        )
    check_settings(settings, None if several else problem.pipeline.task)
    problem = suited(problem, settings)
    if resume is None:  # replaced by --force, or of a training killed before its first checkpoint
        remove_all(checkpoints)
    if problem.own_test and test_fraction is not None:
        tell(f"note: {problem.name} has its own test set; --test-fraction is ignored.")
    if as_json and settings.batch_size > problem.rows["train"]:
        tell(
            f"note: the batch is larger than all {counted(problem.rows['train'], 'training row')}."
        )
    if not (quiet or as_json):
        show_problem(problem, settings)
        for leak in problem.leaks:
            tell(f"warning: {leak}.")
    told = {
        "source": from_anywhere(source),
        "target": problem.pipeline.target.name, "task": None if several else problem.pipeline.task,
        "test_fraction": test_fraction, "folds": folds, "threshold": threshold,
        "threads": threads, "engine": engine, "devices": devices, "shard": shard,
        "precision": precision, "stream": stream,
        "preprocess": preprocess, "weight": weight, **reading,
        "tensorboard": tensorboard and os.path.abspath(tensorboard),
        "report": None if wanted else False, "check": None if check else False,
        "checkpoint_every": None if checkpoint_every == "60s" else checkpoint_every,
        "role": [f"{k}={'<'.join(v) if isinstance(v, list) else v}" for k, v in roles.items()],
    }  # fmt: skip
    written = as_toml(told | as_options(settings), "chainrule train --config THIS_FILE repeats it.")
    plan = Checkpoint(
        checkpoints, checkpoint_every, resume=resume is not None, at_end=False,
        told=f"go on with: chainrule train --resume {shlex.quote(str(place))}",
        files={"config.toml": written, TABLE: str(told["source"])},
    )  # fmt: skip
    watching = []
    if tensorboard is not None:
        watching = [TensorBoard(Path(tensorboard) / place.name, settings=settings.plain())]
    crossed = None
    if folds is not None:
        try:
            with progress_bar("folds") as bar:
                crossed = cross_validate(
                    fold_problems(source, target, folds=folds, **given), choose, threads=threads,
                    engine=engine, devices=devices, shard=shard, precision=precision,
                    threshold=threshold, watch=bar,
                )  # fmt: skip
        except KeyboardInterrupt as stop:
            at = str(stop) or "interrupted in the folds"
            tell(f"{at}; nothing was saved, as the network to save is trained after the folds.")
            return 130
    try:
        run = fit_table(
            problem, settings, threads=threads, engine=engine, devices=devices, shard=shard,
            precision=precision, progress=not quiet, check=check, checkpoint=plan,
            threshold=threshold, callbacks=watching,
        )  # fmt: skip
    except DivergedError as error:
        if check and quiet:
            tell(str(error.run.findings))
        if check and _seconds(error.run) < REPLAY_SECONDS:
            with suppress(OptionError):  # a method that can't be replayed
                tell(str(error.run.breakdown()))
        for line in remedies_in_options(error.findings, settings, problem, preprocess):
            tell(line)
        if check and cure:
            tell(f"\n{error.run.trial()}")
            _cured(error.run, problem, settings, told, None)
        raise
    run.scores |= {} if crossed is None else {"cross_validation": crossed}
    for finding in run.findings.serious if quiet and run.findings else ():
        tell(str(finding))
    for line in remedies_in_options(run.findings or (), settings, problem, preprocess):
        tell(line)
    interrupted = run.stopped == "interrupted"
    if not run.history:
        kept = "." if checkpoints.exists() else "; nothing was saved."
        tell(f"interrupted before the first epoch ended{kept}")
        return 130
    files = {"config.toml": written}
    trying = cure and run.findings and run.findings.serious and not interrupted
    if wanted and not trying:  # the report tells of a trial, and is written after it
        files |= write_report(run, problem)
    if not steps(checkpoints):  # what is there of one takes space, and can't be gone on with
        remove_all(checkpoints)
    saved, failure = _save(run, place, files, force)
    if saved is not None and not interrupted:
        remove_all(checkpoints)
    if trying:  # a trial takes time, so the training was saved before it
        tell(f"\n{run.trial()}")
        files |= _cured(run, problem, settings, told, saved)
        if saved is not None:
            files |= write_report(run, problem) if wanted else {}
            run.save(saved, force=True, extra=files)
    if as_json:
        emit(json.dumps(_summary(run, problem, saved)) + "\n")
    elif quiet:
        emit(f"{saved}\n" if saved else "")
    else:
        show_results(run, saved)
    for warning in warnings_on(run):
        tell(f"warning: {warning}")
    if (judged := verdict(run.scores)).text and not (judged.poor or quiet):
        tell(f"note: {judged.text}")
    if failure is not None:
        if steps(checkpoints):
            how = (
                f"Its training is kept: make space, or move {str(place)!r} to another disk; "
                "chainrule train --resume with this directory then saves the network."
            )
        else:
            how = "To save it elsewhere, train it again with --out DIR, on another disk."
        raise SavingError(f"the network was trained but not saved: {failure} {how}") from failure
    return 130 if interrupted else 0


def _cured(
    run: Run, problem: Problem, settings: Settings, told: Mapping[str, Any], saved: str | None
) -> dict[str, str]:
    """Return cured.toml, with the change of the best remedy made, and tell how to use it.

    Without a remedy that helped it is empty, as where no option makes the change.
    """
    best = run.remedies.best if run.remedies else None
    if best is None:
        return {}
    what = described(best.change)
    try:
        changed, names = cured_options(best.change, settings, problem, told["preprocess"])
    except OptionError as error:
        tell(f"There is no cured.toml with {what}: {error}")
        return {}
    options = {**told, "preprocess": names, **as_options(changed)}
    if saved is None:
        words = in_options(best.change, settings, problem, told["preprocess"])
        tell(f"To train with {what}: give chainrule train {words}.")
        return {}
    tell(f"To train with {what}: chainrule train --config {Path(saved) / CURED}")
    return {CURED: as_toml(options, f"chainrule train --config THIS_FILE trains with {what}.")}


def _seconds(run: Run) -> float:
    return float(sum(record["seconds"] for record in run.history))


def _free(name: str) -> Iterator[Path]:
    """Yield the directories ``runs/NAME-1``, ``-2``, ... that do not exist."""
    for k in count(1):
        path = Path("runs") / f"{name}-{k}"
        if not path.exists():
            yield path


def _reserved(name: str) -> Path:
    """Make the first free directory for a run, so that no other training takes it meanwhile.

    At the end of the command it is removed if it is empty.
    """
    for place in _free(name):
        check_writable(place, False, "--force")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        click.get_current_context().call_on_close(partial(_remove_empty, place, place.parent))
        return place
    raise AssertionError("there is always a free number")


def _claim(place: Path) -> None:
    """Keep other trainings away from the directory `place` until the end of this command."""
    target = Path(os.path.realpath(place))
    made = [path for path in target.parents if not path.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    context = click.get_current_context()
    context.call_on_close(partial(_remove_empty, *made))
    refusal = f"another training is under way in {str(place)!r}; give another directory."
    context.with_resource(claimed(target.parent / f".{target.name}.lock", refusal))


def _remove_empty(*places: Path) -> None:
    with suppress(OSError):
        for place in places:
            place.rmdir()


@contextmanager
def _ending() -> Iterator[None]:
    """Let SIGTERM end the process with status 143, after the training has been saved."""
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _save(
    run: Run, place: Path, extra: Mapping[str, str], force: bool
) -> tuple[str | None, RunError | None]:
    """Save the run, without its report if need be; return its directory, or why that failed."""
    # Beside its own checkpoints, but in the place of a run only if that was asked for.
    force = force or not (place / "run.json").exists()
    try:
        return str(run.save(place, force, extra)), None
    except RunError as error:
        failure = error
    if REPORT in extra:  # which may be larger than the network
        with suppress(RunError):
            few = {name: text for name, text in extra.items() if name != REPORT}
            saved = str(run.save(place, force, few))
            tell(f"warning: the run was saved without its report: {failure}")
            return saved, None
    return None, failure


def _summary(run: Run, problem: Problem, saved: str | None) -> dict[str, Any]:
    return {
        "run": saved,
        "data": problem.name,
        **run.scores,
        "settings": run.settings,
        "notes": list(problem.pipeline.notes),
        "findings": [] if run.findings is None else run.findings.to_json(),
        "remedies": [] if run.remedies is None else run.remedies.to_json(),
        "warnings": warnings_on(run),
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "stopped": run.stopped,
        "seconds": round(sum(record["seconds"] for record in run.history), 3),
    }
