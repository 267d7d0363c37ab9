"""The entry point of the command line: every error becomes one paragraph and an exit status.

The exit status is 0 on success, 1 if the work failed (training diverged, the disk is full),
2 if the arguments or the data are invalid, and 130 if interrupted.  Users see a traceback only
for a bug in chainrule.

Read next: :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import click

from chainrule.cli.output import SavingError, silence, tell
from chainrule.core.errors import ChainruleError, DivergedError, did_you_mean
from chainrule.core.foreign import advice
from chainrule.run.blas import one_blas_thread

__all__ = ["CommandLine"]


class CommandLine(click.Group):
    """A click group that suggests similar commands and prints every error as a paragraph."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for an unknown name suggests the closest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"there is no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run the command and exit with its status."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # an ASCII terminal gets "?", not a traceback
                stream.reconfigure(errors="replace")
        words = list(sys.argv[1:] if args is None else args)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            with nullcontext() if _trains_with_numpy() else one_blas_thread():
                status = self._status(words, prog_name or "chainrule", extra)
        raise SystemExit(status)

    def _status(self, words: list[str], name: str, extra: dict[str, Any]) -> int:
        extra["standalone_mode"] = False
        try:
            result = super().main(args=words, prog_name=name, **extra)
            return result if isinstance(result, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            tell(error.format_message())
            return 2
        except click.UsageError as error:
            place = error.ctx.command_path if error.ctx else name
            tell(f"error: {_usage(error)} See '{place} --help'.")
            return 2
        except click.ClickException as error:
            tell(f"error: {error.format_message()}")
            return 2
        except (click.Abort, KeyboardInterrupt):
            tell("interrupted; nothing was saved.")
            return 130
        except (DivergedError, SavingError) as error:
            tell(f"error: {error}")
            return 1
        except ChainruleError as error:
            tell(f"error: {error}")
            return 2
        except OSError as error:  # from text that click and rich write, such as --help
            silence(sys.stdout)
            what = error.filename or "can't write to standard output"
            tell(f"error: {what}: {error.strerror or error}.")
            return 1
        except MemoryError as error:
            tell(f"error: not enough memory ({error}). Use fewer rows or a smaller network.")
            return 1


def _trains_with_numpy() -> bool:
    """Return whether NumPy's products are the training, and not the small ones of reports."""
    return os.environ.get("CHAINRULE_ENGINE") == "reference" or find_spec("llvmlite") is None


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """Print a warning as one line: the line of code that raised it tells the user nothing."""
    tell(f"warning: {message}")


def _usage(error: click.UsageError) -> str:
    """Return the error of click as sentences, suggesting close matches only."""
    if isinstance(error, click.NoSuchOption):
        parameters = error.ctx.command.params if error.ctx else ()
        options = {o.lstrip("-"): o for p in parameters for o in p.opts if o.startswith("--")}
        known = {name.replace("-", "_"): option for name, option in options.items()}
        asked = error.option_name.lstrip("-").replace("-", "_")
        near = get_close_matches(asked, known, n=1, cutoff=0.6)
        hint = f" Did you mean {known[near[0]]}?" if near else ""
        if elsewhere := advice(asked, known):
            for name, option in known.items():
                elsewhere = elsewhere.replace(repr(name), option)
            hint = f" {elsewhere}"
        return f"there is no option {error.option_name}.{hint}"
    return error.format_message().rstrip(".") + "."
