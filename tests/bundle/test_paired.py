"""Two bundles on the same examples: what is paired, what is refused, and the gate on real models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.bundle import continue_, load, write
from cfsweep.bundle.paired import paired_answers
from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import finish, make_pack
from cfsweep.training.streams import load_stream
from tests.conftest import Run

ABOUT = {"study_id": "0123456789ab", "git_revision": None}
N_TEST = 40
pytestmark = pytest.mark.usefixtures("no_program")


def write_task(folder: Path, number: int, labels: tuple[int, ...], shift: float = 0.0, seed: int = 0) -> None:
    """A file of a task whose classes are far apart, along an axis of their own, in the order of `labels`."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng([seed, number])
    parts: dict[str, Any] = {}
    for part, n in (("train", 80), ("test", N_TEST)):
        place = np.resize(range(len(labels)), n)
        x = rng.normal(size=(n, 6)) * 0.3 + shift
        x[np.arange(n), 2 * number % 6 + place % 2] += 4
        parts |= {f"x_{part}": x.astype(np.float32), f"y_{part}": np.array(labels)[place]}
    np.savez(folder / f"task-{number}.npz", **parts)


def train(folder: Path, to: Path, scenario: Scenario = "class-il", names: tuple[str, ...] = (), **given: Any) -> Path:
    """A bundle of a model that has learned the tasks in `folder`, one after the other."""
    stream = StreamConfig(name=str(folder), scenario=scenario)
    pack = finish(make_pack(load_stream(stream), names, scenario=scenario, **{"epochs": 6, "lr": 0.02, **given}))
    write(pack, StudyConfig(space=Space(ingredients=names), stream=stream), ABOUT, to)
    return to


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three tasks in a folder, of two classes each."""
    for number in range(3):
        write_task(tmp_path / "three", number, (10 * number + 10, 10 * number + 11))
    return tmp_path / "three"


@pytest.fixture
def first_two(data: Path, tmp_path: Path) -> Path:
    """The same without the last task."""
    (tmp_path / "two").mkdir()
    for number in range(2):
        (tmp_path / "two" / f"task-{number}.npz").write_bytes((data / f"task-{number}.npz").read_bytes())
    return tmp_path / "two"


def joint(folder: Path, to: Path, scenario: Scenario = "class-il", **given: Any) -> Path:
    """A bundle of one that has seen all tasks at once, and so forgets nothing."""
    return train(folder, to, scenario, joint=True, **given)


# ------------------------------------------------------------------------------------------------ what is paired


@pytest.mark.parametrize("scenario", ["task-il", "domain-il", "class-il"])
def test_the_answers_are_those_of_the_models_example_by_example(
    scenario: Scenario, data: Path, first_two: Path, tmp_path: Path
) -> None:
    champion, candidate = joint(first_two, tmp_path / "old", scenario), train(data, tmp_path / "new", scenario)
    found = paired_answers(champion, candidate)[2]
    assert [(task.name, task.is_earlier) for task in found] == [("task-0", True), ("task-1", True), ("task-2", False)]
    for number, of_task in enumerate(found):
        content = np.load(data / f"task-{number}.npz")
        x, labels = torch.from_numpy(content["x_test"]), content["y_test"].tolist()
        new = [said == label for said, label in zip(load(candidate).predict(x, number), labels, strict=True)]
        assert of_task.candidate.tolist() == new
        assert np.mean(new) == load(candidate).about.scores["test"][-1][number]
        if number < 2:
            assert of_task.champion is not None
            old = [said == label for said, label in zip(load(champion).predict(x, number), labels, strict=True)]
            assert of_task.champion.tolist() == old
            assert np.mean(old) == load(champion).about.scores["test"][-1][number]
        else:
            assert (of_task.champion is None) is (scenario != "domain-il")


def test_in_domain_il_the_champion_answers_a_new_task_by_the_place_of_its_classes(
    data: Path, first_two: Path, tmp_path: Path
) -> None:
    champion = joint(first_two, tmp_path / "old", "domain-il")
    new = paired_answers(champion, train(data, tmp_path / "new", "domain-il"))[2][2]
    content = np.load(data / "task-2.npz")
    places = load(champion).outputs(content["x_test"]).argmax(1).numpy()
    assert new.champion is not None
    assert new.champion.tolist() == (content["y_test"] == 30 + places).tolist()


def test_a_champion_with_weights_for_each_task_does_not_answer_a_new_one(
    data: Path, first_two: Path, tmp_path: Path
) -> None:
    champion = changed(joint(first_two, tmp_path / "old", "domain-il"), lambda about: about.update(needs_task=True))
    found = paired_answers(champion, train(data, tmp_path / "new", "domain-il"))[2]
    assert [task.champion is None for task in found] == [False, False, True]


def test_classes_that_a_new_task_numbers_anew_keep_their_labels(tmp_path: Path, data: Path, first_two: Path) -> None:
    """A new task's label 5 comes before all others, so that each class has another number and output."""
    write_task(data, 2, (5, 6))
    champion, candidate = joint(first_two, tmp_path / "old"), joint(data, tmp_path / "new")
    assert load(champion).about.tasks[0].classes != load(candidate).about.tasks[0].classes
    first = paired_answers(champion, candidate)[2][0]
    assert first.champion is not None
    assert first.champion.mean() > 0.9
    assert first.candidate.mean() > 0.9


