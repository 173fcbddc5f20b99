"""`python -m analysis`: thin over the functions of the same names.

Exit codes: 0 done, 1 the answer is no, 2 bad input (one line on stderr).
"""

from __future__ import annotations

import sys

import typer

from analysis.cli.choices import compare_command, select_command, show_confirmation
from analysis.cli.fronts import front_command, report_command, table_command
from analysis.cli.gates import gate_command
from analysis.formatting import one_line
from cfsweep.errors import NO_FAULT_OF_OURS, CfsweepError, InputError, not_written
from cfsweep.terminal import say

__all__ = ["app", "main", "show_confirmation"]

app = typer.Typer(
    help="Looks at a results folder, local or remote, finished or not.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in (
    ("report", report_command),
    ("front", front_command),
    ("table", table_command),
    ("gate", gate_command),
    ("select", select_command),
    ("compare", compare_command),
):
    app.command(_name)(_command)


def main() -> None:
    """The entry point: an error of `cfsweep.errors`, or in the command line, becomes one line and an exit code."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="python -m analysis", standalone_mode=False))
    except (CfsweepError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_FAULT_OF_OURS:
            raise
        told = not_written(error) if isinstance(error, OSError) else error
        say(one_line(str(told), limit=2000), error=True)
        sys.exit(told.exit_code)
    except Exception as error:
        # Typer's own complaints about the command line, as in `cfsweep.cli`.
        if not hasattr(error, "format_message"):
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "python -m analysis")
        say(one_line(f"{error.format_message().rstrip('.')}. See `{command} --help`."), error=True)
        sys.exit(InputError.exit_code)
