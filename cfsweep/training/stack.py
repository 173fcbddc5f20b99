"""The stacked state of a pack's runs: weights, ingredient states and buffers, with one leading row dimension.

A *row* is one set of weights. Runs that agree in everything that can have taken effect so far share a row, and the row
is forked when they begin to differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

from cfsweep.hypers import Hyper, TakesEffect
from cfsweep.training.engine.optimizers import Rates
from cfsweep.training.ingredients import EMPTY_BUFFER, Buffer, Ingredient, State
from cfsweep.training.spec import RunSpec

OverRows = Callable[..., Any]
_STAGES: tuple[TakesEffect, ...] = ("start", "cut", "later")

RowContent = dict[str, Any]
"""What one row holds, without the row dimension; tensors and plain containers."""


class Stack:
    """Rows of state for the runs that are still alive.

    `row_of[k]` is the row of the k-th run alive, `representatives[r]` some run of row r; `values` holds one number
    per row for each numeric hyperparameter, (rows,) float32. While `clock` is set, the seconds that pass are shared
    evenly by the rows that there are.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        hypers: Mapping[str, Hyper],
        theta: Tensor,
        ingredients: Sequence[Ingredient],
        vmappable: bool,
        share_first_task: bool,
    ) -> None:
        """`theta` (len(runs), P) are the initial weights of each run."""
        self.runs, self.hypers, self.vmappable, self.share_first_task = runs, hypers, vmappable, share_first_task
        self.alive = list(range(len(runs)))
        self.row_of: NDArray[np.int64] = np.arange(len(runs))
        self.theta = theta
        self.states: dict[str, State] = {}
        self.buffers = {i.name: [EMPTY_BUFFER] * len(runs) for i in ingredients}
        self.optimizer: State = {}  # what the optimizer keeps from task to task, if it does, and after how many steps
        self.optimizer_steps = 0
        self.clock: float | None = None
        self.seconds = np.zeros(len(runs))  # of each row, not yet taken
        self.fork_rows("start")
        # After that, as a state may be far larger than the weights.
        self.states = {i.name: _stacked([i.initial_state(weights) for weights in self.theta]) for i in ingredients}

    def __len__(self) -> int:
        return len(self.theta)

    def fork_rows(self, stage: TakesEffect) -> Tensor | None:
        """Regroups the rows: from now on, runs that agree in all that takes effect up to `stage` share one.

        Returns:
            The old row of each new one, for state that is kept elsewhere, or None if nothing moved.
        """
        self._share_seconds()
        keys = [self._key(i, stage) for i in self.alive]
        rows = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        firsts = [keys.index(key) for key in rows]
        moved = self._take(self.row_of[firsts])
        self.row_of = np.asarray([rows[key] for key in keys], np.int64)
        self._describe([self.runs[self.alive[first]] for first in firsts])
        return moved

    def keep(self, alive: list[int]) -> None:
        """Lets go of all runs but these (indices into `runs`, in their old order)."""
        self._share_seconds()
        rows_kept = [int(self.row_of[self.alive.index(i)]) for i in alive]
        distinct = sorted(set(rows_kept))
        self._take(np.asarray(distinct, np.int64))
        self.row_of = np.asarray([distinct.index(row) for row in rows_kept], np.int64)
        self.alive = alive
        self._describe([self.runs[alive[rows_kept.index(row)]] for row in distinct])

    def set_state(self, ingredient: Ingredient, state: State) -> None:
        """Replaces the ingredient's state of every row.

        Raises:
            ValueError: it has not the entries that `initial_state` gave.
        """
        old = self.states[ingredient.name]
        declared_only(ingredient, old, state)
        if missing := old.keys() - state.keys():
            raise ValueError(
                f"{type(ingredient).__qualname__}: its state begins with {_listed(old)}, but a method that returns it "
                f"left out {_listed(missing)}. Return every entry, unchanged ones too."
            )
        self.states[ingredient.name] = state

    def values_of(self, ingredient: Ingredient) -> dict[str, Tensor]:
        """What the ingredient's methods get as `values`: its own numeric hyperparameters and `lr`, (rows,) each."""
        own = (hyper.name for hyper in ingredient.hypers if not hyper.static)
        return {name: self.values[name] for name in (*own, "lr")}

    def row(self, row: int) -> RowContent:
        """A copy of one row, for `join`."""
        return {
            "theta": self.theta[row].clone(),
            "states": {name: {k: v[row].clone() for k, v in state.items()} for name, state in self.states.items()},
            "optimizer": {name: value[row].clone() for name, value in self.optimizer.items()},
            "optimizer_steps": self.optimizer_steps,
            "buffers": {name: _content_of(buffers[row]) for name, buffers in self.buffers.items()},
        }

    def join(self, rows: Sequence[tuple[RowContent, Sequence[int]]]) -> None:
        """Takes rows in at the end of task 0, each with its runs (indices into `runs`), none of which is alive."""
        if not rows:
            return
        row_of = dict(zip(self.alive, self.row_of.tolist(), strict=True))
        row_of.update({run: len(self) + number for number, (_, runs) in enumerate(rows) for run in runs})
        contents = [content for content, _ in rows]
        self.theta = torch.cat([self.theta, torch.stack([content["theta"] for content in contents])])
        for name, state in self.states.items():
            joined = _stacked([content["states"][name] for content in contents])
            self.states[name] = {k: torch.cat([v, joined[k]]) for k, v in state.items()}
        joined = _stacked([content["optimizer"] for content in contents])
        self.optimizer = {k: torch.cat([self.optimizer[k], v]) if self.optimizer else v for k, v in joined.items()}
        self.optimizer_steps = contents[0]["optimizer_steps"]
        for name, old in self.buffers.items():
            self.buffers[name] = [*old, *(_buffer_of(content["buffers"][name]) for content in contents)]
        self.seconds = np.concatenate([self.seconds, np.zeros(len(rows))])
        self.alive = sorted(row_of)
        self.row_of = np.asarray([row_of[run] for run in self.alive], np.int64)
        self.fork_rows("cut")

    def take_seconds(self) -> list[float]:
        """For each run alive the seconds that its row has taken since the last call."""
        self._share_seconds()
        taken: list[float] = self.seconds[self.row_of].tolist()
        self.seconds = np.zeros(len(self))
        return taken

    def over_rows(self, function: Callable[..., Any], *stacked: Any) -> Any:
        """`function`, written for one model, on arguments with a leading row dimension."""
        return over_rows(function, *stacked) if self.vmappable else over_one_row(function, *stacked)

    def to_content(self) -> dict[str, Any]:
        """Tensors and plain containers for a checkpoint."""
        return {
            "alive": self.alive,
            "row_of": self.row_of.tolist(),
            "theta": self.theta,
            "states": self.states,
            "optimizer": self.optimizer,
            "optimizer_steps": self.optimizer_steps,
            "buffers": {name: [_content_of(buffer) for buffer in buffers] for name, buffers in self.buffers.items()},
            "representatives": [self.runs.index(run) for run in self.representatives],
        }

    def content_of(self, run: int) -> dict[str, Any]:
        """As `to_content`, that of a stack of one of the runs (an index into `runs`) alone."""
        at = int(self.row_of[self.alive.index(run)])
        rows = slice(at, at + 1)
        return {
            "alive": [0],
            "row_of": [0],
            "theta": self.theta[rows].clone(),  # a view would be saved with all that it is a view of
            "states": {name: {k: v[rows].clone() for k, v in state.items()} for name, state in self.states.items()},
            "optimizer": {name: value[rows].clone() for name, value in self.optimizer.items()},
            "optimizer_steps": self.optimizer_steps,
            "buffers": {name: [_content_of(buffers[at])] for name, buffers in self.buffers.items()},
            "representatives": [0],
        }

    def load_content(self, content: Mapping[str, Any]) -> None:
        """Inverse of `to_content`."""
        self.alive, self.theta, self.states = content["alive"], content["theta"], content["states"]
        self.optimizer, self.optimizer_steps = content["optimizer"], content["optimizer_steps"]
        self.row_of, self.seconds = np.asarray(content["row_of"], np.int64), np.zeros(len(self.theta))
        self.buffers = {name: [_buffer_of(buffer) for buffer in saved] for name, saved in content["buffers"].items()}
        self._describe([self.runs[i] for i in content["representatives"]])

    def _key(self, run: int, stage: TakesEffect) -> tuple[object, ...]:
        if not self.share_first_task:
            return (run,)
        so_far = _STAGES[: _STAGES.index(stage) + 1]
        spec, hypers = self.runs[run], self.hypers.values()
        in_answers = [spec.values[h.name] == h.off for h in hypers if h.takes_effect == "answers"]
        return (spec.seed, *(spec.values[h.name] for h in hypers if h.takes_effect in so_far), *in_answers)

    def _share_seconds(self) -> None:
        if self.clock is None:
            return
        if self.theta.is_cuda:
            torch.cuda.synchronize(self.theta.device)
        now = time.perf_counter()
        self.seconds += (now - self.clock) / max(1, len(self))
        self.clock = now

    def _take(self, rows: NDArray[np.int64]) -> Tensor | None:
        if len(rows) == len(self.theta) and (rows == np.arange(len(rows))).all():
            return None
        index = torch.from_numpy(rows).to(self.theta.device)
        self.theta = self.theta[index]
        self.seconds = self.seconds[rows]
        self.states = {n: {k: v[index] for k, v in s.items()} for n, s in self.states.items()}
        self.optimizer = {name: value[index] for name, value in self.optimizer.items()}
        self.buffers = {name: [buffers[r] for r in rows] for name, buffers in self.buffers.items()}
        return index

    def _describe(self, representatives: list[RunSpec]) -> None:
        self.representatives = representatives
        self.values = {h.name: self._column(h.name) for h in self.hypers.values() if not h.static}
        self.rates = Rates(
            lr=self.values["lr"].unsqueeze(1),
            momentum=self.values["momentum"].unsqueeze(1),
            weight_decay=self.values["weight_decay"].unsqueeze(1),
            decays=any(run.values["weight_decay"] for run in representatives),
        )

    def _column(self, name: str) -> Tensor:
        values = [float(run.values[name]) for run in self.representatives]
        return torch.tensor(values, dtype=torch.float32, device=self.theta.device)


