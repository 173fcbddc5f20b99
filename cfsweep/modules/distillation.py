"""Learning without forgetting for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cfsweep.bundle.continued import Opened
from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError, unknown
from cfsweep.modules._examples import active_outputs
from cfsweep.modules._kept import known_network, require_same
from cfsweep.modules._model import OneModel, evaluating, without_stream
from cfsweep.modules._saved import Saved, require_fit
from cfsweep.modules._values import Given, numbers_of, static_of
from cfsweep.training.engine.layout import tensors_of
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.ingredients import Answers, Comparison
from cfsweep.training.ingredients.lwf import LwF


class DistillationLoss(Saved):
    """Keeps a model's answers to new examples as they were before the task: the ingredient `lwf` for one `model`.

    `alpha` is its strength, `temperature` what divides the logits, `classes` (`seen`, `old`) and `weighting`
    (`by-task`, `constant`) as there. In the scenario `task-il` the outputs of each remembered task compete among
    themselves, in `class-il` all that were active in the last one, in `domain-il` all. In each step

        outputs = model(x)
        loss = lwf.batch_share() * cross_entropy(outputs, y) + lwf.loss(x, outputs, active)

    and `lwf.remember(active)` after each task.

    Raises:
        InputError: a value is not legal, or the model has no output layer, or nothing to train.

    References:
        Li & Hoiem 2017 (arXiv 1606.09282), eq. 2 to 4; van de Ven & Tolias 2019 (`by-task`); see the ingredient.

    >>> model = nn.Sequential(nn.Linear(1, 2))
    >>> lwf = DistillationLoss(model, temperature=1.0)
    >>> lwf.remember()
    >>> _ = nn.init.zeros_(model[0].weight), nn.init.zeros_(model[0].bias)
    >>> x = torch.ones(3, 1)
    >>> lwf.batch_share().item(), round(lwf.loss(x, model(x)).item(), 4)  # half of log 2, whatever it said before
    (0.5, 0.3466)
    """

    kind = LwF

    def __init__(
        self,
        model: nn.Module,
        temperature: float = 2.0,
        alpha: float = 1.0,
        scenario: Scenario = "task-il",
        classes: str = "seen",
        weighting: str = "by-task",
    ) -> None:
        if scenario not in SCENARIOS:
            raise unknown(type(self).__name__, "scenario", str(scenario), SCENARIOS)
        given: Given = {
            "temperature": ("lwf_temperature", temperature),
            "alpha": ("lwf_alpha", alpha),
            "classes": ("lwf_classes", classes),
            "weighting": ("lwf_weighting", weighting),
        }
        super().__init__(given)
        self.scenario = scenario
        self.one = OneModel(model, self.where)  # not a module: its parameters are the user's, not ours
        self.old: dict[str, Tensor] = {}  # weights and buffers of the model at the end of the last task
        self.masks = torch.empty(0, self.one.n_outputs, dtype=torch.bool)  # (tasks that have ended, n_outputs)

    @property
    def tasks_ended(self) -> int:
        """How many tasks are remembered."""
        return len(self.masks)

    def remember(self, active: Tensor | None = None) -> None:
        """Keeps the model as it is at the end of a task, and the outputs (n_outputs,) bool that were active in it; all
        if there are none given.

        Raises:
            InputError: that is no mask of the outputs.
        """
        self.masks = torch.cat([self.masks, self._mask(active)])
        self.old = {name: value.detach().clone() for name, value in self._named().items()}

    def batch_share(self) -> Tensor:
        """What the loss of the batch is multiplied by, a scalar; 1 in the first task."""
        if not len(self.masks):
            return torch.ones((), device=self.one.device)
        # It does not depend on the outputs.
        return self._lwf(None).loss_shares(numbers_of(LwF, self.values, self.one.device), len(self.masks))[0]

    def loss(self, x: Tensor, outputs: Tensor, active: Tensor | None = None) -> Tensor:
        """What is to be added to that, a scalar: zero in the first task. `outputs` (n, n_outputs) are those of the
        model for x (n, ...) in this step; `active` (n_outputs,) bool those that the new task's examples may be answered
        with, in class-il the old ones among them; all if there are none given.

        Raises:
            InputError: the outputs are not those of the model, or that is no mask of them.
        """
        if outputs.shape != (len(x), self.one.n_outputs):
            raise InputError(
                f"{self.where}: the outputs must be ({len(x)}, {self.one.n_outputs}), a row for each example of x, but "
                f"got {tuple(outputs.shape)}. Give those of the whole output layer."
            )
        task, lwf = len(self.masks), self._lwf(active)
        if not task:
            return outputs.new_zeros(())
        values = numbers_of(LwF, self.values, self.one.device)
        mask = lwf.context.outputs.masks[task, task].expand_as(outputs)
        nothing = outputs.new_empty(len(x), 0)  # no label is looked at
        compared = Comparison(nothing, mask, Answers(outputs, {}), Answers(self._before(x), {}))
        return lwf.distillation_loss(compared, values, task) * lwf.loss_shares(values, task)[1]

    def contents(self) -> dict[str, Tensor]:
        return {"active": self.masks, **{f"old.{name}": value for name, value in self.old.items()}}

    def take(self, contents: Mapping[str, Tensor]) -> None:
        n_tasks = len(contents.get("active", ()))
        named = self._named() if n_tasks else {}
        expected = {"active": self.masks.new_empty(n_tasks, self.one.n_outputs)}
        fitting = require_fit(self.where, contents, expected | {f"old.{name}": v for name, v in named.items()})
        self.masks = fitting.pop("active")
        self.old = {name.removeprefix("old."): value for name, value in fitting.items()}

    def take_kept(self, start: Opened) -> None:
        require_same(self.where, "scenario", self.scenario, start.about.scenario, start.bundle)
        old, grown = known_network(self.one, start)
        weights = {name: value.detach() for name, value in old.named_parameters()}
        known = grown.vector(grown.old.flatten(weights), self.one.theta().detach().cpu())
        trained = {name: value.clone() for name, value in grown.new.unflatten(known).items()}
        self.old = {**weights, **dict(old.named_buffers()), **trained}
        # In class-il those of the last task alone count; there all rows are.
        masks = start.answers["masks"]
        self.masks = pad(masks, (0, self.one.n_outputs - masks.shape[1]))

    def _before(self, x: Tensor) -> Tensor:
        """The old weights' answers; that updates no statistics."""
        old = {name: value.to(self.one.device) for name, value in self.old.items()}
        with evaluating(self.one.model):
            return Lifted(self.one.model, False).one(old, x)

    def _lwf(self, active: Tensor | None) -> LwF:
        """The ingredient as it is in a stream of the tasks that have ended and the one in training."""
        by_task = torch.cat([self.masks, self._mask(active)]).to(self.one.device)
        n_tasks = len(by_task)
        # `masks[t, i]`: task-il goes by the task of the example, class-il by the one in training.
        masks = by_task.unsqueeze(0 if self.scenario == "task-il" else 1).expand(n_tasks, n_tasks, -1)
        masks = torch.ones_like(masks) if self.scenario == "domain-il" else masks
        settings = static_of(LwF, self.values)
        return LwF(self.one.context(without_stream(masks), self.scenario, n_tasks), settings)

    def _mask(self, active: Tensor | None) -> Tensor:
        return active_outputs(active, 1, self.one.n_outputs, self.where).cpu()

    def _named(self) -> dict[str, Tensor]:
        """Those of the model that its answers rest on; frozen ones too, which may not stay so."""
        return tensors_of(self.one.model)
