"""chainrule export: an ONNX model, compared before it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chainrule.cli.commands import command_line

pytestmark = pytest.mark.oracle

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(command_line, [str(word) for word in words])


def test_a_run_is_exported_with_the_rows_of_its_data(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    assert call("train", "digits", "--epochs", "1", "--out", "run").exit_code == 0
    result = call("export", "run")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[:3] == [
        "input   x: double['n', 60]",  # four pixels are white in every image
        "output  prediction: int64['n']",
        "output  probabilities: float['n', 10]",
    ]
    assert "onnxruntime agrees on 1,797 rows: the largest difference is" in result.stdout
    before = (tmp_path / "model.onnx").read_bytes()
    refused = call("export", "run")
    assert refused.exit_code == 2
    assert "model.onnx exists; nothing was written. Give another name, or" in refused.stderr
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert call("export", "run", "--force").exit_code == 0


def test_a_table_is_compared_on_the_rows_of_a_file(
    call: Callable[..., Result], tmp_path: Path, repository: Path
) -> None:
    houses = repository / "examples" / "houses.csv"
    trained = call("train", houses, "--target", "price", "--epochs", "2", "--out", "run")
    assert trained.exit_code == 0, trained.stderr
    new = repository / "examples" / "new-houses.csv"
    assert "agrees on" in call("export", "run", new, "--out", "a.onnx").stdout
    assert "random rows" in call("export", "run", "--out", "b.onnx").stdout
    refused = call("export", "run", "--out", "c.onx")
    assert refused.exit_code == 2
    assert "ends in .onnx" in refused.stderr
