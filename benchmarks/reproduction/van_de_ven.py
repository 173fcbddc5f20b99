"""Split-MNIST, three scenarios, trained long: van de Ven & Tolias 2019."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.reproduction import split_mnist
from benchmarks.reproduction.model import Budget, Claim, Group, Quantity, Row, Table, Why, final_average
from benchmarks.reproduction.strengths import strength_of
from cfsweep.config import SCENARIOS, Range, Scenario, Searched
from cfsweep.hypers import Value
from cfsweep.results.schema import JOINT_TRIAL

EPOCHS = 100  # 20 batches each: about 2,000 steps per task
ORDER: tuple[Scenario, ...] = ("domain-il", "task-il", "class-il")
Three = tuple[float | None, float | None, float]  # task-il, domain-il, class-il

# As in the code beside the paper, whose classifier and generator have two layers of 400, and whose generator is trained
# for as many steps as the classifier.
GENERATOR: dict[str, Value] = {
    "generative_epochs": EPOCHS,
    "generative_layers": 2,
    "generative_hidden": 400,
    "generative_latent": 100,
}
# One strength for each decade: the default, which lies below, is moved to the lower end. At these lengths each is dear,
# so that a search has one seed: what decades of a strength do to the accuracy is more than what seeds do.
EWC_RANGE: dict[str, Searched] = {"ewc_lambda": Range(low=1e3, high=1e8, log=True)}
SI_RANGE: dict[str, Searched] = {"si_c": Range(low=1e1, high=1e6, log=True)}

FACTS = (
    "MLP 400-400 with ReLU, Adam 0.001, batches of 128, 2,000 steps per task, digits in order, five tasks of two "
    "digits, as in the source. Here are 14,048 of the 60,000 images, a tenth of them held out, so that 2,000 steps are "
    "100 epochs, where there they are about 21: each image is seen five times as often.",
    "The optimizer goes on from task to task (`optimizer_state: kept`), as in the code beside the paper.",
    "EWC there and here: the Fisher of all training examples of a task, of the predicted label; online EWC adds them "
    "up without decay. SI there and here: damping 0.1, importances not cut at zero. The strengths of the source were "
    "found by a search and are not at hand, so that there are no rows `as published` of these three.",
    "LwF there has no strength: each task counts alike, at temperature 2, which is the row `as published`. Generative "
    "replay there weighs tasks alike, too, and so it does here (generative_weight 1). iCaRL keeps 2,000 images, at "
    "temperature 2.",
    "Generative replay, of which one run takes eight to twelve minutes of a processor, has 3 seeds.",
    "In class-il LwF with strength 1 comes near the published mean by never learning a later task (its trace is "
    "below): "
    "what is left is the first task, where naive has the last. The source's accuracies by task are not at hand.",
    "All data there: trained with 2,000 steps per task on the data of all tasks so far. Here: the reference `joint`, "
    "with epochs chosen for as many steps in all (9,900 against 10,000).",
    "The published numbers are quoted without their standard errors, so that 3 points alone decide; with "
    "them, some that differ may agree.",
)


@dataclass(frozen=True)
class _Method:
    """A line of the source's table, with its numbers; `published` are the settings of the source where it has a
    strength."""

    name: str
    title: str
    claims: Three
    ingredients: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    search: Mapping[str, Searched] = field(default_factory=dict)
    published: Mapping[str, Value] | None = None
    joint: bool = False
    most_seeds: int | None = None

    def rows(self) -> list[Row]:
        scenarios = [scenario for scenario in ORDER if self.claims[SCENARIOS.index(scenario)] is not None]
        main = [self._row(s, self.name, "main", {}, self.search) for s in scenarios]
        if self.published is None:
            return main
        return [
            *main,
            *(self._row(s, f"{self.name}-as-published", "as published", self.published, {}) for s in scenarios),
        ]

    def _row(
        self, scenario: Scenario, name: str, group: Group, changes: Mapping[str, Value], search: Mapping[str, Searched]
    ) -> Row:
        own = {**self.fixed, **changes}
        value = self.claims[SCENARIOS.index(scenario)]
        assert value is not None
        whys: tuple[Why, ...] = ()
        if self.published is not None and group == "main":
            whys = (Why(split_mnist.BETTER, (f"van-de-ven/{self.name}-as-published-{scenario}",), "surpassed"),)
        return Row(
            f"{name}-{scenario}",
            self.title,
            ", ".join(f"{key} {value}" for key, value in own.items() if key not in split_mnist.EWC),
            split_mnist.study(scenario, self.ingredients, {"epochs": EPOCHS, **own}, search, references=self.joint),
            (Quantity(f"{scenario}: average at the end", final_average, Claim(value), whys),),
            naive=None if self.name == "naive" else f"naive-{scenario}",
            group=group,
            trial=JOINT_TRIAL if self.joint else None,
            most_seeds=self.most_seeds,
            trace=f"{name}-{scenario}" == "lwf-as-published-class-il",
        )


def _generative_replay(name: str, title: str, claims: Three, labels: Mapping[str, Value]) -> _Method:
    return _Method(name, title, claims, ("generative-replay",), {**GENERATOR, **labels}, most_seeds=3)


_ONLINE: dict[str, Value] = {**split_mnist.EWC, "ewc_mode": "online", "ewc_gamma": 1.0}
METHODS = (
    _Method("naive", "none", (87.19, 59.21, 19.90)),
    _Method(
        "lwf",
        "LwF",
        (99.57, 71.50, 23.85),
        ("lwf",),
        {"lwf_temperature": 2.0, "lwf_weighting": "by-task", "lwf_classes": "seen"},
        strength_of(("lwf",)),
        {"lwf_alpha": 1.0},
    ),
    _Method("ewc", "EWC", (98.64, 63.95, 20.01), ("ewc",), split_mnist.EWC, EWC_RANGE),
    _Method("si", "SI", (99.09, 65.36, 19.99), ("si",), {"si_damping": 0.1, "si_cut": "none"}, SI_RANGE),
    _Method("online-ewc", "online EWC", (99.12, 64.32, 19.96), ("ewc",), _ONLINE, EWC_RANGE),
    _Method("icarl", "iCaRL", (None, None, 94.57), ("icarl",), {"icarl_budget": 2000, "icarl_temperature": 2.0}),
    _Method("all-data", "all data", (99.66, 98.42, 97.94), fixed={"epochs": 33}, joint=True),
    _generative_replay("generative-replay", "generative replay", (99.50, 95.72, 90.79), {}),
    _generative_replay(
        "generative-replay-distilled",
        "generative replay with distillation",
        (99.61, 96.83, 91.79),
        {"generative_labels": "distilled"},
    ),
)
TABLE = Table(
    "van-de-ven",
    "Split-MNIST, three scenarios, trained long",
    "van de Ven & Tolias 2019, Three scenarios for continual learning, arXiv 1904.07734",
    60_000,
    FACTS,
    tuple(row for method in METHODS for row in method.rows()),
    Budget(trials=7, seeds=1),
)
