"""Learning without forgetting: the network keeps to the answers that it gave before the task."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Comparison
from cfsweep.training.ingredients._base import Context, Conventions, Settings, Values
from cfsweep.training.ingredients._distillation import cross_entropy, soft_targets
from cfsweep.training.ingredients._pieces import Distillation, LossShares
from cfsweep.training.ingredients._shares import loss_shares


class LwF(Distillation, LossShares):
    """Beside the loss L of the batch, D_g = T²·H(softmax(z_g/T), softmax(ẑ_g/T)), the mean over its examples: z are the
    logits of the network as it was at the end of the previous task, ẑ those of now, H(p, q) = -Σ p log q, and g runs
    over the groups of old outputs. H differs from the Kullback-Leibler divergence by a constant alone.

    A group is what competes in one softmax. task-il: the outputs of each old task; domain-il: all outputs; class-il:
    all classes seen before the task. There `lwf_classes` says among which the student's softmax runs: `seen`, the new
    classes too, for which p is zero, so that an example is not to look like one of the classes being learned; `old`,
    as if there were no new ones, which leaves them free to win over all others. Elsewhere the two are the same. Old
    outputs go on learning.

    `lwf_weighting`, after t old tasks in k groups:

        by-task    1/(1 + αt)·L + αt/(1 + αt)·Σ_g D_g/k. At α = 1 each task counts alike, 1/(t + 1), as in van de Ven &
                   Tolias 2019: theirs are the defaults.
        constant   L + α·Σ_g D_g. Li & Hoiem 2017, who have no factor T²: their λ_o is α·T², and their λ_o = 1 at T = 2
                   is α = 0.25.

    The factor T² keeps the gradient as large when T moves, so that a sweep can search α and T side by side; as T grows,
    the loss becomes the matching of logits. We leave out Li & Hoiem's warm-up, in which only the new outputs are
    trained, so that a run takes as many steps as without; and it sees each example as it is in the batch, replayed
    ones too.

    References:
        Li & Hoiem 2017 (arXiv 1606.09282), eq. 2 and 3 (the loss) and 4 (the temperature; p^(1/T) normalised is
        softmax(z/T)); Hinton et al. 2015 (arXiv 1503.02531), section 2 (the factor) and eq. 4 (the limit); van de Ven &
        Tolias 2019 (arXiv 1904.07734), "LwF", and the authors' code (zeros for new classes; the mean over groups).
    """

    name = "lwf"
    summary = "keeps the old outputs' answers to the new examples as they were before the task"
    paper = "Li & Hoiem 2017, TPAMI 40(12)"
    hypers = (
        Hyper("lwf_alpha", "float", 1.0, "strength of the distillation", low=0.0, off=0.0, takes_effect="later"),
        Hyper(
            "lwf_temperature",
            "float",
            2.0,
            "what divides the logits; above 1 it softens the answers",
            low=0.0,
            low_open=True,
            takes_effect="later",
        ),
        Hyper(
            "lwf_classes",
            "choice",
            "seen",
            "in class-il, the classes among which the student answers: all seen, or the old ones alone",
            choices=("seen", "old"),
            static=True,
        ),
        Hyper(
            "lwf_weighting",
            "choice",
            "by-task",
            "how the losses are mixed: each task alike, or as strongly however many tasks there are",
            choices=("by-task", "constant"),
            static=True,
        ),
    )
    needs_classes = True
    trains_old_outputs = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._by_task = settings["lwf_weighting"] == "by-task"
        self._new_classes_too = settings["lwf_classes"] == "seen"

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        among = "" if settings["lwf_classes"] == "seen" else ", in class-il without the new classes"
        distilled = f"T^2 * cross-entropy(old/T, now/T){among}, mean over batch"
        if settings["lwf_weighting"] == "constant":
            return Conventions(f"loss + alpha * sum over groups of old outputs of {distilled}")
        return Conventions(
            "1/(1 + alpha t) * loss + alpha t/(1 + alpha t) * mean over groups of old outputs of "
            f"{distilled}; t old tasks"
        )

    def loss_shares(self, values: Values, task: int) -> tuple[Tensor, Tensor]:
        if self._by_task:
            return loss_shares(values["lwf_alpha"], task)
        one = torch.ones_like(values["lwf_alpha"])
        return one, one

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        alpha, temperature = values["lwf_alpha"], values["lwf_temperature"]
        # Off must stay exactly off, even where logits are so large that 0 times them is no number.
        now, before = (said.logits.masked_fill(alpha == 0, 0.0) / temperature for said in (answers.now, answers.before))
        apart = [cross_entropy(soft_targets(before, old), now, among).mean() for old, among in self._groups(task)]
        kept = torch.stack(apart)
        return temperature.square() * kept.mean() if self._by_task else alpha * temperature.square() * kept.sum()

    def _groups(self, task: int) -> list[tuple[Tensor, Tensor]]:
        """The old outputs that answered together, and the outputs among which they are to, while `task` is trained;
        (n_outputs,) bool each."""
        masks = self.context.outputs.masks
        if self.context.scenario == "task-il":
            return [(masks[0, old], masks[0, old]) for old in range(task)]
        return [(masks[task - 1, 0], masks[task if self._new_classes_too else task - 1, 0])]
