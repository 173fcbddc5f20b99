"""A next task whose settings are searched: each trial is what continuing with its settings comes to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import cfsweep
from cfsweep.bundle import continue_, load, read_manifest
from cfsweep.bundle.continued import opened
from cfsweep.bundle.onnx_file import ONNX
from cfsweep.bundle.writer import WEIGHTS
from cfsweep.errors import InputError
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.next_settings import FILE, search_settings
from cfsweep.sweeping.search.asker import OptunaAsker
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import load_stream
from tests.bundle.test_continued import bundle_of, stream_config, write_tasks
from tests.conftest import Run, without_program

pytestmark = pytest.mark.usefixtures("no_program")
STRENGTHS = {"ingredients": ["ewc"], "search": {"ewc_lambda": {"low": 0.1, "high": 1e5, "log": True}}}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks in `all`, and bundles of runs over the first two."""
    root = tmp_path_factory.mktemp("ground")
    write_tasks(root / "all", 3)
    shutil.copytree(root / "all", root / "first", ignore=lambda _folder, names: [n for n in names if n == NEW])
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        for name in ("ewc", "replay", "lwf"):
            bundle_of(root / "first", root / name, name)
        bundle_of(root / "first", root / "refitted", "ewc", refit=True)
    return root


NEW = "task-2.npz"


def searched(ground: Path, bundle: str = "ewc", space: Any = STRENGTHS, **given: Any) -> Any:
    """A search of three trials, with the old tasks' validation data unless something else is `given`."""
    options = {"trials": given.pop("trials", 3), "seeds": given.pop("seeds", None)}
    asked = {"settings": {}, "old": str(ground / "all"), "data": None} | given
    with tempfile.TemporaryDirectory() as scratch:
        asked = {"kept": Folder(Path(scratch) / "kept")} | asked
        return search_settings(ground / bundle, ground / "all" / NEW, space, options, **asked)


def by_hand(ground: Path, bundle: Path) -> list[float]:
    """The accuracy of a bundle on the validation examples of each of its tasks, as its model answers them."""
    stream, model = load_stream(stream_config(ground / "all")).of_split(1), load(bundle)
    said = [
        (model.predict(stream.x[task.validation], number), stream.user_labels(task.validation))
        for number, task in enumerate(stream.tasks[: len(model.about.tasks)])
    ]
    return [float(np.mean([one == label for one, label in zip(*pair, strict=True)])) for pair in said]


def test_a_trial_is_what_continuing_with_its_settings_comes_to(ground: Path, tmp_path: Path) -> None:
    found = searched(ground, trials=5, settings={"objective.old_weight": 0.3, "lr": 0.02})
    assert [trial.number for trial in found.trials] == list(range(5))
    own = read_manifest(ground / "ewc").settings
    assert found.trials[0].values == {**own, "lr": 0.02}, "the first has the bundle's own settings"
    assert len({trial.values["ewc_lambda"] for trial in found.trials}) == 5
    for trial in found.trials:
        continue_(ground / "ewc", ground / "all" / NEW, trial.values, tmp_path / f"alone-{trial.number}")
        scores = by_hand(ground, tmp_path / f"alone-{trial.number}")
        assert trial.scores.tolist() == [pytest.approx(scores)]
        assert trial.objective == pytest.approx(0.3 * (scores[0] + scores[1]) / 2 + 0.7 * scores[2])
    assert found.best.objective == max(trial.objective for trial in found.trials)
    assert found.before[:2].tolist() == pytest.approx(by_hand(ground, ground / "ewc"))


def test_seeds_are_those_from_the_bundles_on(ground: Path) -> None:
    one, two = searched(ground), searched(ground, seeds=2)
    assert [trial.scores.shape for trial in two.trials] == [(2, 3)] * 3
    assert two.trials[0].scores[0].tolist() == one.trials[0].scores[0].tolist()
    assert two.trials[0].objective == pytest.approx(
        np.mean([(row[0] + row[1]) / 4 + row[2] / 2 for row in two.trials[0].scores])
    )


