"""Cases of spaces, of settings and of the command line."""

from __future__ import annotations

import random

import yaml

from tests.fuzz import values
from tests.fuzz.cases import Case, Edit, file_edit, from_tree, tree_edit
from tests.fuzz.templates import SPACE

DRY = ("--dry-run",)
ADOPTED = (
    *("--stream", "tasks", "--space", "space.yaml", "--to", "out"),
    *("--set", "ewc_lambda=0", "--set", "replay_ratio=0"),
)
TRAINED = ("--workers", "0", "--trials", "2", "--out", "out")
KEYS = (
    *(
        "lr",
        "epochs",
        "batch_size",
        "momentum",
        "weight_decay",
        "optimizer",
        "replay_buffer",
        "replay_ratio",
        "ewc_lambda",
    ),
    *(
        "ewc_examples",
        "ewc_mode",
        "ewc_gamma",
        "fixed",
        "search",
        "fixed.lr",
        "search.lr",
        "search.ewc_lambda",
        "network",
    ),
    *(
        "search.replay_ratio",
        "search.replay_buffer",
        "search.epochs",
        "search.lr.low",
        "space",
        "space.search",
        "space.fixed",
    ),
    *("network.args", "network.args.hidden", "network.name", "network.init", "network.freeze", "network.micro_batch"),
    *("network.compile", "network.channels_last", "ingredients", "description", "scenario", "trainer", "stream"),
    *(
        "stream.name",
        "stream.n_tasks",
        "stream.class_order",
        "stream.validation_frac",
        "stream.steering_frac",
        "objective",
    ),
    *("stream.split_seed", "stream.splits", "stream.learned", "stream.validation", "stream.target", "stream.scores"),
    *(
        "stream.positive",
        "stream.class_weights",
        "stream.standardise",
        "stream.augment",
        "stream.args",
        "stream.encoder",
    ),
    *(
        "stream.encoder_args",
        "stream.data",
        "objective.name",
        "objective.old_weight",
        "objective.third",
        "seeds",
        "trials",
    ),
    *(
        "time_budget_s",
        "sampler_seed",
        "stop_trials",
        "references",
        "pack_runs",
        "share_prefix",
        "curve_points_per_task",
    ),
    *(
        "identity_version",
        "purpose",
        "first_seed",
        "",
        ".",
        "..",
        "lr.",
        ".lr",
        "a.b.c.d",
        "network.args.x",
        "early_stopping",
    ),
)
OPTIONS = (
    *("--stream", "--scenario", "--target", "--score", "--trials", "--seeds", "--splits", "--encoder", "--objective"),
    *("--data", "--pack", "--trainer", "--out", "--arg", "--set", "--gpus-per-worker", "--address", "--workers"),
)


class _Plain(yaml.SafeDumper):
    """Writes what would stand as it is as text."""


_Plain.add_representer(values.Raw, yaml.SafeDumper.represent_str)


def text(rng: random.Random) -> str:
    """A hostile value as it stands on a command line, which holds no NUL."""
    value = values.hostile(rng, values.YAML_TRICKS)
    if not isinstance(value, str):
        shown = yaml.dump(value, Dumper=_Plain, default_flow_style=True, width=10_000_000)
        value = shown.removesuffix("\n").removesuffix("\n...")
    return value.replace("\0", "\\0")[:100_000]


def _own_code(rng: random.Random) -> str:
    return rng.choice(
        ("math:sqrt", "os.path:join", "json:loads", "nowhere:x", "sys:nothing", "math:pi", ":", "a:", ":b", "sys:exit")
    )


def trained_or_dry(rng: random.Random) -> tuple[tuple[str, ...], str | None]:
    """Mostly a dry run, for some a sweep: what is accepted must work to the end."""
    return (TRAINED, "out") if rng.random() < 0.35 else (DRY, None)


def space(rng: random.Random) -> Case:
    content, edits = yaml.safe_load(SPACE), []
    args, writes = trained_or_dry(rng)
    if rng.random() < 0.15:
        about, change = values.damage_bytes(rng)
        edits = [Edit(f"space.yaml: {about}", file_edit("space.yaml", change))]
        return Case(
            "space", ("run", "space.yaml", "--stream", "tasks", *args), ("space.yaml", "tasks"), tuple(edits), writes
        )
    edits = [
        tree_edit("space.yaml", *values.damage_tree(rng, content, values.YAML_TRICKS))
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    command = ("run", "space.yaml", "--stream", "tasks", *args)
    return Case(
        "space",
        command,
        ("space.yaml", "tasks"),
        tuple(edits),
        writes,
        from_tree("space.yaml", content, values.as_yaml),
    )


def setting(rng: random.Random) -> Case:
    args, writes = trained_or_dry(rng)
    edits = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        given = f"{rng.choice(KEYS)}={_own_code(rng) if rng.random() < 0.05 else text(rng)}"
        edits.append(Edit(f"--set {given[:80]!r}", args=("--set", given)))
    return Case("set", ("run", "space.yaml", "--stream", "tasks", *args), ("space.yaml", "tasks"), tuple(edits), writes)


def option(rng: random.Random) -> Case:
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(OPTIONS)
        given = _own_code(rng) if rng.random() < 0.1 else text(rng)
        edits.append(Edit(f"{name} {given[:80]!r}", args=(f"{name}={given}",)))
    return Case(
        "option", ("run", "space.yaml", "--stream=tasks", *DRY), ("space.yaml", "tasks", "table.csv"), tuple(edits)
    )


OTHER_COMMANDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("resume", "study", "--workers=0"), ("--trials", "--seeds")),
    (("confirm", "study", "--workers=0"), ("--trials", "--seeds")),
    (("export", "study"), ("--to", "--trial", "--seed")),
    (("select", "study"), ("--rule", "--at-least")),
    (("gate", "study"), ("--min-average-score", "--min-stability", "--beats", "--margin", "--json")),
    (("gate",), ("--champion", "--candidate", "--max-drop", "--data", "--stream", "--score")),
    (("front", "study"), ("--objectives", "--objective", "--x")),
    (("table", "study"), ("--sort", "--columns")),
    (("report", "study"), ("--out",)),
    (("compare", "study"), ("--first", "--second")),
    (("predict", "table-bundle", "rows.csv"), ("--to", "--task")),
    (("continue", "bundle"), ("--task", "--to", "--set", "--old", "--sweep", "--trials", "--seeds", "--data")),
    (("adopt", "bundle/weights.safetensors"), ("--stream", "--to", "--space", "--scenario", "--seed", "--set")),
    (("status",), ("study",)),
    (("list",), ("streams",)),
)


def command(rng: random.Random) -> Case:
    """Another command with hostile options; what it needs else is right."""
    args, names = rng.choice(OTHER_COMMANDS)
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(names)
        given = (
            rng.choice(
                ("bundle", "tasks", "next.npz", "0", "1", "0,1", "-1", "selected", "front", "best", "lr=0.01", "out")
            )
            if rng.random() < 0.3
            else text(rng)
        )
        edits.append(Edit(f"{name} {given[:80]!r}", args=(f"{name}={given}",) if name.startswith("-") else (given,)))
    needed = {
        "predict": ("--to=a.csv",),
        "export": ("--to=out",),
        "continue": ("--to=out", "--task=next.npz"),
        "adopt": ADOPTED,
        "gate": ("--champion=bundle", "--candidate=bundle", "--max-drop=0.1") if args == ("gate",) else (),
    }
    used = ("study", "bundle", "table-bundle", "tasks", "rows.csv", "next.npz", "space.yaml")
    return Case("command", (*args, *needed.get(args[0], ())), used, tuple(edits))
