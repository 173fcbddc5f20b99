"""Every remedy beside the others, out of the box: what docs/choosing.md rests on. Nothing here was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.reproduction.model import Quantity, Row, Table, final_average
from cfsweep.config import SCENARIOS, Scenario, Space, StreamConfig, StudyConfig
from cfsweep.hypers import Value
from cfsweep.results.schema import JOINT_TRIAL
from cfsweep.training.ingredients import registry

FACTS = (
    "Split-MNIST as above, with cfsweep's default network (MLP 256-256) and training (Adam 0.001, batches of 64, 5 "
    "epochs per task, a fresh optimizer for each task). Every hyperparameter has its default, except those in the "
    "table; EWC has the strength that the source of the first table found for the scenario. Nothing was tuned here. "
    "The other penalties stand in the first table.",
    "`stored` is what must be kept between tasks beside the network, in kB.",
)


@dataclass(frozen=True)
class _Remedy:
    title: str
    ingredients: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    strength: tuple[str, tuple[float, float, float]] | None = None
    scenarios: tuple[Scenario, ...] = SCENARIOS

    def rows(self) -> list[Row]:
        known = [s for s in self.scenarios if all(s in registry[name].scenarios for name in self.ingredients)]
        return [self._row(scenario) for scenario in known]

    def _row(self, scenario: Scenario) -> Row:
        fixed = dict(self.fixed)
        if self.strength:
            fixed[self.strength[0]] = self.strength[1][SCENARIOS.index(scenario)]
        setting = ", ".join(f"{name} {value}" for name, value in fixed.items())
        joint = self.title == "joint"
        study = StudyConfig(
            space=Space(ingredients=self.ingredients, fixed=fixed),
            stream=StreamConfig(name="split-mnist", scenario=scenario, validation_frac=0.02),
            trials=1,
            references=joint,
            stop_trials=False,
        )
        name = self.title.replace(" ", "-").replace(",", "")
        quantities = (Quantity(scenario, final_average),)
        return Row(f"{name}-{scenario}", self.title, setting, study, quantities, JOINT_TRIAL if joint else None)


KEPT_OUTPUTS: tuple[Scenario, ...] = ("task-il", "domain-il")  # in class-il nothing here would keep the old outputs
REMEDIES = (
    _Remedy("naive"),
    _Remedy("joint"),
    _Remedy("ewc", ("ewc",), strength=("ewc_lambda", (200.0, 200.0, 1200.0))),
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
    _Remedy("generative-replay", ("generative-replay",)),
    _Remedy("lwf", ("lwf",)),
    _Remedy("feature-distillation", ("feature-distillation",), scenarios=KEPT_OUTPUTS),
    _Remedy("freeze", ("freeze",), scenarios=KEPT_OUTPUTS),
    _Remedy("packnet", ("packnet",), {"packnet_schedule": "equal"}),
    _Remedy("adapters", ("adapters",)),
    _Remedy("early-stopping", ("early-stopping",), scenarios=("domain-il",)),
    _Remedy("forgetting-limit", ("forgetting-limit",), scenarios=("domain-il",)),
)
TABLE = Table(
    "remedies",
    "Every remedy beside the others, out of the box",
    "none; measured here for `docs/choosing.md`",
    60_000,
    FACTS,
    tuple(row for remedy in REMEDIES for row in remedy.rows()),
    side_by_side=True,
)
