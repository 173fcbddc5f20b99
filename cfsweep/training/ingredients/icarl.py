"""iCaRL: exemplars by herding, sigmoid outputs that are distilled, and answers by the nearest mean of exemplars."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer, Comparison, Features, Held
from cfsweep.training.ingredients._base import Context, Indices, Settings, Values
from cfsweep.training.ingredients._pieces import BatchLoss, Classifier, Distillation, MixedReplay, RankedBuffer

_SOFTMAX = "it trains the outputs as a softmax, icarl as one sigmoid each"
_EXEMPLARS = "icarl mixes its own exemplars into the batches"


class ICaRL(MixedReplay, RankedBuffer, Classifier, BatchLoss, Distillation):
    """Features are learned from new examples and exemplars together, and a class is its exemplars' mean feature.

    φ(x) is what goes into the output layer, normalised to length 1; so is every mean of such features. K is the budget,
    t the number of classes seen, m = ⌊K/t⌋.

    - Training (algorithm 3): per example the sum over outputs of the sigmoid cross-entropy -q log g(x) - (1-q) log(1 -
      g(x)), the mean over the batch; q is 1 or 0 by the label at the task's own classes, and at older ones what the
      network at the end of the last task says of the example, σ(z/T) with its logits z. T = 1 is the paper; the code
      beside van de Ven & Tolias 2019 has 2, and divides the old logits alone, as here.
    - When a task ends, m exemplars of each of its classes are chosen by herding (algorithm 4), and the lists of older
      classes are cut to their first m (algorithm 5).
    - An example's class is the one whose exemplars have the nearest mean, as the network of now sees them (algorithm
      1). Before there are exemplars the output layer answers. Within a task the new classes have those that they would
      have if it ended there.

    class-il alone: what it is about is the choice among all classes seen. In task-il no class competes with those of
    other tasks, and in domain-il there are no new classes, so that nothing would be distilled.

    Departures. An epoch has as many examples as the task, drawn without repetition from the union of the task and the
    exemplars: each is as likely, and exemplars have in the batches the share that they have in the union; but a run
    takes as many steps as without them (a pass over the union would take more with a larger K). An example is chosen
    once, which algorithm 4 does not say, and a class with fewer than m has them all. Where a class comes again, it is
    one of the task's own once more, and its exemplars are chosen among the old ones and the new examples. Where K is
    less than t nothing is kept. What is evaluated depends on K from the first task on, so runs of different K share
    none.

    References:
        Rebuffi et al. 2017 (arXiv 1611.07725), section 2 (features and means are normalised), algorithms 1 to 5;
        van de Ven & Tolias 2019 (arXiv 1904.07734) on split MNIST with K = 2000 and a fixed number of steps, in the
        union of task and exemplars too.
    """

    name = "icarl"
    summary = "answers by the nearest mean of exemplars, which are chosen by herding and trained on (class-il only)"
    paper = "Rebuffi et al. 2017, CVPR, arXiv 1611.07725"
    hypers = (
        Hyper("icarl_budget", "int", 2000, "exemplars kept, of all classes together", low=0, off=0),
        Hyper(
            "icarl_temperature",
            "float",
            1.0,
            "what divides the old network's logits; above 1 it softens what is distilled",
            low=0.0,
            low_open=True,
            takes_effect="later",
        ),
    )
    scenarios = ("class-il",)
    needs_classes = True
    trains_old_outputs = True
    excludes = {
        "a-gem": _SOFTMAX,
        "der++": _SOFTMAX,
        "er-ace": _SOFTMAX,
        "generative-replay": _SOFTMAX,
        "lwf": _SOFTMAX,
        "ewc": "its Fisher information is that of a softmax, icarl trains one sigmoid for each output",
        "replay": _EXEMPLARS,
    }

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._own = context.outputs.own

    # ------------------------------------------------------------------ learning

    def mix_in(
        self, order: Indices, batch_size: int, buffer: Buffer, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        if not len(buffer.indices):
            return order
        return rng.permutation(np.concatenate([order, buffer.indices]))[: len(order)]

    def batch_loss(self, logits: Tensor, labels: Tensor, mask: Tensor, values: Values, task: int) -> Tensor:
        right = labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
        return sigmoid_cross_entropy(logits, right.to(logits.dtype), mask & self._own[task])

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        off = values["icarl_budget"] == 0
        # Off must stay exactly off, even where logits are so large that 0 times them is no number.
        now, before = (said.logits.masked_fill(off, 0.0) for said in (answers.now, answers.before))
        older = self.context.outputs.masks[task - 1, 0] & ~self._own[task]
        q = sigmoid(before / values["icarl_temperature"])
        return torch.where(off, 0.0, sigmoid_cross_entropy(now, q, older))

    # ------------------------------------------------------------------ exemplars

    def rank(self, buffer: Buffer, examples: Indices, features: Features, values: Mapping[str, float]) -> Indices:
        """For each class of the task its exemplars, the first chosen first."""
        budget, classes = int(values["icarl_budget"]), self.context.classes
        if not budget:
            return examples[:0]
        # One at least, so that it is counted among the classes seen.
        m = max(1, budget // self._n_seen(buffer, examples))
        chosen = []
        for label in np.unique(classes[examples]):
            mine, again = (some[classes[some] == label] for some in (examples, buffer.indices))
            candidates = np.union1d(mine, again)
            chosen.append(candidates[herding(features(candidates), m)])
        return np.concatenate(chosen)

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        """The classes of `examples` are replaced, and all are cut to m."""
        if not values["icarl_budget"]:
            return buffer
        classes, offered = self.context.classes, self._offered(buffer, examples)
        older = buffer.indices[~np.isin(classes[buffer.indices], classes[examples])]
        kept = np.concatenate([older, examples])
        m = int(values["icarl_budget"]) // self._n_seen(buffer, examples)
        return Buffer(kept[first_of_each(classes[kept], m)], int(offered.sum()), offered_by_class=offered)

    def _offered(self, buffer: Buffer, examples: Indices) -> Indices:
        """How many of each class were offered, these examples included."""
        before, classes = buffer.offered_by_class, self.context.classes
        n_classes = int(classes.max()) + 1 if before is None else len(before)
        counts = np.bincount(classes[examples], minlength=n_classes)
        return counts if before is None else before + counts

    def _n_seen(self, buffer: Buffer, examples: Indices) -> int:
        """t, the classes of these examples included."""
        return int(np.count_nonzero(self._offered(buffer, examples)))

    # ------------------------------------------------------------------ answers

    def outputs_for(self, features: Tensor, held: Held) -> Tensor:
        return nearness_to_means(features, held, self._own.shape[-1])


def sigmoid_cross_entropy(logits: Tensor, q: Tensor, among: Tensor) -> Tensor:
    """The mean over examples of Σ -q log σ(z) - (1 - q) log(1 - σ(z)) over the outputs `among`, a scalar.

    The logits z, q in [0, 1] and `among` bool are (n, n_outputs), or can be broadcast to it.

    It is log(1 + e^z) - q z, with the gradient (σ(z) - q) / n.

    >>> z, q = torch.tensor([[0.0, 7.0], [0.0, 7.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    >>> sigmoid_cross_entropy(z, q, torch.tensor([True, False]))  # log 2
    tensor(0.6931)
    """
    # Autograd's gradient is not quite zero where q is σ of the same z, and Adam makes a whole step of what is left.
    at = logits.detach()
    value = at.clamp(min=0.0) + torch.log1p(torch.exp(-at.abs())) - q * at
    losses = value + (sigmoid(at) - q) * (logits - at)
    return torch.where(among, losses, 0.0).sum(-1).mean()


def sigmoid(z: Tensor) -> Tensor:
    """σ(z) = 1 / (1 + e^-z), of the shape of z. torch's own rounds otherwise at the end of a tensor, where a run would
    get other bits alone than among others; exp does not.

    >>> sigmoid(torch.tensor([0.0, 200.0, -200.0]))
    tensor([0.5000, 1.0000, 0.0000])
    """
    e = torch.exp(-z.abs())
    return torch.where(z >= 0, 1.0, e) / (1 + e)


def herding(features: NDArray[np.float32], m: int) -> Indices:
    """The places of min(m, n) of the n examples of one class, features (n, d), in the order in which they are chosen:
    the k-th is the one that brings the mean of the k chosen ones nearest to that of all; of equals the first.

    Features and means are normalised to length 1 (one of zeros stays so).

    References:
        Rebuffi et al. 2017, algorithm 4 and section 2.

    >>> herding(np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]), 2).tolist()  # the mean points to (0.6, 0.8) almost
    [2, 0]
    """
    unit = _unit(features.astype(np.float64))
    mean = _unit(unit.mean(0))
    towards, squares = unit @ mean, np.square(unit).sum(1)
    total, along = np.zeros(unit.shape[1]), np.zeros(len(unit))  # the sum s of those chosen, and φ(x)·s
    free, chosen = np.ones(len(unit), bool), np.empty(min(m, len(unit)), np.int64)
    for k in range(len(chosen)):
        # |μ - u|² with u = (s + φ(x)) / |s + φ(x)|, for every x by products alone.
        length = np.sqrt(np.maximum(total @ total + 2 * along + squares, 0.0))
        product = np.divide(total @ mean + towards, length, out=np.zeros_like(length), where=length > 0)
        distance = mean @ mean - 2 * product + (length > 0)
        chosen[k] = best = int(np.where(free, distance, np.inf).argmin())
        free[best] = False
        total += unit[best]
        along += unit @ unit[best]
    return chosen


def first_of_each(labels: Indices, m: int) -> Indices:
    """The places, in their order, of the first m of each label.

    >>> first_of_each(np.array([4, 4, 1, 4, 1]), 2).tolist()
    [0, 1, 2, 4]
    """
    places = [np.flatnonzero(labels == label)[:m] for label in np.unique(labels)]
    return np.sort(np.concatenate(places))


def nearness_to_means(features: Tensor, held: Held, n_outputs: int) -> Tensor:
    """(n, n_outputs): minus the squared distance of each example, features (n, d), to the mean of the exemplars of each
    output; minus infinity where an output has none. Features and means are normalised to length 1.

    References:
        Rebuffi et al. 2017, algorithm 1 and section 2.

    >>> held = Held(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 2]))
    >>> nearness_to_means(torch.tensor([[9.0, 0.0]]), held, 3)
    tensor([[ 0., -inf, -2.]])
    """
    is_of = (held.labels.unsqueeze(-1) == torch.arange(n_outputs, device=features.device)).to(features.dtype)  # (k, C)
    means = normalize(is_of.mT @ normalize(held.features, dim=-1), dim=-1)  # a sum points where the mean does
    seen = normalize(features, dim=-1)
    near = 2 * seen @ means.mT - seen.square().sum(-1, keepdim=True) - means.square().sum(-1)
    return near.masked_fill(is_of.sum(0) == 0, -torch.inf)


def _unit(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised to length 1 along the last dimension."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
    return unit