def declared_only(ingredient: Ingredient, state: State, changed: State) -> None:
    """Looks whether all that is `changed` is in the ingredient's `state`: elsewhere it would be lost.

    Raises:
        ValueError: it is not.
    """
    if strange := changed.keys() - state.keys():
        raise ValueError(
            f"{type(ingredient).__qualname__}: its state begins with {_listed(state)}, but a method returned "
            f"{_listed(strange)} beside it. Give every entry its first value in `initial_state`."
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "nothing"


def over_rows(function: Callable[..., Any], *stacked: Any) -> Any:
    """`function`, written for one model, on arguments with a leading row dimension."""
    return vmap(function)(*stacked)


def over_one_row(function: Callable[..., Any], *stacked: Any) -> Any:
    """As `over_rows`, for a single row: without the cost of vmap, and for what vmap cannot lift."""
    alone = pytree.tree_map(lambda t: t[0], stacked)
    return pytree.tree_map(lambda t: t.unsqueeze(0), function(*alone))


def _stacked(states: Sequence[State]) -> State:
    """One state with a leading row dimension."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _content_of(buffer: Buffer) -> list[Any]:
    return [torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in astuple(buffer)]


def _buffer_of(content: Sequence[Any]) -> Buffer:
    parts: list[Any] = [value.cpu().numpy() if isinstance(value, Tensor) else value for value in content]
    return Buffer(*parts)
