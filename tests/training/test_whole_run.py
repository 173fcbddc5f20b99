"""Whole runs against a plain PyTorch loop: one nn.Module, torch.optim, one batch after the other.

The two see the same initial weights, the same batches and the same sampled labels; only rounding tells them apart.
Weight decay is off here: torch.optim would also decay the outputs that are closed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario, StreamConfig
from cfsweep.hypers import Value
from cfsweep.training import batches
from cfsweep.training.networks import build
from cfsweep.training.targets.classification import outputs_for
from cfsweep.training.engine.randomness import generator, torch_seed
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task, load_stream
from cfsweep.testing.packs import finish, make_pack, values_of

NETWORK = NetworkConfig(name="mlp", args={"hidden": [32, 32]})
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.fixture(scope="module")
def digits() -> Stream:
    return load_stream(StreamConfig(name="split-digits"))


class PlainLoop:
    """Naive, EWC (separate, true Fisher, or online) and replay, for one run."""

    def __init__(self, stream: Stream, run: RunSpec, scenario: Scenario, network: NetworkConfig, joint: bool) -> None:
        self.stream, self.run, self.scenario, self.joint = stream, run, scenario, joint
        self.values = run.values
        self.outputs = target_of("classification").outputs(stream, scenario)
        self.x = (stream.x.float() - stream.shift) * stream.scale
        with torch.random.fork_rng():
            torch.manual_seed(torch_seed(run.seed, "init"))
            self.network = build(network, stream.input_shape, self.outputs.n_outputs)
        self.anchors: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self.buffer: list[int] = []
        self.seen = 0

    def allowed(self, task: int, learned: int) -> list[int]:
        if self.scenario == "task-il":
            return list(self.stream.tasks[task].classes)
        if self.scenario == "class-il" and learned:
            return [c for t in self.stream.tasks[:learned] for c in t.classes]
        return list(range(self.outputs.n_outputs))

    def loss(self, index: int, learned: int) -> Tensor:
        """Of one example."""
        open_ = self.allowed(int(self.outputs.task_of[index]), learned)
        logits = self.network(self.x[index : index + 1])[0, open_]
        return -torch.log_softmax(logits, 0)[open_.index(int(self.outputs.labels[index]))]

    def batch_loss(self, indices: np.ndarray, learned: int) -> Tensor:
        logits = self.network(self.x[indices])
        closed = torch.ones_like(logits, dtype=torch.bool)
        for row, index in enumerate(indices):
            closed[row, self.allowed(int(self.outputs.task_of[index]), learned)] = False
        return nn.functional.cross_entropy(logits.masked_fill(closed, -torch.inf), self.outputs.labels[indices])

    def accuracies(self, learned: int, part: str) -> list[int]:
        counts = []
        for number, task in enumerate(self.stream.tasks):
            indices = getattr(task, part)
            open_ = self.allowed(number, learned)
            with torch.no_grad():
                chosen = torch.tensor(open_)[self.network(self.x[indices])[:, open_].argmax(1)]
            counts.append(int((chosen == self.outputs.labels[indices]).sum()))
        return counts

    def train(self) -> list[list[int]]:
        """The right answers on the test data: untrained, then after each task."""
        rows = [self.accuracies(0, "test")]
        for number, task in enumerate(self.stream.tasks):
            self.train_task(number)
            if self.values.get("ewc_lambda"):
                self.anchor(number, task)
            if self.values.get("replay_buffer"):
                self.remember(number, task)
            rows.append(self.accuracies(number + 1, "test"))
        return rows

    def train_task(self, number: int) -> None:
        v = self.values
        extra = {"momentum": v["momentum"]} if v["optimizer"] == "sgd" else {}
        optimizer = OPTIMIZERS[str(v["optimizer"])](
            self.network.parameters(), lr=v["lr"], weight_decay=v["weight_decay"], **extra
        )
        examples = batches.training_examples(self.stream, number, self.joint)
        size, epochs = int(v["batch_size"]), int(v["epochs"])
        for epoch, order in enumerate(batches.orders([self.run], examples, number, epochs, size, [], {})[0]):
            draws = generator(self.run.seed, "mix", number, epoch).integers(
                max(1, len(self.buffer)), size=len(order)
            )
            for at in range(0, len(order), size):
                batch = order[at : at + size].copy()
                if self.buffer:
                    n_old = int(np.floor(float(v["replay_ratio"]) * len(batch) + 0.5))
                    batch[:n_old] = np.array(self.buffer)[draws[at : at + n_old]]
                optimizer.zero_grad()
                (self.batch_loss(batch, number + 1) + self.penalty()).backward()
                optimizer.step()

    def penalty(self) -> Tensor:
        total = torch.zeros(())
        for fisher, centre in self.anchors:
            for name, p in self.network.named_parameters():
                total = total + 0.5 * float(self.values["ewc_lambda"]) * (fisher[name] * (p - centre[name]) ** 2).sum()
        return total

    def anchor(self, number: int, task: Task) -> None:
        n = min(int(self.values["ewc_examples"]), len(task.train))
        chosen, uniform, _ = batches.examples_to_consolidate([self.run], task.train, number, n, 0)
        fisher = {name: torch.zeros_like(p) for name, p in self.network.named_parameters()}
        open_ = self.allowed(number, number + 1)
        for index, u in zip(chosen[0], uniform[0], strict=True):
            self.network.zero_grad()
            log_p = torch.log_softmax(self.network(self.x[index : index + 1])[0, open_], 0)
            sampled = int(np.searchsorted(log_p.detach().exp().cumsum(0).numpy(), u, side="right"))
            log_p[min(sampled, len(open_) - 1)].backward()
            for name, p in self.network.named_parameters():
                assert p.grad is not None
                fisher[name] += p.grad**2 / n
        self.anchors.append((fisher, {name: p.detach().clone() for name, p in self.network.named_parameters()}))

    def remember(self, number: int, task: Task) -> None:
        capacity, rng = int(self.values["replay_buffer"]), generator(self.run.seed, "buffer", number)
        for example, draw in zip(task.train, rng.integers(self.seen + np.arange(len(task.train)) + 1), strict=True):
            if len(self.buffer) < capacity:
                self.buffer.append(int(example))
            elif draw < capacity:
                self.buffer[draw] = int(example)
            self.seen += 1


def both(
    stream: Stream, names: tuple[str, ...], scenario: Scenario = "task-il", joint: bool = False, **given: Value
) -> tuple[list[list[int]], Tensor, list[list[int]]]:
    """The plain loop's matrix, how far the pack's weights are from its own, and the pack's matrix."""
    sizes: dict[str, Value] = {"batch_size": 32, "epochs": 2}
    sizes |= {k: v for k, v in {"ewc_examples": 60, "replay_buffer": 50}.items() if k.partition("_")[0] in names}
    run = RunSpec(0, 3, values_of(names, **{**sizes, **given}))
    plain = PlainLoop(stream, run, scenario, NETWORK, joint)
    pack = finish(make_pack(stream, names, (run,), scenario, NETWORK, joint=joint))
    matrix = plain.train()
    flat = pack.context.layout.flatten({k: p.detach() for k, p in plain.network.named_parameters()})
    return matrix, pack.stack.theta[0] - flat, pack.records[0].test


