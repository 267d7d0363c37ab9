"""Kill trainings at random moments: what is on the disk is always whole, and goes on exactly.

``make crash`` kills 200 times, ``CRASHES`` sets how often.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn

pytestmark = pytest.mark.slow
CRASHES = int(os.environ.get("CRASHES", "10"))
TRAIN = [sys.executable, "-m", "chainrule", "train", "iris", "--hidden", "64", "--optimizer",
         "adam", "--epochs", "400", "--patience", "0", "--dropout", "0.1", "--schedule", "cosine",
         "--no-check", "--no-report", "--quiet", "--checkpoint-every", "10"]  # fmt: skip


def history_of(run: cr.Run) -> list[dict[str, Any]]:
    clock = ("seconds", "samples_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in run.history]


def test_a_training_killed_at_random_moments_ends_as_one_that_was_not(tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("CRASH_SEED", "0")))
    subprocess.run([*TRAIN, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    begun_at = time.monotonic()  # now its machine code is cached
    subprocess.run([*TRAIN, "--out", str(tmp_path / "again")], check=True, capture_output=True)
    took = time.monotonic() - begun_at
    whole = cr.load(tmp_path / "whole")
    weights = (tmp_path / "whole" / "weights.safetensors").read_bytes()
    kills = trainings = resumed = 0
    while kills < CRASHES:
        trainings += 1
        out = tmp_path / f"killed-{trainings}"
        finished = False
        while not finished:
            begun = any(out.glob("checkpoints/step-*"))
            if not begun and (out / "run.json").exists():
                break  # killed when there was nothing more to do
            command = [*TRAIN[:4], "--resume", str(out)] if begun else [*TRAIN, "--out", str(out)]
            process = subprocess.Popen(
                [*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            resumed += begun
            begun_at = time.monotonic()
            try:
                limit = chance.uniform(0.3, 1.1) * took if kills < CRASHES else 300
                process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0
            finished = True
            if not begun:  # the machine may have become faster or slower
                took = time.monotonic() - begun_at
        run = cr.load(out)
        assert (out / "weights.safetensors").read_bytes() == weights
        assert history_of(run) == history_of(whole)
        assert json.loads((out / "metrics.json").read_text()) == json.loads(
            (tmp_path / "whole" / "metrics.json").read_text()
        )
        if finished:
            assert not list(out.parent.glob(f".{out.name}.*"))
            assert not (out / "checkpoints").exists()
    assert nn.parameters(whole.model)
    assert resumed > 0
