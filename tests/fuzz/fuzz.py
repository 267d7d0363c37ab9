"""Run each fuzz target with Atheris for some minutes: ``python tests/fuzz/fuzz.py 2 [NAME ...]``.

Atheris runs until a target fails, in a process of its own.  A failing input is kept in the folder
build/fuzz, which also collects the inputs that reached new branches.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["chainrule"]):
    import targets

FOUND = Path("build/fuzz")
MEMORY = Path("/dev/shm")


def main(minutes: float, names: list[str]) -> int:
    """Fuzz the targets one after another; return how many failed."""
    failed = []
    for name in names or list(targets.TARGETS):
        corpus = FOUND / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, valid in enumerate(targets.TARGETS[name][1]()):
            (corpus / f"valid-{number}").write_bytes(valid)
        words = [sys.executable, __file__, "--one", name, str(corpus), "-max_len=4096",
                 f"-max_total_time={60 * minutes:.0f}", "-timeout=30", "-rss_limit_mb=2048",
                 f"-artifact_prefix={FOUND}/{name}-", "-print_final_stats=1"]  # fmt: skip
        # A disk would take longer to write a run than the rest; Atheris ends without cleaning up.
        with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place:
            done = subprocess.run(
                words, stderr=subprocess.PIPE, text=True, check=False,
                env={**os.environ, "TMPDIR": place},
            )  # fmt: skip
        stats = [line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line]
        print(
            name,
            f"{stats[0] if stats else '?'} inputs",
            "FAILED" if done.returncode else "ok",
            flush=True,
        )
        if done.returncode:
            failed.append(name)
            print(done.stderr[-3000:])
    return len(failed)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        targets.TARGETS[sys.argv[2]][1]()  # trains the run, so that no input has to wait for it
        atheris.Setup([sys.argv[0], *sys.argv[3:]], targets.TARGETS[sys.argv[2]][0])
        atheris.Fuzz()
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
