"""The command line as a user meets it: what it prints, and how it refuses."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cfsweep.cli.sweeps import _close
from cfsweep.results.status import Status
from cfsweep.sweeping.study import Outcome
from cfsweep.terminal import Terminal
from tests.conftest import Run

# Arguments after `run smoke.yaml`, and what the one line must say.
BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "stream": (
        ("--stream", "split-digit"),
        "--stream: unknown stream `split-digit`. Known, closest first: split-digits, ",
    ),
    "ingredient": (("--set", "ingredients=[ewx]"), "unknown ingredient `ewx`. Known, closest first: ewc, "),
    "network": (("--set", "network.name=mpl"), "unknown network `mpl`. Known, closest first: mlp, "),
    "key": (("--set", "stream.n_task=5"), "unknown key `stream.n_task`. Known, closest first: stream.n_tasks, "),
    "bare key": (("--set", "lrr=0.1"), "--set: unknown key `lrr`. Known, closest first: lr, "),
    "hyperparameter": (
        ("--set", "fixed.ewc_lamda=1"),
        "unknown hyperparameter `ewc_lamda`. Known, closest first: ewc_lambda, ",
    ),
    "low above high": (
        ("--set", "search.ewc_lambda={low: 9, high: 1}"),
        "--set: `low <= high` must hold for `ewc_lambda`, but got (low=9.0, high=1.0). Swap the bounds.",
    ),
    "log from 0": (
        ("--set", "search.ewc_lambda={low: 0, high: 1, log: true}"),
        "--set: `low > 0` must hold for `ewc_lambda` on a log scale, but got low=0.0.",
    ),
    "ratio of 1": (("--set", "replay_ratio=1"), "`0 <= replay_ratio < 1` must hold, but got replay_ratio=1."),
    "ratio below 0": (("--set", "replay_ratio=-0.1"), "`0 <= replay_ratio < 1` must hold, but got replay_ratio=-0.1."),
    "buffer below 0": (("--set", "replay_buffer=-1"), "must hold, but got replay_buffer=-1."),
    "pruning rate of 1": (
        ("--set", "ingredients=[ewc,replay,packnet]", "--set", "packnet_rate=1.0"),
        "`0 <= packnet_rate < 1` must hold, but got packnet_rate=1.0.",
    ),
    "pruning rate below 0": (
        ("--set", "ingredients=[ewc,replay,packnet]", "--set", "packnet_rate=-1"),
        "`0 <= packnet_rate < 1` must hold, but got packnet_rate=-1.",
    ),
    "packnet in class-il": (
        ("--set", "ingredients=[ewc,replay,packnet]", "--scenario", "class-il"),
        "`packnet` works in task-il, but got scenario=class-il.",
    ),
    "too few examples": (
        ("--set", "stream.validation_frac=0.001"),
        "too few examples of class 0: a share of 0.001 of its 142",
    ),
    "no data": (("--stream", "split-mnist", "--data", "nowhere"), "stream `split-mnist`: there is no folder "),
    "no data named": (("--stream", "split-mnist"), "stream `split-mnist`: "),
    "no such stream folder": (("--stream", "./nowhere"), "there is no such folder. Check the path."),
    "a home of nobody": (("--stream", "~nosuchuser/x"), "stream `~nosuchuser/x`: there is no such folder"),
    "data in a home of nobody": (
        ("--stream", "split-mnist", "--data", "~nosuchuser/x"),
        "there is no folder ",
    ),
    "weights in a home of nobody": (("--set", "network.init=~nosuchuser/x"), "there is no such file"),
    "a very long value": (("--set", f"seeds={'x' * 9999}"), "but got 'xxxxxxxxxx"),
    "too many trials": (("--trials", "9" * 20), "`trials` should be less than or equal to 10000000"),
    "no such module": (("--stream", "nowhere.at:all"), "there is no module `nowhere`"),
    "zero trials": (("--trials", "0"), "--trials: `trials` should be greater than 0, but got 0."),
    "zero splits": (("--splits", "0"), "--splits: `stream.splits` should be greater than or equal to 1, but got 0."),
    "zero seeds": (("--seeds", "0"), "--seeds: `seeds` should be greater than or equal to 1, but got 0."),
    "no time": (("--set", "time_budget_s=0"), "--set: `time_budget_s` should be greater than 0, but got 0."),
    "a parameter its ingredients lack": (
        ("--set", "packnet_rate=0.5"),
        "`packnet_rate` belongs to the ingredient `packnet`, which the space lacks.",
    ),
    "scenario": (
        ("--scenario", "task"),
        "--scenario: `stream.scenario` should be 'task-il', 'domain-il' or 'class-il', but got 'task'.",
    ),
    "objective": (
        ("--objective", "best"),
        "--objective: `objective.name` should be 'mixed' or 'pareto', but got 'best'.",
    ),
    "third without pareto": (
        ("--set", "objective.third=train_s"),
        "--set: a third objective needs `--objective pareto`, but got name='mixed', third='train_s'.",
    ),
    "no equals sign": (("--set", "lr"), "--set lr: `key=value` is needed, such as `--set lr=0.001`."),
    "no key": (("--set", "=3"), "--set =3: `key=value` is needed"),
    "no YAML": (("--set", "lr=["), "--set lr: not valid YAML (line 1, column 2: "),
    "text for a number": (("--set", "lr=fast"), "`0 < lr` must hold, but got lr='fast'."),
    "not a number": (("--set", "lr=.nan"), "`0 < lr` must hold, but got lr=nan."),
    "a list for a number": (("--set", "lr=[1, 2]"), "--set: `fixed.lr` should be a valid number or "),
    "a bare true": (("--set", "ewc_fisher=true"), "--set: `fixed.ewc_fisher` should be "),
    "below a value": (("--set", "fixed.lr.x=3"), "`lr` holds a single value, so nothing lies below it."),
    "the seeds' type": (("--set", "seeds=x"), "--set: `seeds` should be a valid integer"),
    "the sampler's seed": (("--set", "sampler_seed=-1"), "`sampler_seed` should be greater than or equal to 0"),
    "a network's argument": (("--set", "network.args.foo=1"), "network `mlp`: unknown argument `foo`."),
    "one task": (("--set", "stream.n_tasks=1"), "needs at least 2, but got n_tasks=1."),
    "an unequal cut": (("--set", "stream.n_tasks=3"), "`n_tasks` must divide the number of classes (10)"),
    "an unknown option": (("--trial", "3"), "No such option: --trial"),
    "an option's type": (("--trials", "x"), "Invalid value for '--trials': "),
    "fewer than no workers": (("--workers", "-1"), "Invalid value for '--workers': "),
    "this process at an address": (
        ("--workers", "0", "--address", "auto"),
        "--workers 0 trains in this process, but got --address auto. Leave one out.",
    ),
    "nobody listens": (("--address", "127.0.0.1:1"), "--address 127.0.0.1:1: no Ray cluster answers there "),
    "an address that is none": (("--address", "here"), "--address here: no Ray cluster answers there "),
}


def refuses(run: Run, smoke: Path, out: Path, args: tuple[str, ...], message: str) -> None:
    """That these arguments are answered with one line that says so, and with nothing else."""
    code, _, complaints = run("run", smoke, *args, "--out", out)
    assert code == 2
    assert complaints.startswith("cfsweep: ")
    assert complaints.count("\n") == 1
    assert message in complaints
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case: str, run: Run, smoke: Path, tmp_path: Path) -> None:
    args, message = BAD[case]
    elsewhere = {"--workers", "--address"} & {*args}
    refuses(run, smoke, tmp_path / "out", args if elsewhere else (*args, "--workers", "0"), message)


@pytest.mark.parametrize("case", ["stream", "key", "an option's type"])
def test_it_is_one_line_before_workers_are_there(case: str, run: Run, smoke: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    refuses(run, smoke, tmp_path / "out", *BAD[case])
    assert time.monotonic() - started < 30


LAYERS = """
ingredients: [feature-distillation]
network: {name: mlp, args: {hidden: [8, 8]}}
search:
  feature_weight: {low: 0.1, high: 1.0}