def test_what_is_told_of_a_search_are_means_over_seeds_and_old_tasks(ground: Path) -> None:
    found = searched(ground, seeds=2, settings={"lr": 0.02})
    for trial, row in zip(found.trials, found.rows(), strict=True):
        assert row["val_tasks"] == pytest.approx(trial.scores.mean(axis=0).tolist())
        assert row["val_old"] == pytest.approx(trial.scores[:, :2].mean())
        assert row["val_new"] == pytest.approx(trial.scores[:, 2].mean())
    assert any((trial.scores[0] != trial.scores[1]).any() for trial in found.trials)
    assert found.before[0] != found.before[1]
    assert found.before_old_and_new == pytest.approx((found.before[:2].mean(), found.before[2]))


def test_the_sampler_hears_what_each_trial_came_to(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, str, Any]] = []
    tell = OptunaAsker.tell

    def listens(asker: OptunaAsker, *given: Any) -> None:
        heard.append(given)
        tell(asker, *given)

    monkeypatch.setattr(OptunaAsker, "tell", listens)
    space = {"ingredients": ["ewc"], "search": {"lr": {"choices": [0.01, 1e30]}}}
    found = searched(ground, space=space, trials=6)
    assert {state for _, state, _ in heard} == {"done", "failed"}
    assert heard == [
        (trial.number, *(("failed", None) if trial.objective is None else ("done", [trial.objective])))
        for trial in found.trials
    ]


def test_the_first_trial_has_settings_of_the_bundle_that_are_no_defaults(ground: Path, tmp_path: Path) -> None:
    bundle_of(ground / "first", tmp_path / "strong", "ewc", ewc_lambda=777.0)
    space = {"ingredients": ["ewc"], "search": {**STRENGTHS["search"], "lr": {"choices": [0.1, 0.2]}}}
    first = searched(ground, str(tmp_path / "strong"), space, trials=1).trials[0]
    assert first.values["ewc_lambda"] == pytest.approx(777.0)
    assert first.values["lr"] in (0.1, 0.2)


