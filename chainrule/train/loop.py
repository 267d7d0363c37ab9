"""The loop of a training: epochs of batches; keep the best weights, watch, stop, save.

Read next: :mod:`chainrule.train.checkpoint`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import DivergedError
from chainrule.core.wording import listed
from chainrule.doctor.watch import Watch
from chainrule.optim.plateau import improves
from chainrule.step.part import Part
from chainrule.step.probes import watch_report
from chainrule.train.callbacks import Callbacks, Gradients, Moment, batch_metrics, metrics_in
from chainrule.train.check_kept import check_kept
from chainrule.train.checkpoint import Kept, Saver
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.full_batch_program import FullBatchProgram
from chainrule.train.history import History
from chainrule.train.progress import Progress
from chainrule.train.rates import Rates
from chainrule.train.run import Run
from chainrule.train.saved_files import reading
from chainrule.train.set_up import Training
from chainrule.train.signals import Signals

__all__ = ["Loop", "OnEpoch"]

Array = np.ndarray[Any, Any]
OnEpoch: TypeAlias = "Callable[[Run, dict[str, Any]], Any]"
CHUNK_SECONDS = 0.1  # how long the engine runs before Python looks up: bar, Ctrl-C, finite loss
COPY_SHARE = 0.01  # share of the time spent on copies of the state, to go back to if it breaks
INTERRUPTED = "interrupted"

SMALLER = (
    "Lower the learning rate, standardize the inputs and (for real values) the targets, or clip "
    "gradients: optim.chain(optim.ClipNorm(1.0), ...)."
)


@dataclass
class Loop:
    """One training on its way: `done` rows of `epoch`, counted from 1, are behind it.

    `best` is the best score so far and `counted` the last one that improved by the margin of early
    stopping, each with its epoch; lower is better.
    """

    training: Training
    run: Run
    rates: Rates
    stopping: EarlyStopping | None = None
    saver: Saver | None = None
    watch: Watch | None = None
    callbacks: Callbacks = field(default_factory=Callbacks)
    epoch: int = 1
    done: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # spent on this epoch so far
    best: float = math.inf
    best_epoch: int = 0
    best_weights: dict[str, Array] = field(default_factory=dict)
    counted: float = math.inf
    counted_epoch: int = 0
    chunk: int = 1  # steps in one call of the engine
    _sound: tuple[int, int, dict[str, Array]] = (1, 0, {})  # epoch, rows done, and state then
    _copied: tuple[float, float] = (0.0, 0.0)  # when that was, and how long it took
    _asked: str | None = None  # by which callback, and where, to stop

    def train(self, bar: Progress, on_epoch: OnEpoch | None) -> None:
        """Train from where the loop is to the end, or to where something ends it."""
        self.best_weights = self._weights()
        self.training.connect()
        kept = self.saver.resumed if self.saver is not None else None
        if self.saver is not None and kept is not None:
            with reading(self.saver.path(kept)):
                self._go_on(kept)
            bar.begin(self.epoch, self.done)
            if not kept.about["ended"]:
                bar.tell([f"going on from epoch {self.epoch:,} of {self.training.epochs:,}"])
        restore = self.stopping is not None
        with Signals(terminate=self.saver is not None) as signals:
            try:
                if kept is None or not kept.about["ended"]:
                    self._train(bar, on_epoch, signals)
                self._save(ended=self.run.stopped != INTERRUPTED)
            except KeyboardInterrupt:  # in the middle of something, so nothing is saved
                self.run.stopped = INTERRUPTED
            except DivergedError as error:
                restore = True
                self._explain(error)
                raise
            except Exception:  # of a callback, which ends training as early stopping does
                restore = self.best_epoch > 0
                raise
            finally:
                if self.saver is not None:
                    self.saver.close()
                interrupted = self.run.stopped == INTERRUPTED
                restore = restore or (interrupted and self.training.held_out is not None)
                if self.run.stopped and not interrupted and not self.best_epoch:
                    restore = False  # a callback stopped the first epoch: nothing is better
                self._finish(restore)
            if interrupted:
                self._warn_of_interruption(restore)
        if self.watch is not None:
            self.watch.course.tell = bar.remark
            self.run.findings = self.watch.finish(stopped=self.run.stopped)

    def _train(self, bar: Progress, on_epoch: OnEpoch | None, signals: Signals) -> None:
        monitor = self._monitor()
        while self.epoch <= self.training.epochs:
            record = self._run_epoch(bar, signals)
            if record is None:
                self.run.stopped = self._asked or INTERRUPTED
                return
            self.run.history.append(record)
            if self.training.held_out is not None:
                scores = self.run.totals(self.training.held_out)
                record.update({f"val_{name}": value for name, value in scores.items()})
            self._check_end(monitor, record)
            self._remember(self._lower_is_better(record, monitor))
            if self.rates.look(partial(self._lower_is_better, record)):
                self._sound = (0, 0, {})
            bar.finish_epoch(record)
            if self.watch is not None:
                bar.tell(self.watch.end_epoch(record).serious)
            self.run.stopped = self._why_end(monitor, on_epoch, record)
            self.epoch, self.done, self.sums, self.seconds = self.epoch + 1, 0, {}, 0.0
            if self.run.stopped:
                break
            if self.saver is not None and self.saver.due(self.epoch - 1):
                self._save()

    def _why_end(
        self, monitor: str, on_epoch: OnEpoch | None, record: dict[str, Any]
    ) -> str | None:
        """Return why training ends after this epoch, None if it goes on."""
        program, epoch = self.training.program, self.epoch
        if on_epoch is not None and self._ask(on_epoch, record):
            return f"on_epoch asked to stop at epoch {epoch}"
        if self.callbacks and (name := self._tell("on_epoch", metrics_in(record))):
            return f"{name} asked to stop at epoch {epoch}"
        if self._asked:
            return self._asked
        if isinstance(program, FullBatchProgram) and program.reason:
            return f"{program.reason}, after {epoch} iterations"
        if self.stopping and epoch - self.counted_epoch >= self.stopping.patience:
            return self._why_stopped(self.stopping, monitor)
        return None

    def _why_stopped(self, stopping: EarlyStopping, monitor: str) -> str:
        found = "has not improved for"
        if stopping.min_delta:
            way = "rose" if self._more_is_better(monitor) else "fell"
            found = f"{way} less than {100 * stopping.min_delta:.3g} % in"
        return f"{monitor} {found} {stopping.patience} epochs; restored epoch {self.best_epoch}"

    def _ask(self, on_epoch: OnEpoch, record: dict[str, Any]) -> bool:
        """Return whether `on_epoch` ends training; weights it sets are trained on from there."""
        state, shown = self.training.program.state, self.training.step.shown
        before = {name: state[name].copy() for name in shown.values()}
        stop = on_epoch(self.run, record)
        self._sound = (0, 0, {})  # it may have set weights
        for path, name in shown.items():
            if not np.array_equal(before[name], state[name]):
                state[f"parameter/{path}"][...] = state[name]  # an average was set, not they
        return isinstance(stop, (bool, np.bool_)) and bool(stop)  # not a path, a number, a run

    @cached_property
    def _gradients(self) -> Gradients:
        return Gradients(self.training)

    @property
    def _steps(self) -> int:
        """How many steps are behind this training."""
        taken = -(-self.done // self.training.batch_size)
        return (self.epoch - 1) * self.training.steps + taken

    def _tell(self, method: str, metrics: Mapping[str, float]) -> str:
        """Tell the callbacks where training is; return the name of one that asks to stop, or ""."""
        moment = Moment(self.run, self.epoch, self._steps, metrics, None, self._gradients)
        return self.callbacks.ask(method, moment)

    def _tell_step(self, before: Mapping[str, float], rows: Array) -> None:
        """Tell the callbacks of the step that took the `rows`; `before` are the sums before it."""
        train = self.training.train
        batch = Part(train.x, train.y, rows, train.weight)
        if name := self._tell("on_step", batch_metrics(before, self.sums, batch, self.rates.now())):
            step = -(-self.done // self.training.batch_size)
            self._asked = f"{name} asked to stop at epoch {self.epoch}, step {step}"

    @contextmanager
    def telling_end(self) -> Iterator[None]:
        """Tell the callbacks when what is done in this context, the training, has ended."""
        try:
            yield
        except BaseException as error:
            self.callbacks.end(self._last_moment(error))
            raise
        self.callbacks.end(self._last_moment())

    def _last_moment(self, error: BaseException | None = None) -> Moment:
        last = self.run.history[-1] if self.run.history else {"epoch": 0}
        metrics = metrics_in(last)
        return Moment(self.run, last["epoch"], self._steps, metrics, error, self._gradients)

    def _finish(self, restore: bool) -> None:
        """Leave the model with weights of its own: the best ones, or those of the last step."""
        if restore:
            self.training.put_back(self.best_weights)
        self.run.best_epoch = self.best_epoch
        self.training.disconnect()

    def _warn_of_interruption(self, restored: bool) -> None:
        """Say where training was interrupted and how to go on, because the program goes on."""
        kept = "the weights of its last step are kept."
        if self.saver is not None:
            kept = self.saver.advice()
        elif restored and self.best_epoch:
            kept = f"the weights of epoch {self.best_epoch:,} are kept."
        elif restored:
            kept = "no epoch was completed."
        epochs = self.training.epochs
        where = f"epoch {min(self.epoch, epochs):,} of {epochs:,}"
        warnings.warn(f"interrupted in {where}; {kept}", stacklevel=5)

    def _weights(self) -> dict[str, Array]:
        """Return copies of the memory of the parameters, and of the averages that are shown."""
        kinds = {"parameter"} | {name.split("/")[0] for name in self.training.step.shown.values()}
        arenas = self.training.program.arenas
        return {kind: arenas[kind].buffer.copy() for kind in sorted(kinds)}

    def _monitor(self) -> str:
        if self.stopping and self.stopping.monitor:
            return self.stopping.monitor
        return "loss" if self.training.held_out is None else "val_loss"

    def _run_epoch(self, bar: Progress, signals: Signals) -> dict[str, Any] | None:
        """Train the rest of the epoch and return its record; None if a signal asked to end."""
        training, rows, size = self.training, len(self.training.train), self.training.batch_size
        order, before = training.order(self.epoch), self.seconds
        started = time.perf_counter()
        while self.done < rows:
            if signals.asked is not None or self._asked:
                return None
            self._copy_state()
            tick = time.perf_counter()
            chunk = 1 if self.callbacks.each_step else self.chunk
            part = order[self.done : self.done + chunk * size]
            sums, self.sums = self.sums, training.program.run(part, size, self.sums)
            self.done += len(part)
            if not math.isfinite(self.sums["loss"]):
                where = f"epoch {self.epoch}, within its first {self.done:,} rows"
                self._break_off("the loss", self.sums["loss"], where)
            if self.callbacks.each_step:
                self._tell_step(sums, part)
            bar.advance(self.epoch, self.done)
            if self.watch is not None:
                bar.tell(self.watch.look().serious)
            now = time.perf_counter()
            self.seconds = before + now - started
            steps = -(-len(part) // size)
            self.chunk = max(1, int(steps * min(4.0, CHUNK_SECONDS / max(now - tick, 1e-6))))
            if self.saver is not None and self.done < rows and self.saver.due():
                self._save()
        return self._record(rows)

    def _record(self, rows: int) -> dict[str, Any]:
        """Return the record of an epoch whose rows are done."""
        training, sums = self.training, self.sums
        record: dict[str, Any] = {
            "epoch": self.epoch,
            "loss": sums["loss"] / training.train.total_weight,
        }
        if "penalty" in sums:
            record["penalty"] = sums["penalty"] / rows
        for m in training.metrics:
            record[m.name] = m.finish(sums[m.name] / rows, training.train)
        if (rate := self.rates.now()) is not None:
            record["learning_rate"] = rate
        record["seconds"] = self.seconds
        record["samples_per_second"] = rows / self.seconds
        if sums.get("watch/rows"):  # an epoch of under ten steps may have none that is watched
            record["layers"] = watch_report(training.step.probes, sums)
        return record

    def _lower_is_better(self, record: dict[str, Any], name: str | None) -> float:
        """Return an entry of the `record` (None: the monitor), negated if higher is better."""
        name = name or self._monitor()
        return float(-record[name] if self._more_is_better(name) else record[name])

    def _more_is_better(self, name: str) -> bool:
        better = {m.name for m in self.training.metrics if m.higher_is_better}
        return name.removeprefix("val_") in better

    def _remember(self, score: float) -> None:
        """Keep a copy of the weights if this epoch is the best so far."""
        if score < self.best:  # never true of NaN, so those weights are not kept
            self.best, self.best_epoch = score, self.epoch
            self.best_weights = self._weights()
        if improves(score, self.counted, self.stopping.min_delta if self.stopping else 0.0):
            self.counted, self.counted_epoch = score, self.epoch

    # --- checkpoints -------------------------------------------------------------------------

    def _save(self, ended: bool = False) -> None:
        if self.saver is not None:
            self.saver.save(self._keep(ended))

    def _keep(self, ended: bool) -> Kept:
        """Return all that the training depends on from here."""
        program = self.training.program
        about = {
            "ended": ended, "epoch": self.epoch, "done": self.done, "sums": self.sums,
            "seconds": self.seconds, "best": self.best, "best_epoch": self.best_epoch,
            "counted": self.counted, "counted_epoch": self.counted_epoch,
            "rates": self.rates.keep(), "stopped": self.run.stopped,
            "history": list(self.run.history),
            "course": None if self.watch is None else self.watch.course.keep(),
        }  # fmt: skip
        arrays = {name: value.copy() for name, value in self._arrays("state").items()}
        arrays |= self._arrays("best")
        if isinstance(program, FullBatchProgram):
            arrays.update({f"descent/{name}": value for name, value in program.keep().items()})
        is_best = self.done == 0 and self.best_epoch == self.epoch - 1
        return Kept(int(program.state["step"]), about, arrays, is_best)

    def _arrays(self, kind: str) -> dict[str, Array]:
        """Return the arrays of a checkpoint by name, of the "state" or of the "best" weights."""
        program = self.training.program
        if kind == "state":
            return {f"state/{name}": value for name, value in program.state.items()}
        views = (program.arenas[k].named(buffer) for k, buffer in self.best_weights.items())
        return {f"best/{name}": view for named in views for name, view in named.items()}

    def _go_on(self, kept: Kept) -> None:
        """Set the loop to where it was when `kept` was saved; raises ValueError if it can't be."""
        about, training, program = kept.about, self.training, self.training.program
        arrays = self._arrays("state") | self._arrays("best")
        sums = set(training.step.graph.outputs) - set(training.step.state)
        check_kept(kept, arrays, training.epochs, len(training.train), sums)
        if isinstance(program, FullBatchProgram):
            program.go_on(kept.part("descent"))
        for name, array in arrays.items():
            array[...] = kept.arrays[name]
        for name in ("epoch", "done", "sums", "seconds", "best", "best_epoch", "counted",
                     "counted_epoch"):  # fmt: skip
            setattr(self, name, about[name])
        self.rates.go_on(about["rates"])
        self.run.stopped = about["stopped"] if about["ended"] else None
        self.run.history = History(about["history"])
        if self.watch is not None:
            # A training that the doctor did not watch before has no course to continue.
            course = about["course"] or {"moves": [], "turns": []}
            self.watch.course.go_on(self.run.history, course)

    # --- numbers that are not finite -----------------------------------------------------------

    def _copy_state(self) -> None:
        """Copy the state now and then, for :meth:`_find_step`."""
        now = time.perf_counter()
        last, took = self._copied
        if self._sound[2] and took > COPY_SHARE * (now - last):
            return
        self._sound = (self.epoch, self.done, self.training.copies())
        self._copied = (now, time.perf_counter() - now)

    def _check_end(self, monitor: str, record: Mapping[str, Any]) -> None:
        """Raise DivergedError for what the loss, taken before each update, does not show."""
        where = f"epoch {record['epoch']}"
        for name, value in self.training.not_finite():
            bad = float(value[~np.isfinite(value)].flat[0])
            self._break_off(name.removeprefix("parameter/"), bad, where)
        if math.isfinite(record[monitor]):
            return
        if monitor.removeprefix("val_") == "loss":
            self._break_off(monitor, record[monitor], where)
        where += ", though the weights are finite"
        cure = "Let the metric return a finite number for such predictions, or monitor a loss."
        self._break_off(monitor, record[monitor], where, cure)

    def _break_off(self, what: str, value: float, where: str, cure: str = SMALLER) -> None:
        """Raise DivergedError; it says in which step the numbers broke, and what is kept."""
        found = self._find_step()
        if found is not None:
            epoch, step, rows = found
            where = f"epoch {epoch}, step {step} (rows {listed(rows)})"
        kept = "no epoch was completed"
        if self.best_epoch:
            kept = f"the weights of epoch {self.best_epoch} are kept"
        error = DivergedError(f"{what} became {value} in {where}; {kept}. {cure}")
        if found is not None:
            error.epoch, error.step, error.rows = found
            if self.saver is not None:
                self.saver.note_break(*found)
        raise error

    def _find_step(self) -> tuple[int, int, tuple[int, ...]] | None:
        """Return the epoch, the step in it and the rows of the batch that broke the numbers.

        The steps since the last copy of the state are taken again, one by one.  None if no step
        breaks them.
        """
        training, program = self.training, self.training.program
        first, done, copies = self._sound
        if isinstance(program, FullBatchProgram):
            return None
        training.put_back(copies)
        for epoch in range(first, self.epoch + 1):
            end = self.done if epoch == self.epoch else len(training.train)
            order = training.order(epoch)
            for start in range(done, end, training.batch_size):
                rows = order[start : start + training.batch_size]
                loss = program.run(rows, training.batch_size)["loss"]
                if not (math.isfinite(loss) and training.finite()):
                    return epoch, start // training.batch_size + 1, tuple(map(int, rows))
            done = 0
        return None

    def _explain(self, error: DivergedError) -> None:
        """Add to the `error` what the doctor finds."""
        error.run = self.run
        if self.watch is None:
            error.args = (f"{error} With check=True the doctor says why.",)
            return
        self.run.findings = self.watch.finish(str(error))
        error.findings = self.run.findings
        if self.run.findings.serious:
            error.args = (f"{error} The doctor found: {self.run.findings[0].text}",)
