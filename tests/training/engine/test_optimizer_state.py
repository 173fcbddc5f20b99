"""An optimizer that goes on from task to task: as torch's own would, also where weights or runs rest for a while."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, make_pack, small_stream, values_of
from cfsweep.testing.packs import restored
from cfsweep.training.batches import orders
from cfsweep.training.engine.optimizer_state import OptimizerState
from cfsweep.training.engine.optimizers import bias_correction
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.targets import target_of
from tests.training.helpers import early_stopped

VALUES: dict[str, Value] = {"epochs": 1, "batch_size": 64, "lr": 0.01, "optimizer_state": "kept"}


@pytest.fixture(scope="module")
def stream() -> Stream:
    return load_stream(StreamConfig(name="split-digits", scenario="domain-il"))


def pack_of(stream: Stream, **changes: Value) -> Pack:
    values = {name: hyper.default for name, hyper in hypers_of(()).items()}
    runs = tuple(RunSpec(0, seed, {**values, **VALUES, **changes}) for seed in (0, 1))
    return Pack(PackSpec(NetworkConfig(args={"hidden": [8]}), "domain-il", (), runs), stream)


def finish(pack: Pack) -> torch.Tensor:
    while not pack.done:
        pack.train_next_task()
    return pack.stack.theta


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_goes_on_as_torchs_own_optimizer(stream: Stream, optimizer: str) -> None:
    whole = pack_of(stream, optimizer=optimizer)
    outputs = target_of("classification").outputs(stream, "domain-il")
    theta = whole.stack.theta[0].clone().requires_grad_(True)
    own = torch.optim.Adam([theta], lr=0.01) if optimizer == "adam" else torch.optim.SGD([theta], lr=0.01, momentum=0.9)
    for task in range(len(stream.tasks)):
        (order,) = orders(whole.spec.runs[:1], stream.tasks[task].train, task, 1, 64, (), {})
        for at in range(0, order.shape[-1], 64):
            rows = torch.from_numpy(order[0, at : at + 64])
            logits = whole.context.lifted.one(whole.context.layout.unflatten(theta), whole.context.store[rows])
            own.zero_grad()
            torch.nn.functional.cross_entropy(logits, outputs.labels[rows]).backward()
            own.step()
    torch.testing.assert_close(finish(whole)[0], theta.detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(
        finish(pack_of(stream, optimizer=optimizer, optimizer_state="fresh"))[0], theta, atol=1e-3
    )


def test_a_restored_pack_goes_on_to_the_last_bit(stream: Stream) -> None:
    straight, broken = pack_of(stream), pack_of(stream)
    while not broken.done:
        broken.train_next_task()
        if not broken.done:
            broken = restored(broken)
    assert torch.equal(finish(straight), broken.stack.theta)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_outputs_that_become_active_late_begin_as_under_torchs_own(optimizer: str) -> None:
    small = small_stream()
    run = RunSpec(0, 0, values_of((), optimizer=optimizer, optimizer_state="kept"))
    whole, plain = make_pack(small, (), (run,), "class-il"), PlainLoop(small, run, "class-il")
    own = plain.optimizer()
    for task in range(3):
        assert sum(1 for _ in plain.steps(task, own)) == plain.n_steps(task)
        whole.train_next_task()
        torch.testing.assert_close(whole.stack.theta[0], plain.theta(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_that_ends_a_task_early_goes_on_from_the_moments_of_its_last_step(optimizer: str) -> None:
    """All steps of the task count, so the moments are made as large as they would be after all of them."""
    small, names = small_stream(), ("early-stopping",)
    given: dict[str, Value] = {"optimizer": optimizer, "optimizer_state": "kept", "epochs": 8, "lr": 0.005}
    run = RunSpec(0, 0, values_of(names, patience=1, **given))
    stopped, plain = make_pack(small, names, (run,), "domain-il"), PlainLoop(small, run, "domain-il")
    own, taken, due = plain.optimizer(), 0, 0
    for task in range(3):
        steps, _ = early_stopped(plain, task, 1, own)
        stopped.train_next_task()
        torch.testing.assert_close(stopped.stack.theta[0], plain.theta(), rtol=1e-4, atol=1e-5)
        taken, due = due + steps, due + plain.n_steps(task)
        for moments in own.state.values():
            if optimizer == "adam":
                moments["exp_avg"] *= (1 - 0.9**due) / (1 - 0.9**taken)
                moments["exp_avg_sq"] *= (1 - 0.999**due) / (1 - 0.999**taken)
                moments["step"].fill_(due)
    assert stopped.records[0].steps < due, "it does end some task early"


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weights_that_rest_for_a_while_keep_their_moments(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cut on packnet holds the free weights still; in the next task they go on as if it had been the last
    step. From moments of zero after many steps the first steps of Adam would be several times lr."""
    small, names = small_stream(), ("packnet",)
    runs = tuple(
        RunSpec(k, k // 2, values_of(names, optimizer=optimizer, optimizer_state="kept", packnet_rate=0.2 + 0.1 * k))
        for k in range(4)
    )
    pack = make_pack(small, names, runs)
    cut, at_the_cut = TaskLoop._cut, []

    def spy(loop: TaskLoop) -> None:
        if loop.task == 0:
            rows = loop.stack.row_of.copy()
            state = {k: v[rows] / bias_correction(k, loop.step) for k, v in loop.optimizer_state.state.items()}
            at_the_cut.append((state, loop.n_steps))
        cut(loop)

    monkeypatch.setattr(TaskLoop, "_cut", spy)
    pack.train_next_task()
    (state, n_steps), free = at_the_cut[0], pack.stack.states["packnet"]["owner"] > 0
    assert [len(pack.stack), len(free)] == [4, 4]
    for name, expected in state.items():
        found = pack.stack.optimizer[name] / bias_correction(name, n_steps)
        prunable = [entry.where for entry in pack.context.layout.entries if entry.prunable]
        for where in prunable:
            at = free[:, where]
            assert 0 < at.float().mean() < 1
            torch.testing.assert_close(found[:, where][at], expected[:, where][at])
            assert found[:, where][at].abs().max() > 0


@pytest.mark.parametrize(("optimizer", "moments"), [("sgd", 1), ("adam", 2)])
def test_what_is_kept_is_counted(stream: Stream, optimizer: str, moments: int) -> None:
    kept, fresh = (pack_of(stream, optimizer=optimizer, optimizer_state=state) for state in ("kept", "fresh"))
    for one in (kept, fresh):
        one.train_next_task()
    assert kept.records[0].stored_bytes == moments * 4 * kept.context.layout.size
    assert fresh.records[0].stored_bytes == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_is_set_aside_at_different_moments_of_a_task_all_comes_back(optimizer: str) -> None:
    """Two rows that finish one after the other: the second does not wipe out what was set aside for the first."""
    given: dict[str, Value] = {"optimizer": optimizer, "optimizer_state": "kept"}
    stack = make_pack(small_stream(), (), tuple(RunSpec(k, k, values_of((), **given)) for k in range(2))).stack
    state = OptimizerState(optimizer, True, stack.theta, stack.optimizer, stack.optimizer_steps)
    for step, finished in ((3, [True, False]), (4, [True, True])):
        for name, value in state.state.items():
            value[torch.tensor([step == 3, True])] = bias_correction(name, step)  # as after so many gradients of 1
        state.hold([], torch.tensor(finished), step)
    kept, n_steps = state.after(9)
    assert n_steps == 9
    for name, value in kept.items():
        torch.testing.assert_close(value, torch.full_like(value, bias_correction(name, 9)))