CASES: list[tuple[tuple[str, ...], dict[str, Value]]] = [
    ((), {"optimizer": "sgd", "lr": 0.05}),
    ((), {"optimizer": "adam", "lr": 3e-3}),
    ((), {"optimizer": "adamw", "lr": 3e-3}),
    (("ewc",), {"optimizer": "sgd", "lr": 0.01, "ewc_lambda": 30.0}),
    (("ewc",), {"optimizer": "adam", "lr": 3e-3, "ewc_lambda": 100.0}),
    (("replay",), {"optimizer": "adam", "lr": 3e-3, "replay_ratio": 0.4}),
    (("replay",), {"optimizer": "sgd", "lr": 0.05, "replay_ratio": 0.25}),
    (("ewc", "replay"), {"optimizer": "adam", "lr": 3e-3}),
]


@pytest.mark.parametrize(
    ("names", "given"), CASES, ids=lambda c: "+".join(c) if isinstance(c, tuple) else c["optimizer"]
)
def test_accuracy_matrix_is_that_of_a_plain_loop(
    digits: Stream, names: tuple[str, ...], given: dict[str, Value]
) -> None:
    matrix, apart, own = both(digits, names, **given)
    # Measured: the same matrices, weights within 2e-6. Another BLAS may turn a ReLU over and one example with it.
    assert np.abs(np.array(matrix) - own).max() <= 1
    assert apart.abs().max() < 1e-3


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("names", [(), ("ewc", "replay")], ids=["naive", "ewc+replay"])
def test_few_steps_agree_tightly_in_every_scenario(digits: Stream, names: tuple[str, ...], scenario: Scenario) -> None:
    few = replace(digits, tasks=tuple(replace(t, train=t.train[:70]) for t in digits.tasks[:3]))
    matrix, apart, own = both(few, names, scenario, optimizer="sgd", lr=0.02)
    assert matrix == own
    assert apart.abs().max() < 2e-6


def test_joint_trains_on_all_data_so_far(digits: Stream) -> None:
    few = replace(digits, tasks=tuple(replace(t, train=t.train[:70]) for t in digits.tasks[:3]))
    matrix, apart, own = both(few, (), joint=True, optimizer="sgd", lr=0.02)
    assert matrix == own
    assert apart.abs().max() < 2e-6
    assert batches.training_examples(few, 2, joint=True).tolist() == [i for t in few.tasks for i in t.train]
