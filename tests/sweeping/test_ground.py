"""What a study stands on: it goes on with the same data, code, defaults and versions, or with what its user accepts."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.changes import said_of_changes
from cfsweep.results.status import status
from cfsweep.sweeping import ground
from cfsweep.sweeping.folder import Folder, describe, described_hypers
from cfsweep.sweeping.ground import check_ground
from cfsweep.sweeping.space import check_space, with_steering
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._own_data import checked_examples, own_stream
from cfsweep.training.streams._own_tasks import OwnExamples, OwnTask
from tests.conftest import Run
from tests.sweeping.in_process import tiny


def described(stream: Stream, config: StudyConfig) -> dict[str, Any]:
    return describe(config, check_space(config.space, "test"), stream)


def check(config: StudyConfig, stream: Stream, study: dict[str, Any], accept: bool = False) -> list[str]:
    hypers = described_hypers(config, check_space(config.space, "test"))
    return check_ground(config, hypers, stream, study, Path("study.yaml"), accept)


def test_data_is_held_against_its_hashes(stream: Stream) -> None:
    config = tiny()
    study = described(stream, config)
    check(config, stream, study)
    (name,) = stream.files
    for files in ({name: "0" * 64}, {"another.csv": "0" * 64}):
        with pytest.raises(InputError, match=r"^study.yaml: the study began with .* of SHA-256 0000"):
            check(config, stream, {**study, "data_sha256": files})


def test_a_study_that_steered_by_validation_data_does_not_go_on_as_another_one(stream: Stream) -> None:
    """Before there were steering examples all of them were trained on; the study may have said nothing of it."""
    config = tiny({"patience": {"low": 1, "high": 3}}, {}, ("early-stopping",))
    now = load_stream(with_steering(config.space, config.stream))
    assert described(now, config)["tasks"][1] == {
        "name": "2, 3", "classes": [2, 3], "n_train": 230, "n_steering": 29, "n_validation": 29, "n_test": 72,
    }  # fmt: skip
    check(config, now, described(now, config))
    said = r"^study.yaml: the study began with 259 train, 29 validation, 72 test examples of task `0, 1`, but this"
    with pytest.raises(InputError, match=said) as caught:
        check(config, now, described(stream, config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "scenario", "before"),
    [
        ([(0, 1), (2, 3)], "domain-il", True),  # by place, then and now
        ([(0, 1), (0, 1)], "domain-il", True),  # the label is the place
        ([(0, 1, 2), (1, 2)], "domain-il", False),  # class 1 was output 0 of the second task
        ([(0, 1, 2), (1, 2)], "class-il", True),
        ([(3, 7), (5, 9)], "task-il", False),  # there were ten outputs
    ],
)
def test_outputs_are_those_that_the_study_began_with(
    classes: list[tuple[int, ...]], scenario: Scenario, before: bool
) -> None:
    """Also where `study.yaml` says nothing of them, as it did not once."""
    rng = np.random.default_rng(0)

    def part(of: tuple[int, ...]) -> OwnExamples:
        return checked_examples(rng.normal(size=(40, 3)), np.resize(of, 40), "here")

    config = StudyConfig(space=Space(), stream=StreamConfig(name="own", scenario=scenario))
    stream = own_stream(config.stream, [OwnTask(str(i), part(of), part(of)) for i, of in enumerate(classes)], {})
    study = described(stream, config)
    check(config, stream, study)
    assert study["outputs"].pop("class_ids", None) == ([3, 5, 7, 9] if classes[0] == (3, 7) else None)
    changed = {**study, "outputs": {**study["outputs"], "number": 17}}
    older = {key: value for key, value in study.items() if key != "outputs"}
    older["tasks"] = [{"classes": list(of)} for of in classes]
    for said, fine in ((changed, False), (older, before)):
        if fine:
            check(config, stream, said)
        else:
            with pytest.raises(InputError, match="the study began with other outputs than this version") as caught:
                check(config, stream, said)
            assert "\n" not in str(caught.value)


def test_code_of_ones_own_is_held_against_its_hashes(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network, an ingredient and a target; of what is built in nothing is noted, and older studies know nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    files = {
        "held_net.py": "from torch import nn\nimport held_part\ndef build(shape, n): return nn.Linear(64, n)\n",
        "held_part.py": "",
        "held_pull.py": "from cfsweep.training.ingredients.l2_sp import L2SP\nclass Pull(L2SP):\n    name = 'pull'\n",
        "held_label.py": "from cfsweep.training.targets.classification import Classification\n"
        "class Label(Classification):\n    name = 'label'\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    space = {"network": {"name": "held_net:build"}, "ingredients": ["held_pull:Pull", "ewc"]}
    config = StudyConfig.model_validate({"space": space, "stream": {"target": "held_label:Label"}})
    stream = replace(stream, target="held_label:Label")
    importlib.import_module("held_net")
    study = described(stream, config)
    assert set(study["code_sha256"]) == files.keys()
    assert described(replace(stream, target="classification"), tiny())["code_sha256"] == {}
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}# changed\n")
        with pytest.raises(InputError, match=f"^study.yaml: the study began with {name} of SHA-256 .* Bring it back"):
            check(config, stream, study)
        check(config, stream, {k: v for k, v in study.items() if k != "code_sha256"})
        (tmp_path / name).write_text(text)
    check(config, stream, study)


# ------------------------------------------------------------------------------------------------ what has changed


def npz(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    np.savez(path, x_train=rng.normal(size=(40, 3)), y_train=np.arange(40) % 2 + 2 * int(path.stem[1:]))


def folder_of_tasks(place: Path) -> Path:
    place.mkdir()
    for number in range(2):
        npz(place / f"t{number}.npz", number)
    return place


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda place: npz(place / "t1.npz", 7), "t1.npz of SHA-256 "),
        (lambda place: (place / "t0.npz").rename(place / "s0.npz"), "t0.npz (here s0.npz)"),
        (lambda place: (place / "late.csv").touch(), "no late.csv in the folder of its data (here one)"),
        (lambda place: (place / "more").mkdir() or (place / "more/t2.txt").touch(), "no more/t2.txt in the folder"),
        (lambda place: (place / "notes.txt").unlink(), "notes.txt in the folder of its data (here none)"),
    ],
)
def test_files_of_the_data_are_altered_renamed_added_and_removed(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    """Also files that nobody reads: they may be meant to be."""
    place = folder_of_tasks(tmp_path / "data")
    (place / "notes.txt").touch()
    config = StudyConfig(space=Space(), stream=StreamConfig(name=str(place)))
    study = described(load_stream(config.stream), config)
    for nothing in (".DS_Store", "_SUCCESS", "runs/study.yaml", "bundle/model.json", "runs/report.html"):
        (place / nothing).parent.mkdir(exist_ok=True, parents=True)
        (place / nothing).touch()
    assert check(config, load_stream(config.stream), study) == []
    change(place)
    with pytest.raises(InputError, match=re.escape(f"the study began with {said}")) as caught:
        check(config, load_stream(config.stream), study)
    assert "--accept-changes" in str(caught.value)
    assert "\n" not in str(caught.value)
    if "here s0" not in said:  # tasks of other names are others
        assert len(check(config, load_stream(config.stream), study, accept=True)) == 1


def test_so_is_all_that_a_function_of_ones_own_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held_part_of_it.py").write_text("N = 40\n")
    (tmp_path / "held_stream.py").write_text(
        "import numpy as np\nfrom held_part_of_it import N\n"
        "def tasks(): return [((np.arange(3.0 * N).reshape(N, 3), np.arange(N) % 2 + 2 * k),) for k in range(2)]\n"
    )
    config = StudyConfig(space=Space(), stream=StreamConfig(name="held_stream:tasks"))
    stream = load_stream(config.stream)
    study = described(stream, config)
    assert sorted(study["code_sha256"]) == ["held_part_of_it.py", "held_stream.py"]
    older = {key: value for key, value in study.items() if key not in ("format", *ADDED)} | {"code_sha256": {}}
    assert check(config, stream, older) == [], "it knew of the function's own file alone, which is among the data"
    (tmp_path / "held_part_of_it.py").write_text("N = 40  # examples\n")
    with pytest.raises(InputError, match=r"the study began with held_part_of_it\.py of SHA-256"):
        check(config, stream, study)


ADDED = ("other_files", "defaults")


@pytest.mark.parametrize(
    ("key", "name", "then", "said"),
    [
        ("versions", "torch", "1.13.0", "torch 1.13.0 (here "),
        ("versions", "scikit-learn", "0.1", "scikit-learn 0.1 (here "),
        ("versions", "ray", "1.0", None),
        ("versions", "torch", f"{metadata.version('torch').partition('+')[0]}+cu999", None),
        ("defaults", "BETA2", 0.99, "BETA2 0.99 (here 0.999)"),
        ("defaults", "ranpac.FIT_FRAC", 0.7, "ranpac.FIT_FRAC 0.7 (here 0.8)"),
        ("defaults", "network.args.hidden", [100], "network.args.hidden [100] (here [256, 256])"),
        ("hypers", "momentum", {"default": 0.5, "value": 0.5}, "momentum 0.5 (here 0.9)"),
        ("hypers", "lr", {"default": 0.5}, None),  # the study says which
        ("hypers", "ewc_lambda", {"default": 1.0}, "ewc_lambda of default 1.0 (here 100.0)"),  # trial 0 has it
        ("hypers", "gone", {"kind": "float", "value": 0.5}, "the setting gone (here none)"),
    ],
)
def test_defaults_and_versions_that_act_on_numbers_are_frozen(
    stream: Stream, key: str, name: str, then: Any, said: str | None
) -> None:
    space = {
        "ingredients": ["ewc", "ranpac"],
        "fixed": {"lr": 0.01},
        "search": {"ewc_lambda": {"low": 1.0, "high": 9.0}},
    }
    config = StudyConfig.model_validate({"space": space})
    study = described(stream, config)
    assert name in study[key] or name == "gone"
    there = study[key].get(name)
    began = {**study, key: {**study[key], name: {**(there or {}), **then} if isinstance(then, dict) else then}}
    older = {key: value for key, value in began.items() if key not in ("format", *ADDED)}
    assert check(config, stream, older) == [], "studies of before say no more than they did"
    if said is None:
        assert check(config, stream, began) == []
        return
    with pytest.raises(InputError, match=re.escape(f"the study began with {said}")):
        check(config, stream, began)
    (found,) = check(config, stream, began, accept=True)
    assert found.startswith(said)


def test_the_first_changes_are_told_and_how_many_more(stream: Stream) -> None:
    config = tiny()
    study = described(stream, config)
    study["versions"] = dict.fromkeys(study["versions"], "0")
    with pytest.raises(InputError, match=r"torch 0 .*, scikit-learn 0 \(here [0-9.]+\) and 2 more\. Bring it back"):
        check(config, stream, study)


@pytest.mark.parametrize("key", ground.REQUIRED)
def test_a_description_that_was_cut_is_refused(stream: Stream, tmp_path: Path, key: str) -> None:
    """What it does not say cannot be held against what is there."""
    config, folder = tiny(), Folder(tmp_path)
    folder.write({name: value for name, value in described(stream, config).items() if name != key})
    by_type = {"config": "`config`: Field required", "hypers": "`hypers` says nothing of `"}
    said = by_type.get(key, f"`{key}` is missing: the file was cut or edited")
    with pytest.raises(InputError, match=said):
        folder.read()
    folder.write({**described(stream, config), "format": ground.FORMAT + 1})
    with pytest.raises(InputError, match=r"its format, 3, is newer than 2, which this cfsweep reads\. Upgrade it"):
        folder.read()


# ------------------------------------------------------------------------------------------------ going on


def swept(run: Run, smoke: Path, *more: str) -> tuple[str | Path, ...]:
    """Sweeps one trial over the folder `data`; the command."""
    command = ("run", smoke, "--stream", "data", "--trials", "1", "--set", "references=false", "--workers", "0", *more)
    assert run(*command, "--out", "out")[0] == 0
    return command


def test_changes_that_are_accepted_are_noted_once(run: Run, smoke: Path, tmp_path: Path) -> None:
    place = folder_of_tasks(tmp_path / "data")
    command = swept(run, smoke)
    npz(place / "t1.npz", 7)
    more = ("--trials", "+1", "--workers", "0")
    before = (tmp_path / "out/study.yaml").read_bytes()
    for again in (("resume", "out", *more), (*command[:5], "2", *command[6:], "--out", "out")):
        code, _, complaints = run(*again)
        assert (code, complaints.count("\n")) == (2, 1)
        assert "the study began with t1.npz of SHA-256 " in complaints
    assert (tmp_path / "out/study.yaml").read_bytes() == before
    left = [tmp_path / "out/checkpoints" / name for name in ("pack000077.json", "pack000077.pt", "prefix-ab.pt")]
    for path in left:
        path.write_text("of the ground of before")
    nowhere = ("resume", "out", "--trials", "+1", "--accept-changes", "--address", "127.0.0.1:1")
    assert run(*nowhere)[0] == 2
    assert (tmp_path / "out/study.yaml").read_bytes() == before, "nothing goes on from it"
    assert all(path.exists() for path in left)
    assert run("resume", "out", *more, "--accept-changes")[0] == 0
    assert not any(path.exists() for path in left), "no run stands on two grounds"
    study = yaml.safe_load((tmp_path / "out/study.yaml").read_text())
    (note,) = study["changes"]
    assert (note["runs_before"], note["from_trial"]) == (1, 1)
    assert note["changed"][0].startswith("t1.npz of SHA-256 ")
    assert study["data_sha256"] == load_stream(StreamConfig(name=str(place))).files
    assert study["study_id"] == yaml.safe_load(before)["study_id"], "it is the same study"
    said = run("status", "out")[1]
    assert f"changed on {note['at']}, when 1 run had ended: t1.npz of SHA-256" in said
    assert run("report", "out")[0] == 0
    assert f"The study changed on {note['at']}" in (tmp_path / "out/report.html").read_text()
    assert run("resume", "out", *more)[0] == 0, "it goes on from what was accepted"
    assert run(*command[:5], "4", *command[6:], "--out", "out")[0] == 0
    assert status("out").changes == tuple(said_of_changes(study))
    assert status("out").done == 4


def test_data_that_have_moved_are_the_same_data(run: Run, smoke: Path, tmp_path: Path) -> None:
    place = folder_of_tasks(tmp_path / "data")
    command = swept(run, smoke)
    before = status("out").study_id
    assert "own_data" not in run("select", "out")[1], "nobody is told to type a note of cfsweep's"
    moved = shutil.move(place, tmp_path / "moved")
    more = ("--trials", "+1", "--workers", "0")
    code, _, complaints = run("resume", "out", *more)
    assert (code, complaints.count("\n")) == (2, 1)
    assert f"{place}: there is nothing any more. `--stream` names the place where the study's data" in complaints
    assert run("resume", "out", *more, "--stream", "moved")[0] == 0
    assert yaml.safe_load((tmp_path / "out/study.yaml").read_text())["config"]["stream"]["name"] == str(moved)
    assert run("resume", "out", *more)[0] == 0
    shutil.move(moved, place)
    assert run(*command[:5], "4", *command[6:], "--out", "out")[0] == 0, "from wherever it is begun again"
    assert (status("out").study_id, status("out").done) == (before, 4)
    npz(shutil.copytree(place, tmp_path / "other") / "t0.npz", 9)
    code, _, complaints = run("run", smoke, "--stream", "other", *command[4:], "--out", "out")
    assert code == 2
    assert "it holds another study" in complaints
    assert "stream.own_data (" in complaints
    code, _, complaints = run("resume", "out", *more, "--stream", "other")
    assert (code, "the study began with t0.npz of SHA-256" in complaints) == (2, True)


def test_the_data_of_an_older_study_stay_where_they_are(run: Run, smoke: Path, tmp_path: Path) -> None:
    folder_of_tasks(tmp_path / "data")
    command = swept(run, smoke)
    file = tmp_path / "out/study.yaml"
    study = yaml.safe_load(file.read_text())
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    study["config"]["identity_version"] = 2
    study["study_id"] = StudyConfig.model_validate(study["config"]).study_id
    Folder(tmp_path / "out").write(study)
    code, _, complaints = run("resume", "out", "--stream", "elsewhere", "--workers", "0")
    assert (code, "the study in out knows its stream by its name" in complaints) == (2, True)
    assert run(*command, "--out", "out")[0] == 0, "and it goes on there"
    assert status("out").study_id == study["study_id"]


def test_what_is_confirmed_on_other_ground_says_so(run: Run, smoke: Path, tmp_path: Path) -> None:
    place = folder_of_tasks(tmp_path / "data")
    swept(run, smoke)
    assert run("select", "out")[0] == 0
    npz(place / "t1.npz", 7)
    confirm = ("confirm", "out", "--trials", "0", "--seeds", "1", "--workers", "0")
    code, _, complaints = run(*confirm)
    assert (code, "the study began with t1.npz of SHA-256" in complaints) == (2, True)
    assert not (tmp_path / "out/confirmed/study.yaml").exists()
    before = (tmp_path / "out/study.yaml").read_bytes()
    assert run(*confirm, "--accept-changes")[0] == 0
    assert (tmp_path / "out/study.yaml").read_bytes() == before, "the sweep itself is as it was"
    (note,) = yaml.safe_load((tmp_path / "out/confirmed/study.yaml").read_text())["changes"]
    assert note["runs_before"] == 0
    assert run("confirm", "out", "--trials", "0", "--seeds", "2", "--workers", "0")[0] == 0
