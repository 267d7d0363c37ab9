"""The documents hold: the tour runs, the README's Python runs, outputs and names are today's.

Numbers that rounding and the machine decide may differ; words may not.  After a
change that is meant, ``UPDATE_GOLDEN=1 pytest tests/test_docs.py`` writes the transcripts
anew, and ``python docs/picture.py`` draws the picture.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chainrule.cli.commands import command_line
from chainrule.data.pipeline import Pipeline
from chainrule.tabular.problem import read_problem

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "examples", "bench")
    for path in (ROOT / folder).glob("*.md")
)
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("docs/tutorial/[1-9]_*.py", "examples/*.py")
    for path in ROOT.glob(pattern)
    if path.name != "make_houses.py"
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)[^)]*\)|src=\"(?!https?:)([^\"]+)\"")
# `docs/tour.py` in backticks, and not what running things leaves, as in `runs/a`.
PATH = re.compile(r"`((?:chainrule|docs|tests|bench|examples|\.ci)/(?!results/)[\w./-]*)`")
MODULE = re.compile(r"`(chainrule(?:\.[a-z_]+)+)`")
CHARACTER = 12.2  # width of one in the picture
TARGET = re.compile(r"\bmake ([a-z-]+)")


LONG = ("targets.md", "catalogue.md", "3_training.py", "4_images.py")  # for seconds


def sparing(names: Iterable[str]) -> list[Any]:
    """Return the names as parameters: those that need large libraries, or long, are marked."""
    marks = dict.fromkeys(NEEDS, pytest.mark.oracle)
    marks |= {name: pytest.mark.thorough for name in names if name.endswith(LONG)}
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def words(text: str) -> list[str]:
    """Return the words of `text`, less what time, rounding and the machine decide."""
    text = re.sub(r" in [\d.]+ s, [\d,.]+ rows/s", "", text)
    text = re.sub(r"(?m)^epoch [\d,]+/.*\n", "", text)  # progress, shown where training is slow
    text = re.sub(
        r"(?m)^ *stopped: .*\n?(?:^ {9}.*\n?)*", "", text
    )  # nor does a quick run always stop early
    return re.sub(r"-?[\d.,]*\d", "#", text).replace("·", "#").split()


def in_its_own_process(script: Path | str, folder: Path, repository: Path) -> str:
    """Run a file, or code, with the plain interpreter in `folder`; return what it printed."""
    what = [str(script)] if isinstance(script, Path) else ["-c", script]
    done = subprocess.run(
        [sys.executable, "-W", "error", *what],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(repository)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def place(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory commands run in: the examples in it, narrow as a plain terminal."""
    shutil.copytree(repository / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return tmp_path


# --- what runs -------------------------------------------------------------------------------


def test_the_tour_runs(repository: Path, tmp_path: Path) -> None:
    printed = in_its_own_process(repository / "docs" / "tour.py", tmp_path, repository)
    assert printed.endswith("All assertions passed.\n")
    assert "d_w1=" in printed
    text = (repository / "docs" / "tour.py").read_text("utf-8")
    heads = re.findall(r"^# (\d+\. .*?) -+$", text, re.MULTILINE)
    lines = printed.splitlines()
    assert len(heads) == 9
    assert all(f"\n{head}\n{'-' * len(head)}\n" in printed for head in heads)
    assert [line for line in lines if line in heads] == heads


def test_the_tour_can_fail(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "tour.py").read_text("utf-8")
    wrong = text.replace('"w0": -0.1966', '"w0": +0.1966')
    assert wrong != text
    (tmp_path / "docs").mkdir()
    script = tmp_path / "docs" / "tour.py"
    script.write_text(wrong, "utf-8")
    with pytest.raises(AssertionError, match="AssertionError: w0"):
        in_its_own_process(script, tmp_path, repository)


def test_the_python_of_the_readme_runs_and_prints_what_it_shows(
    repository: Path, place: Path
) -> None:
    text = (repository / "README.md").read_text("utf-8")
    blocks = re.findall(
        r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE
    )
    assert [bool(shown) for _, shown in blocks] == [False, True]
    for block, shown in blocks:
        printed = in_its_own_process(block, place, repository)
        assert printed == shown or not shown


STEPS = {
    "architecture.md": 10, "catalogue.md": 25, "doctor.md": 20, "draw.md": 5, "explain.md": 15,
    "features.md": 12, "interrupted.md": 10, "large-data.md": 8, "many.md": 20, "report.md": 8,
    "table.md": 8, "targets.md": 18, "workers.md": 12, "images.md": 10, "wiring.md": 14,
    "your-own.md": 14, "onnx.md": 25, "scikit-learn.md": 20, "frames.md": 20,
    "pytorch.md": 9, "serve.md": 18, "callbacks.md": 9, "tune.md": 9,
}  # fmt: skip
# Optional packages that a page uses; a page is skipped where one is missing.
NEEDS = {
    "frames.md": ("narwhals", "pandas", "polars", "pyarrow"),
    "onnx.md": ("onnx", "onnxruntime"),
    "pytorch.md": ("torch",),
    "tune.md": ("optuna",),
}


def needs(page: str) -> None:
    """Skip a test where a package that `page` needs is missing."""
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package, reason=f"docs/{page} uses {package}")


