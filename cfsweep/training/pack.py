"""The training loop: any number of runs at once, stacked along a leading dimension.

A *row* is one set of weights in the stack. Runs that agree in everything that can have acted so far share a row
(the shared prefix), and are copied apart when they begin to differ.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from cfsweep.errors import InputError
from cfsweep.hypers import Acts, Hyper
from cfsweep.training import optimizers
from cfsweep.training.evaluation import Evaluator
from cfsweep.training.fisher import squared_gradients
from cfsweep.training.ingredients import Context, Ingredient, Memory, Sample, hypers_of, registry
from cfsweep.training.ingredients._base import EMPTY_MEMORY
from cfsweep.training.layout import Layout
from cfsweep.training.lift import Lifted
from cfsweep.training.memory import peak_bytes
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.outputs import masked_log_softmax, outputs_for
from cfsweep.training.randomness import generator, torch_seed
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec
from cfsweep.training.store import Store
from cfsweep.training.streams import Stream

BLOCK_FLOATS = 2**19  # rows updated together on a CPU: as many as stay in its cache
_STAGES: tuple[Acts, ...] = ("start", "mid", "later")


@dataclass
class _TaskState:
    """What lives for one task only; every tensor has a leading row dimension."""

    orders: Tensor  # (rows, epochs, n) int64
    optimizer: dict[str, Tensor]  # each (rows, P)
    first_bad: Tensor  # (rows,) int64: the first step with a loss that is not finite, or -1
    present: Tensor  # (rows, T) bool: the tasks that this task's batches draw examples from
    step: int = 0

    def take(self, rows: Tensor) -> None:
        self.orders = self.orders[rows]
        self.optimizer = {name: value[rows] for name, value in self.optimizer.items()}
        self.first_bad, self.present = self.first_bad[rows], self.present[rows]


class Pack:
    """Trains the runs of `spec` on `stream`, one task per `step()`.

    A run's accuracy matrix does not depend on the other runs of the pack, nor on `share_prefix` (up to the rounding
    of matrix products of another shape). The same pack with the same seeds gives the same bits, also when it is
    restored from a `checkpoint()` in between.

    Raises:
        InputError: an ingredient does not know the scenario, or the network cannot be lifted and there are
            several runs.
    """

    def __init__(
        self, spec: PackSpec, stream: Stream, device: str | torch.device = "cpu", share_prefix: bool = True
    ) -> None:
        self.spec, self.stream, self.device = spec, stream, torch.device(device)
        self.share_prefix = share_prefix
        self.hypers = hypers_of(spec.ingredients)
        structural = {name: spec.runs[0].values[name] for name, h in self.hypers.items() if h.structural}
        self.optimizer = str(structural["optimizer"])
        self.epochs, self.batch_size = int(structural["epochs"]), int(structural["batch_size"])
        self.outputs = outputs_for(stream, spec.scenario).to(self.device)
        self.store = Store(stream, self.device)
        self.tasks_of_examples = self.outputs.task_of.cpu().numpy()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # only the shape of this copy matters; the runs draw their own weights
            module = build(spec.network, stream.input_shape, self.outputs.n_outputs).to(self.device)
        self.layout = Layout(module, self.outputs.n_outputs)
        reason = unliftable_reason(module, stream.input_shape)
        if reason and len(spec.runs) > 1:
            raise InputError(f"network `{spec.network.name}`: {reason}. Train it in packs of one run.")
        self.lifted = Lifted(module, liftable=reason is None)
        self.evaluator = Evaluator(stream, self.outputs, self.store, self.lifted, self.layout)
        self.ingredients = self._make_ingredients(structural)

        self.next_task = 0
        self.alive = list(range(len(spec.runs)))
        self.records = [RunRecord(run.trial, run.seed) for run in spec.runs]
        self.row_of: NDArray[np.int64] = np.empty(0, np.int64)
        self._start()

    # ------------------------------------------------------------------ what a user of the loop calls

    @property
    def done(self) -> bool:
        return not self.alive or self.next_task == len(self.stream.tasks)

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """Stops training the runs with these (trial, seed)."""
        gone = set(keys)
        self._keep_runs([i for i in self.alive if self.spec.runs[i].key not in gone])

    def step(self) -> PackReport:
        """Trains the next task and evaluates every run on every task; a run whose loss is not finite ends."""
        task, taking_part = self.next_task, list(self.alive)
        self._spread("later" if task else "start")
        if task == 0:
            self._record_accuracies(learned=0)
        started = time.perf_counter()
        self._train(task)
        self._end_task(task)
        self._synchronise()
        share = (time.perf_counter() - started) / max(1, len(taking_part))
        for i in taking_part:
            self.records[i].train_s += share
        self.next_task += 1
        self._record_accuracies(learned=self.next_task)
        return self._report(task, taking_part)

    def checkpoint(self) -> bytes:
        """Everything that the next `step()` needs, for `Pack.restore`."""
        content = {
            "spec": self.spec.to_dict(),
            "share_prefix": self.share_prefix,
            "next_task": self.next_task,
            "alive": self.alive,
            "row_of": self.row_of.tolist(),
            "records": [asdict(record) for record in self.records],
            "theta": self.theta,
            "states": self.states,
            "memories": {
                name: [(torch.from_numpy(m.indices), m.seen) for m in memories]
                for name, memories in self.memories.items()
            },
            "buffers": dict(self.lifted.module.named_buffers()) if not self.lifted.liftable else {},
        }
        file = io.BytesIO()
        torch.save(content, file)
        return file.getvalue()

    @staticmethod
    def restore(saved: bytes, stream: Stream, device: str | torch.device = "cpu") -> Pack:
        """The pack as it was when `checkpoint()` was called."""
        content: dict[str, Any] = torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
        pack = Pack(PackSpec.from_dict(content["spec"]), stream, device, content["share_prefix"])
        pack.next_task = content["next_task"]
        pack.alive = content["alive"]
        pack.row_of = np.asarray(content["row_of"], np.int64)
        pack.records = [RunRecord(**record) for record in content["records"]]
        pack.theta, pack.states = content["theta"], content["states"]
        pack.memories = {
            name: [Memory(indices.cpu().numpy(), seen) for indices, seen in memories]
            for name, memories in content["memories"].items()
        }
        for name, buffer in content["buffers"].items():
            pack.lifted.module.get_buffer(name).copy_(buffer)
        return pack

    def predictions(self, task: int, part: str = "test") -> Tensor:
        """The outputs (runs alive, n) that each run chooses for the `part` examples of `task`."""
        chosen = self.evaluator.predictions(self._weights_for(task, self.next_task), task, self.next_task, part)
        return chosen[torch.from_numpy(self.row_of)]

    # ------------------------------------------------------------------ rows

    def _start(self) -> None:
        """One row per distinct seed, with that seed's initial weights."""
        if not self.spec.runs:
            raise InputError("a pack needs at least one run")
        self.row_of = np.arange(len(self.alive))
        seeds = [run.seed for run in self.spec.runs]
        fresh = {seed: self._initial_weights(seed) for seed in dict.fromkeys(seeds)}
        self.theta = torch.stack([fresh[seed] for seed in seeds])
        self.states = {
            i.name: {k: v.expand(len(seeds), -1).clone() for k, v in i.initial_state(self.theta[0]).items()}
            for i in self.ingredients
        }
        self.memories = {i.name: [EMPTY_MEMORY] * len(seeds) for i in self.ingredients}
        self._spread("start")

    def _initial_weights(self, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "init"))
            module = build(self.spec.network, self.stream.input_shape, self.outputs.n_outputs)
        return self.layout.flatten({k: v.detach() for k, v in module.named_parameters()}).to(self.device)

    def _key(self, run: RunSpec, stage: Acts) -> tuple[object, ...]:
        acting = _STAGES[: _STAGES.index(stage) + 1]
        return (run.seed, *(run.values[h.name] for h in self.hypers.values() if h.acts in acting))

    def _spread(self, stage: Acts, task_state: _TaskState | None = None) -> None:
        """Regroups rows: runs that agree in all that acts up to `stage` share one."""
        keys = [self._key(self.spec.runs[i], stage) if self.share_prefix else (i,) for i in self.alive]
        rows = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        first = {key: self.row_of[keys.index(key)] for key in rows}
        self.representatives = [self.spec.runs[self.alive[keys.index(key)]] for key in rows]
        self.row_of = np.asarray([rows[key] for key in keys], np.int64)
        self._take(np.asarray([first[key] for key in rows], np.int64), task_state)
        numeric = [h for h in self.hypers.values() if not h.structural]
        self.values = {h.name: self._column(h) for h in numeric}
        self.rates = optimizers.Rates(
            *(self.values[name].unsqueeze(1) for name in ("lr", "momentum", "weight_decay")),
            decays=any(run.values["weight_decay"] for run in self.representatives),
        )

    def _take(self, rows: NDArray[np.int64], task_state: _TaskState | None = None) -> None:
        if len(rows) == len(self.theta) and (rows == np.arange(len(rows))).all():
            return
        index = torch.from_numpy(rows).to(self.device)
        self.theta = self.theta[index]
        self.states = {n: {k: v[index] for k, v in s.items()} for n, s in self.states.items()}
        self.memories = {name: [memories[r] for r in rows] for name, memories in self.memories.items()}
        if task_state:
            task_state.take(index)

    def _column(self, hyper: Hyper) -> Tensor:
        values = [float(run.values[hyper.name]) for run in self.representatives]
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def _keep_runs(self, alive: list[int]) -> None:
        kept_rows = sorted({int(self.row_of[self.alive.index(i)]) for i in alive})
        renumbered = {row: number for number, row in enumerate(kept_rows)}
        self.row_of = np.asarray([renumbered[int(self.row_of[self.alive.index(i)])] for i in alive], np.int64)
        self.alive = alive
        self._take(np.asarray(kept_rows, np.int64))

    def _over_rows(self, hook: Callable[..., Any], *stacked: Any) -> Any:
        """`hook`, written for one model, on stacked arguments."""
        if self.lifted.liftable:
            return vmap(hook)(*stacked)
        alone = torch.utils._pytree.tree_map(lambda t: t[0], stacked)
        return torch.utils._pytree.tree_map(lambda t: t.unsqueeze(0), hook(*alone))

    # ------------------------------------------------------------------ one task

    def _train(self, task: int) -> None:
        self.lifted.module.train()
        examples = self._training_examples(task)
        state = self._task_state(task, examples)
        n_batches = -(-len(examples) // self.batch_size)
        total = self.epochs * n_batches
        cutters = [i for i in self.ingredients if i.has("mid_task")]
        mid_step = round(cutters[0].mid_frac() * total) if cutters else -1
        curve_steps = {round(total * (k + 1) / (n + 1)) for n in [self.spec.curve_points_per_task] for k in range(n)}
        self._make_leaves()
        keep = self._keep(task, state, after_mid=False)
        with torch.random.fork_rng(devices=[], enabled=not self.lifted.liftable):
            if not self.lifted.liftable:
                torch.manual_seed(torch_seed(self.representatives[0].seed, "torch", task))
            for epoch in range(self.epochs):
                for at in range(0, len(examples), self.batch_size):
                    if state.step == mid_step:
                        keep = self._mid_task(task, state, cutters)
                    self._one_step(task, state, state.orders[:, epoch, at : at + self.batch_size], keep)
                    if state.step in curve_steps:
                        self._record_curves(task, state.step)
        if mid_step == total:
            self._mid_task(task, state, cutters)
        for i in self.alive:
            self.records[i].steps += total
        self._end_bad_runs(task, state)

    def _one_step(self, task: int, state: _TaskState, indices: Tensor, keep: optimizers.Keep) -> None:
        """One mini-batch of every row; `indices` is (rows, batch)."""
        logits = self.lifted(self.leaves, self.store[indices])
        mask = self.outputs.masks[task][self.outputs.task_of[indices]]
        log_p = masked_log_softmax(logits, mask)
        loss = -log_p.gather(-1, self.outputs.labels[indices].unsqueeze(-1)).squeeze(-1).mean(-1)
        gradients = torch.autograd.grad(loss.sum(), list(self.leaves.values()))
        by_name = dict(zip(self.leaves, gradients, strict=True))
        state.step += 1
        with torch.no_grad():
            bad = ~torch.isfinite(loss.detach()) & (state.first_bad < 0)
            state.first_bad.masked_fill_(bad, state.step)
            for rows in self._blocks():
                self._update(task, state, by_name, rows, keep)

    def _update(
        self, task: int, state: _TaskState, gradients: dict[str, Tensor], rows: slice, keep: optimizers.Keep
    ) -> None:
        theta = self.theta[rows]
        gradient = self.layout.flatten({k: g[rows] for k, g in gradients.items()}, out=self.scratch[: len(theta)])
        for ingredient in self.ingredients if task else ():
            if ingredient.has("gradient"):
                own = {k: v[rows] for k, v in self.states[ingredient.name].items()}
                values = {h.name: self.values[h.name][rows] for h in ingredient.hypers if not h.structural}
                gradient = self._over_rows(ingredient.gradient, gradient, theta, own, values)
        optimizers.update(
            self.optimizer,
            theta,
            gradient,
            {k: v[rows] for k, v in state.optimizer.items()},
            self.rates.rows(rows),
            state.step,
            optimizers.keep_rows(keep, rows),
        )

    def _blocks(self) -> Sequence[slice]:
        n_rows = len(self.theta)
        size = n_rows if self.device.type != "cpu" else max(1, BLOCK_FLOATS // self.layout.size)
        return [slice(at, min(at + size, n_rows)) for at in range(0, n_rows, size)]

    def _make_leaves(self) -> None:
        """Views of the stacked weights that collect gradients; made anew whenever the stack is a new tensor."""
        self.leaves = {k: v.detach().requires_grad_(True) for k, v in self.layout.unflatten(self.theta).items()}
        block = self._blocks()[0]
        self.scratch = torch.empty(block.stop - block.start, self.layout.size, device=self.device)

    def _training_examples(self, task: int) -> NDArray[np.int64]:
        if self.spec.joint:
            return np.concatenate([t.train for t in self.stream.tasks[: task + 1]])
        return self.stream.tasks[task].train

    def _task_state(self, task: int, examples: NDArray[np.int64]) -> _TaskState:
        orders = np.empty((len(self.theta), self.epochs, len(examples)), np.int64)
        for row, run in enumerate(self.representatives):
            numbers = {name: float(run.values[name]) for name, h in self.hypers.items() if h.kind != "choice"}
            for epoch in range(self.epochs):
                order = generator(run.seed, "order", task, epoch).permutation(examples)
                for ingredient in self.ingredients:
                    if ingredient.has("rehearse"):
                        rng = generator(run.seed, "rehearse", task, epoch)
                        memory = self.memories[ingredient.name][row]
                        order = ingredient.rehearse(order, self.batch_size, memory, numbers, rng)
                orders[row, epoch] = order
        tasks = np.arange(len(self.stream.tasks))
        present = np.stack([np.isin(tasks, self.tasks_of_examples[order]) for order in orders])
        return _TaskState(
            orders=torch.from_numpy(orders).to(self.device),
            optimizer={name: torch.zeros_like(self.theta) for name in optimizers.STATE_NAMES[self.optimizer]},
            first_bad=torch.full((len(self.theta),), -1, device=self.device),
            present=torch.from_numpy(present).to(self.device),
        )

    def _keep(self, task: int, state: _TaskState, after_mid: bool) -> optimizers.Keep:
        """What may move: outputs open to some example of this task's batches, less what ingredients freeze."""
        masks = self.outputs.masks[task]
        is_open = (state.present[:, :, None] & masks[None]).any(1)
        head = [] if bool(is_open.all()) else self.layout.head_rows(is_open.to(torch.float32))
        freezing = [i for i in self.ingredients if i.has("trainable")]
        if not freezing:
            return head
        moves = torch.ones_like(self.theta)
        for ingredient in freezing:
            allowed = self._over_rows(
                lambda s, v, i=ingredient: i.trainable(s, v, task, after_mid),
                self.states[ingredient.name],
                self.values,
            )
            moves.mul_(allowed)
        optimizers.hold(moves, head)
        return [(slice(None), moves)]

    def _mid_task(self, task: int, state: _TaskState, cutters: list[Ingredient]) -> optimizers.Keep:
        if task == 0:
            self._spread("mid", state)
        for ingredient in cutters:
            self.theta, self.states[ingredient.name] = self._over_rows(
                lambda t, s, v, i=ingredient: i.mid_task(t, s, v, task),
                self.theta,
                self.states[ingredient.name],
                self.values,
            )
        self._make_leaves()
        keep = self._keep(task, state, after_mid=True)
        for value in state.optimizer.values():
            optimizers.hold(value, keep)
        return keep

    def _end_bad_runs(self, task: int, state: _TaskState) -> None:
        first_bad = state.first_bad.tolist()
        finite = torch.isfinite(self.theta).all(1).tolist()
        for position, i in enumerate(self.alive):
            row, record = int(self.row_of[position]), self.records[i]
            run = self.spec.runs[i]
            if first_bad[row] >= 0:
                record.failure = f"the loss was not finite at task {task}, step {first_bad[row]} (lr={run.values['lr']})"
            elif not finite[row]:
                record.failure = f"the weights were not finite after task {task} (lr={run.values['lr']})"
        self._keep_runs([i for i in self.alive if self.records[i].failure is None])

    def _end_task(self, task: int) -> None:
        self.lifted.module.eval()
        if not self.alive:
            return
        self._spread("later" if task else "mid")
        examples = self.stream.tasks[task].train
        with torch.no_grad():
            for ingredient in self.ingredients:
                if ingredient.has("end_task"):
                    self._end_task_of(ingredient, task, examples)
                if ingredient.has("remember"):
                    self._remember(ingredient, task, examples)
        for position, i in enumerate(self.alive):
            self.records[i].stored_bytes = self._stored_bytes(self.spec.runs[i], int(self.row_of[position]))

    def _end_task_of(self, ingredient: Ingredient, task: int, examples: NDArray[np.int64]) -> None:
        size = ingredient.sample_size(len(examples))
        row_bytes = size * 4 * int(np.prod(self.stream.input_shape))
        rows_at_once = max(1, 2**26 // row_bytes) if self.lifted.stack is not None else 1
        old, pieces = self.states[ingredient.name], []
        for at in range(0, len(self.theta), rows_at_once):
            rows = slice(at, at + rows_at_once)
            sample = self._sample(task, examples, size, self.representatives[rows])
            pieces.append(
                self._over_rows(
                    lambda t, s, v, *parts, i=ingredient: i.end_task(t, s, v, task, Sample(*parts)),
                    self.theta[rows],
                    {k: v[rows] for k, v in old.items()},
                    {k: v[rows] for k, v in self.values.items()},
                    *sample,
                )
            )
        self.states[ingredient.name] = {k: torch.cat([piece[k] for piece in pieces]) for k in old}

    def _sample(self, task: int, examples: NDArray[np.int64], size: int, runs: Sequence[RunSpec]) -> Sample:
        chosen, uniform = [], []
        for run in runs:
            picked = generator(run.seed, "sample", task).choice(len(examples), size, replace=False)
            chosen.append(examples[np.sort(picked)])
            uniform.append(generator(run.seed, "label", task).random(size, np.float32))
        indices = torch.from_numpy(np.stack(chosen)).to(self.device)
        return Sample(
            self.store[indices],
            self.outputs.labels[indices],
            self.outputs.masks[task][self.outputs.task_of[indices]],
            torch.from_numpy(np.stack(uniform)).to(self.device),
        )

    def _remember(self, ingredient: Ingredient, task: int, examples: NDArray[np.int64]) -> None:
        """The memory depends on values that act later, so it is made for each run and the rows are spread first."""
        self._spread("later")
        self.memories[ingredient.name] = [
            ingredient.remember(memory, examples, _numbers(run), generator(run.seed, "remember", task))
            for memory, run in zip(self.memories[ingredient.name], self.representatives, strict=True)
        ]

    # ------------------------------------------------------------------ reports

    def _weights_for(self, task: int, learned: int) -> Tensor:
        """The weights (rows, P) that answer for `task` after `learned` tasks have ended."""
        theta = self.theta
        if task < learned:
            for ingredient in self.ingredients:
                if ingredient.has("weights_for"):
                    theta = self._over_rows(
                        lambda t, s, v, i=ingredient: i.weights_for(t, s, v, task),
                        theta,
                        self.states[ingredient.name],
                        self.values,
                    )
        return theta

    def _record_accuracies(self, learned: int) -> None:
        if not self.alive:
            return
        self.lifted.module.eval()
        tasks = range(len(self.stream.tasks))
        right = torch.stack([self.evaluator.right(self._weights_for(i, learned), i, learned) for i in tasks], -1)
        counts = right.tolist()  # (rows, 2, T)
        for position, i in enumerate(self.alive):
            validation, test = counts[int(self.row_of[position])]
            self.records[i].validation.append(validation)
            self.records[i].test.append(test)

    def _record_curves(self, task: int, step: int) -> None:
        self.lifted.module.eval()
        for seen in range(task + 1):
            right = self.evaluator.right(self._weights_for(seen, task), seen, task + 1)[:, 0].tolist()
            n = len(self.stream.tasks[seen].validation)
            for position, i in enumerate(self.alive):
                self.records[i].curves.append((task, step, seen, right[int(self.row_of[position])] / n))
        self.lifted.module.train()

    def _stored_bytes(self, run: RunSpec, row: int) -> int:
        return sum(
            i.stored_bytes(_numbers(run), self.memories[i.name][row], self.store.example_bytes)
            for i in self.ingredients
        )

    def _report(self, task: int, taking_part: list[int]) -> PackReport:
        def convention(name: str) -> str | None:
            return "; ".join(filter(None, (getattr(i, name) for i in self.ingredients))) or None

        return PackReport(
            task=task,
            done=self.done,
            records=tuple(self.records[i] for i in taking_part),
            counts={
                "validation": [len(t.validation) for t in self.stream.tasks],
                "test": [len(t.test) for t in self.stream.tasks],
            },
            n_parameters=self.layout.size,
            peak_bytes=peak_bytes(self.device),
            host=socket.gethostname(),
            device=str(self.device),
            fisher_convention=convention("fisher_convention"),
            penalty_convention=convention("penalty_convention"),
        )

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _make_ingredients(self, structural: dict[str, Any]) -> list[Ingredient]:
        made: list[Ingredient] = []
        context = Context(
            layout=self.layout,
            n_tasks=len(self.stream.tasks),
            scenario=self.spec.scenario,
            forward=lambda theta, x: self.lifted.one(self.layout.unflatten(theta), x),
            squared_gradients=squared_gradients(self.lifted, self.layout, self.stream.input_shape),
            output_tasks=self._output_tasks(),
        )
        for name in self.spec.ingredients:
            kind = registry[name]
            if self.spec.scenario not in kind.scenarios:
                raise InputError(
                    f"ingredients: `{name}` works in {', '.join(kind.scenarios)}, but got scenario="
                    f"{self.spec.scenario}. Remove it, or change `--scenario`."
                )
            made.append(kind(context, structural))
        return made

    def _output_tasks(self) -> tuple[int, ...]:
        if self.spec.scenario != "task-il":
            return ()
        masks = self.outputs.masks[0].cpu()
        if (masks.sum(0) > 1).any():
            return ()
        return tuple(masks.to(torch.int8).argmax(0).tolist())


def _numbers(run: RunSpec) -> dict[str, float]:
    return {name: float(value) for name, value in run.values.items() if not isinstance(value, str)}
