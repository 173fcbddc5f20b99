"""Learning without forgetting: the network keeps to the answers that it gave before the task."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Conventions, Settings, Values
from cfsweep.training.ingredients._pieces import Comparison, Distillation
from cfsweep.training.targets.classification import masked_log_softmax


class LwF(Distillation):
    """Adds α·T²·Σ_g H(softmax(z_g/T), softmax(ẑ_g/T)), the mean over the examples of the batch: z are the logits of
    the network as it was at the end of the previous task, ẑ those of now, H(p, q) = -Σ p log q, and g runs over the
    groups of old outputs. The cross-entropy H differs from the Kullback-Leibler divergence by a constant alone.

    A group is what competes in one softmax. task-il: the outputs of each old task, summed as in the paper; class-il:
    all classes seen before the task as one group; domain-il: all outputs. Old outputs go on learning.

    The paper has no factor T². Here it keeps the gradient as large when T moves, so that a sweep can search α and T
    side by side; as T grows, the loss becomes the matching of logits. The paper's λ_o is α·T²: its λ_o = 1 at T = 2 is
    the default α of 0.25. We leave out its warm-up, in which only the new outputs are trained, so that a run takes as
    many steps as without; and it sees each example as it is in the batch, replayed ones too.

    References:
        Li & Hoiem 2017 (arXiv 1606.09282), eq. 2 and 3 (the loss) and 4 (the temperature; p^(1/T) normalised is
        softmax(z/T)); Hinton et al. 2015 (arXiv 1503.02531), section 2 (the factor) and eq. 4 (the limit).
    """

    name = "lwf"
    summary = "keeps the old outputs' answers to the new examples as they were before the task"
    paper = "Li & Hoiem 2017, TPAMI 40(12)"
    hypers = (
        Hyper("lwf_alpha", "float", 0.25, "strength of the distillation", low=0.0, off=0.0, takes_effect="later"),
        Hyper(
            "lwf_temperature",
            "float",
            2.0,
            "what divides the logits; above 1 it softens the answers",
            low=0.0,
            low_open=True,
            takes_effect="later",
        ),
    )
    needs_classes = True
    trains_old_outputs = True

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions(
            "alpha * T^2 * sum over groups of old outputs of cross-entropy(old/T, now/T), mean over batch"
        )

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        alpha, temperature = values["lwf_alpha"], values["lwf_temperature"]
        # Off must stay exactly off, even where logits are so large that 0 times them is no number.
        now, before = (said.logits.masked_fill(alpha == 0, 0.0) / temperature for said in (answers.now, answers.before))
        kept = torch.stack([cross_entropy(before, now, group) for group in self._groups(task)])
        return alpha * temperature.square() * kept.sum()

    def _groups(self, task: int) -> list[Tensor]:
        """The old outputs (n_outputs,) bool that answer together, while `task` is trained."""
        masks = self.context.outputs.masks
        if self.context.scenario == "task-il":
            return [masks[0, old] for old in range(task)]
        return [masks[task - 1, 0]]


def cross_entropy(target: Tensor, logits: Tensor, group: Tensor) -> Tensor:
    """The mean over examples of H(softmax(target), softmax(logits)) among the outputs in `group` (n_outputs,) bool;
    both logits are (n, n_outputs).

    >>> group = torch.tensor([True, True, False])
    >>> cross_entropy(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, 5.0]]), group)  # log 2
    tensor(0.6931)
    """
    p = masked_log_softmax(target, group).exp()
    log_q = masked_log_softmax(logits, group).masked_fill(~group, 0.0)  # 0 times minus infinity is no number
    return -(p * log_q).sum(-1).mean()
