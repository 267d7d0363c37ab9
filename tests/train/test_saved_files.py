"""What is damaged is named, what is hostile is refused before it takes memory, old runs load."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core import durable
from chainrule.core.durable import MANIFEST, read_folder, write_folder
from chainrule.core.errors import DamagedError
from chainrule.nn import layer_config
from chainrule.tabular import choose_settings, fit_table, read_problem
from chainrule.train import saved_files

HERE = Path(__file__).parent
NEEDED = (*saved_files.NEEDED, "pipeline.json")
MIB = 1 << 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a small run on a table, with one that load does not need."""
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, epochs=2, hidden=(2,)), progress=False)
    root = run.save(tmp_path_factory.mktemp("runs") / "a", extra={"config.toml": "seed = 0\n"})
    return read_folder(root)


@pytest.fixture
def root(files: dict[str, bytes], tmp_path: Path) -> Path:
    write_folder(files, tmp_path / "a")
    return tmp_path / "a"


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NEEDED, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "garbage"])
def test_damaged_files_are_named(root: Path, name: str, damage: str) -> None:
    path = root / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        garbage = b"\xff\xfe\x00{]".ljust(len(content), b"x")
        changed = {"empty": b"", "cut": content[:-1], "longer": content + b"\n"}
        path.write_bytes((changed | {"garbage": garbage})[damage])
    with pytest.raises(cr.RunError, match=name):
        cr.load(root)


