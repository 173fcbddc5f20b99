"""A buffer of old examples for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cfsweep.bundle.continued import Opened
from cfsweep.bundle.manifest import Manifest
from cfsweep.bundle.model import standardised
from cfsweep.errors import InputError
from cfsweep.modules._examples import gathered
from cfsweep.modules._kept import require_same
from cfsweep.modules._saved import Saved, counted
from cfsweep.modules._values import checked_seed
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, Buffer, Indices
from cfsweep.training.ingredients._buffer import class_balanced, reservoir
from cfsweep.training.ingredients.replay import Replay


class ReservoirBuffer(Saved):
    """Up to `size` distinct examples of finished tasks: the buffer of the ingredient `replay`.

    `reservoir` keeps a uniform sample of all so far, `class-balanced` equal shares of the classes. It holds the
    examples themselves, as copies on the device where they were given. What a run of a sweep with this `seed` keeps of
    the same examples, in the same order, it keeps too.

    Raises:
        InputError: a value is not legal.

    References:
        Chaudhry et al. 2019 (arXiv 1902.10486), algorithm 2; Vitter 1985, algorithm R (`reservoir`); Chrysakis & Moens
        2020, algorithm 1 (`class-balanced`).

    >>> buffer = ReservoirBuffer(size=4)
    >>> buffer.add_task(torch.arange(10.0).reshape(10, 1), torch.zeros(10, dtype=torch.int64))
    >>> len(buffer), buffer.n_bytes, buffer.get_batch(3)[0].shape
    (4, 16, torch.Size([3, 1]))
    """

    kind = Replay

    def __init__(self, size: int, seed: int = 0, mode: str = "reservoir") -> None:
        super().__init__({"size": ("replay_buffer", size), "mode": ("replay_mode", mode)})
        self.seed = checked_seed(seed, self.where)
        self.x, self.y = torch.empty(0), torch.empty(0, dtype=torch.int64)
        self.tasks_ended = 0
        self.draws = 0  # since the last task has ended
        self._counts = EMPTY_BUFFER  # how many were offered, in all and by class; the indices are not used

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_bytes(self) -> int:
        """What the examples take, labels aside, as a sweep counts `stored_bytes`."""
        return self.x.numel() * self.x.element_size()

    @property
    def offered(self) -> int:
        """How many examples it was offered so far."""
        return self._counts.offered

    @property
    def offered_by_class(self) -> Indices | None:
        """How many of each class, (n_classes,), where it balances them and was offered some."""
        return self._counts.offered_by_class

    def add_task(self, x: Tensor, y: Tensor) -> None:
        """Offers it the examples x (n, ...) with labels y (n,) of a task that has ended, each of them once.

        Raises:
            InputError: these are no examples, or of another shape or type than those before.
        """
        x, y = gathered((x.detach(), y), self.where)
        if len(self) and (x.shape[1:], x.dtype) != (self.x.shape[1:], self.x.dtype):
            raise InputError(
                f"{self.where}: examples must be like those before, {self.x.dtype} {tuple(self.x.shape[1:])}, but got "
                f"{x.dtype} {tuple(x.shape[1:])}. Use one buffer for each kind."
            )
        if bool((y < 0).any()):
            raise InputError(f"{self.where}: labels must be classes from 0 on, but one is {int(y.min())}. Number them.")
        n_held = len(self)
        both = torch.cat([self.x.to(x.device), x]) if n_held else x
        labels = torch.cat([self.y.to(y.device), y])
        self._counts = self._updated(n_held, len(x), labels.cpu().numpy())
        chosen = torch.from_numpy(self._counts.indices)
        self.x, self.y = both[chosen.to(x.device)], labels[chosen.to(y.device)]
        self.tasks_ended, self.draws = self.tasks_ended + 1, 0

    def get_batch(self, n: int, rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor]:
        """`n` examples x (n, ...) with labels y (n,), drawn with replacement; by `rng` if given, else by numbers that
        depend on the seed, the task and how many batches were drawn in it.

        Raises:
            InputError: the buffer is empty, or n negative.
        """
        if n < 0:
            raise InputError(f"{self.where}: `0 <= n` must hold, but got n={n}. Say how many examples to draw.")
        if not len(self):
            raise InputError(
                f"{self.where}: there must be examples to draw from, but it is empty. Ask `len(buffer)` first: "
                "`add_task` fills it at the end of each task."
            )
        if rng is None:
            rng, self.draws = generator(self.seed, "draw", self.tasks_ended, self.draws), self.draws + 1
        places = torch.from_numpy(rng.integers(len(self), size=n))
        return self.x[places.to(self.x.device)], self.y[places.to(self.y.device)]

    def contents(self) -> dict[str, Tensor]:
        by_class = self._counts.offered_by_class
        return {
            "x": self.x,
            "y": self.y,
            "tasks_ended": counted(self.tasks_ended),
            "draws": counted(self.draws),
            "offered": counted(self._counts.offered),
            "offered_by_class": torch.from_numpy(np.empty(0, np.int64) if by_class is None else by_class),
        }

    def take(self, contents: Mapping[str, Tensor]) -> None:
        if contents.keys() != self.contents().keys() or len(contents["x"]) > int(self.values["replay_buffer"]):
            raise InputError(
                f"{self.where}: a saved state must be that of a buffer with at most {self.values['replay_buffer']} "
                f"examples, but it holds {', '.join(f'{k} {tuple(v.shape)}' for k, v in contents.items())}. "
                "Load one that was saved of the same kind and size of buffer."
            )
        self.x, self.y = contents["x"].clone(), contents["y"].clone()
        self.tasks_ended, self.draws = int(contents["tasks_ended"]), int(contents["draws"])
        by_class = contents["offered_by_class"].cpu().numpy().copy()
        places: Indices = np.arange(len(self.x))
        offered = int(contents["offered"])
        self._counts = Buffer(places, offered, offered_by_class=by_class if len(by_class) else None)

    def take_kept(self, start: Opened) -> None:
        about, state = start.about, start.state
        require_same(self.where, "size", self.values["replay_buffer"], about.settings["replay_buffer"], start.bundle)
        own = {name: state.get(f"replay/buffer/{name}") for name in ("x", "y", "task", "offered", "offered_by_class")}
        x, y, task, offered = own["x"], own["y"], own["task"], own["offered"]
        if x is None or y is None or task is None or offered is None:
            raise InputError(
                f"{self.where}: the examples that `replay` has kept are not in {start.bundle}. Export it again without "
                "`--without-data`."
            )
        labels, by_class = _outputs_of(y, task, about), own["offered_by_class"]
        self.require_classes(labels, y)
        self.x, self.y = standardised(x, start.answers), labels
        self.tasks_ended, self.draws = len(about.tasks), 0
        counts = None if by_class is None else by_class.numpy()
        self._counts = Buffer(np.arange(len(x)), int(offered), offered_by_class=counts)

    def require_classes(self, labels: Tensor, classes: Tensor) -> None:
        """That a buffer which balances classes gets these (n,) as labels (n,), not the outputs that they are.

        Raises:
            InputError: they differ.
        """
        if self.values["replay_mode"] == "class-balanced" and not torch.equal(labels, classes):
            raise InputError(
                f"{self.where}: class-balanced goes by labels, but here two classes are one output, as it is a class's "
                "place within its task. Use a bundle with replay_mode=reservoir."
            )

    def _updated(self, n_held: int, n_new: int, classes: Indices) -> Buffer:
        """The buffer as a sweep keeps it, of indices: those it holds are 0..n_held-1, the new ones come after them;
        `classes` are those of both."""
        old, new = np.arange(n_held), np.arange(n_held, n_held + n_new)
        capacity, rng = int(self.values["replay_buffer"]), generator(self.seed, "buffer", self.tasks_ended)
        if self.values["replay_mode"] == "reservoir":
            return reservoir(replace(self._counts, indices=old), new, capacity, rng)
        n_classes, by_class = int(classes.max()) + 1, self._counts.offered_by_class
        if by_class is not None:  # a class that is new has been offered no example so far
            by_class = np.pad(by_class, (0, max(0, n_classes - len(by_class))))
        return class_balanced(
            replace(self._counts, indices=old, offered_by_class=by_class), new, classes, capacity, rng
        )


def _outputs_of(classes: Tensor, task: Tensor, about: Manifest) -> Tensor:
    """(n,): the outputs that are right for examples of these `classes` (n,) and tasks (n,)."""
    ids = about.class_ids
    outputs = {
        (number, label): info.labels.index(ids[label] if ids else label)
        for number, info in enumerate(about.tasks)
        for label in info.classes
    }
    pairs = zip(task.tolist(), classes.tolist(), strict=True)
    return torch.tensor([outputs[pair] for pair in pairs], dtype=torch.int64)
