"""Files of weights that were written elsewhere. (What a user reads of bad ones: `tests/library/test_adopted.py`.)"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cfsweep.errors import InputError
from cfsweep.training.networks import plain_tensors, prefix_of, read_weights


def test_both_formats_give_the_tensors_and_the_hash_of_the_file(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(3, 2), "b": torch.arange(4)}
    torch.save(tensors, tmp_path / "one.pt")
    save_file(tensors, tmp_path / "other.safetensors")
    for path in sorted(tmp_path.iterdir()):
        found, digest = read_weights(path, "here")
        assert found.keys() == tensors.keys()
        assert all(torch.equal(value, tensors[name]) for name, value in found.items())
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pt").touch()
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError, match=r"^here: it cannot be read \(Permission denied\)\. Change its rights\.$"):
        read_weights(tmp_path / "a.pt", "here")


@pytest.mark.filterwarnings("error")
def test_of_a_kind_of_tensors_that_is_refused_torch_says_nothing_more(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(2).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"^here: tensors of real numbers"):
        read_weights(tmp_path / "a.pt", "here")


def test_what_is_no_table_of_tensors_is_refused() -> None:
    for found in (torch.ones(2), {"a": [1.0]}, {3: torch.ones(2)}, {"a": torch.ones(2, dtype=torch.complex64)}):
        with pytest.raises(InputError, match=r"^here: tensors of real numbers by the names of parameters are needed\."):
            plain_tensors(found, "here")


def test_a_prefix_is_one_of_all_names() -> None:
    assert prefix_of(["_orig_mod.a", "_orig_mod.b"]) == "_orig_mod."
    assert prefix_of(["module.a", "_orig_mod.b"]) is None
    assert prefix_of([]) is None
