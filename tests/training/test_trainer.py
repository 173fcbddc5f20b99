"""What the sweep opens: a pack from the start, or where its checkpoint left it."""

from __future__ import annotations

import pytest
import torch

from cfsweep.testing import finish, make_pack, small_stream
from cfsweep.testing.packs import assert_same
from cfsweep.training import pack as pack_module
from cfsweep.training.pack import Pack
from cfsweep.training.trainer import open_trainer

CPU = torch.device("cpu")


def test_it_begins_at_the_start_or_where_the_checkpoint_was_taken() -> None:
    stream, pack = small_stream(), make_pack(small_stream(), ("ewc",))
    pack.train_next_task()
    fresh, later = (open_trainer(pack.spec, stream, CPU, checkpoint=c) for c in (None, pack.checkpoint()))
    assert [trainer.report().task for trainer in (fresh, later)] == [-1, 0]
    assert not later.done
    for trainer in (fresh, later):
        assert isinstance(trainer, Pack)
        assert_same(finish(trainer), finish(make_pack(stream, ("ewc",))))
        assert trainer.done


def test_a_checkpoint_of_another_format_is_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, pack = small_stream(), make_pack(small_stream(), ("ewc",))
    pack.train_next_task()
    monkeypatch.setattr(pack_module, "CHECKPOINT_FORMAT", 1)
    older = pack.checkpoint()
    monkeypatch.undo()
    assert Pack.restore(older, stream) is None
    assert open_trainer(pack.spec, stream, CPU, checkpoint=older).report().task == -1


def test_options_reach_the_pack() -> None:
    pack = make_pack(small_stream(), ("ewc",))
    trainer = open_trainer(pack.spec, small_stream(), CPU, share_first_task=False)
    assert isinstance(trainer, Pack)
    assert not trainer.stack.share_first_task
