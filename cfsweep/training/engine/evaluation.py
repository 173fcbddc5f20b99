"""How well a stack of weights answers the examples of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.engine.store import Store
from cfsweep.training.streams import Stream
from cfsweep.training.targets import Outputs, Score, Target

# Floats of input that pass through the network at once; a convolution's activations are many times its input. A GPU has
# no cache to keep within, and reads all weights again for each chunk.
CHUNK_FLOATS, CHUNK_FLOATS_OTHER = 2**22, 2**19
ON_A_GPU = 16
LEAST_FLOATS = 256  # that an example counts as: its activations may be more


Answer = Callable[[Tensor, Tensor], Tensor]
"""What answers in place of the output layer, (rows, n, n_outputs), given logits (rows, n, n_outputs) and the features
(rows, n, d) that they are made of."""


class Measure:
    """What is measured of a target: its `scores`, the one that steers first."""

    def __init__(self, target: Target, scores: Sequence[Score], outputs: Outputs) -> None:
        self.target, self.scores, self.outputs = target, scores, outputs

    def of(self, score: Score, answers: Tensor, examples: Tensor, mask: Tensor) -> Tensor:
        """The `score` (rows,) of `answers` (rows, n, ...) to the `examples` (n,), of which the outputs in `mask`
        (n_outputs,) were active."""
        labels = self.outputs.in_units(self.outputs.labels[examples])
        if not score.by_probability:
            answers = self.outputs.in_units(answers)
        return self.target.measured(score, answers, labels, mask)

    def undefined(self, examples: Tensor, mask: Tensor) -> list[Score]:
        """The scores that have no value on these examples, whoever answers them."""
        constant = self.target.constant(self.outputs.labels[examples], self.outputs.n_outputs)
        outputs = constant.expand(1, len(examples), -1)
        found = []
        for score in self.scores:
            value = self.of(score, self.target.answers(score, outputs, mask), examples, mask)
            found += [score] if bool(value.isnan()) else []
        return found


class Evaluator:
    """Evaluates weights (rows, P), as `measure` says, on the examples of one task that are held out: `validation` and
    `test`, which score, and `steering`, which stop rules look at. A network that draws random numbers all the same
    draws those of `seed`,
    that of its run."""

    def __init__(
        self,
        stream: Stream,
        measure: Measure,
        store: Store,
        lifted: Lifted,
        layout: Layout,
        seed: int,
    ) -> None:
        self.measure, self.store, self.lifted, self.layout = measure, store, lifted, layout
        self.parts = [
            {
                part: torch.from_numpy(indices).to(store.device)
                for part, indices in task.parts.items()
                if part != "train"
            }
            for task in stream.tasks
        ]
        self.seed = seed
        self.example_floats = int(np.prod(stream.input_shape))

    def scores(
        self,
        theta: Tensor,
        task: int,
        learned: int,
        part: str,
        answer: Answer | None = None,
        scores: Sequence[Score] | None = None,
    ) -> Tensor:
        """(len(scores), rows) float64: the `scores`, by default all, on the `part` ("steering", "validation", "test")
        examples of `task`; NaN where there are no examples, as of a task that was learned elsewhere, and where a score
        has no value.

        `learned` tasks have been trained; in class-il that decides which outputs are active. `answer` answers for the
        output layer, if given.
        """
        scores, examples = self.measure.scores if scores is None else scores, self.parts[task][part]
        if not len(examples):
            return torch.full((len(scores), len(theta)), torch.nan, dtype=torch.float64, device=theta.device)
        measure, mask = self.measure, self.measure.outputs.masks[learned - 1, task]
        kinds = {score.by_probability: score for score in scores}
        ways = [partial(measure.target.answers, score, mask=mask) for score in kinds.values()]
        answers = dict(zip(kinds, self._answers(theta, task, part, answer, ways), strict=True))
        return torch.stack([measure.of(score, answers[score.by_probability], examples, mask) for score in scores])

    def predictions(self, theta: Tensor, task: int, learned: int, part: str, answer: Answer | None = None) -> Tensor:
        """(rows, n, ...): what the target predicts for the `part` examples of `task`, the others as for `scores`."""
        predict = self.measure.target.predict
        mask = self.measure.outputs.masks[learned - 1, task]
        return self._answers(theta, task, part, answer, [lambda outputs: predict(outputs, mask)])[0]

    def _answers(
        self, theta: Tensor, task: int, part: str, answer: Answer | None, ways: Sequence[Callable[[Tensor], Tensor]]
    ) -> list[Tensor]:
        """What each of the `ways` makes of the outputs (rows, n, n_outputs), which may be too many to be kept."""
        parameters = self.layout.unflatten(theta)
        layers = () if answer is None else ("",)
        found: list[list[Tensor]] = [[] for _ in ways]
        with torch.no_grad(), self.lifted.draws(torch_seed(self.seed, "evaluation", task)):
            for indices in self._chunks(self.parts[task][part], len(theta)):
                outputs, features = self.lifted.answers(parameters, self.store[indices], layers, shared=True)
                if answer is not None:
                    outputs = answer(outputs, features[""].flatten(2))
                for way, answers in zip(ways, found, strict=True):
                    answers.append(way(outputs))
        return [torch.cat(answers, dim=1) for answers in found]

    def features(self, theta: Tensor, examples: Tensor) -> Tensor:
        """(rows, n, d): what goes into the output layer for the examples (n,) of the store."""
        parameters = self.layout.unflatten(theta)
        with torch.no_grad(), self.lifted.draws(torch_seed(self.seed, "evaluation")):
            found = [
                self.lifted.answers(parameters, self.store[indices], ("",), shared=True)[1][""].flatten(2)
                for indices in self._chunks(examples, len(theta))
            ]
        return torch.cat(found, dim=1)

    def _chunks(self, indices: Tensor, n_rows: int) -> Iterator[Tensor]:
        size = chunk_size(n_rows, self.example_floats, self.lifted.stack is not None, indices.is_cuda)
        yield from torch.split(indices, size)


def chunk_size(n_rows: int, example_floats: int, plain_stack: bool, on_gpu: bool) -> int:
    """How many examples of so many floats pass through the network of `n_rows` rows at once."""
    floats = (CHUNK_FLOATS if plain_stack else CHUNK_FLOATS_OTHER) * (ON_A_GPU if on_gpu else 1)
    return max(16, floats // (n_rows * max(LEAST_FLOATS, example_floats)))
