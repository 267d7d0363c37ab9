"""Describe the machine to the compiler: processor, vector width, caches and cores.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from platform import machine
from typing import Any

import llvmlite.binding as llvm

from chainrule.core.errors import OptionError
from chainrule.run.llvm.gemm import Target

__all__ = [
    "available_cores",
    "host_target",
    "llvm_version",
    "target_machine",
    "target_of",
    "thread_limit",
]

# A child forked while another thread is in LLVM would wait for that thread forever, so forks wait.
_lock: Any = getattr(llvm.ffi.lib, "_lock", None)
if _lock is not None and hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.__enter__, after_in_parent=_lock.__exit__, after_in_child=_lock.__exit__
    )


def target_machine() -> Any:
    """Return a new LLVM target machine for the host, as an engine takes ownership of it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=host_name(), features=host_features(), opt=1
    )


def llvm_version() -> str:
    """Return the version of LLVM."""
    return ".".join(map(str, llvm.llvm_version_info))


@cache
def host_name() -> str:
    """Return LLVM's name for the processor."""
    return str(llvm.get_host_cpu_name())


@cache
def host_features() -> str:
    """Return the processor's features in LLVM's notation."""
    return str(llvm.get_host_cpu_features().flatten())


@cache
def host_target() -> Target:
    """Return the vector width, register count and cache sizes of the host."""
    target = target_of(machine(), host_features())
    return replace(target, l1=_cache_bytes(1) or target.l1, l2=_cache_bytes(2) or target.l2)


def target_of(architecture: str, features: str) -> Target:
    """Return the vectors of a processor with LLVM's `features`, with caches of the usual size.

    >>> target_of("x86_64", "+avx2,+fma,+avx512f,+avx512vl").width, target_of("arm64", "").width
    (16, 4)
    """
    known = set(features.split(","))
    if architecture.lower() in ("aarch64", "arm64"):
        return Target(width=4, registers=32, family="arm")
    family = "x86" if architecture.lower() in ("x86_64", "amd64", "i686") else ""
    if {"+avx512f", "+avx512vl"} <= known:
        return Target(width=16, registers=32, family=family)
    width = 8 if {"+avx2", "+fma"} <= known else 4
    return Target(width=width, registers=16, family=family)


def _cache_bytes(level: int) -> int | None:
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (folder / "type").read_text().strip() == "Instruction":
                continue
            if int((folder / "level").read_text()) == level:
                size = (folder / "size").read_text().strip()
                return int(size[:-1]) * {"K": 1024, "M": 1024**2}[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return None


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def thread_limit(threads: int | None) -> int:
    """Return the maximum number of threads: `threads`, ``CHAINRULE_THREADS``, or all cores.

    Raises OptionError for a value that is not a positive integer, or that is far above
    the number of cores.
    """
    value: Any = os.environ.get("CHAINRULE_THREADS") if threads is None else threads
    if value is None:
        return available_cores()
    try:
        limit = int(value)
    except ValueError:
        limit = 0
    if limit < 1:
        raise OptionError(f"threads must be a positive integer, not {value!r}.")
    most = max(16, 4 * available_cores())
    if limit > most:
        raise OptionError(
            f"threads={limit} is more than the maximum of {most}; this process may use "
            f"{available_cores()} cores. Use at most that number, or leave threads unset."
        )
    return limit