def test_a_folder_that_has_moved_is_named(data: Path, first_two: Path, tmp_path: Path) -> None:
    champion, candidate = joint(first_two, tmp_path / "old"), joint(data, tmp_path / "new")
    expected = paired_answers(champion, candidate)[2]
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="three`"):
        paired_answers(champion, candidate)
    found = paired_answers(champion, candidate, stream=str(moved))[2]
    assert [task.counts for task in found] == [task.counts for task in expected]


def test_a_continued_model_is_judged_where_its_last_task_is_in_no_data(
    data: Path, first_two: Path, tmp_path: Path, run: Run
) -> None:
    """By the champion's tasks, and by all of them once --stream names where they are."""
    stream = StreamConfig(name=str(first_two), scenario="class-il", n_tasks=2)
    pack = finish(make_pack(load_stream(stream), scenario="class-il", epochs=6, lr=0.02))
    old, new = tmp_path / "old", tmp_path / "new"
    write(pack, StudyConfig(space=Space(ingredients=()), stream=stream), ABOUT, old)
    continue_(old, data / "task-2.npz", {}, new)
    found = paired_answers(old, new)
    assert ([task.name for task in found.answers], found.left_out) == (["task-0", "task-1"], ("task-2",))
    code, out, err = gate(run, old, new)
    assert code == 1, "plain training forgets"
    assert "1 of 2 earlier tasks fell" in err
    assert "new: `task-2` is not in these data, which decides nothing; --stream or --data names where" in out
    every = paired_answers(old, new, stream=str(data))
    assert ([task.name for task in every.answers], every.left_out) == (["task-0", "task-1", "task-2"], ())
    assert [task.counts for task in every.answers][:2] == [task.counts for task in found.answers]
    assert np.mean(every.answers[2].candidate) == load(new).about.scores["test"][-1][2]
    fresh = train(data, tmp_path / "fresh")
    (data / "task-2.npz").rename(tmp_path / "task-2.npz")
    with pytest.raises(InputError, match="must have all 3 tasks"):
        paired_answers(old, fresh)


# ------------------------------------------------------------------------------------------------ the gate


def gate(run: Run, champion: Path, candidate: Path, *more: str | Path) -> tuple[int, str, str]:
    return run("gate", "--champion", champion, "--candidate", candidate, "--max-drop", "0.02", *more)


def test_a_model_passes_against_itself(run: Run, data: Path, tmp_path: Path) -> None:
    model = train(data, tmp_path / "model")
    code, out, err = gate(run, model, model, "--json", tmp_path / "deep" / "gate.json")
    assert (code, err) == (0, "")
    assert "The candidate passes: none of 3 earlier tasks fell by more than 0.02." in out
    found = json.loads((tmp_path / "deep" / "gate.json").read_text())
    assert found["passes"] is True
    assert [task["difference"] for task in found["tasks"]] == [0, 0, 0]
    assert [task["mcnemar_p"] for task in found["tasks"]] == [1, 1, 1]


def test_a_candidate_that_forgot_is_refused_whatever_it_gained(
    run: Run, data: Path, first_two: Path, tmp_path: Path
) -> None:
    champion, candidate = joint(first_two, tmp_path / "old"), train(data, tmp_path / "new")
    code, out, err = gate(run, champion, candidate, "--json", tmp_path / "gate.json")
    assert code == 1
    assert err.startswith("cfsweep: gate: 2 of 2 earlier tasks fell by more than 0.02: task 0 `task-0` by ")
    assert err.count("\n") == 1
    rows = [line.split() for line in out.splitlines() if "task-" in line]
    assert [row[-2:] for row in rows[:2]] == [["fell,", "clearly"]] * 2
    assert (rows[2][3], rows[2][-1]) == ("–", "new")
    found = json.loads((tmp_path / "gate.json").read_text())
    first, _, last = found["tasks"]
    n = first["n_examples"]
    assert (found["passes"], found["max_drop"], found["level"], n) == (False, 0.02, 0.95, N_TEST)
    assert first["difference"] == (first["candidate_alone_right"] - first["champion_alone_right"]) / n
    assert first["difference"] == pytest.approx(first["candidate"] - first["champion"])
    assert first["interval"][0] <= first["difference"] < first["interval"][1] < -0.02
    assert (first["verdict"], first["is_clear"], first["missing"]) == ("fell", True, None)
    assert (last["verdict"], last["champion"], last["interval"], last["is_clear"]) == ("new", None, None, None)
    assert "has not learned this task" in last["missing"]
    assert last["candidate"] > 0.9


def test_a_candidate_that_kept_all_passes(run: Run, data: Path, first_two: Path, tmp_path: Path) -> None:
    code, out, err = gate(run, joint(first_two, tmp_path / "old"), joint(data, tmp_path / "new"))
    assert (code, err) == (0, "")
    assert "none of 2 earlier tasks" in out
    assert "new: the champion has not learned the task" in out
    assert max(map(len, out.splitlines())) <= 100


