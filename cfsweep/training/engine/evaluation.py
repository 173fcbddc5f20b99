"""How well a stack of weights answers the examples of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.engine.store import Store
from cfsweep.training.streams import Stream
from cfsweep.training.targets import Outputs, Target

# Floats of input that pass through the network at once; a convolution's activations are many times its input. A GPU has
# no cache to keep within, and reads all weights again for each chunk.
CHUNK_FLOATS, CHUNK_FLOATS_OTHER = 2**22, 2**19
ON_A_GPU = 16
LEAST_FLOATS = 256  # that an example counts as: its activations may be more


Answer = Callable[[Tensor, Tensor], Tensor]
"""What answers in place of the output layer, (rows, n, n_outputs), given logits (rows, n, n_outputs) and the features
(rows, n, d) that they are made of."""


class Evaluator:
    """Evaluates weights (rows, P) on the examples of one task that are held out: `validation` and `test`, which score,
    and `steering`, which stop rules look at. A network that draws random numbers all the same draws those of `seed`,
    that of its run."""

    def __init__(
        self,
        stream: Stream,
        target: Target,
        outputs: Outputs,
        store: Store,
        lifted: Lifted,
        layout: Layout,
        seed: int,
    ) -> None:
        self.target, self.outputs, self.store, self.lifted, self.layout = target, outputs, store, lifted, layout
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

    def scores(self, theta: Tensor, task: int, learned: int, part: str, answer: Answer | None = None) -> Tensor:
        """(rows,) float64: the target's score on the `part` ("steering", "validation", "test") examples of `task`; NaN
        where there are none, as of a task that was learned elsewhere.

        `learned` tasks have been trained; in class-il that decides which outputs are active. `answer` answers for the
        output layer, if given.
        """
        if not len(self.parts[task][part]):
            return torch.full((len(theta),), torch.nan, dtype=torch.float64, device=theta.device)
        labels = self.outputs.labels[self.parts[task][part]]
        return self.target.score.of(self.predictions(theta, task, learned, part, answer), labels)

    def predictions(self, theta: Tensor, task: int, learned: int, part: str, answer: Answer | None = None) -> Tensor:
        """(rows, n, ...): what the target predicts for the `part` examples of `task`, the others as for `scores`."""
        mask = self.outputs.masks[learned - 1, task]
        parameters = self.layout.unflatten(theta)
        layers = () if answer is None else ("",)
        predicted = []
        with torch.no_grad(), self.lifted.draws(torch_seed(self.seed, "evaluation", task)):
            for indices in self._chunks(self.parts[task][part], len(theta)):
                outputs, features = self.lifted.answers(parameters, self.store[indices], layers, shared=True)
                if answer is not None:
                    outputs = answer(outputs, features[""].flatten(2))
                predicted.append(self.target.predict(outputs, mask))
        return torch.cat(predicted, dim=1)

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
