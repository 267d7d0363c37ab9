"""Emitted code with the checks of AddressSanitizer or ThreadSanitizer before each access.

LLVM's own passes can't be called through llvmlite, so :func:`instrumented` writes what they would:
a call of the sanitizer's library for each load and store. ``CHAINRULE_SANITIZE=address`` or
``thread`` turns it on in the tests of this folder, ``make sanitize`` does so for all of them.

The memory of the engine is checked too: arrays that share a block have gaps between them, which
are poisoned, and no two buffers share memory.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from chainrule.core.spec import Dim
from chainrule.run.arena import ALIGNMENT, Arena
from chainrule.run.llvm import caller, code
from chainrule.run.plan.memory import MemoryPlan

KIND = os.environ.get("CHAINRULE_SANITIZE", "")
GAP = 64  # bytes after each array of a block
ORDERS = {"monotonic": 0, "acquire": 2, "release": 3, "acq_rel": 4, "seq_cst": 5}
CALLS = {
    "address": {"load": "__asan_loadN", "store": "__asan_storeN"},
    "thread": {"load": "__tsan_read_range", "store": "__tsan_write_range"},
}
DECLARED = {
    "address": "declare void @__asan_loadN(ptr, i64)\ndeclare void @__asan_storeN(ptr, i64)\n",
    "thread": "declare void @__tsan_read_range(ptr, i64)\n"
    "declare void @__tsan_write_range(ptr, i64)\ndeclare void @__tsan_func_entry(ptr)\n"
    "declare void @__tsan_func_exit()\ndeclare i32 @__tsan_atomic32_load(ptr, i32)\n"
    "declare void @__tsan_atomic32_store(ptr, i32, i32)\n"
    "declare i32 @__tsan_atomic32_fetch_add(ptr, i32, i32)\n",
}
BITS = {"double": 64, "float": 32, "ptr": 64}
TYPE = r"<\d+ x \w+>|\w+"
PLACE = r"ptr (%[-\w.$]+|%\"[^\"]+\"|@[-\w.$]+)"
LOAD = re.compile(rf"load (?:volatile )?({TYPE}), {PLACE}")
STORE = re.compile(rf"store (?:volatile )?({TYPE}) .*, {PLACE}, align")
MASKED = re.compile(
    rf"@llvm\.masked\.load\.v(\d+)([fi])(\d+)\S*\({PLACE.replace('ptr', 'ptr.*?')},"
)
MASK = re.compile(r"<\d+ x i1> (%[-\w.$]+|%\"[^\"]+\"|<[^>]*>|splat \([^)]*\)|zeroinitializer)")
MEMSET = re.compile(rf"@llvm\.memset\S*\({PLACE.replace('ptr', 'ptr.*?')}, .*?, i64 (\S+),")
LABEL = re.compile(r"[-\w.$\"]+:")
ATOMIC_LOAD = re.compile(rf"(%\S+) = load atomic i32, {PLACE} (\w+),")
ATOMIC_STORE = re.compile(rf"store atomic i32 (\S+), {PLACE} (\w+),")
ATOMIC_ADD = re.compile(rf"(%\S+) = atomicrmw add {PLACE}, i32 (\S+) (\w+),")


def instrumented(text: str, kind: str) -> str:
    """Return LLVM assembly with a check before each access, of the sanitizer `kind`."""
    lines: list[str] = []
    entered = False
    for line in text.splitlines():
        bare = line.strip()
        if entered:  # the first line of a function, a label or an instruction
            entry = "  call void @__tsan_func_entry(ptr null)"
            lines += [line, entry] if LABEL.match(line) else [entry]
            entered = False
            if LABEL.match(line):
                continue
        if kind == "thread" and (atomic := _atomic(bare)):
            lines.append(atomic)
            continue
        if kind == "thread" and bare.startswith("ret "):
            lines.append("  call void @__tsan_func_exit()")
        lines += _checks(bare, kind, len(lines))
        lines.append(line)
        entered = kind == "thread" and line.startswith("define ")
    return "\n".join(lines) + "\n" + DECLARED[kind]


def _checks(bare: str, kind: str, number: int) -> list[str]:
    """Return the calls that check the access of an instruction, if it is one."""
    if re.match(r"%\S+ = load (?!atomic)", bare):
        found = LOAD.search(bare)
        assert found, bare
        return [f"  call void @{CALLS[kind]['load']}(ptr {found[2]}, i64 {_size(found[1])})"]
    if re.match(r"store (?!atomic)", bare):
        found = STORE.search(bare)
        assert found, bare
        return [f"  call void @{CALLS[kind]['store']}(ptr {found[2]}, i64 {_size(found[1])})"]
    if "@llvm.memset" in bare and bare.startswith(("call", "tail")):
        found = MEMSET.search(bare)
        assert found, bare
        return [f"  call void @{CALLS[kind]['store']}(ptr {found[1]}, i64 {found[2]})"]
    if "call" in bare and "@llvm.masked" in bare:
        found, mask = MASKED.search(bare), MASK.search(bare)
        assert found and mask, bare  # noqa: PT018
        count, each = int(found[1]), int(found[3]) // 8
        letter = {"f32": "float", "f64": "double"}.get(found[2] + found[3], found[2] + found[3])
        checks = []
        for i in range(count):
            at = f"%lane.{number}.{i}"
            checks += [
                f"  {at} = extractelement <{count} x i1> {mask[1]}, i64 {i}",
                f"  {at}.size = select i1 {at}, i64 {each}, i64 0",
                f"  {at}.place = getelementptr {letter}, ptr {found[4]}, i64 {i}",
                f"  call void @{CALLS[kind]['load']}(ptr {at}.place, i64 {at}.size)",
            ]
        return checks
    return []


def _atomic(bare: str) -> str:
    """Return an atomic instruction as a call of ThreadSanitizer; empty for any other."""
    if found := ATOMIC_LOAD.search(bare):
        name, place, order = found.groups()
        return f"  {name} = call i32 @__tsan_atomic32_load(ptr {place}, i32 {ORDERS[order]})"
    if found := ATOMIC_STORE.search(bare):
        value, place, order = found.groups()
        given = f"ptr {place}, i32 {value}, i32 {ORDERS[order]}"
        return f"  call void @__tsan_atomic32_store({given})"
    if found := ATOMIC_ADD.search(bare):
        name, place, value, order = found.groups()
        given = f"ptr {place}, i32 {value}, i32 {ORDERS[order]}"
        return f"  {name} = call i32 @__tsan_atomic32_fetch_add({given})"
    assert " atomic" not in bare.split(";")[0], bare
    return ""


def _size(kind: str) -> int:
    found = re.fullmatch(r"<(\d+) x (\w+)>", kind)
    count, each = (int(found[1]), found[2]) if found else (1, kind)
    bits = BITS.get(each) or int(each[1:])
    return -(-count * bits // 8) if bits == 1 else count * -(-bits // 8)


def separate(kernels: Any, plan: Any, slots: Any, capacity: int) -> MemoryPlan:
    """Return a plan of memory in which each buffer has a place of its own, and a gap after it."""
    offsets: dict[Any, int] = {}
    end = 0
    for node in slots.buffers:
        offsets[node] = end
        shape = [capacity if isinstance(d, Dim) else d for d in node.spec.shape]
        size = int(np.prod(shape, dtype=np.int64)) * node.spec.dtype.itemsize
        end += -(-size // ALIGNMENT) * ALIGNMENT + GAP
    return MemoryPlan(offsets, end)


def _poison(array: np.ndarray[Any, Any], until: int) -> None:
    """Let accesses from the end of `array` to the address `until` be errors."""
    start = array.ctypes.data + array.nbytes
    runtime = ctypes.CDLL(None)
    runtime.__asan_poison_memory_region(ctypes.c_void_p(start), ctypes.c_size_t(until - start))


def check_accesses(patch: pytest.MonkeyPatch) -> None:
    """Compile with checks from now on, and with gaps between arrays for those of addresses."""
    optimized = code.optimized

    def checked(text: str, machine: Any) -> Any:
        return llvm.parse_assembly(instrumented(str(optimized(text, machine)), KIND))

    patch.setattr(code, "optimized", checked)
    if KIND == "address":
        patch.setattr(code, "plan_memory", separate)
        patch.setattr(Arena, "__init__", _with_gaps())
        patch.setattr(caller.Caller, "__init__", _with_poison())


def _with_gaps() -> Callable[..., None]:
    """Return how an arena is made with a gap after each of its arrays."""
    plain = Arena.__init__

    def init(self: Arena, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        spaced = {}
        for name, array in arrays.items():
            spaced[name] = array
            spaced[f"gap after {name}"] = np.zeros(GAP, np.uint8)
        spaced["end"] = np.zeros(1024, np.uint8)  # NumPy keeps smaller blocks, poison and all
        plain(self, spaced)
        del self.views["end"]
        for name in arrays:
            gap = self.views.pop(f"gap after {name}")
            _poison(self.views[name], gap.ctypes.data + GAP)

    return init


def _with_poison() -> Callable[..., None]:
    """Return how a caller is made with poison after each of its buffers."""
    plain = caller.Caller.__init__

    def init(self: Any, *given: Any) -> None:
        plain(self, *given)
        for buffer in self.buffers.values():
            end = buffer.ctypes.data + -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT + GAP
            _poison(buffer, end)

    return init
