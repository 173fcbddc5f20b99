"""PackNet on the real split-mnist: nothing that was frozen changes, and the accuracy stays."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.metrics import average_score
from cfsweep.testing.packs import make_pack
from cfsweep.training.spec import score_rows
from cfsweep.training.streams import load_stream


def test_packnet_keeps_every_prediction_and_97_percent(data_root: Path) -> None:
    stream = load_stream(StreamConfig(name="split-mnist", data=os.fspath(data_root)))
    network = NetworkConfig(name="mlp", args={"hidden": [256, 256]})
    pack = make_pack(stream, ("packnet",), network=network, epochs=5, batch_size=64, lr=1e-3, packnet_rate=0.5)
    predicted: list[torch.Tensor] = []
    while not pack.done:
        task = pack.next_task
        pack.train_next_task()
        predicted.append(pack.predictions(task))
        for k, before in enumerate(predicted):
            assert torch.equal(pack.predictions(k), before), f"task {k} changed while task {task} was trained"
    matrix = score_rows(pack.records[0].test, len(stream.tasks))[1:]
    assert all(len(np.unique(matrix[i:, i])) == 1 for i in range(5))
    assert average_score(matrix) >= 0.97
