"""Describe the machine and the versions, for bug reports and to explain the speed.

The description is a set of sections of names and values, shown as lines or as JSON.  What can't
be determined is shown as "not found"; llvmlite need not be installed.

Read next: :mod:`chainrule.run.llvm.machine`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.run import engines
from chainrule.run.llvm.cache import cache_folder

__all__ = ["as_lines", "clear_cache", "describe"]

Section = dict[str, Any]
_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_PACKAGES = ("numpy", "llvmlite", "duckdb", "safetensors", "rich", "click")
_SIMD = {16: "AVX-512", 8: "AVX2 and FMA", 4: "the generic 128 bits"}
_CORE_NAME = re.compile(r"\S+openblas\S*\.so\S*")


def describe() -> dict[str, Section]:
    """Return sections of names and values that can be written as JSON."""
    machine = _machine()
    return {
        "versions": _versions(machine),
        "processor": _processor(machine),
        "engine": _engine(machine),
        "blas of numpy": _blas(),
        "code cache": _cache(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("CHAINRULE_", "OPENBLAS_", "OMP_", "MKL_"))
        },
    }


def as_lines(sections: dict[str, Section]) -> str:
    """Return `sections` as text: a heading per section, then one name and value per line."""
    lines = []
    for heading, entries in sections.items():
        lines.append(heading)
        width = max((len(name) for name in entries), default=0)
        lines += [f"  {name:<{width}}  {_say(value)}" for name, value in entries.items()]
        if not entries:
            lines.append("  no variable of chainrule, OpenBLAS, OpenMP or MKL is set")
    return "\n".join(lines) + "\n"


def clear_cache() -> tuple[int, int]:
    """Delete the compiled code kept on disk; return the number of entries and bytes freed.

    Raises OptionError if the files can't be deleted.
    """
    entries = _entries()
    try:
        for path, _ in entries:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"can't clear {cache_folder()}: {error.strerror}.") from error
    return len(entries), sum(size for _, size in entries)


def _say(value: Any) -> str:
    return "not found" if value is None else str(value)


def _machine() -> Any:
    """Return the module that describes the machine, or a text saying why it can't be loaded."""
    try:
        return engines.load("machine")
    except (ImportError, OSError) as error:
        return f"llvmlite can't be loaded ({error})"


def _versions(machine: Any) -> Section:
    found: Section = {
        "chainrule": _version("chainrule") or "run from its source",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    found |= {name: _version(name) for name in _PACKAGES}
    found["llvm"] = None if isinstance(machine, str) else machine.llvm_version()
    found["system"] = platform.platform()
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor(machine: Any) -> Section:
    found: Section = {"model": _model(), "architecture": platform.machine()}
    if not isinstance(machine, str):
        target = machine.host_target()
        found["name in llvm"] = machine.host_name()
        found["simd"] = _SIMD[target.width]
        found["vectors"] = f"{target.width} float32 wide, {target.registers} registers"
    found["cores"] = os.cpu_count()
    try:
        found["usable cores"] = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        found["usable cores"] = os.cpu_count()
    found["caches"] = _caches()
    found["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"
    return found


def _model() -> str | None:
    text = _read(Path("/proc/cpuinfo")) or ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.processor() or None


def _caches() -> str | None:
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and size and kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _engine(machine: Any) -> Section:
    asked = os.environ.get("CHAINRULE_ENGINE") or "auto"
    if asked == "reference":
        return {"used": "reference", "why": "CHAINRULE_ENGINE=reference is set"}
    if asked == "xla":
        return _xla()
    if isinstance(machine, str):
        return {"used": "reference, which is much slower", "why": machine}
    try:
        threads = machine.thread_limit(None)
    except OptionError as error:
        threads = f"CHAINRULE_THREADS is wrong: {error}"
    others = {"also there": "xla, used only if it is asked for"} if find_spec("jax") else {}
    given = "CHAINRULE_THREADS" if os.environ.get("CHAINRULE_THREADS") else "every usable core"
    return {
        "used": "native",
        "why": "LLVM can be loaded" if asked == "auto" else f"CHAINRULE_ENGINE={asked}",
        "threads at most": threads,
        "threads from": given,
        **others,
    }


def _xla() -> Section:
    section: Section = {"used": "xla", "why": "CHAINRULE_ENGINE=xla"}
    try:
        return section | {"computes on": ", ".join(engines.load("xla").device_names())}
    except (ImportError, OSError) as error:
        return section | {"computes on": f"nothing, because JAX can't be loaded ({error})"}


def _blas() -> Section:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    found: Section = {
        "library": " ".join(str(blas[k]) for k in ("name", "version") if k in blas) or None,
        "kernel": _kernel(),
        "used by": "NumPy and the reference engine; the native engine has its own matrix products",
    }
    pins = [f"{name}={os.environ[name]}" for name in _PINS if name in os.environ]
    if pins:
        found["pinned by"] = (
            f"{' and '.join(pins)}: on AVX-512 NumPy runs at about half speed; the native engine "
            "is not affected"
        )
    return found


def _kernel() -> str | None:
    """Return the processor type for which the loaded OpenBLAS chose its kernels."""
    for path in sorted(set(_CORE_NAME.findall(_read(Path("/proc/self/maps")) or ""))):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                ask = getattr(library, f"{prefix}_get_corename{suffix}", None)
                if ask is not None:
                    ask.restype = ctypes.c_char_p
                    return str(ask().decode())
    return None


def _cache() -> Section:
    folder, entries = cache_folder(), _entries()
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return {
        "folder": str(folder),
        "entries": len(entries),
        "size": f"{sum(size for _, size in entries) / 1e6:.1f} MB",
        "writable": "yes" if os.access(nearest, os.W_OK) else "no, so every start compiles again",
    }


def _entries() -> list[tuple[Path, int]]:
    """Return the files of the cache with their sizes, only those named as the cache names them."""
    found = []
    try:
        for path in cache_folder().iterdir():
            if re.fullmatch(r"[0-9a-f]{40}|\.new-\w+", path.name) and path.is_file():
                found.append((path, path.stat().st_size))
    except OSError:
        return found
    return found