@pytest.mark.parametrize("scenario", ["class-il", "task-il"])
def test_classes_that_the_bundle_numbers_otherwise_than_the_stream_of_old_tasks(scenario: Any, tmp_path: Path) -> None:
    """The new class 1 comes after 5 and 9 in the bundle, and before them in the stream of all tasks."""
    rng = np.random.default_rng(0)
    (tmp_path / "all").mkdir()
    for number, labels in enumerate(([5, 9], [9, 5, 11], [1, 40])):
        y = np.resize(labels, 48)
        x = (3 * rng.normal(size=(50, 10))[y] + rng.normal(size=(48, 10))).astype(np.float32)
        np.savez(tmp_path / "all" / f"task-{number}.npz", x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    shutil.copytree(tmp_path / "all", tmp_path / "first", ignore=lambda _folder, names: [n for n in names if n == NEW])
    bundle_of(tmp_path / "first", tmp_path / "ewc", "ewc", scenario=scenario, lr=0.02)
    found = searched(tmp_path, settings={"lr": 0.02}, trials=2)
    for trial in found.trials:
        continue_(tmp_path / "ewc", tmp_path / "all" / NEW, trial.values, tmp_path / f"alone-{trial.number}")
        assert trial.scores.tolist() == [pytest.approx(by_hand(tmp_path, tmp_path / f"alone-{trial.number}"))]
    assert found.before[:2].min() > 0.3, "by other numbers next to none would be right"


def test_what_comes_out_is_the_bundle_of_the_best(ground: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    cfsweep.continue_(
        ground / "ewc",
        ground / "all" / NEW,
        tmp_path / "out",
        settings={"lr": 0.02},
        space=STRENGTHS,
        old=ground / "all",
        trials=9,
        onnx=True,
        progress=lambda done, trials: told.append((done, trials)),
    )
    assert told == [(8, 9), (9, 9)]
    assert not list(tmp_path.glob(".*")), "what was kept of the search is gone"
    rows = pq.read_table(tmp_path / "out" / FILE).to_pylist()
    assert [row["trial"] for row in rows] == list(range(9))
    best = max(rows, key=lambda row: row["objective_mixed"])
    about = read_manifest(tmp_path / "out")
    assert {FILE, ONNX} <= set(about.files)
    assert (about.settings["ewc_lambda"], about.settings["lr"]) == (best["hp_ewc_lambda"], 0.02)
    continue_(ground / "ewc", ground / "all" / NEW, dict(about.settings), tmp_path / "alone")
    for name, value in load_file(tmp_path / "alone" / WEIGHTS).items():
        assert torch.equal(value, load_file(tmp_path / "out" / WEIGHTS)[name])
    assert best["val_new"] == pytest.approx(about.scores["validation"][-1][-1])
    assert best["val_old"] == pytest.approx(np.mean(best["val_tasks"][:2]))
    assert about.scores["validation"][-1] == pytest.approx(best["val_tasks"]), "those of old tasks are on the card"
    assert about.scores["validation"][-2][:2] == pytest.approx(by_hand(ground, ground / "ewc"))
    assert about.average["validation"] == pytest.approx(np.mean(by_hand(ground, tmp_path / "out")))
    (tmp_path / "out" / FILE).write_bytes(b"")
    with pytest.raises(InputError, match=r"search.parquet: it was changed since"):
        read_manifest(tmp_path / "out")


def test_the_examples_that_are_kept_score_where_no_others_are_named(ground: Path) -> None:
    space = {"ingredients": ["replay"], "search": {"lr": {"choices": [0.001, 0.1]}}}
    found = searched(ground, "replay", space, old=None, trials=2)
    assert found.rehearsed
    assert all(np.isfinite(trial.scores).all() for trial in found.trials)
    with pytest.raises(InputError, match=r"no example of its tasks is in it to score a trial by. .* `--old`"):
        searched(ground, old=None)


def test_a_buffer_is_searched_up_to_what_it_has_kept_and_a_smaller_one_is_told(
    ground: Path, tmp_path: Path, run: Run
) -> None:
    kept = read_manifest(ground / "replay").settings["replay_buffer"]
    wide = {"search": {"replay_buffer": {"low": 2, "high": 90_000, "log": True}}}
    found = searched(ground, "replay", wide, trials=8)
    sizes = [int(trial.values["replay_buffer"]) for trial in found.trials]
    assert sizes[0] == max(sizes) == kept
    assert min(sizes) < kept
    fewer = searched(ground, "replay", {"search": {"replay_buffer": {"choices": [3, 90_000]}}}, trials=2)
    assert {trial.values["replay_buffer"] for trial in fewer.trials} == {3}
    assert fewer.shrinks == ("replay_buffer",)
    (tmp_path / "space.yaml").write_text("search: {replay_buffer: {choices: [3, 90000]}}")
    task, to = str(ground / "all" / NEW), str(tmp_path / "out")
    command = ["continue", str(ground / "replay"), "--task", task, "--to", to, "--trials", "1"]
    code, out, _ = run(*command, "--sweep", str(tmp_path / "space.yaml"))
    assert code == 0
    assert f"replay_buffer falls from {kept} to 3, and cannot grow again." in out


def test_of_a_space_the_network_is_passed_over(ground: Path) -> None:
    written_for = {"scenario": "class-il", "network": {"name": "cnn"}, "description": "for images"}
    found, plain = searched(ground, space=STRENGTHS | written_for), searched(ground)
    assert [each.objective for each in found.trials] == [each.objective for each in plain.trials]


def test_settings_that_shape_a_pack_are_searched_too(ground: Path) -> None:
    space = {"ingredients": ["lwf"], "search": {"batch_size": {"choices": [8, 12]}, "lwf_alpha": {"choices": [0, 1]}}}
    found = searched(ground, "lwf", space, trials=8)
    assert len({(t.values["batch_size"], t.values["lwf_alpha"]) for t in found.trials}) > 2
    assert all(trial.objective is not None for trial in found.trials)


def test_a_trial_that_fails_is_no_end(ground: Path) -> None:
    space = {"ingredients": ["ewc"], "search": {"lr": {"choices": [0.01, 1e30]}}}
    found = searched(ground, space=space, trials=6)
    failed = [trial for trial in found.trials if trial.values["lr"] == 1e30]
    assert failed
    assert all("not finite" in str(trial.failure) for trial in failed)
    assert found.best.values["lr"] == 0.01
    assert {row["val_old"] is None for row in found.rows() if row["hp_lr"] == 1e30} == {True}
    with pytest.raises(InputError, match=r"every trial failed, the first because the \w+ w"):
        _ = searched(ground, space={"search": {"lr": {"choices": [1e30, 2e30]}}}).best


def test_a_search_that_was_killed_goes_on(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    train, kept = Pack.train_next_task, Folder(tmp_path / "kept")

    def killed(pack: Pack, *saves: Any) -> Any:
        if len(trained) == 8:  # in the midst of the second pack, nothing of which is known then
            trained.append(-1)
            raise KeyboardInterrupt
        trained.extend(run.trial for run in pack.spec.runs)
        return train(pack, *saves)

    monkeypatch.setattr(Pack, "train_next_task", killed)
    with pytest.raises(KeyboardInterrupt):
        searched(ground, trials=16, kept=kept)
    assert trained == [*range(8), -1]
    whole = searched(ground, trials=16, kept=kept)
    assert trained == [*range(8), -1, *range(8, 16)]
    assert [trial.number for trial in whole.trials] == list(range(16))
    monkeypatch.undo()
    for trial in whole.trials[5:8]:
        again = searched(ground, space={"search": {"ewc_lambda": {"choices": [trial.values["ewc_lambda"]]}}}, trials=1)
        assert again.trials[0].scores.tolist() == [pytest.approx(trial.scores[0])]
    grown = searched(ground, trials=18, kept=kept)
    assert _same(grown.trials[:16], whole.trials)
    other = searched(ground, trials=1, kept=kept, settings={"lr": 0.02})
    assert len(other.trials) == 1, "another search begins anew"


def test_a_kill_before_scores_are_written_leaves_no_trial_that_has_ended(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    kept = Folder(tmp_path / "kept")
    with monkeypatch.context() as patched:
        patched.setattr("cfsweep.sweeping.next_trials._keep", killed)
        with pytest.raises(KeyboardInterrupt):
            searched(ground, kept=kept)
    again = searched(ground, kept=kept)
    assert _same(again.trials, searched(ground).trials), "the same trials, trained again"


def test_another_bundle_or_other_data_is_another_search(ground: Path, tmp_path: Path) -> None:
    kept, space = Folder(tmp_path / "kept"), {"search": {"lr": {"choices": [0.01, 0.1]}}}
    first = searched(ground, "lwf", space, kept=kept, trials=2)
    shutil.copytree(ground / "lwf", tmp_path / "lwf")
    about = read_manifest(tmp_path / "lwf")
    (tmp_path / "lwf" / "model.json").write_text(about.model_copy(update={"seed": 8}).model_dump_json())
    for bundle in (tmp_path / "lwf", ground / "replay"):
        other = searched(ground, str(bundle), space, kept=kept, trials=2)
        assert _same(other.trials, searched(ground, str(bundle), space, trials=2).trials)
    by_examples = searched(ground, "replay", space, kept=kept, trials=2, old=None)
    assert _same(by_examples.trials, searched(ground, "replay", space, trials=2, old=None).trials)
    assert not _same(first.trials, by_examples.trials)


def _same(some: Any, others: Any) -> bool:
    """Whether trials are the same, to the last bit."""
    return all(
        (one.number, one.values, one.scores.tolist(), one.objective)
        == (two.number, two.values, two.scores.tolist(), two.objective)
        for one, two in zip(some, others, strict=True)
    )


def test_two_searches_for_one_folder_are_refused(ground: Path, tmp_path: Path) -> None:
    kept = Folder(tmp_path / "kept")
    with kept.locked(), pytest.raises(InputError, match="another cfsweep is writing"):
        searched(ground, kept=kept)


@pytest.mark.parametrize(
    ("bundle", "space", "given", "said"),
    [
        ("ewc", {"ingredients": ["si"]}, {}, "--sweep: `ingredients <= {ewc}` must hold, but got si: the bundle has"),
        ("ewc", {"ingredients": ["ewc"]}, {}, "--sweep: the space searches nothing."),
        ("ewc", {"search": {"si_c": {"low": 0, "high": 1}}}, {}, "--sweep: `si_c` belongs to the ingredient `si`"),
        ("ewc", STRENGTHS, {"settings": {"network.name": "cnn"}}, "--set network.name: network, scenario and remedies"),
        ("ewc", STRENGTHS, {"settings": {"stop_trials": False}}, "--set stop_trials: it is of a sweep over a whole"),
        ("ewc", STRENGTHS, {"settings": {"stream.n_tasks": 2}}, "--set stream: the stream is the bundle's"),
        ("ewc", STRENGTHS, {"settings": {"objective.name": "pareto"}}, "--set objective.name: it must be mixed"),
        (
            "ewc",
            STRENGTHS,
            {"old": "split-digit"},
            "--old: unknown stream `split-digit`. Known, closest first: split-d",
        ),
        ("ewc", STRENGTHS, {"old": "split-digits"}, "--old split-digits: it must have the data that the bundle"),
        ("refitted", STRENGTHS, {}, "it was trained on the validation data, too (`--refit`)"),
        (
            "replay",
            {"ingredients": ["replay"], "search": {"replay_buffer": {"low": 80_000, "high": 90_000}}},
            {},
            "--sweep: replay_buffer=80000: `replay_buffer <= ",
        ),
    ],
)
def test_bad_input(ground: Path, bundle: str, space: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        searched(ground, bundle, space, **given)
    assert said in str(caught.value)


def test_the_stream_of_old_tasks_must_have_them_all(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    shutil.copy(ground / "all" / "task-0.npz", tmp_path / "few")
    with pytest.raises(InputError, match=r"it must have all 2 tasks that the bundle has learned, but has 1. .* --old"):
        searched(ground, old=str(tmp_path / "few"))


def test_the_command(ground: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "space.yaml").write_text("search: {ewc_lambda: {low: 1, high: 100, log: true}}")
    command = ["continue", str(ground / "ewc"), "--task", str(ground / "all" / NEW), "--to", str(tmp_path / "out")]
    wanted = ["--sweep", str(tmp_path / "space.yaml"), "--old", str(ground / "all"), "--trials", "2", "--seeds", "2"]
    code, out, err = run(*command, *wanted)
    assert code == 0, err
    assert "before" in out
    assert "is the best of 2; old tasks were scored by validation data." in out
    assert len(pq.read_table(tmp_path / "out" / FILE)) == 2
    taken = f"cfsweep: --to {tmp_path / 'out'}: it exists. Choose another folder, or remove it.\n"
    assert run(*command, *wanted) == (2, "", taken)
    code, _, err = run(*command[:-1], str(tmp_path / "other"), "--trials", "3")
    assert code == 2
    assert "--trials 3: it is of a search. Name the space with --sweep" in err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("by_seed", [False, True])
def test_runs_of_several_seeds_are_each_as_alone_where_outputs_are_added(by_seed: bool, tmp_path: Path) -> None:
    write_tasks(tmp_path / "all", 3, distinct=True)
    shutil.copytree(tmp_path / "all", tmp_path / "first", ignore=lambda _folder, names: [n for n in names if n == NEW])
    about = bundle_of(tmp_path / "first", tmp_path / "replay", "replay", scenario="class-il")
    start = opened(tmp_path / "replay")
    stream = start.stream(tmp_path / "all" / NEW)
    runs = [
        RunSpec(trial, seed, {**about.settings, "lr": lr}) for trial, lr in ((0, 0.01), (1, 0.1)) for seed in (5, 6)
    ]
    runs.sort(key=lambda run: (run.seed if by_seed else run.trial, run.key))

    def trained(*own: RunSpec) -> torch.Tensor:
        pack = start.pack(own, stream, ("validation",))
        pack.train_next_task()
        return pack.stack.theta[pack.stack.row_of]

    together, one_by_one = trained(*runs), torch.cat([trained(each) for each in runs])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in together.tolist()}) == 4
