"""Every remedy beside the others: what docs/choosing.md rests on. Nothing here was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.reproduction.model import Quantity, Row, Table, final_average
from benchmarks.reproduction.strengths import strength_of
from cfsweep.config import SCENARIOS, Scenario, Space, StreamConfig, StudyConfig
from cfsweep.hypers import Value
from cfsweep.results.schema import JOINT_TRIAL
from cfsweep.training.ingredients import registry

FACTS = (
    "Split-MNIST with cfsweep's default network (MLP 256-256) and training (Adam 0.001, batches of 64, 5 epochs per "
    "task, a fresh optimizer for each task), 14,048 of the 60,000 images, a tenth of them held out. What is searched "
    "is the remedy's own strength, one hyperparameter, and nothing of the training; the others have their defaults, or "
    "what `setting` says. In brackets what the search chose.",
    "A stop rule looks at a further tenth of the training data, on which nothing is trained; so it stands beside "
    "`naive on less`, which has as much.",
    "`stored` is what must be kept between tasks beside the network, in kB.",
)


@dataclass(frozen=True)
class _Remedy:
    title: str
    ingredients: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    scenarios: tuple[Scenario, ...] = SCENARIOS
    naive: str | None = "naive"
    steering: float | None = None

    def rows(self) -> list[Row]:
        known = [s for s in self.scenarios if all(s in registry[name].scenarios for name in self.ingredients)]
        return [self._row(scenario) for scenario in known]

    def _row(self, scenario: Scenario) -> Row:
        joint = self.title == "joint"
        study = StudyConfig(
            space=Space(ingredients=self.ingredients, fixed=dict(self.fixed), search=strength_of(self.ingredients)),
            stream=StreamConfig(
                name="split-mnist", scenario=scenario, validation_frac=0.1, steering_frac=self.steering
            ),
            references=joint,
            stop_trials=False,
        )
        return Row(
            f"{self.title.replace(' ', '-').replace(',', '')}-{scenario}",
            self.title,
            ", ".join(f"{name} {value}" for name, value in self.fixed.items()),
            study,
            (Quantity("average at the end", final_average),),
            naive=f"{self.naive}-{scenario}" if self.naive else None,
            trial=JOINT_TRIAL if joint else None,
        )


KEPT_OUTPUTS: tuple[Scenario, ...] = ("task-il", "domain-il")  # in class-il nothing here would keep the old outputs
REMEDIES = (
    _Remedy("naive", naive=None),
    _Remedy("naive on less", scenarios=("domain-il",), naive=None, steering=0.1),
    _Remedy("joint"),
    _Remedy("l2-sp", ("l2-sp",)),
    _Remedy("ewc", ("ewc",)),
    _Remedy("si", ("si",)),
    _Remedy("mas", ("mas",)),
    _Remedy("replay", ("replay",), {"replay_buffer": 500}),
    _Remedy(
        "replay, class-balanced",
        ("replay",),
        {"replay_buffer": 500, "replay_mode": "class-balanced"},
        scenarios=("class-il",),
    ),
    _Remedy("replay of 100", ("replay",), {"replay_buffer": 100}, scenarios=("class-il",)),
    _Remedy("er-ace", ("er-ace",), {"er_ace_buffer": 500}),
    _Remedy("er-ace of 100", ("er-ace",), {"er_ace_buffer": 100}),
    _Remedy("der++", ("der++",), {"der_buffer": 500}),
    _Remedy("der++ of 100", ("der++",), {"der_buffer": 100}, scenarios=("class-il",)),
    _Remedy("der++-online", ("der++-online",), {"der_online_buffer": 500}),
    _Remedy("a-gem", ("a-gem",), {"a_gem_buffer": 500}),
    _Remedy("a-gem-online", ("a-gem-online",), {"a_gem_online_buffer": 500}),
    _Remedy("gdumb", ("gdumb",), {"gdumb_buffer": 500}),
    _Remedy("icarl", ("icarl",), {"icarl_budget": 500}),
    _Remedy("generative-replay", ("generative-replay",)),
    _Remedy("lwf", ("lwf",)),
    _Remedy("feature-distillation", ("feature-distillation",), scenarios=KEPT_OUTPUTS),
    _Remedy("freeze", ("freeze",), scenarios=KEPT_OUTPUTS),
    _Remedy("packnet", ("packnet",)),
    _Remedy("adapters", ("adapters",)),
    _Remedy("early-stopping", ("early-stopping",), scenarios=("domain-il",), naive="naive-on-less"),
    _Remedy("forgetting-limit", ("forgetting-limit",), scenarios=("domain-il",), naive="naive-on-less"),
)
TABLE = Table(
    "remedies",
    "Every remedy beside the others",
    "none; measured here for [choosing.md](choosing.md)",
    60_000,
    FACTS,
    tuple(row for remedy in REMEDIES for row in remedy.rows()),
    side_by_side=True,
)
