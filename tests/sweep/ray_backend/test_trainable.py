"""What a worker makes of what it is told, without a cluster: the desk is in this process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cfsweep.sweep import trainable
from cfsweep.sweep.packing import pack_runs
from cfsweep.sweep.space import check_study
from cfsweep.sweep.trainable import PackTrainable, pack_stream
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from tests.sweep.in_process import tiny


@pytest.mark.parametrize("share_prefix", [True, False])
def test_runs_share_a_prefix_if_the_study_says_so(
    share_prefix: bool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny({"ewc_lambda": {"choices": [1.0, 2.0]}}, ingredients=("ewc",), share_prefix=share_prefix)
    hypers = check_study(config, len(stream.tasks), "test")
    fixed = {name: config.space.fixed.get(name, hyper.default) for name, hyper in hypers.items()}
    runs = [RunSpec(trial, 0, {**fixed, "ewc_lambda": float(trial + 1)}) for trial in range(2)]
    (spec,) = pack_runs(config, hypers, runs, config.pack_runs)
    fetched = (spec.to_dict(), None, ("the stream's reference",))
    desk = SimpleNamespace(fetch=SimpleNamespace(remote=lambda pack_id: fetched))
    monkeypatch.setattr(trainable.ray, "get_actor", lambda *address: desk)
    monkeypatch.setattr(trainable.ray, "get", lambda asked: asked if asked is fetched else pack_stream(stream))
    threads = torch.get_num_threads()
    try:
        worker = PackTrainable.__new__(PackTrainable)
        address = {"pack_id": "p", "desk": "d", "namespace": "n"}
        worker.setup({**address, "share_prefix": config.share_prefix, "prefixes_recur": False})
        pack = worker._open()
    finally:
        torch.set_num_threads(threads)
    assert len(pack.stack.alive) == 2
    assert len(pack.stack) == (1 if share_prefix else 2)
