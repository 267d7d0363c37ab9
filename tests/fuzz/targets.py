"""What is fuzzed: functions of bytes, which may raise ChainruleErrors and nothing else.

``tests/fuzz/test_fuzz_files.py`` calls them with examples of Hypothesis, and ``make fuzz`` with
those of Atheris, which looks for new branches.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import duckdb
import numpy as np
from click.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.cli import config_file
from chainrule.cli.commands import command_line
from chainrule.core.durable import MANIFEST, read_folder, write_folder
from chainrule.data.idx import read_idx
from chainrule.data.read import read_table
from chainrule.insight.explain.expression import explain_expression
from chainrule.interop.from_onnx import read_model
from chainrule.interop.onnx_writer import onnx_model
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

Target = Callable[[bytes], None]
CSV = b'size,color,day,price\n1.5,red,2024-01-31,10\n-2,"b,l",2024-02-01,\n,red,,1e3\n3,x,,7\n'
JSON = b'[{"a": 1, "b": "x", "c": null}, {"a": 2.5, "b": "y", "c": true}]'
IDX = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + b"abcdef"
TOML = b'hidden = [16, 16]\nlr = 0.01\nactivation = "tanh"\nseed = 3\nroles = ["a=number"]\n'
FORMULA = b"w*x**2 + max(sin(x), -1.5e-3) / (1 + exp(-w))"
SQL = b"select a, count(*) as n from 'table.json' where a > 1 group by a order by a limit 3"


@cache
def folder() -> Path:
    """Return a folder for the files of this process."""
    place = TemporaryDirectory(prefix="chainrule-fuzz-")
    _kept.append(place)
    return Path(place.name)


_kept: list[TemporaryDirectory[str]] = []


@cache
def run_files() -> Mapping[str, bytes]:
    """Return the files of a small run on a table."""
    problem = read_problem("iris")
    run = fit_table(problem, choose_settings(102, epochs=1, hidden=(2,)), progress=False)
    return read_folder(run.save(folder() / "first"))


def manifest_file() -> bytes:
    """Return the manifest of that run."""
    run_files()
    return (folder() / "first" / MANIFEST).read_bytes()


@cache
def configs() -> tuple[bytes, ...]:
    """Return the configs of networks with layers of many kinds."""
    models = (
        nn.Sequential([nn.Linear(2, 3, weight_init="he_normal"), nn.ReLU(), nn.Linear(3, 1)]),
        nn.Sequential([nn.Maxout(2, 3), nn.BatchNorm(3), nn.Dropout(0.5), nn.LayerNorm(3)]),
        nn.Sequential([nn.SparseLinear.from_density(4, 3, 0.5), nn.PReLU(), nn.Flatten()]),
        nn.SparseLinear.from_edges([(0, 0), (1, 0), (2, 1)]),
        nn.SparseLinear(4, 3, nn.LocalFields(2)),
        nn.SparseLinear(9, 4, nn.ImageFields((3, 3), (2, 2))),
    )
    return tuple(json.dumps(nn.to_config(model)).encode() for model in models)


@cache
def onnx_files() -> tuple[bytes, ...]:
    """Return small ONNX models."""
    x = cr.input("x", ("n", 3))
    layers = [nn.Linear(3, 4), nn.BatchNorm(4), nn.GELU(), nn.Linear(4, 2), cr.softmax]
    return tuple(
        onnx_model(cr.Graph({"y": nn.Sequential(layers[i:j])(x)}, {"x": x}))
        for i, j in ((0, 5), (0, 1), (4, 5))
    )


def onnx_file(content: bytes) -> None:
    """Read an ONNX model, and compute it."""
    with only_our_errors():
        network = read_model(content)
        given = {name: np.ones((2, 3), np.float32) for name in network.inputs}
        for value in network.values({name: cr.tensor(array) for name, array in given.items()}):
            value.numpy()


@cache
def parquet() -> bytes:
    """Return a small Parquet file."""
    file = folder() / "valid.parquet"
    text = folder() / "valid.csv"
    text.write_bytes(CSV)
    duckdb.execute(f"COPY (FROM read_csv('{text}')) TO '{file}' (FORMAT parquet)")
    return file.read_bytes()


@contextlib.contextmanager
def only_our_errors() -> Iterator[None]:
    """Let ChainruleErrors pass; any other error is a fault, and so is a message without end."""
    message = "none"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except cr.ChainruleError as error:
            message = str(error)
    assert 0 < len(message) < 10_000


def file_of_run(name: str) -> Target:
    """Return a target that gives a run another file `name`, with a manifest that agrees."""

    def load(content: bytes) -> None:
        place = folder() / "run"
        write_folder({**run_files(), name: content}, place)
        with only_our_errors():
            repr(cr.load(place))

    return load


def manifest(content: bytes) -> None:
    """Load a run with another manifest."""
    place = folder() / "sealed"
    write_folder(run_files(), place)
    (place / MANIFEST).write_bytes(content)
    with only_our_errors():
        cr.load(place)


def model(content: bytes) -> None:
    """Load a run with another network."""
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(run_files()["run.json"]) | {"model": json.loads(content)}
        file_of_run("run.json")(json.dumps(about).encode())


def table(ending: str) -> Target:
    """Return a target that reads a file as a table."""

    def read(content: bytes) -> None:
        file = folder() / f"table.{ending}"
        file.write_bytes(content)
        with only_our_errors():
            read_table(file)

    return read


def query(content: bytes) -> None:
    """Evaluate SQL over a file."""
    (folder() / "table.json").write_bytes(JSON)
    text = content.decode("utf-8", "replace").replace("table.json", str(folder() / "table.json"))
    if not any(word in text.lower() for word in ("copy", "range", "generate", "repeat", "pad")):
        with only_our_errors():
            read_table(f"select * from ({text})" if not text.startswith("select") else text)


def idx(content: bytes) -> None:
    """Read an IDX file."""
    file = folder() / "images.idx"
    file.write_bytes(content)
    with only_our_errors():
        read_idx(file)


def formula(content: bytes) -> None:
    """Explain a formula."""
    text = content.decode("utf-8", "replace")
    with only_our_errors(), np.errstate(all="ignore"):
        str(explain_expression(text, {"x": 0.5, "w": -2.0}))


def toml(content: bytes) -> None:
    """Read the options of chainrule train from a file."""
    file = folder() / "config.toml"
    file.write_bytes(content)
    command = command_line.get_command(click.Context(command_line), "train")
    assert command is not None
    option = next(p for p in command.params if p.name == "config")
    with only_our_errors():
        config_file.read_config(click.Context(command), option, str(file))


def command(content: bytes) -> None:
    """Call chainrule train with options of a file, up to the data, which is not there."""
    file = folder() / "config.toml"
    file.write_bytes(content)
    words = ["train", str(folder() / "absent.csv"), "--config", str(file)]
    result = CliRunner().invoke(command_line, words)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception


# The targets by name, each with valid inputs to begin with.
TARGETS: dict[str, tuple[Target, Callable[[], tuple[bytes, ...]]]] = {
    **{
        name: (file_of_run(name), lambda name=name: (run_files()[name],))  # type: ignore[misc]
        for name in (
            "run.json", "weights.safetensors", "history.jsonl", "metrics.json", "pipeline.json",
        )
    },
    "manifest.json": (manifest, lambda: (manifest_file(),)),
    "model": (model, configs),
    "csv": (table("csv"), lambda: (CSV,)),
    "tsv": (table("tsv"), lambda: (CSV.replace(b",", b"\t"),)),
    "json": (table("json"), lambda: (JSON,)),
    "jsonl": (table("jsonl"), lambda: (b"".join(JSON[1:-1].split(b", {")),)),
    "parquet": (table("parquet"), lambda: (parquet(),)),
    "query": (query, lambda: (SQL,)),
    "idx": (idx, lambda: (IDX,)),
    "formula": (formula, lambda: (FORMULA,)),
    "toml": (toml, lambda: (TOML,)),
    "command": (command, lambda: (TOML,)),
}  # fmt: skip
if importlib.util.find_spec("onnx"):
    TARGETS["onnx"] = (onnx_file, onnx_files)
