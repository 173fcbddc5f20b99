"""The fixed set of packs that `benchmarks.same_bits` trains, run by the path of this file against any revision.

It prints one line of JSON per pack: its name and, by what they are of, the SHA-256 of everything that its runs came to.
Of this project it imports the package `cfsweep` alone, that of the revision which the current folder holds. What the
revisions call by different names is read in `of_run`, and nowhere else.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import cfsweep
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream

Json = dict[str, Any]

MODULE = "same_bits_packs"
TASK_IL, DOMAIN_IL, CLASS_IL = SCENARIOS = ("task-il", "domain-il", "class-il")
OPTIMIZERS = ("sgd", "adam", "adamw")

MLP: Json = {"name": "mlp", "args": {"hidden": [12, 9]}}
WIDE: Json = {"name": "mlp", "args": {"hidden": [640, 384]}}  # takes its steps row by row
CNN: Json = {"name": "cnn", "args": {"hidden": 8}}
MOODY: Json = {"name": f"{MODULE}:moody"}  # cannot be lifted: its examples are looped over
SMOOTH: Json = {"name": f"{MODULE}:smooth"}  # linear layers, but no plain stack

# What each ingredient's hyperparameters are given: numbers by run, in turns; choices one pack each.
NUMBERS: dict[str, dict[str, tuple[float, ...]]] = {
    "ewc": {"ewc_lambda": (100.0, 0.0, 5000.0), "ewc_gamma": (1.0, 0.9, 0.5)},
    "l2-sp": {"l2_sp_lambda": (0.1, 0.0, 2.0)},
    "si": {"si_c": (1.0, 0.0, 30.0), "si_damping": (1e-3, 0.1, 1e-2)},
    "mas": {"mas_lambda": (1.0, 0.0, 20.0)},
    "replay": {"replay_ratio": (0.5, 0.0, 0.25), "replay_buffer": (9, 20, 5)},
    "er-ace": {"er_ace_buffer": (9, 0, 20)},
    "der++": {"der_alpha": (1.0, 0.0, 0.3), "der_beta": (0.5, 1.0, 0.0), "der_buffer": (9, 0, 20)},
    "der++-online": {
        "der_online_alpha": (1.0, 0.0, 0.3),
        "der_online_beta": (0.5, 1.0, 0.0),
        "der_online_buffer": (9, 0, 20),
    },
    "a-gem": {"a_gem_buffer": (9, 0, 20)},
    "icarl": {"icarl_budget": (13, 0, 40), "icarl_temperature": (1.0, 2.0, 3.0)},
    "a-gem-online": {"a_gem_online_buffer": (9, 0, 20)},
    "gdumb": {"gdumb_buffer": (9, 0, 20)},
    "generative-replay": {"generative_weight": (1.0, 0.0, 0.5)},
    "lwf": {"lwf_alpha": (0.25, 0.0, 1.0), "lwf_temperature": (2.0, 1.0, 3.0)},
    "feature-distillation": {"feature_weight": (0.01, 0.0, 0.5)},
    "packnet": {"packnet_rate": (0.5, 0.0, 0.7)},
    "adapters": {},
    "freeze": {"freeze_depth": (1, 0, 2)},
    "discriminative-lr": {"layer_lr_factor": (0.4, 1.0, 0.7)},
    "warmup": {"warmup_frac": (0.1, 0.0, 0.4)},
    "cosine": {"cosine_floor": (0.0, 1.0, 0.2)},
    "early-stopping": {"patience": (1, 0, 2)},
    "forgetting-limit": {"forgetting_limit": (0.05, 1.0, 0.0)},
}
CHOICES: dict[str, list[Json]] = {
    "ewc": [{"ewc_mode": "online"}, {"ewc_fisher": "predicted"}, {"ewc_fisher": "empirical"}, {"ewc_examples": 0}],
    "si": [{"si_cut": "none"}],
    "lwf": [{"lwf_weighting": "constant", "lwf_classes": "old"}],
    "generative-replay": [{"generative_labels": "distilled"}, {"generative_generator": "per-task"}],
    "mas": [{"mas_examples": 0}],
    "replay": [{"replay_mode": "class-balanced"}],
    "feature-distillation": [{"feature_layers": "body.1,body.3"}],
    "packnet": [{"packnet_schedule": "equal"}, {"packnet_retrain_frac": 0.0}],
    "adapters": [{"adapter_width": 0}],
    "freeze": [{"freeze_layers": "body.3"}],
}
SMALL: Json = {
    "epochs": 3,
    "batch_size": 5,
    "lr": 0.01,
    "ewc_examples": 7,
    "mas_examples": 7,
    "generative_epochs": 2,
    "generative_hidden": 8,
    "generative_latent": 3,
    "adapter_width": 3,
}
ONLY_IN: dict[str, str] = {"er-ace": CLASS_IL, "icarl": CLASS_IL, "packnet": TASK_IL, "adapters": TASK_IL}
MIXTURES = (
    ("ewc", "replay", "packnet"),
    ("ewc", "replay", "lwf", "cosine", "warmup"),
    ("si", "er-ace", "feature-distillation", "early-stopping"),
    ("mas", "der++", "discriminative-lr", "forgetting-limit"),
    ("l2-sp", "a-gem", "generative-replay", "freeze"),
    ("ewc", "adapters", "replay", "lwf"),
    ("a-gem", "der++", "replay", "ewc", "si", "mas", "l2-sp"),
)


@dataclass(frozen=True)
class Case:
    """One pack: `runs` runs of two seeds, with `values` over all defaults; `drop_after` stops the second run then."""

    ingredients: tuple[str, ...] = ()
    scenario: str = TASK_IL
    network: Mapping[str, Any] = field(default_factory=lambda: MLP)
    runs: int = 3
    joint: bool = False
    curves: int = 0
    share: bool = True
    drop_after: int = -1
    restore: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        other = {k: v for k, v in vars(self).items() if k not in ("ingredients", "scenario", "network", "values")}
        default = vars(Case())
        kept = {k: v for k, v in other.items() if v != default[k]} | dict(self.values)
        words = [f"{key}={value}" for key, value in kept.items()]
        network = str(self.network["name"]).removeprefix(f"{MODULE}:") + ("-wide" if self.network is WIDE else "")
        return " ".join(["+".join(self.ingredients) or "naive", self.scenario, network, *words])


def cases() -> Iterator[Case]:
    """The whole set, in a fixed order."""
    for optimizer in OPTIMIZERS:
        own = {"optimizer": optimizer, "weight_decay": 0.01}
        for scenario in SCENARIOS:
            yield Case(scenario=scenario, curves=2, values=own)
            yield Case(scenario=scenario, joint=True, values=own)
            for name in NUMBERS:
                if ONLY_IN.get(name, scenario) == scenario:
                    yield Case((name,), scenario, values=own)
    for name in NUMBERS:
        scenario = ONLY_IN.get(name, CLASS_IL)
        for choice in CHOICES.get(name, []):
            yield Case((name,), scenario, values=choice)
        for network in (CNN, SMOOTH):
            yield Case((name,), scenario, network)
        yield Case((name,), scenario, MOODY, runs=1)
        yield Case((name,), scenario, WIDE, runs=2, values={"epochs": 1, "precision": "bf16"})
        yield Case((name,), scenario, runs=6, drop_after=1, values={"optimizer_state": "kept"})
        yield Case((name,), scenario, restore=True, curves=1)
    for name in ("ewc", "si", "lwf"):
        yield Case((name,), DOMAIN_IL, WIDE, runs=2, values={"epochs": 1})
    for precision in ("tf32", "bf16"):
        yield Case(("ewc", "replay"), TASK_IL, values={"precision": precision})
        yield Case(("ewc", "replay"), TASK_IL, CNN, values={"precision": precision})
    for names in MIXTURES:
        for scenario in SCENARIOS:
            yield Case(names, scenario, runs=6, values={"weight_decay": 0.01})
        yield Case(names, TASK_IL, share=False)
    for names in itertools.combinations(NUMBERS, 2):
        scenarios = {ONLY_IN[name] for name in names if name in ONLY_IN} or {CLASS_IL}
        if len(scenarios) == 1:
            yield Case(names, scenarios.pop(), values={"epochs": 2})


def moody(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    n = int(np.prod(input_shape))
    layers = [nn.Linear(n, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, n_outputs)]
    return nn.Sequential(nn.Flatten(), *layers)


def smooth(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    n = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(n, 12), nn.Tanh(), nn.Linear(12, n_outputs))


def small_stream() -> Stream:
    """The first three tasks of split-digits, with few examples each. Stop rules look at training examples left over (in
    revisions that know no steering examples, at validation data)."""
    digits, tasks = load_stream(StreamConfig(name="split-digits")), []
    for task in digits.tasks[:3]:
        held_out = {"validation": task.validation[:10], "test": task.test[:12]}
        if hasattr(task, "steering"):
            held_out["steering"] = task.train[27:37]
        tasks.append(replace(task, train=task.train[:27], **held_out))
    return replace(digits, tasks=tuple(tasks))


def trained(case: Case, stream: Stream) -> Pack:
    """The pack of `case` at its end."""
    hypers = hypers_of(case.ingredients)
    runs = []
    for k in range(case.runs):
        numbers = {n: v[k % len(v)] for name in case.ingredients for n, v in NUMBERS[name].items()}
        given = {**SMALL, "lr": 0.01 * (1 + k // 4), **numbers, **case.values}
        defaults = {name: hyper.default for name, hyper in hypers.items()}
        runs.append(RunSpec(k, k % 2, {**defaults, **{n: v for n, v in given.items() if n in hypers}}))
    spec = PackSpec(
        NetworkConfig.model_validate(case.network),
        case.scenario,  # type: ignore[arg-type]
        case.ingredients,
        tuple(runs),
        case.joint,
        case.curves,
    )
    pack = Pack(spec, stream, "cpu", case.share)
    while not pack.done:
        (pack.train_next_task if hasattr(pack, "train_next_task") else pack.step)()
        if pack.next_task == case.drop_after + 1 and len(runs) > 1:
            pack.drop([runs[1].key])
        if case.restore:
            pack = Pack.restore(pack.checkpoint(), stream)
    return pack


def findings(pack: Pack) -> dict[str, str]:
    """By what it is of, the SHA-256 of each thing that the runs of the pack came to."""
    found: dict[str, str] = {}
    for i, record in enumerate(pack.records):
        row = int(pack.stack.row_of[pack.stack.alive.index(i)]) if i in pack.stack.alive else None
        for what, content in of_run(pack, record, row):
            found[f"run {i}: {what}"] = content
    return found


def of_run(pack: Pack, record: Any, row: int | None) -> Iterator[tuple[str, str]]:
    """(what, SHA-256) of one run: its record and, if it is alive, its row of the stack."""
    for part in ("validation", "test"):
        yield part, digest(_accuracies(getattr(record, part), [len(getattr(t, part)) for t in pack.stream.tasks]))
    for name in ("curves", "buffers", "steps", "stored_bytes", "failure"):
        yield name, digest(getattr(record, name))
    if row is None:
        return
    stack: Any = pack.stack
    yield "weights", digest(stack.theta[row])
    yield "optimizer", digest({name: value[row] for name, value in stack.optimizer.items()})
    for ingredient, state in stack.states.items():
        # Without their names, and without order: a tensor may be called otherwise.
        yield f"state of {ingredient}", digest(sorted(digest(value[row]) for value in state.values()))
    for ingredient, buffers in (stack.memories if hasattr(stack, "memories") else stack.buffers).items():
        yield f"buffer of {ingredient}", digest(list(vars(buffers[row]).values()))


def _accuracies(rows: Sequence[Sequence[float]], n_examples: Sequence[int]) -> np.ndarray:
    """Scores as they are; counts of right answers, which records held once, as shares."""
    found = np.asarray(rows, dtype=np.float64).reshape(-1, len(n_examples))
    counted = any(isinstance(value, int) for row in rows for value in row)
    return found / np.asarray(n_examples, dtype=np.float64) if counted else found


def digest(content: Any) -> str:
    """The SHA-256 of tensors, arrays and plain containers of them, to the last bit."""
    total = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Mapping):
            add(sorted(part.items()))
        elif isinstance(part, list | tuple):
            total.update(f"[{len(part)}".encode())
            for each in part:
                add(each)
        else:
            total.update(repr(part).encode())

    add(content)
    return total.hexdigest()


def main(echo: Callable[[str], None] = print) -> None:
    """Trains the packs of every `sys.argv[1]`-th case, and prints a line for each."""
    assert Path(cfsweep.__file__).is_relative_to(Path.cwd()), "another revision is on the path"
    torch.set_num_threads(1)
    sys.modules[MODULE] = sys.modules[__name__]  # where the networks here are found
    stream = small_stream()
    for case in itertools.islice(cases(), 0, None, int(sys.argv[1])):
        try:
            found = findings(trained(case, stream))
        except InputError:
            found = {"refused": ""}
        echo(json.dumps({"name": case.name, "found": found}))


if __name__ == "__main__":
    main()
