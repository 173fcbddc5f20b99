"""The benchmark of networks that train alone compares like with like."""

from __future__ import annotations

import pytest
import torch

from benchmarks import alone


def fresh_weights() -> list[torch.Tensor]:
    torch.manual_seed(alone.torch_seed(0, "init"))
    return [p.detach() for p in alone.resnet18(num_classes=4).parameters()]


def test_the_textbook_loop_has_the_same_weights_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one step in each task; in four rounding grows ten thousandfold."""
    stream, found = alone.images(32, 8, 8), {}
    eval_ = torch.nn.Module.eval

    def noted(module: torch.nn.Module) -> torch.nn.Module:
        found["textbook"] = torch.cat([p.detach().flatten() for p in module.parameters()])
        return eval_(module)

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.Module, "eval", noted)
        _, accuracies = alone.textbook(stream, 8)
    packs = []
    made = alone.Pack
    monkeypatch.setattr(alone, "Pack", lambda *a: packs.append(made(*a)) or packs[-1])
    _, ours = alone.ours(stream, 8)
    (pack,) = packs
    by_name = pack.context.layout.unflatten(pack.stack.theta[0])
    weights = torch.cat([by_name[name].flatten() for name, _ in pack.context.lifted.module.named_parameters()])
    moved = found["textbook"] - torch.cat([p.flatten() for p in fresh_weights()])
    assert (weights - found["textbook"]).norm() < 0.01 * moved.norm(), "rounding may turn a ReLU over"
    assert ours == pytest.approx(accuracies, abs=0.13)


def test_ratios_are_those_of_one_repeat() -> None:
    times = {alone.TEXTBOOK: [1.0, 4.0], "as it is": [2.0, 2.0]}
    found = {way: [{"s": s, "MB": 10.0, "accuracies": [0.5, 1.0]} for s in of] for way, of in times.items()}
    assert alone.rows_of(found) == [
        [alone.TEXTBOOK, "2.50", "1.00 (1.00–1.00)", "10", "0.5000, 1.0000"],
        ["as it is", "2.00", "1.25 (0.50–2.00)", "10", "0.5000, 1.0000"],
    ]
