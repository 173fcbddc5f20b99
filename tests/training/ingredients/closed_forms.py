"""What the tests of the closed forms share: an ingredient alone, features by class, and a loop that answers slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.config import NetworkConfig
from cfsweep.testing import PlainLoop, make_pack, small_stream
from cfsweep.training.ingredients import ClosedForm, State
from cfsweep.training.streams import Stream, Task

LINEAR = NetworkConfig(name="linear")
Array = NDArray[np.float64]


def ingredient(name: str, stream: Stream | None = None, **given: Any) -> tuple[ClosedForm, State]:
    """One on a linear network in class-il, and its state before the first task."""
    pack = make_pack(stream or small_stream(), (name,), scenario="class-il", network=LINEAR, **given)
    (found,) = pack.context.ingredients
    assert isinstance(found, ClosedForm)
    return found, {entry: value[0] for entry, value in pack.stack.states[name].items()}


def examples(seed: int, n: int = 60, labels: tuple[int, ...] = (0, 1, 2)) -> tuple[Array, NDArray[np.int64]]:
    """Features (n, 36) around a point of each class, with directions that vary more than others, and labels (n,)."""
    rng = np.random.default_rng(seed)
    y = rng.choice(labels, size=n)
    x = rng.normal(size=(6, 36))[y] + rng.normal(size=(n, 36)) @ rng.normal(size=(36, 36)) / 3
    return x.astype(np.float32).astype(np.float64), y


def tensors(x: Array, y: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(x).float(), torch.from_numpy(y)


class PlainClosedForm(PlainLoop):
    """The network learns the first task and no other; `learn` sees a task's examples, `say` answers for one."""

    def learn(self, x: Array, y: NDArray[np.int64]) -> None:
        raise NotImplementedError

    def say(self, x: Array) -> dict[int, float]:
        raise NotImplementedError

    def features(self, index: int) -> Array:
        noted = []
        head = self.network.get_submodule("head")
        with torch.no_grad(), head.register_forward_pre_hook(lambda _, inputs: noted.append(inputs[0][0])):
            self.network(self.x[index : index + 1])
        return noted[0].double().numpy()

    def train_task(self, number: int) -> None:
        if number == 0:
            super().train_task(number)

    def end_task(self, number: int, task: Task) -> None:
        x = np.stack([self.features(int(index)) for index in task.train])
        self.learn(x, self.outputs.labels.numpy()[task.train])

    def accuracies(self, learned: int, part: str = "test") -> list[float]:
        if not learned:
            return super().accuracies(learned, part)
        found = []
        for number, task in enumerate(self.stream.tasks):
            indices, active, right = getattr(task, part), self.active(number, learned), 0
            for index in indices:
                outputs = self.say(self.features(int(index)))
                best = max(sorted(active), key=lambda label: outputs.get(label, -np.inf))
                right += best == int(self.outputs.labels[index])
            found.append(right / len(indices))
        return found