# A step of 509 meets each bit of a byte; the slow test takes every bit of every file.
@pytest.mark.parametrize("step", [509, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_truncation_is_found(root: Path, step: int) -> None:
    for name in (*NEEDED, MANIFEST):
        file = root / name
        whole = file.read_bytes()
        damaged = [whole[:size] for size in range(0, len(whole), 1 + step // 8)]
        for bit in range(0, 8 * len(whole), step):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(changed))
        for content in damaged:
            file.write_bytes(content)
            with pytest.raises(DamagedError, match=name):
                cr.load(root)
        file.write_bytes(whole)
    cr.load(root)


def test_files_that_load_does_not_need_may_change(root: Path) -> None:
    assert saved_files.edited_files(root) == []
    (root / "config.toml").write_text("seed = 1\n")
    assert saved_files.edited_files(root) == ["config.toml"]
    cr.load(root)
    (root / "config.toml").unlink()
    cr.load(root)
    assert saved_files.edited_files(root) == []


def test_a_failure_while_saving_leaves_nothing_or_the_old_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cr.load(root)
    before = read_folder(root)

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", refuse)
    run.best_epoch = 99
    for place in (root, tmp_path / "b"):
        with pytest.raises(cr.RunError, match=r"No space left on device. Free space"):
            run.save(place, force=True)
    assert read_folder(root) == before
    assert os.listdir(tmp_path) == ["a"]


def test_files_of_the_replaced_run_do_not_outlive_it(root: Path, tmp_path: Path) -> None:
    """A pipeline that remained would encode the columns of another network."""
    X = np.zeros((20, 2), "f4")
    run = cr.fit(nn.Linear(2, 1), (X, X[:, 0]), loss="mse", epochs=1, progress=False)
    (root / "notes.txt").write_text("mine")
    run.save(root, force=True)
    assert sorted(os.listdir(root)) == sorted([*saved_files.NEEDED, MANIFEST, "notes.txt"])
    assert cr.load(root).pipeline is None


# --- formats -------------------------------------------------------------------------------------


def test_a_run_may_be_replaced_while_it_is_read(root: Path) -> None:
    run = cr.load(root)
    script = (
        "import sys, chainrule as cr\n"
        "run = cr.load(sys.argv[1]); print('ready', flush=True)\n"
        "while True: run.save(sys.argv[2], force=True)"
    )
    copy = run.save(root.parent / "copy")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root), str(copy)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            for _ in range(100):
                assert len(cr.load(copy).history) == 2
                saved_files.edited_files(copy)
        finally:
            writer.kill()


def test_runs_that_are_being_written_are_not_named(root: Path) -> None:
    shutil.copytree(root, root.parent / ".b.writing-1")
    with pytest.raises(cr.RunError, match=r"no run\.json. (?!.*writing)"):
        cr.load(root.parent / "b.writing-1")


def test_a_run_of_format_3_loads_and_is_saved_in_this_format(tmp_path: Path) -> None:
    expected = json.loads((HERE / "format3" / "expected.json").read_text())
    run = cr.load(HERE / "format3" / "iris")
    again = cr.load(run.save(tmp_path / "a"))
    X = np.array(expected["X"], "f4")
    for loaded in (run, again):
        np.testing.assert_allclose(loaded.outputs(X), expected["outputs"], rtol=1e-5, atol=1e-6)
        assert loaded.pipeline is not None
        assert loaded.scores["test"]["accuracy"] > 0
    assert json.loads((tmp_path / "a" / "run.json").read_bytes())["format"] == 4
    assert not (HERE / "format3" / "iris" / MANIFEST).exists()  # reading writes nothing


@pytest.mark.parametrize("found", [1, 2, 5, "4", None, True, 4.0, [], 10**30])
def test_other_formats_are_refused(tmp_path: Path, root: Path, found: Any) -> None:
    old = tmp_path / "old"
    shutil.copytree(HERE / "format3" / "iris", old)
    for place in (root, old):
        about = json.loads((place / "run.json").read_bytes()) | {"format": found}
        if place == root:
            write_folder(read_folder(root) | {"run.json": json.dumps(about).encode()}, root)
        else:
            (place / "run.json").write_text(json.dumps(about))
        with pytest.raises(cr.RunError, match=r"has format .*, this chainrule reads 3 and 4; use"):
            cr.load(place)


def test_format_4_without_its_manifest_is_damaged(root: Path) -> None:
    (root / MANIFEST).unlink()
    with pytest.raises(DamagedError, match=r"manifest.json' is missing, so .* copy the whole"):
        cr.load(root)


# --- hostile files -------------------------------------------------------------------------------

Change = Callable[[dict[str, bytes]], dict[str, bytes]]
DEEP = b"[" * 100_000 + b"]" * 100_000


def about(**changes: Any) -> Change:
    """Return a change of entries of run.json."""
    return lambda files: {"run.json": json.dumps(json.loads(files["run.json"]) | changes).encode()}


def without(entry: str) -> Change:
    """Return a change that leaves out an entry of run.json."""

    def changed(files: dict[str, bytes]) -> dict[str, bytes]:
        entries = json.loads(files["run.json"])
        del entries[entry]
        return {"run.json": json.dumps(entries).encode()}

    return changed


def model(kind: str, **fields: Any) -> Change:
    return about(model={"type": kind} | fields)


def pipeline(**changes: Any) -> Change:
    return lambda files: {
        "pipeline.json": json.dumps(json.loads(files["pipeline.json"]) | changes).encode()
    }


def plain(name: str, content: bytes) -> Change:
    return lambda files: {name: content}


def weights(header: Any, data: bytes = b"", length: int | None = None) -> Change:
    """Return a safetensors file with any header, of any stated length."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    packed = struct.pack("<Q", len(raw) if length is None else length) + raw + data
    return plain("weights.safetensors", packed)


def tensor(shape: Any, start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def deep_model(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a model of a thousand containers, each in the other."""
    whole = about(model={"type": "ReLU"})(files)["run.json"]
    start = b'{"type": "Sequential", "layers": [' * 1000
    inner = b'{"type": "ReLU"}'
    assert inner in whole
    return {"run.json": whole.replace(inner, start + inner + b"]}" * 1000)}


LINEAR = {"type": "Linear", "inputs": 4, "outputs": 3}
TWO = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
HOSTILE: dict[str, Change] = {
    "header beyond the file": weights(b"{}", length=10**6),
    "header of 2**64 - 1 bytes": weights(b"{}", length=2**64 - 1),
    "header cut": weights(b'{"a":', length=5),
    "no header": plain("weights.safetensors", b"\0\0"),
    "header not JSON": weights(b"\xff\xff\xff\xff"),
    "header a list": weights([]),
    "header deep": weights(DEEP),
    "tensor beyond the data": weights({"a": tensor([4], 0, 16)}, bytes(4)),
    "tensors overlap": weights({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "a hole": weights({"a": tensor([1], 4, 8)}, bytes(8)),
    "offsets reversed": weights({"a": tensor([1], 4, 0)}, bytes(4)),
    "offset negative": weights({"a": tensor([1], -4, 0)}, bytes(4)),
    "offset huge": weights({"a": tensor([1], 0, 10**30)}, bytes(4)),
    "shape overflows": weights({"a": tensor([2**33, 2**33], 0, 4)}, bytes(4)),
    "shape huge": weights({"a": tensor([10**12], 0, 4 * 10**12)}, bytes(4)),
    "shape does not fit": weights({"a": tensor([3], 0, 4)}, bytes(4)),
    "shape no list": weights({"a": tensor("x", 0, 4)}, bytes(4)),
    "shape of a thousand axes": weights({"a": tensor([1] * 1000, 0, 4)}, bytes(4)),
    "shape with zero": weights({"a": tensor([0, 2**60], 0, 0)}),
    "dtype unknown": weights({"a": tensor([1], 0, 4, "F33")}, bytes(4)),
    "dtype of no array": weights({"a": tensor([2], 0, 4, "BF16")}, bytes(4)),
    "dtype no name": weights({"a": tensor([1], 0, 4, 7)}, bytes(4)),
    "name twice": weights(TWO + TWO[1:-1] + b"}", bytes(4)),
    "name of a path": weights({"../../a": tensor([1], 0, 4)}, bytes(4)),
    "name very long": weights({"x" * 10**6: tensor([1], 0, 4)}, bytes(4)),
    "data beyond the tensors": weights({"a": tensor([1], 0, 4)}, bytes(400)),
    "float64 in place of float32": lambda files: {
        "weights.safetensors": _widened(files["weights.safetensors"])
    },
    "run.json deep": plain("run.json", DEEP),
    "run.json a list": plain("run.json", b"[]"),
    "run.json a number of 5000 digits": plain("run.json", b'{"format": ' + b"9" * 5000 + b"}"),
    "run.json without an entry that may be null": without("stopped"),
    "run.json not UTF-8": plain("run.json", b'{"format": "\xff"}'),
    "model deep": deep_model,
    "model a number": about(model=5),
    "model a list": about(model=[LINEAR]),
    "model no layer": about(model={"type": "dict", "entries": {}}),
    "model of entries": about(model={"type": "dict", "entries": 3}),
    "type unknown": model("Liner"),
    "type with a path": model("os.system"),
    "type of Python": model("object"),
    "type a list": about(model={"type": ["Linear"]}),
    "no type": about(model={"inputs": 3}),
    "attribute unknown": model("Linear", inputs=4, outputs=3, wrong=1),
    "attribute of Python": model("Linear", inputs=4, outputs=3, __class__="x"),
    "attribute not of the constructor": model("Linear", inputs=4, outputs=3, weight=[1]),
    "attribute missing": model("Linear", inputs=4),
    "size a text": model("Linear", inputs="4", outputs=3),
    "size negative": model("Linear", inputs=-4, outputs=3),
    "size infinite": model("Linear", inputs=float("inf"), outputs=3),
    "Linear of 10**12": model("Linear", inputs=10**12, outputs=10**12),
    "Linear of 10**30": model("Linear", inputs=10**30, outputs=1),
    "BatchNorm of 10**12": model("BatchNorm", features=10**12),
    "Embedding of 10**12": model("Embedding", categories=10**12, size=3),
    "Maxout of 10**12": model("Maxout", inputs=1, outputs=1, pieces=10**12),
    "SparseLinear of 10**12": model(
        "SparseLinear", inputs=10**12, outputs=1, pattern={"type": "LocalFields", "field": 1}
    ),
    "LocalFields of 10**9": model(
        "SparseLinear", inputs=10**5, outputs=10**5, pattern={"type": "LocalFields", "field": 10**5}
    ),
    "Density of 10**10": model(
        "SparseLinear", inputs=10**5, outputs=10**5, pattern={"type": "Density", "density": 1.0}
    ),
    "ImageFields of 10**10": model(
        "SparseLinear",
        inputs=10**10,
        outputs=1,
        pattern={"type": "ImageFields", "shape": [10**5] * 2, "field": [10**5] * 2},
    ),
    "Edges of 10**12": model(
        "SparseLinear",
        inputs=10**5,
        outputs=10**5,
        pattern={"type": "Edges", "packed": "eNo=", "count": 10**12, "size": 8},
    ),
    "Edges not packed": model(
        "SparseLinear",
        inputs=5,
        outputs=5,
        pattern={"type": "Edges", "packed": 7, "count": 3, "size": 3},
    ),
    "features negative": about(features=[-1]),
    "features a number": about(features=4),
    "features not whole": about(features=[4.5]),
    "dtype huge": about(feature_dtype="S999999999999"),
    "dtype of objects": about(feature_dtype="object"),
    "loss unknown": about(loss="nothing"),
    "loss a layer that is none": about(loss={"type": "Liner"}),
    "loss a number": about(loss=3),
    "metrics a text": about(metrics="accuracy"),
    "metrics of lists": about(metrics=[["accuracy"]]),
    "settings a list": about(settings=[]),
    "stopped a number": about(stopped=3),
    "best epoch a text": about(best_epoch="2"),
    "frozen a number": about(frozen=3),
    "frozen of objects": about(frozen=[{}]),
    "findings of numbers": about(findings=[3]),
    "findings an object": about(findings={}),
    "finding without text": about(findings=[{"evidence": []}]),
    "remedies of numbers": about(remedies=[3]),
    "flat target a number": about(flat_target=1),
    "history of lists": plain("history.jsonl", b"[1]\n"),
    "history of texts": plain("history.jsonl", b'{"epoch": 1, "loss": "a"}\n'),
    "history deep": plain("history.jsonl", DEEP + b"\n"),
    "history not ended": plain("history.jsonl", b'{"epoch": 1}\n{"epoch": 2'),
    "history not JSON": plain("history.jsonl", b"nan\n"),
    "metrics.json a list": plain("metrics.json", b"[]"),
    "metrics.json deep": plain("metrics.json", DEEP),
    "pipeline deep": plain("pipeline.json", DEEP),
    "pipeline a list": plain("pipeline.json", b"[]"),
    "pipeline of another version": pipeline(version=99),
    "pipeline columns of numbers": pipeline(columns=[3]),
    "pipeline columns unknown": pipeline(columns=[{"type": "x"}]),
    "pipeline target a number": pipeline(target=3),
    "pipeline target of classes": pipeline(target={"classes": 3}),
    "pipeline projection": pipeline(projection={"mean": "x"}),
    "pipeline notes": pipeline(notes=3),
    "pipeline of pixels": pipeline(kind="pixels"),
}


def _widened(content: bytes) -> bytes:
    from safetensors.numpy import load, save

    wide: bytes = save({name: array.astype("f8") for name, array in load(content).items()})
    return wide


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    """The manifest is that of the hostile files: a digest only finds accidents."""
    changed = HOSTILE[name](files)
    write_folder(files | changed, tmp_path / "a")
    with pytest.raises(cr.ChainruleError) as caught:
        cr.load(tmp_path / "a")
    message = str(caught.value)
    assert any(file in message for file in NEEDED) or "has format" in message
    assert len(message) < 3000


SMALL = """
import resource, sys
from pathlib import Path
import chainrule as cr
from chainrule.train.run import load
import safetensors.numpy
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
for root in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load(root)
    except cr.ChainruleError as error:
        if isinstance(error.__cause__, MemoryError):
            print(root.name, "took memory")
    else:
        print(root.name, "was loaded")
# Not ru_maxrss, which begins at the size of the process that started this one.
print("peak", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_hostile_files_take_no_memory(files: dict[str, bytes], tmp_path: Path) -> None:
    for number, change in enumerate(HOSTILE.values()):
        write_folder(files | change(files), tmp_path / str(number))
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(tmp_path)], text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *told, peak = done.stdout.splitlines()
    assert told == []
    assert int(peak.split()[1]) < 300 * 1024


def test_a_model_file_names_only_layers() -> None:
    """Whatever a config says, only dataclasses of the registry are called."""
    places = {kind.__module__ for kind in layer_config._registry.values()}
    own = [place for place in places if place.startswith("chainrule.")]  # tests register others
    assert all(place.startswith("chainrule.nn.") for place in own), own
    assert all(hasattr(kind, "__dataclass_fields__") for kind in layer_config._registry.values())
    before = set(sys.modules)
    for name in ("os.system", "os", "builtins.eval", "subprocess.Popen", "antigravity", "__main__"):
        with pytest.raises(cr.OptionError, match="unknown layer type"):
            layer_config.from_config({"type": name, "args": ["true"]})
    assert set(sys.modules) == before


def test_a_size_is_only_limited_in_files() -> None:
    assert nn.Maxout(2000, 2000, 2).pieces == 2