@pytest.mark.parametrize("document", sparing(STEPS))
def test_the_steps_of_a_page_are_those_of_the_code(
    document: str, repository: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(document)
    monkeypatch.setenv("PYTHONPATH", str(repository))  # for the processes that a page starts
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    page = str(repository / "docs" / document)
    failed, tried = doctest.testfile(page, module_relative=False, optionflags=flags)
    assert failed == 0
    assert tried > STEPS[document] - 1


def test_no_python_of_a_page_is_left_out(repository: Path) -> None:
    """The README and examples/README.md are run by other tests here."""
    for page in sorted((repository / "docs").rglob("*.md")):
        blocks = fences(page.read_text("utf-8"), "python")
        assert all(block.startswith(">>> ") for block in blocks), page.name
        assert not blocks or page.name in STEPS, page.name


@pytest.mark.parametrize("script", sparing(SCRIPTS))
def test_the_chapters_and_examples_run(script: str, repository: Path, tmp_path: Path) -> None:
    text = (repository / script).read_text("utf-8")
    assert "\nassert " in text  # so it can fail
    if "import onnx" in text:
        needs("onnx.md")
    assert in_its_own_process(repository / script, tmp_path, repository)


def test_a_script_becomes_a_notebook(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = runpy.run_path(str(repository / "docs" / "notebooks.py"))
    script = tmp_path / "script.py"
    script.write_text(
        '"""Title.\n\nIntroduction.\n\nRead next: nothing.\n"""\n\n'
        "from __future__ import annotations\n\n"
        "# ## Sums\n#\n# One and one.\n\n"
        "x = 1 + 1  # a comment\n\nprint(x)  # fmt: skip\nx\n",
        "utf-8",
    )
    book = json.loads(tools["notebook"](tools["run"](script)))
    prose, code = book["cells"]
    assert "".join(prose["source"]) == "# Title\n\nIntroduction.\n\n## Sums\n\nOne and one."
    assert "".join(code["source"]) == "x = 1 + 1  # a comment\n\nprint(x)\nx"
    printed, shown = code["outputs"]
    assert printed["text"] == "2\n"
    assert shown["data"] == {"text/plain": "2"}
    script.write_text('"""Title."""\n\nassert 1 + 1 == 3\n', "utf-8")
    with pytest.raises(AssertionError):
        tools["run"](script)


def test_every_example_is_listed(repository: Path) -> None:
    listed = (repository / "examples" / "README.md").read_text("utf-8")
    for script in (repository / "examples").glob("*.py"):
        assert f"]({script.name})" in listed


# --- what is shown ---------------------------------------------------------------------------


SHOWN = re.compile(r"^\$ chainrule (.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)


@pytest.mark.parametrize(
    ("document", "commands"),
    [("docs/table.md", 5), ("examples/README.md", 2), ("docs/explain.md", 2)],
)
def test_transcripts_are_what_the_commands_print(
    document: str, commands: int, repository: Path, place: Path
) -> None:
    file = repository / document
    text = file.read_text("utf-8")
    printed = {}
    for command, _ in SHOWN.findall(text):
        result = CliRunner().invoke(command_line, shlex.split(command))
        printed[command] = result.stderr + result.stdout
    assert len(printed) == commands
    if os.environ.get("UPDATE_GOLDEN"):
        text = SHOWN.sub(lambda m: f"$ chainrule {m[1]}\n{printed[m[1]]}", text)
        file.write_text(text, "utf-8")
    for command, shown in SHOWN.findall(text):
        assert words(printed[command]) == words(shown), command
    for block in fences(text, "python"):
        if not block.startswith(">>>"):  # it uses the run that the commands trained
            in_its_own_process(block, place, repository)


def text_of(picture: str) -> str:
    """Return the lines of a terminal drawn as SVG; the window's title is not among them."""
    styled = r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>'
    lines: dict[float, str] = {}
    for x, y, text in re.findall(styled, picture):  # the space between spans is not drawn
        line = lines.setdefault(float(y), "").ljust(round(float(x) / CHARACTER))
        lines[float(y)] = line + unescape(text).replace("\xa0", " ")
    return "\n".join(line for _, line in sorted(lines.items()))


def test_the_picture_is_what_the_command_prints(repository: Path, place: Path) -> None:
    picture = (repository / "docs" / "train-digits.svg").read_text("utf-8")
    command, _, printed = text_of(picture).partition("\n")
    assert command.split() == ["$", "chainrule", "train", "digits"]
    result = CliRunner().invoke(command_line, ["train", "digits"])
    assert words(result.stdout) == words(printed)


def test_the_drawings_are_what_is_drawn_today(repository: Path) -> None:
    """The boxes, that is: numbers of values and weights may change."""
    script = runpy.run_path(str(repository / "docs" / "draw_pictures.py"))
    for name, drawn in (("draw-kernels", script["step"]()), ("draw-neurons", script["trained"]())):
        kept = (repository / "docs" / f"{name}.svg").read_text("utf-8")
        boxes, today = (re.findall(r'class="title[^>]*>([^<]*)<', svg) for svg in (kept, drawn))
        assert boxes == today
        assert len(boxes) >= 3


def test_the_columns_become_what_the_page_says(repository: Path) -> None:
    text = (repository / "docs" / "table.md").read_text("utf-8")
    pipeline = read_problem(repository / "examples" / "houses.csv", "price").pipeline
    assert isinstance(pipeline, Pipeline)
    found = {encoder.name: len(encoder.feature_names) for encoder in pipeline.encoders}
    told = {}
    for columns, count in re.findall(r"^\| (`.*?) \| .*? \| (\d+) feature", text, re.MULTILINE):
        told.update(dict.fromkeys(re.findall(r"`(\w+)`", columns), int(count)))
    assert told == found


# --- what is named ---------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_names_exists(document: str, repository: Path) -> None:
    file = repository / document
    text = file.read_text("utf-8")
    links = [file.parent / (link or source) for link, source in LINK.findall(text)]
    paths = [repository / path for path in PATH.findall(text)]
    for name in MODULE.findall(text):
        stem = repository / name.replace(".", "/")
        paths.append(stem if stem.is_dir() else stem.with_suffix(".py"))
    assert [str(path) for path in (*links, *paths) if not path.exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    code = " ".join(re.findall(r"`[^`]+`", text) + fences(text, "(?:sh)?"))
    assert set(TARGET.findall(code)) <= targets


def test_a_missing_file_is_found() -> None:
    text = '[a](docs/no.md) `docs/none.py` `runs/a` [b](https://example.org/x) <img src="p.svg">'
    assert LINK.findall(text) == [("docs/no.md", ""), ("", "p.svg")]
    assert PATH.findall(text) == ["docs/none.py"]
