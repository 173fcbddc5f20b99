"""What is written to lies on this machine, and an address is refused as one, not taken for an odd folder."""

from __future__ import annotations

import pytest

import cfsweep
from cfsweep.errors import InputError
from tests.conftest import Run

ADDRESS = "s3://bucket/study"
SAID = f"{ADDRESS}: a study is written in a folder of this machine, or one that is mounted."


def test_the_library_refuses_an_address() -> None:
    for attempt in (
        lambda: cfsweep.sweep("ewc", out=ADDRESS),
        lambda: cfsweep.resume(ADDRESS),
        lambda: cfsweep.confirm(ADDRESS),
        lambda: cfsweep.export(ADDRESS, "model"),
    ):
        with pytest.raises(InputError, match=f"^{SAID}"):
            attempt()


@pytest.mark.parametrize(
    "command",
    [("run", "ewc", "--out", ADDRESS), ("resume", ADDRESS), ("confirm", ADDRESS), ("export", ADDRESS, "--to", "model")],
)
def test_the_command_line_refuses_an_address(command: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert err.startswith(f"cfsweep: {SAID}")