"""


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("line", "assigned"),
    [
        ("", ("feature_layers=body.1,body.9",)),
        ("  feature_layers: {choices: ['', 'body.1', 'body.3, body.9']}", ()),
        ("fixed: {feature_layers: body.9}", ()),
    ],
    ids=["--set", "one of the choices", "fixed"],
)
def test_a_layer_that_the_network_lacks(
    run: Run, tmp_path: Path, line: str, assigned: tuple[str, ...], dry: bool
) -> None:
    (tmp_path / "mine.yaml").write_text(LAYERS + line)
    sets = [part for assignment in assigned for part in ("--set", assignment)]
    code, out, complaints = run("run", "mine.yaml", *sets, "--dry-run" if dry else "--workers=0")
    assert (code, out) == (2, "")
    where = "mine.yaml with --set" if assigned else "mine.yaml"
    assert complaints.startswith(f"cfsweep: {where}: `feature_layers`: unknown layer `body.9`. Known, closest first: ")
    assert complaints.count("\n") == 1
    assert complaints.endswith("closest first: body.0, body.1, body.2, body.3, body.4 and 2 more.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_layers_that_the_network_has(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(LAYERS + "  feature_layers: {choices: ['', 'body.1', 'body.2, head']}")
    code, out, complaints = run("run", "mine.yaml", "--dry-run")
    assert (code, complaints) == (0, "")
    assert "body.2, head" in out


def test_a_missing_space_file(run: Run, tmp_path: Path) -> None:
    code, _, complaints = run("run", "none.yaml")
    assert (code, complaints) == (
        2,
        "cfsweep: none.yaml: cannot be read (No such file or directory). Check the path.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_pack_size_that_is_none(run: Run, smoke: Path, tmp_path: Path) -> None:
    for given, rule in (("many", "a valid integer"), ("0", "greater than 0")):
        code, _, complaints = run("run", smoke, "--pack", given, "--out", tmp_path / "out")
        assert code == 2
        assert complaints.startswith(f"cfsweep: --pack: `pack_runs` should be {rule}")
        assert complaints.endswith(f"or 'auto', but got '{given}'.\n")
    assert not (tmp_path / "out").exists()


def test_the_pack_size_is_taken_over_and_no_part_of_the_identity(run: Run, smoke: Path) -> None:
    from cfsweep.sweeping.parsing import make_config

    asked = {pack: make_config(smoke, {"pack_runs": pack}, []) for pack in ("12", "auto", None)}
    assert [config.pack_runs for config in asked.values()] == [12, "auto", "auto"]
    assert len({config.study_id for config in asked.values()}) == 1


def test_a_truncated_data_file(run: Run, smoke: Path, tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x0a\0\0\0\x1c\0\0\0\x1c" + b"\0" * 100)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x0a" + b"\0" * 10)
    args = ("run", smoke, "--stream", "split-mnist", "--data", tmp_path / "data", "--workers", "0")
    code, _, complaints = run(*args)
    assert code == 2
    assert complaints.startswith("cfsweep: ")
    assert complaints.count("\n") == 1
    assert "idx3-ubyte" in complaints
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_something_else_in_it(run: Run, smoke: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    code, _, complaints = run("run", smoke, "--workers", "0", "--out", tmp_path)
    assert (code, complaints) == (
        2,
        f"cfsweep: --out {tmp_path}: it exists and is no study of cfsweep. Choose another folder.\n",
    )
    code, _, complaints = run("run", smoke, "--workers", "0", "--out", tmp_path / "photo.jpg")
    assert code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def freeze(folder: Path, smoke: Path, **changes: Any) -> dict[str, Any]:
    """Writes the study.yaml that `run smoke.yaml` writes, with other settings; returns what an earlier version would
    have written there, which does not say by itself that it was edited."""
    from cfsweep.sweeping.folder import Folder
    from cfsweep.sweeping.parsing import make_config
    from cfsweep.sweeping.study import prepare

    prepared = prepare(make_config(smoke, changes, []), "test")
    folder.mkdir()
    Folder(folder).create(prepared.config, prepared.hypers, prepared.stream)
    content: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text())
    del content["layout"]
    return content


def test_a_folder_that_is_another_study(run: Run, smoke: Path, tmp_path: Path) -> None:
    there = freeze(tmp_path / "out", smoke, seeds=2)["study_id"]
    before = (tmp_path / "out" / "study.yaml").read_bytes()
    code, _, complaints = run("run", smoke, "--workers", "0", "--out", tmp_path / "out")
    assert code == 2
    assert f"--out {tmp_path / 'out'}: it holds another study ({there}, not " in complaints
    assert "which differs in seeds (2, here 1). Choose another folder" in complaints
    assert (tmp_path / "out" / "study.yaml").read_bytes() == before


def test_a_study_that_was_edited(run: Run, smoke: Path, tmp_path: Path) -> None:
    study = freeze(tmp_path / "out", smoke)
    study["config"]["seeds"] = 7
    (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump(study))
    code, _, complaints = run("resume", tmp_path / "out")
    assert code == 2
    assert "It was edited or is of another version; start a new study." in complaints
    assert complaints.count("\n") == 1
    (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump({**study, "layout": 2}))
    code, _, complaints = run("resume", tmp_path / "out")
    assert (code, complaints.count("\n")) == (2, 1)
    assert "study.yaml: altered: its first line, with the SHA-256 of the rest, is gone. `cfsweep repair" in complaints


def test_a_study_with_a_setting_by_its_old_name(run: Run, smoke: Path, tmp_path: Path) -> None:
    study = freeze(tmp_path / "out", smoke, stop_trials=False)
    study["config"]["early_stopping"] = study["config"].pop("stop_trials")
    (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump(study))
    assert run("status", tmp_path / "out")[0] == 0
    code, _, complaints = run("run", smoke, "--set", "stop_trials=true", "--workers", "0", "--out", tmp_path / "out")
    assert code == 2
    assert "it holds another study" in complaints, "it is the one that stops nobody"
    study["config"]["stop_trials"] = False
    (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump(study))
    code, _, complaints = run("resume", tmp_path / "out", "--workers", "0")
    assert (code, complaints) == (
        2,
        f"cfsweep: {tmp_path / 'out' / 'study.yaml'}: `early_stopping` is the old name of `stop_trials`, but got both. "
        "Remove `early_stopping`.\n",
    )


def test_data_that_has_changed_since(run: Run, smoke: Path, tmp_path: Path) -> None:
    study = freeze(tmp_path / "out", smoke)
    name = next(iter(study["data_sha256"]))
    study["data_sha256"][name] = "0" * 64
    (tmp_path / "out" / "study.yaml").write_text(yaml.safe_dump(study))
    for again in (("resume", tmp_path / "out"), ("run", smoke, "--out", tmp_path / "out")):
        code, _, complaints = run(*again, "--workers", "0")
        assert code == 2
        assert f"the study began with {name} of SHA-256 000000000000" in complaints


@pytest.mark.parametrize("trials", ["5", "-5", "+", "+x", "++5", "+²", "+٣", "+" + "9" * 30])
def test_resume_takes_a_number_to_add(run: Run, trials: str) -> None:
    code, _, complaints = run("resume", "study", f"--trials={trials}")
    assert code == 2
    assert "the number of trials to add. For example `--trials +20`." in complaints


@pytest.mark.parametrize("command", ["resume", "status"])
def test_a_folder_without_a_study(run: Run, command: str, tmp_path: Path) -> None:
    code, _, complaints = run(command, "nowhere")
    assert (code, complaints) == (
        2,
        "cfsweep: nowhere: no study.yaml there. Give the folder that `cfsweep run --out` wrote.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_everything_and_writes_nothing(run: Run, smoke: Path, tmp_path: Path) -> None:
    code, out, complaints = run("run", smoke, "--dry-run", "--seeds", "3", "--set", "search.lr={choices: [0.1, 0.2]}")
    assert (code, complaints) == (0, "")
    for text in (
        "split-digits, task-il, 5 tasks",
        "2, 3: 259 train, 29 validation, 72 test",
        "by class, train + validation: 2: 128 + 14, 3: 131 + 15",
        "naive and joint",
        "majority, the constant answer: ends at 0.510",
        "searched: 1 to 1e+06 on a log scale, or 0",
        "searched: 0.1 or 0.2",
        "48 trials x 3 seeds",
        "runs/smoke-split-digits (nothing was written)",
    ):
        assert text in out
    assert not {"steering", "splits"} & set(out.split())
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_for_steering_and_on_how_many_splits(run: Run) -> None:
    digits = ("--stream", "split-digits")
    code, out, complaints = run("run", "early-stopping", *digits, "--seeds", "4", "--splits", "3", "--dry-run")
    assert (code, complaints) == (0, "")
    for text in ("2, 3: 230 train, 29 steering, 29 validation, 72 test", "x 4 seeds on 3 splits"):
        assert text in out
    assert "by class, train + steering + validation: 2: 114 + 14 + 14, 3: 116 + 15 + 15" in out
    assert "splits the" not in out
    code, out, complaints = run("run", "early-stopping", *digits, "--splits", "3", "--dry-run")
    assert "note: of 3 splits the 1 seed of this study uses the first 1 alone. Give `--seeds 3` or more.\n" in out
    code, out, complaints = run("list", "ingredients")
    for text in ("looks at held-out examples of the current task", "keeps old examples", "keeps the previous network"):
        assert text in " ".join(out.split())


MIXED_NOTE = (
    "note: packnet: of the prunable weights, the last of 5 tasks gets 0.567 % at rate 0.3 (low), 3.12 % at rate 0.5 "
    "(default). `packnet_rate` from 0.6 to 0.93 leaves it 5 % or more; `packnet_schedule: equal` gives each task 20 %."
    "\n"
)


def shares_shown(out: str) -> dict[str, list[str]]:
    """The rows of the table of shares, by name; cells without their percent sign."""
    lines = out[out.index("packnet: share of the prunable weights") :].splitlines()[1:7]
    return {
        parts[0].strip(): [c.strip() for c in parts[1:]] for parts in (re.split(r" {2,}", x.strip()) for x in lines)
    }


def test_a_dry_run_shows_what_packnet_leaves_to_each_task(run: Run, smoke: Path, tmp_path: Path) -> None:
    code, out, complaints = run("run", smoke.parent / "mixed.yaml", "--dry-run")
    assert (code, complaints) == (0, "")
    assert "rate 0.3 (low)  rate 0.5 (default)  rate 0.9 (high)\n" in out
    assert shares_shown(out) == {
        "0, 1": ["70 %", "50 %", "10 %"],
        "2, 3": ["21 %", "25 %", "9 %"],
        "4, 5": ["6.3 %", "12.5 %", "8.1 %"],
        "6, 7": ["1.89 %", "6.25 %", "7.29 %"],
        "8, 9": ["0.567 %", "3.12 %", "6.56 %"],
        "still free after the last task": ["0.243 %", "3.12 %", "59 %"],
    }
    assert out.endswith(MIXED_NOTE)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_that_equal_tasks_get_the_same(run: Run, smoke: Path) -> None:
    code, out, _ = run("run", smoke.parent / "mixed.yaml", "--dry-run", "--set", "packnet_schedule=equal")
    assert code == 0
    assert list(shares_shown(out).values()) == [["20 %"]] * 5 + [["0 %"]]
    assert "note: " not in out


def test_a_dry_run_is_silent_about_enough_and_about_no_packnet(run: Run, smoke: Path) -> None:
    code, out, _ = run("run", smoke.parent / "mixed.yaml", "--dry-run", "--set", "packnet_rate=0.85")
    assert code == 0
    assert "rate 0.85\n" in out
    assert "note: " not in out
    for args in ((smoke,), (smoke.parent / "mixed.yaml", "--set", "packnet_rate=0")):
        code, out, _ = run("run", *args, "--dry-run")
        assert code == 0
        assert "share of the prunable weights" not in out
        assert "note: " not in out


def test_a_dry_run_says_that_a_network_cannot_be_stacked(run: Run, smoke: Path) -> None:
    args = ("--dry-run", "--set", "network.name=tests.sweeping.networks:moody")
    code, out, _ = run("run", smoke, *args)
    assert code == 0
    assert "note: network `tests.sweeping.networks:moody`: " in out
    assert out.endswith("its runs are trained one at a time\n")


def test_a_dry_run_says_what_a_penalty_alone_does_in_class_il(run: Run, smoke: Path) -> None:
    ewc = ("run", smoke.parent / "ewc.yaml", "--stream", "split-digits", "--dry-run")
    code, out, complaints = run(*ewc, "--scenario", "class-il")
    assert (code, complaints) == (0, "")
    (note,) = [line for line in out.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: class-il with `ewc` and no rehearsal: ")
    assert "Add `replay`" in note
    for args in (("--scenario", "task-il"), ("--scenario", "class-il", "--set", "ingredients=[ewc, replay]")):
        code, out, complaints = run(*ewc, *args)
        assert (code, complaints) == (0, "")
        assert "note: " not in out


def test_a_sweep_begins_with_the_same_note(run: Run, smoke: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")  # so that it ends where it would begin to train
    code, out, _ = run("run", smoke.parent / "mixed.yaml", "--workers", "0", "--out", tmp_path)
    assert code == 2
    assert out.endswith(MIXED_NOTE)


def test_set_moves_a_hyperparameter_between_fixed_and_searched(run: Run, smoke: Path) -> None:
    code, out, _ = run("run", smoke, "--dry-run", "--set", "ewc_lambda=5", "--set", "search.lr={low: 0.1, high: 1}")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert lines["ewc_lambda"].split()[1] == "5"
    assert "searched: 0.1 to 1" in lines["lr"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("streams", ["split-digits", "split-mnist", "permuted-mnist", "mnist-halves", "split-cifar100"]),
        ("ingredients", ["ewc", "replay", "packnet", "ewc_lambda"]),
        ("spaces", ["mixed", "ewc", "replay", "packnet", "smoke"]),
        ("networks", ["mlp", "cnn", "resnet18-slim"]),
        ("targets", ["classification"]),
    ],
)
def test_list(run: Run, what: str, names: list[str]) -> None:
    code, out, complaints = run("list", what)
    assert (code, complaints) == (0, "")
    for name in names:
        assert name in out
    assert all(len(line) <= 200 for line in out.splitlines())


def test_list_of_what(run: Run) -> None:
    code, _, complaints = run("list", "stream")
    assert code == 2
    assert complaints == (
        "cfsweep: cfsweep list: unknown list `stream`. Known, closest first: streams, spaces, ingredients, targets, "
        "networks.\n"
    )


def test_help_and_version(run: Run) -> None:
    from cfsweep import __version__

    assert run("--version") == (0, f"cfsweep {__version__}\n", "")
    for args in ((), ("--help",)):
        code, out, complaints = run(*args)
        assert (code, complaints) == (0, "")
        for command in ("run", "resume", "status", "list"):
            assert f" {command} " in out
    code, _, complaints = run("sweep")
    assert code == 2
    assert complaints.startswith("cfsweep: No such command 'sweep'")


def test_the_console_script_is_this(project_root: Path) -> None:
    assert 'cfsweep = "cfsweep.cli:main"' in (project_root / "pyproject.toml").read_text()


# ------------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize("place", ["file/study", "file", "/proc/study", "x" * 300])
def test_a_place_that_cannot_be_written_is_one_line(run: Run, smoke: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    code, _, complaints = run("run", smoke, "--trials", "1", "--workers", "0", "--out", place)
    assert code == 2
    assert complaints.count("\n") == 1
    assert place in complaints


def test_a_disk_that_is_full_says_that_resume_goes_on(run: Run, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*_: object) -> None:
        raise full

    with monkeypatch.context() as patched:
        patched.setattr("cfsweep.results.writer.write_atomically", fails)
        code, _, complaints = run("run", smoke, "--trials", "1", "--workers", "0", "--out", "study")
    assert (code, complaints.count("\n")) == (2, 1)
    assert "no space left on device. Make room; `cfsweep resume` and `confirm` go on" in complaints
    assert run("resume", "study", "--workers", "0")[0] == 0


def test_an_interrupt_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cfsweep.library.adopted.adopted", interrupted)
    said = "cfsweep: interrupted; the same command begins anew, or goes on with what it has kept\n"
    assert run("adopt", "weights.pt", "--stream", "split-digits", "--to", "model") == (130, "", said)


@pytest.mark.parametrize("name", ["commits.jsonl", "journal.jsonl", "checkpoints/pack000001.json"])
def test_a_file_that_fits_no_memory_is_one_line(run: Run, smoke: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "study"
    assert run("run", smoke, "--out", out, "--workers", "0", "--trials", "1", "--set", "epochs=1")[0] == 0
    with (out / name).open("ab") as file:
        file.truncate(2**43)  # a hole: it takes no room on the disk
    for command in ("check", "repair", "resume"):
        code, printed, complaints = run(command, out, *(("--trials", "+1") if command == "resume" else ()))
        assert (code, printed) == (2, "")
        assert f"{name}: it has {2**43} bytes, and half of the memory here, " in complaints
        assert complaints.count("\n") == 1


def test_want_of_memory_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfsweep.results.status.read_study", lambda root: bytearray(2**62))
    said = "cfsweep: this machine has not the memory for that (MemoryError). Look how large the files are.\n"
    assert run("status", "study") == (2, "", said)


def test_another_error_of_the_system_is_shown_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfsweep.results.status.read_study", lambda root: os.kill(2**22 + 1, 0))
    with pytest.raises(ProcessLookupError):
        run("status", "study")


# ------------------------------------------------------------------------------------------------ the first day

FIRST_DAY = {
    "a table that is not there": (
        ("--stream", "data.csv"),
        "stream `data.csv`: there is no such file. Check the path.",
    ),
    "a file for a stream": (
        ("--stream", "data.npz"),
        "a stream is a folder with one .npz or .parquet file per task, not a",
    ),
    "a scenario": (("--scenario", "class_il"), "but got 'class_il'. Did you mean `class-il`?"),
    "an objective": (("--objective", "paretto"), "but got 'paretto'. Did you mean `pareto`?"),
    "a hyperparameter": (("--set", "ewc_lamda=3"), "unknown key `ewc_lamda`. Known, closest first: ewc_lambda, "),
    "a list of values": (
        ("--set", "search.ewc_lambda=[1, 10]"),
        "`search.ewc_lambda` is to be searched, so `choices: [...]` or `low:` and `high:` are needed below it, but got",
    ),
    "a single value": (("--set", "search.lr=0.1"), "or put a single value under `fixed`."),
}


@pytest.mark.parametrize("case", FIRST_DAY)
def test_what_is_nearly_right_hears_what_is(run: Run, smoke: Path, case: str) -> None:
    given, said = FIRST_DAY[case]
    code, out, complaints = run("run", smoke, *given, "--dry-run")
    assert (code, out) == (2, "")
    assert said in complaints
    assert len(complaints) < 500
    assert complaints.count("\n") == 1


def test_a_shipped_space_goes_by_its_name(run: Run, tmp_path: Path) -> None:
    code, printed, complaints = run("run", "replay", "--dry-run", "--stream", "split-digits")
    assert (code, complaints) == (0, "")
    assert "runs/replay-split-digits" in printed
    code, _, complaints = run("run", "replya", "--dry-run")
    assert code == 2
    assert "cfsweep: unknown space `replya`. Known, closest first: replay, " in complaints
    (tmp_path / "replay").write_text("ingredients: [ewc]")
    assert "ewc_lambda" in run("run", "replay", "--dry-run")[1], "a file of that name comes first"
    assert "mine.yaml: cannot be read (No such file" in run("run", "mine.yaml", "--dry-run")[2]


def test_help_shows_defaults_and_examples(run: Run) -> None:
    code, printed, _ = run("run", "--help")
    assert code == 0
    for said in (
        "(default: 48)",
        "(default: 1)",
        "(default: mixed)",
        "(default: runs/SPACE-STREAM)",
        "cfsweep run replay",
    ):
        assert said in " ".join(printed.replace("│", " ").split()), said
    assert "<list" not in printed
    assert "<str>" not in printed


def test_each_verb_of_the_analysis_is_one_of_the_command(run: Run, smoke: Path, tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text("raise RuntimeError('somebody else')")
    assert run("run", smoke, "--trials", "2", "--workers", "0", "--out", "study")[0] == 0
    for args, code, said in (
        (("front", "study"), 0, "trials on the front"),
        (("table", "study", "--format", "csv"), 0, "rank"),
        (("report", "study"), 0, "report.html"),
        (("gate", "study", "--min-average-score", "0.1"), 0, "average_score"),
        (("select", "study"), 0, "trial"),
        (("compare", "study", "--first", "0", "--second", "0"), 0, "average_score"),
    ):
        found, printed, complaints = run(*args)
        assert found == code, (args, complaints)
        assert not complaints or complaints.startswith("1 seed(s): no interval"), complaints
        assert said in printed
        assert f"Usage: cfsweep {args[0]}" in run(args[0], "--help")[1]
    code, printed, complaints = run("gate", "study", "--min-average-score", "1.0", "--min-stability", "1.0")
    assert (code, printed) == (1, "")
    assert "fails: " in complaints
    assert run("front", "nowhere")[0] == 2
    assert run("front")[0] == 2


def test_a_reference_that_failed_counts_for_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no trial has, it is all that says that something is missing."""
    failures = {(-1, 0): "the worker died 3 times without progress"}
    now = Status("s", 1, 1, done=1, stopped=0, failed=0, references_left=0, failures=failures)
    with pytest.raises(typer.Exit) as raised:
        _close(Outcome(now), Path("study"), Terminal())
    assert raised.value.exit_code == 3
    assert "naive (-1), seed 0 failed: the worker died 3 times" in capsys.readouterr().out
