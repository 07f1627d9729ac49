"""The shell: `foresight …`.

Exit status: 0 completed, whatever the verdict; 1 something failed; 2 bad input or a refusal, with one message on
stderr; 130 Ctrl-C, 143 SIGTERM, 129 a terminal that was closed. Each group of commands has a module of its own; what is
heavy is imported by the command that needs it, so that `foresight --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from foresight import interrupts
from foresight.cli import datasets, gates, plan, reproduce, results, run, state
from foresight.errors import StepFailed, UserError


class _Commands(TyperGroup):
    """Typer would end every interrupted command with 130 and without a word."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except BaseException as error:
            stopped = None if isinstance(error, typer.Exit) else interrupts.behind(error)
            if stopped is None:
                raise
            _complain(f"stopped by {stopped.by}")
            raise typer.Exit(stopped.exit_status) from error


app = typer.Typer(
    name="foresight",
    cls=_Commands,
    help="Run a research programme whose verdicts can be trusted: plan, run, read, verify.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.add_to(app)
state.add_to(app)
reproduce.add_to(app)
app.add_typer(results.app, name="results")
app.add_typer(datasets.app, name="datasets")
app.add_typer(plan.app, name="plan")
app.add_typer(gates.app, name="gates")


def main() -> None:
    """The console script. Bad input is one sentence on stderr and exit 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        _complain(str(error))
        sys.exit(2)
    except StepFailed as error:
        _complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # from a write: it names no file, and something had begun
            _complain(f"{error.strerror}. Free some, or set FORESIGHT_HOME elsewhere; what is finished is kept.")
            sys.exit(1)
        if error.errno is None or error.filename is None:
            raise
        _complain(
            f"{error.filename}: {error.strerror}. Free space or permissions there, or set FORESIGHT_HOME elsewhere."
        )
        sys.exit(2)


def _complain(message: str) -> None:
    print(f"foresight: {message}", file=sys.stderr)