def test_it_does_not_need_the_libraries_of_a_sweep() -> None:
    script = "import sys, cfsweep.bundle.paired, analysis.cli; print({'ray', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ------------------------------------------------------------------------------------------------ bad input


def test_models_that_are_no_pair_are_one_line(run: Run, data: Path, first_two: Path, tmp_path: Path) -> None:
    champion = train(first_two, tmp_path / "old", epochs=1)

    def refused(match: str, candidate: Path, champion: Path = champion) -> None:
        code, out, err = gate(run, champion, candidate, "--json", tmp_path / "gate.json")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert match in err
        assert not (tmp_path / "gate.json").exists()

    refused("no model.json there", tmp_path / "absent")
    refused("its scenario must be the champion's, class-il, but is task-il", train(data, tmp_path / "a", "task-il"))
    new = train(data, tmp_path / "new", epochs=1)
    refused("it must have learned all 3 tasks of the champion, but has learned 2", champion, new)
    write_task(data, 0, (10, 12))
    refused("the labels of task `task-0` must be the champion's, 10, 11, but are 10, 12", train(data, tmp_path / "b"))
    write_task(data, 0, (10, 11))
    (data / "task-0.npz").rename(data / "task-00.npz")
    refused("its task 0 must be the champion's, `task-0`, but is `task-00`", train(data, tmp_path / "c", epochs=1))
    wide = tmp_path / "wide"
    wide.mkdir()
    x, y = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.resize([10, 11], 40)
    np.savez(wide / "task-0.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    refused("its shape of an example must be the champion's, (6,), but is (3,)", train(wide, tmp_path / "d", epochs=1))


def test_labels_are_held_against_each_other_in_each_scenario(data: Path, first_two: Path, tmp_path: Path) -> None:
    write_task(data, 1, (20, 22))
    for scenario in ("task-il", "domain-il", "class-il"):
        champion = train(first_two, tmp_path / f"old-{scenario}", scenario, epochs=1)
        candidate = train(data, tmp_path / f"new-{scenario}", scenario, epochs=1)
        with pytest.raises(InputError, match="labels of task `task-1` must be the champion's, 20, 21, but are 20, 22"):
            paired_answers(champion, candidate)


def test_data_that_has_changed_is_one_line(data: Path, first_two: Path, tmp_path: Path) -> None:
    champion, candidate = train(first_two, tmp_path / "old", epochs=1), train(data, tmp_path / "new", epochs=1)
    before = (data / "task-1.npz").read_bytes()
    write_task(data, 1, (20, 21), seed=1)
    with pytest.raises(InputError, match=rf"the test examples of task `task-1` must be those that {candidate} was"):
        paired_answers(champion, candidate)
    other = train(data, tmp_path / "other", epochs=1)
    with pytest.raises(InputError, match=rf"the test examples of task `task-1` must be those that {champion} was"):
        paired_answers(champion, other)
    (data / "task-1.npz").write_bytes(before)
    with pytest.raises(InputError, match=r"it must have all 3 tasks that the bundle has learned, but has 2"):
        paired_answers(champion, candidate, stream=str(first_two))


def changed(model: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    about = json.loads((model / "model.json").read_text())
    change(about)
    (model / "model.json").write_text(json.dumps(about))
    return model


def test_what_a_bundle_does_not_say_is_one_line(first_two: Path, tmp_path: Path) -> None:
    model = train(first_two, tmp_path / "model", epochs=1)
    for number, change in enumerate(
        (lambda about: about.pop("stream_config"), lambda about: about["tasks"][1].pop("test_sha256"))
    ):
        old = changed(train(first_two, tmp_path / f"{number}", epochs=1), change)
        with pytest.raises(InputError, match=r"is wrong \(Field required\)\. Export the model again"):
            paired_answers(model, old)
    with pytest.raises(InputError, match=r"unknown score `log_loss`. Known, closest first: neg_log_loss"):
        paired_answers(model, model, score="log_loss")


def test_a_wrong_command_line_is_one_line(run: Run, tmp_path: Path) -> None:
    def refused(match: str, *arguments: str) -> None:
        code, out, err = run("gate", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert match in err

    both = ("--champion", "a", "--candidate", "b")
    refused("nothing to judge. Give a results folder, or --champion and --candidate.")
    refused("two models are compared, but got --champion. Give --champion and --candidate.", "--champion", "a")
    refused("nothing to judge. Give a results folder", "--json", "gate.json")
    refused("two models are compared, but got --max-drop", "--max-drop", "0.1")
    refused("how far an earlier task may fall must be said. Give --max-drop", *both)
    mixed = "it judges the trial of a study or compares two models, but got DIR, --beats and --champion, --candidate."
    refused(mixed, *both, "c", "--beats", "naive")
    for bad in ("-0.1", "nan"):
        refused(f"`0 <= max-drop` must hold, but got {bad}", *both, "--max-drop", bad)
    refused("no model.json there", *both, "--max-drop", "0")
    refused(f"'{tmp_path}' is a directory", *both, "--max-drop", "0", "--json", str(tmp_path))
