"""The examples' README shows what the commands in it print."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from click.testing import Result


def words(text: str) -> list[str]:
    """Return the words of `text`, less those that time and the machine decide."""
    return re.sub(r" in [\d.]+ s, [\d,]+ rows/s", "", re.sub(r"[\d.,]*\d", "#", text)).split()


def test_the_readme_shows_what_the_commands_print(
    call_default: Callable[..., Result], place: Path, repository: Path
) -> None:
    shutil.copytree(repository / "examples", place / "examples")
    text = (place / "examples" / "README.md").read_text("utf-8")
    blocks = re.findall(r"```\n\$ chainrule (.*?)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for command, shown in blocks:
        result = call_default(*shlex.split(command))
        assert result.exit_code == 0, result.output
        # Digits may differ from machine to machine in the last place, and epochs with them.
        assert words(result.stderr + result.stdout) == words(shown)


def test_the_help_of_train_has_examples_that_work(
    call_default: Callable[..., Result], place: Path, repository: Path
) -> None:
    shutil.copy(repository / "examples" / "houses.csv", place / "houses.csv")
    told = call_default("train", "--help").stdout
    examples = re.findall(r"chainrule (train houses\.csv .*)", told)
    assert len(examples) == 2
    for example in examples:
        quick = ("--hidden", "8", "--epochs", "1", "--no-report")
        result = call_default(*shlex.split(example), *quick)
        assert result.exit_code == 0, result.output
