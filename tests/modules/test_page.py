"""The page about the modules: its code runs, and its table names them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from cfsweep import modules
from cfsweep.modules._saved import Saved


def test_the_python_of_the_page_runs(project_root: Path) -> None:
    """One block after the other, in one place: each goes on from those before it."""
    page = (project_root / "docs" / "modules.md").read_text()
    content: dict[str, Any] = {}
    with torch.random.fork_rng():
        for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(block, content)
    for name in ("ewc", "si", "masks", "buffer"):
        assert content[name].tasks_ended == 3
    assert len(content["buffer"]) == 50


def test_the_table_of_the_page_names_every_module(project_root: Path) -> None:
    page = (project_root / "docs" / "modules.md").read_text()
    public = {name: getattr(modules, name) for name in modules.__all__}
    named = re.findall(r"^\| `(\w+)` \| `", page, flags=re.MULTILINE)
    assert set(named) == {n for n, kind in public.items() if isinstance(kind, type) and issubclass(kind, Saved)}
