"""`cfsweep check` and `cfsweep repair`: whether a results folder is as it was written, and what to do if not."""

from __future__ import annotations

from typing import Annotated

import typer

from cfsweep.results.addresses import in_command, is_address
from cfsweep.terminal import Terminal

EXIT_DAMAGED = 1


def check(root: Annotated[str, typer.Argument(help="A results folder, local or remote.", metavar="FOLDER")]) -> None:
    """Say what of a results folder is torn, missing, altered or unknown; exit code 1 if anything is damaged."""
    from cfsweep.results.stages import SELECTION
    from cfsweep.sweeping.checking import check as checked

    found, console = checked(root), Terminal()
    for finding in found.findings:
        console.say(f"{finding.path}: {finding.what}")
    if found.damaged:
        of_a_sweep = any(finding.path != SELECTION for finding in found.damaged)  # a choice has its own remedy
        remedy = f". `cfsweep repair {in_command(root)}` sets right what is damaged; then train again what is lost."
        console.say(f"{len(found.damaged)} damaged{remedy if of_a_sweep else ''}")
        raise typer.Exit(EXIT_DAMAGED)
    console.say(f"whole: {found.n_files} files of results" + (", and a sweep writes more" if found.running else ""))


def repair(root: Annotated[str, typer.Argument(help="A results folder, local or remote.", metavar="FOLDER")]) -> None:
    """Set aside what is damaged of a results folder; going on with the study then trains again what it held."""
    from cfsweep.library.folders import written_in
    from cfsweep.results.status import status
    from cfsweep.sweeping.repairing import repair as repaired

    console = Terminal()
    with written_in(root, anew=True) as folder:
        said = repaired(folder)
        for line in said:
            console.say(line)
        now = status(folder) if said else None
    if now is None:
        console.say("nothing to repair: all is whole" + (" here, and is carried there" if is_address(root) else ""))
    elif now.complete:
        console.say("the study is complete")
    else:
        command = f"{now.goes_on_by} {in_command(root)}" if now.goes_on_by.endswith("resume") else now.goes_on_by
        console.say(f"{now.ended} of {now.trials} trials are whole; `{command}` trains the rest")
