"""The page about the modules: its code runs, and its table names them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cfsweep import modules
from cfsweep.bundle import load
from cfsweep.modules._saved import Saved
from tests.bundle.test_continued import FLAT, bundle_of, write_tasks


def test_the_python_of_the_page_runs(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block after the other, in one place: each goes on from those before it. There is a bundle of two tasks."""
    page = (project_root / "docs" / "modules.md").read_text()
    monkeypatch.chdir(tmp_path)
    bundle_of(write_tasks(tmp_path / "old", 2), tmp_path / "runs" / "ewc-model", "ewc")
    write_tasks(tmp_path / "all", 3)
    (tmp_path / "new").mkdir()
    (tmp_path / "all" / "task-2.npz").rename(tmp_path / "new" / "task-5.npz")
    content: dict[str, Any] = {}
    with torch.random.fork_rng():
        for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(block, content)
    for name in ("ewc", "si", "masks", "buffer"):
        assert content[name].tasks_ended == 3
    assert len(content["buffer"]) == 50
    model, x = load("runs/ewc-model-5"), 3 + torch.randn(4, FLAT, generator=torch.Generator().manual_seed(0))
    program = torch.export.load("runs/ewc-model-5/model.pt2").module()
    torch.testing.assert_close(program(x), model.outputs(x))
    assert len(model.about.tasks) == 3


def test_the_table_of_the_page_names_every_module(project_root: Path) -> None:
    page = (project_root / "docs" / "modules.md").read_text()
    public = {name: getattr(modules, name) for name in modules.__all__}
    named = re.findall(r"^\| `(\w+)` \| `", page, flags=re.MULTILINE)
    assert set(named) == {n for n, kind in public.items() if isinstance(kind, type) and issubclass(kind, Saved)}
