"""The loop over the epochs of a training in machine code: shuffle, steps, scores, and again.

One call is a whole training, which holds no interpreter lock, so that trainings run side by side
in the threads of one process.  The loop is the same code for every step: it calls the compiled
step, and the compiled function that scores rows held out, through their addresses.

Read next: :mod:`chainrule.train.many`, which fills in what each training starts from.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from functools import cache as remembered
from time import perf_counter
from typing import Any

import llvmlite
import numpy as np
from llvmlite import ir

from chainrule.run.arena import group
from chainrule.run.llvm import cache
from chainrule.run.llvm.caller import Caller, address_of
from chainrule.run.llvm.code import NativeCode, link, object_code
from chainrule.run.llvm.instructions import I32, I64, least, loop
from chainrule.run.llvm.machine import host_features, host_name, host_target

__all__ = ["NativeTrainer", "shuffled"]

Array = np.ndarray[Any, Any]
NUMBERS = I64.as_pointer()
# The pass of an epoch: `rows` numbers of `order` go through `steps`, `block` at a time, and their
# sums are added to a line of `totals`.
PASS = (
    "steps", "table", "arrivals", "order", "rows", "batch", "block", "sums", "width", "totals",
    "loss",
)  # fmt: skip
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # of Philox-4x64
KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10
CALL_SECONDS = 0.2  # of a call, after which Python may end the training
WORDS = 8  # of 32 bits, that one block of Philox gives


def _signed(number: int) -> ir.Constant:
    return I64(number - 2**64 if number >= 2**63 else number)


def _function(module: ir.Module, name: str, result: ir.Type, *types: ir.Type) -> Any:
    function = ir.Function(module, ir.FunctionType(result, types), name)
    if name not in ("epochs", "shuffle"):
        function.linkage = "internal"
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _emit_philox(module: ir.Module) -> ir.Function:
    """Emit the random words of a block: Salmon, Moraes, Dror and Shaw, SC 2011."""
    function, b = _function(module, "philox", ir.VoidType(), I64, I64, I64, NUMBERS)
    number, *keys, words = function.args
    wide = ir.IntType(128)
    block = [number, I64(0), I64(0), I64(0)]
    for turn in range(ROUNDS):
        if turn:
            keys = [b.add(k, _signed(step)) for k, step in zip(keys, KEY_STEPS, strict=True)]
        products = [
            b.mul(b.zext(block[2 * i], wide), ir.Constant(wide, MULTIPLIERS[i])) for i in (0, 1)
        ]
        low = [b.trunc(p, I64) for p in products]
        high = [b.trunc(b.lshr(p, ir.Constant(wide, 64)), I64) for p in products]
        block = [
            b.xor(b.xor(high[1], block[1]), keys[0]), low[1],
            b.xor(b.xor(high[0], block[3]), keys[1]), low[0],
        ]  # fmt: skip
    for i, word in enumerate(block):
        b.store(word, b.gep(words, [I64(i)]))
    b.ret_void()
    return function


def _emit_shuffle(module: ir.Module, philox: ir.Function) -> ir.Function:
    """Emit ``shuffle(order, source, rows, seed, stream)``, which does what NumPy does.

    That is ``Generator(Philox(key=[seed, stream])).permutation(source)``.
    """
    types = NUMBERS, NUMBERS, I64, I64, I64
    function, b = _function(module, "shuffle", ir.VoidType(), *types)
    order, source, rows, seed, stream = function.args
    block = b.alloca(ir.ArrayType(I64, WORDS // 2))
    first = b.bitcast(block, NUMBERS)
    words = b.bitcast(block, I32.as_pointer())
    place, number = b.alloca(I64), b.alloca(I64)
    b.store(I64(WORDS), place)
    b.store(I64(0), number)
    with loop(b, I64(0), rows) as i:
        b.store(b.load(b.gep(source, [i])), b.gep(order, [i]))
    with loop(b, I64(1), rows) as k:
        i = b.sub(rows, k)
        mask = b.trunc(b.lshr(I64(-1), b.ctlz(i, ir.Constant(ir.IntType(1), 1))), I32)
        again, found = b.append_basic_block("again"), b.append_basic_block("found")
        b.branch(again)
        b.position_at_end(again)
        with b.if_then(b.icmp_signed("==", b.load(place), I64(WORDS)), likely=False):
            b.store(b.add(b.load(number), I64(1)), number)
            b.call(philox, [b.load(number), seed, stream, first])
            b.store(I64(0), place)
        at = b.load(place)
        b.store(b.add(at, I64(1)), place)
        drawn = b.zext(b.and_(b.load(b.gep(words, [at])), mask), I64)
        b.cbranch(b.icmp_signed("<=", drawn, i), found, again)
        b.position_at_end(found)
        here, there = b.gep(order, [i]), b.gep(order, [drawn])
        held = b.load(here)
        b.store(b.load(there), here)
        b.store(held, there)
    b.ret_void()
    return function


def _emit_pass(module: ir.Module) -> ir.Function:
    """Emit ``pass(fields, epoch)``, which returns whether the loss of the epoch is finite."""
    function, b = _function(module, "pass", ir.IntType(1), NUMBERS, I64)
    fields, epoch = function.args
    f = {name: b.load(b.gep(fields, [I64(i)])) for i, name in enumerate(PASS)}
    table = ir.IntType(8).as_pointer().as_pointer()
    types = [table, NUMBERS, *[I64] * 5, I32.as_pointer()]
    steps = b.inttoptr(f["steps"], ir.FunctionType(ir.VoidType(), types).as_pointer())
    table, arrivals = b.inttoptr(f["table"], table), b.inttoptr(f["arrivals"], types[-1])
    order = b.inttoptr(f["order"], NUMBERS)
    sums, totals = (b.inttoptr(f[n], ir.DoubleType().as_pointer()) for n in ("sums", "totals"))
    line = b.gep(totals, [b.mul(epoch, f["width"])])
    with loop(b, I64(0), f["rows"], f["block"]) as start:
        count = least(b, f["block"], b.sub(f["rows"], start))
        with loop(b, I64(0), f["width"]) as j:
            b.store(ir.Constant(ir.DoubleType(), 0.0), b.gep(sums, [j]))
        b.call(
            steps,
            [table, b.gep(order, [start]), count, f["batch"], I64(0), I64(0), I64(1), arrivals],
        )
        with loop(b, I64(0), f["width"]) as j:
            place = b.gep(line, [j])
            b.store(b.fadd(b.load(place), b.load(b.gep(sums, [j]))), place)
    loss = b.load(b.gep(line, [f["loss"]]))
    b.ret(b.fcmp_ordered("==", b.fsub(loss, loss), ir.Constant(ir.DoubleType(), 0.0)))
    return function


def _emit_finite(module: ir.Module) -> ir.Function:
    """Emit ``finite(spans, count)``: a span is an address, a number of floats and their bytes."""
    function, b = _function(module, "finite", ir.IntType(1), NUMBERS, I64)
    spans, count = function.args
    broken = b.alloca(ir.IntType(1))
    b.store(ir.IntType(1)(0), broken)
    with loop(b, I64(0), b.mul(count, I64(3)), 3) as i:
        address, size, width = (b.load(b.gep(spans, [b.add(i, I64(k))])) for k in range(3))
        for kind, exponent in ((I32, 0x7F800000), (I64, 0x7FF0000000000000)):
            with b.if_then(b.icmp_signed("==", width, I64(kind.width // 8))):
                floats = b.inttoptr(address, kind.as_pointer())
                with loop(b, I64(0), size) as j:
                    bits = b.and_(b.load(b.gep(floats, [j])), kind(exponent))
                    bad = b.icmp_unsigned("==", bits, kind(exponent))
                    b.store(b.or_(b.load(broken), bad), broken)
    b.ret(b.not_(b.load(broken)))
    return function


def _emit() -> ir.Module:
    """Return the module with the entries ``epochs`` and ``shuffle``.

    ``i64 epochs(i64* training, i64* scoring, i64* source, i64 seed, i64 stream, i64 first,
    i64 end, i64* spans, i64 count)`` runs the epochs first, ..., end - 1, of which the first in
    the training shuffles by `stream`, and returns the one in which the loss, the loss of
    `scoring` or a number of the `count` spans was not finite, or else `end`.  Without `source`
    the order is left as it is; `scoring` may be null.
    """
    module = ir.Module("training_loop")
    shuffle = _emit_shuffle(module, _emit_philox(module))
    one_pass, finite = _emit_pass(module), _emit_finite(module)
    types = [NUMBERS, NUMBERS, NUMBERS, I64, I64, I64, I64, NUMBERS, I64]
    function, b = _function(module, "epochs", I64, *types)
    training, scoring, source, seed, stream, first, end, spans, count = function.args
    null = ir.Constant(NUMBERS, None)
    order = b.inttoptr(b.load(b.gep(training, [I64(PASS.index("order"))])), NUMBERS)
    rows = b.load(b.gep(training, [I64(PASS.index("rows"))]))
    with loop(b, first, end) as epoch:
        with b.if_then(b.icmp_unsigned("!=", source, null)):
            b.call(shuffle, [order, source, rows, seed, b.add(stream, epoch)])
        with b.if_then(b.not_(b.call(one_pass, [training, epoch]))):
            b.ret(epoch)
        scores = b.if_then(b.icmp_unsigned("!=", scoring, null))
        with scores, b.if_then(b.not_(b.call(one_pass, [scoring, epoch]))):
            b.ret(epoch)
        with b.if_then(b.not_(b.call(finite, [spans, count]))):
            b.ret(epoch)
    b.ret(end)
    return module


class _Loop:
    """The compiled loop, and whether its shuffles are those of this version of NumPy."""

    def __init__(self) -> None:
        module = str(_emit())
        machine = (host_target(), host_name(), host_features(), llvmlite.__version__)
        key = cache.key_of("training_loop", module, machine)
        code = cache.read(key)
        if code is None:
            code = object_code(module)
            cache.write(key, code)
        self.engine = link(code)
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        kind = ctypes.CFUNCTYPE(number, pointer, pointer, pointer, *[number] * 4, pointer, number)
        self.epochs = kind(self.engine.get_function_address("epochs"))
        kind = ctypes.CFUNCTYPE(None, pointer, pointer, *[number] * 3)
        self.shuffle: Callable[..., None] = kind(self.engine.get_function_address("shuffle"))
        source = np.arange(1000, 2000)
        generator = np.random.Generator(np.random.Philox(key=[7, 2**32 + 3]))
        self.agrees = np.array_equal(
            self._shuffled(source, 7, 2**32 + 3), generator.permutation(source)
        )

    def _shuffled(self, source: Array, seed: int, stream: int) -> Array:
        order = np.empty_like(source)
        self.shuffle(address_of(order), address_of(source), len(source), seed, stream)
        return order


@remembered
def _compiled() -> _Loop:
    return _Loop()


def shuffled(rows: Array, seed: int, stream: int) -> Array:
    """Return `rows` (int64) as ``Generator(Philox(key=[seed, stream])).permutation`` orders them.

    >>> shuffled(np.arange(5), 0, 2**32 + 1)
    array([...])
    """
    return _compiled()._shuffled(np.ascontiguousarray(rows, np.int64), seed, stream)


class _Pass:
    """A compiled step or function with memory of its own, and the fields that the loop reads."""

    def __init__(self, code: NativeCode):
        self.code, self.caller = code, Caller(code, 1)
        self.width = len(code.slots.sums)
        self.fields = np.zeros(len(PASS), np.int64)
        self.kept: list[Array] = []
        steps = ctypes.cast(code.steps, ctypes.c_void_p).value
        table, arrivals = self.caller.places
        self._set(
            steps=steps, table=table, arrivals=arrivals, sums=address_of(self.caller.sums),
            width=self.width, loss=code.slots.sums["loss"],
        )  # fmt: skip

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            self.fields[PASS.index(name)] = value

    def ready(
        self, data: Mapping[str, Array], order: Array, batch: int, block: int, epochs: int
    ) -> Array:
        """Set what differs between trainings, and return the lines of totals to be filled."""
        for name, array in data.items():
            self.caller.give(name, array)
        totals = np.zeros((epochs, self.width))
        self.kept = [order, totals]
        self._set(
            order=address_of(order), rows=len(order), batch=batch, block=max(1, block),
            totals=address_of(totals),
        )  # fmt: skip
        return totals


class NativeTrainer:
    """A compiled step, and a function that scores, with state of its own: one for each thread.

    `state` holds the first values; set those of :attr:`state` before each training, which ends
    early after :attr:`stopped` is set.  The inputs
    of `scoring` that are parameters have the names of the state in `shown`.
    """

    def __init__(
        self,
        code: NativeCode,
        state: Mapping[str, Array],
        scoring: NativeCode | None,
        shown: Mapping[str, str],
    ):
        self.stopped = False
        self.arenas, self.state = group(state)
        self.training = _Pass(code)
        for name, view in self.state.items():
            self.training.caller.give(name, view)
        self.scoring = None if scoring is None else _Pass(scoring)
        for name, source in shown.items():
            if self.scoring is not None:
                self.scoring.caller.give(name, self.state[source])
        floats = [view for name, view in self.state.items() if name.startswith("parameter/")]
        spans = [(address_of(view), view.size, view.itemsize) for view in floats]
        self.spans = np.array(spans, np.int64).reshape(-1, 3)

    def train(
        self,
        data: Mapping[str, Array],
        rows: Array,
        batch_size: int,
        epochs: int,
        seed: int,
        stream: int,
        order: Callable[[int], Array],
        held: tuple[Mapping[str, Array], Array, int] | None,
    ) -> tuple[int, Array, Array | None]:
        """Train `epochs` epochs, and return how many were finite, and the totals of each.

        Epoch e shuffles the `rows` by `seed` and ``stream + e``, counted from 1, and `order` by
        NumPy.  `held` are the arrays, rows and rows in one block of what is scored.
        """
        compiled = _compiled()
        source = np.ascontiguousarray(rows, np.int64)
        shuffle = np.empty_like(source)
        totals = self.training.ready(data, shuffle, batch_size, len(rows), epochs)
        scores, scoring = None, None
        if held is not None and self.scoring is not None:
            arrays, chosen, block = held
            chosen = np.ascontiguousarray(chosen, np.int64)
            capacity = self.scoring.code.capacity
            scores = self.scoring.ready(arrays, chosen, capacity, block, epochs)
            scoring = address_of(self.scoring.fields)

        def run(first: int, end: int, source: int | None) -> int:
            done: int = compiled.epochs(
                address_of(self.training.fields), scoring, source, seed, stream + 1, first, end,
                address_of(self.spans), len(self.spans),
            )  # fmt: skip
            return done

        done, chunk = 0, 1
        while done < epochs and not self.stopped:
            end, started = min(epochs, done + chunk), perf_counter()
            if compiled.agrees:
                reached = run(done, end, address_of(source))
                took = max(perf_counter() - started, 1e-6)
                chunk = max(1, int((end - done) * min(1000.0, CALL_SECONDS / took)))
            else:
                shuffle[:] = order(done + 1)
                reached = run(done, end, None)
            done = reached
            if reached < end:
                break
        for one in (self.training, self.scoring):
            if one is not None:
                one.caller.check_faults()
        return done, totals, scores
