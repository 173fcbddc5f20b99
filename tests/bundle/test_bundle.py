"""Bundles answer as the trainer did: from their weights to the last bit, by their program within rounding."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file

import cfsweep
from cfsweep.bundle import Manifest, load, read_manifest, write
from cfsweep.bundle.card import card
from cfsweep.bundle.manifest import sha256
from cfsweep.bundle.writer import ANSWERS, CARD, PROGRAM, STATE, WEIGHTS
from cfsweep.config import NetworkConfig, Scenario, Space, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, UNLIFTABLE, finish, make_pack, small_stream, trained_once
from cfsweep.training.ingredients import Substitute, registry
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream

ABOUT = {"study_id": "0123456789ab", "git_revision": None}
ALL = [(name, scenario) for name, kind in registry.items() for scenario in kind.scenarios]
# What changes how a model is evaluated: heads per task, weights of a task's own, what answers for the output layer.
EVALUATED: list[tuple[str, Scenario]] = [
    ("ewc", "task-il"),
    ("ewc", "domain-il"),
    ("ewc", "class-il"),
    ("packnet", "task-il"),
    ("adapters", "task-il"),
    ("icarl", "class-il"),
    ("ncm", "domain-il"),
    ("slda", "class-il"),
    ("ranpac", "task-il"),
]
ROUNDING = 1e-5  # of logits near 1, by products of another shape


def bundle_of(pack: Pack, to: Path, **given: Any) -> Manifest:
    return write(pack, StudyConfig(space=Space(ingredients=pack.spec.ingredients)), ABOUT, to, **given)


def x_of(stream: Stream, task: int) -> torch.Tensor:
    return stream.x[stream.tasks[task].test]


@pytest.mark.parametrize(("name", "scenario"), ALL)
def test_the_weights_answer_as_the_trainer_did(
    name: str, scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b""))
    pack = trained_once((name,), scenario)
    bundle_of(pack, tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    for task in range(3):
        weights = pack.scoring.weights_for(task, 3)
        expected = pack.context.lifted(pack.context.layout.unflatten(weights), _seen(pack, task), shared=True)[0]
        found = model.outputs(x_of(pack.stream, task), task)
        active = pack.context.outputs.masks[2, task]
        assert torch.equal(found.isfinite().any(0), active)
        if not issubclass(registry[name], Substitute):
            assert torch.equal(found[:, active], expected[:, active]), "to the last bit"
        assert torch.equal(pack.context.target.predict(found, active), pack.predictions(task)[0])


def _seen(pack: Pack, task: int) -> torch.Tensor:
    return pack.context.store[torch.from_numpy(pack.stream.tasks[task].test)]


@pytest.mark.parametrize(("name", "scenario"), EVALUATED)
@pytest.mark.parametrize("network", [None, CNN], ids=["mlp", "cnn"])
def test_the_program_answers_within_rounding(
    name: str, scenario: Scenario, network: NetworkConfig | None, tmp_path: Path
) -> None:
    given: dict[str, Any] = {} if network is None else {"network": network}
    pack = finish(make_pack(small_stream(), (name,), scenario=scenario, epochs=1, **given))
    about = bundle_of(pack, tmp_path / "bundle")
    program, model = torch.export.load(tmp_path / "bundle" / PROGRAM).module(), load(tmp_path / "bundle")
    for task in range(3):
        x = x_of(pack.stream, task)
        for n in (1, 2, len(x)):
            found = program(x[:n], torch.tensor(task)) if about.needs_task else program(x[:n])
            assert found == pytest.approx(model.outputs(x[:n], task), abs=ROUNDING)
        assert torch.equal(found.argmax(1), pack.predictions(task)[0])


def test_a_network_with_statistics_and_dropout(tmp_path: Path) -> None:
    pack = finish(make_pack(small_stream(), ("replay",), network=UNLIFTABLE, batch_size=6, epochs=1))
    bundle_of(pack, tmp_path / "bundle")
    program, model = torch.export.load(tmp_path / "bundle" / PROGRAM).module(), load(tmp_path / "bundle")
    for task in range(3):
        x = x_of(pack.stream, task)
        assert torch.equal(model.outputs(x, task).argmax(1), pack.predictions(task)[0])
        assert program(x, torch.tensor(task)) == pytest.approx(model.outputs(x, task), abs=ROUNDING)


def test_raw_bytes_are_standardised_by_the_model(tmp_path: Path) -> None:
    stream = small_stream()
    images = (stream.x * 40 + 128).clamp(0, 255).to(torch.uint8)
    pack = finish(make_pack(replace(stream, x=images, shift=120.5, scale=1 / 33), ("ewc",), scenario="class-il"))
    about = bundle_of(pack, tmp_path / "bundle")
    assert (about.input_dtype, about.input_shape) == ("uint8", (1, 6, 6))
    model = load(tmp_path / "bundle")
    for task in range(3):
        x = x_of(pack.stream, task)
        assert torch.equal(model.outputs(x, task).argmax(1), pack.predictions(task)[0])
        assert torch.equal(model.outputs(x.numpy(), task), model.outputs(x, task))


# ------------------------------------------------------------------------------------------------ what it says


def test_labels_are_those_of_the_user(tmp_path: Path) -> None:
    named = replace(small_stream(), class_ids=(10, 11, 20, 21, 30, 31))
    expected: dict[Scenario, tuple[int | None, ...]] = {
        "task-il": (None, None, 20, 21, None, None),
        "domain-il": (20, 21),
        "class-il": (10, 11, 20, 21, 30, 31),
    }
    for scenario, labels in expected.items():
        pack = finish(make_pack(named, (), scenario=scenario, epochs=2, lr=0.1))
        about = bundle_of(pack, tmp_path / scenario)
        assert about.tasks[1].labels == labels
        model, task = load(tmp_path / scenario), named.tasks[1]
        said = model.predict(named.x[task.test], 1)
        right = [named.class_ids[label] for label in named.y[task.test].tolist()]
        accuracy = sum(a == b for a, b in zip(said, right, strict=True)) / len(right)
        assert accuracy == pack.records[0].test[-1][1] == about.scores["test"][-1][1]


def test_what_is_in_it_and_that_it_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = trained_once(("ewc",), "class-il")
    about = bundle_of(pack, tmp_path / "deep" / "bundle")
    assert {p.name for p in (tmp_path / "deep" / "bundle").iterdir()} == {*about.files, "model.json"}
    assert set(about.files) == {WEIGHTS, STATE, ANSWERS, PROGRAM, CARD}
    assert read_manifest(tmp_path / "deep" / "bundle") == about
    assert about.average["test"] == pytest.approx(sum(pack.records[0].test[-1]) / 3)
    said = (tmp_path / "deep" / "bundle" / CARD).read_text()
    assert f"on test data: {about.average['test']:.4f} at the end" in said
    first, *_, last = (f"`{task.name}`" for task in about.tasks)
    assert f"| | {first} | " in said
    assert f" | {last} |\n" in said
    assert f"\n| after {first} | " in said
    for number, task in enumerate(about.tasks):
        own = ", ".join(map(str, task.classes))
        assert f"\n| {number} | {task.name} | {own} | {', '.join(map(str, task.labels))} |\n" in said
    assert len({task.labels for task in about.tasks}) == 1 < len({task.classes for task in about.tasks})
    assert "Remedies: `ewc`. Written" in said
    assert ", and the model takes it as it is. It answers" in said
    assert "## Beside" not in said
    with pytest.raises(InputError, match="it exists"):
        bundle_of(pack, tmp_path / "deep" / "bundle")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cfsweep.bundle.writer.save", full)
    with pytest.raises(InputError, match="no space left on device"):
        bundle_of(pack, tmp_path / "deep" / "other")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["bundle"]


def test_the_card_tells_what_is_off_and_what_it_is_compared_with(tmp_path: Path) -> None:
    about = bundle_of(trained_once(("ewc",), "class-il"), tmp_path / "bundle")
    settings = {**about.settings, "ewc_lambda": 0.0}
    changes = {"settings": settings, "standardised": "feature", "class_ids": tuple("abcdefghij")}
    compared = {"trial": ["3", "naive"], "test": ["0.951 ± 0.006", "0.300"]}
    said = card(about.model_copy(update=changes), compared=compared)
    assert "Remedies: none (off: `ewc`). Written" in said
    assert ", not standardised: the model does that, column by column. It answers" in said
    assert f"| {', '.join('abcdefghij'[label] for label in about.tasks[1].classes)} |" in said
    assert "| trial | test |\n|---|---|\n| 3 | 0.951 ± 0.006 |\n| naive | 0.300 |\n" in said


def test_names_on_the_card_are_text(tmp_path: Path) -> None:
    about = bundle_of(trained_once(("ewc",), "class-il"), tmp_path / "bundle")
    evil = "a`|*[l](http://x)<img src=x>\n# b\x1b[2J\u202e"
    shown = r"a`|*[l](http://x)<img src=x> # b\x1b[2J\u202e"
    changes: dict[str, Any] = {
        "settings": {evil: evil, **about.settings},
        "stream": evil,
        "study_id": evil,
        "data_sha256": {evil: evil},
        "tasks": tuple(task.model_copy(update={"name": f"{n}{evil}"}) for n, task in enumerate(about.tasks)),
        "class_ids": tuple(f"{n}{evil}" for n in range(10)),
    }
    usual = about.model_copy(update={"settings": {"x": 1, **about.settings}})
    parser = MarkdownIt("commonmark").enable("table")
    plain, hostile = (parser.parse(card(said)) for said in (usual, about.model_copy(update=changes)))
    kinds = [token.type for token in plain]
    assert kinds.count("td_open") > 10
    cells = [token.type for token in hostile]
    for kind in ("td_open", "th_open", "heading_open", "list_item_open"):
        assert cells.count(kind) == kinds.count(kind) + (kind == "list_item_open" and not about.data_sha256)
    inside = [child for token in hostile for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "code_inline", "text_special"}
    assert sum(shown in "".join(c.content for c in token.children or ()) for token in hostile) > 8


def test_in_class_il_a_model_is_held_against_the_mean_of_the_constant_answer(tmp_path: Path) -> None:
    about = bundle_of(trained_once(("ewc",), "class-il"), tmp_path / "bundle")
    assert max(about.constant["test"]) > 0.4 > 3 * sorted(about.constant["test"])[1] == 0, "one class of one task"
    level = sum(about.constant["test"]) / 3
    last = tuple(level + d for d in (0.01, -0.01, 0.0))
    changed = about.model_copy(
        update={"scores": {"test": (*about.scores["test"][:-1], last)}, "constant": {"test": about.constant["test"]}}
    )
    said = changed.behind_constant["test"]
    assert " on 2 of 3 tasks: " in said
    assert said.count(f" against {level:.4f})") == 2


def test_what_remedies_keep_is_there_and_examples_only_if_wanted(tmp_path: Path) -> None:
    ewc, replay = trained_once(("ewc",), "class-il"), trained_once(("replay",), "class-il")
    assert not bundle_of(ewc, tmp_path / "ewc").has_examples, "there are none to be kept"
    assert "No examples of the tasks are in this bundle." in (tmp_path / "ewc" / CARD).read_text()
    state = load_file(tmp_path / "ewc" / STATE)
    assert torch.equal(state["ewc/state/curvature"], ewc.stack.states["ewc"]["curvature"][0])
    indices = replay.stack.buffers["replay"][0].indices
    for with_examples in (True, False):
        about = bundle_of(replay, tmp_path / f"replay-{with_examples}", with_examples=with_examples)
        state = load_file(tmp_path / f"replay-{with_examples}" / STATE)
        assert (about.has_examples, "replay/buffer/x" in state) == (with_examples, with_examples)
        assert int(state["replay/buffer/n"]) == len(indices) > 0
        if with_examples:
            assert torch.equal(state["replay/buffer/x"], replay.stream.x[indices])
            assert torch.equal(state["replay/buffer/y"], replay.stream.y[indices])


def test_the_program_brings_no_example_along(tmp_path: Path) -> None:
    """torch.export writes down what it was traced with."""
    bundle_of(trained_once(("packnet",), "task-il"), tmp_path / "bundle")
    (x, _), named = torch.export.load(tmp_path / "bundle" / PROGRAM).example_inputs
    assert (x.count_nonzero(), named) == (0, {})


def test_a_balanced_buffer_says_how_many_of_each_class_it_was_offered(tmp_path: Path) -> None:
    pack = finish(make_pack(small_stream(), ("replay",), replay_mode="class-balanced", epochs=1))
    bundle_of(pack, tmp_path / "bundle")
    expected = pack.stack.buffers["replay"][0].offered_by_class
    assert expected is not None
    assert load_file(tmp_path / "bundle" / STATE)["replay/buffer/offered_by_class"].tolist() == expected.tolist()


def test_torch_alone_runs_the_program(tmp_path: Path) -> None:
    pack = trained_once(("packnet",), "task-il")
    bundle_of(pack, tmp_path / "bundle")
    torch.save(x_of(pack.stream, 1), tmp_path / "x.pt")
    script = """
        import json, sys, torch
        about = json.load(open("bundle/model.json"))
        model = torch.export.load("bundle/model.pt2").module()
        outputs = model(torch.load("x.pt"), torch.tensor(1))
        print([about["tasks"][1]["labels"][k] for k in outputs.argmax(1).tolist()])
        assert not any(name.startswith(("cfsweep", "analysis", "safetensors")) for name in sys.modules)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    environment = {"PATH": "/usr/bin:/bin"}  # no PYTHONPATH
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == pack.predictions(1)[0].tolist()


# ------------------------------------------------------------------------------------------------ bad input


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b"x"))
    bundle_of(trained_once(("packnet",), "task-il"), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_table_goes_by_the_names_of_its_columns(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), ["age", "income", "debt"]
    for number in range(2):
        table = pd.DataFrame(rng.normal(size=(40, 3)).astype(np.float32), columns=names)
        table["y"], table["split"] = (table["age"] > 0).astype(int), np.resize(["train", "test"], 40)
        (tmp_path / "tasks").mkdir(exist_ok=True)
        table.to_parquet(tmp_path / "tasks" / f"{number}.parquet")
    trained = cfsweep.train(str(tmp_path / "tasks"), ingredients=["ewc"], scenario="domain-il", settings={"epochs": 2})
    model = trained.model()
    expected = model.outputs(table[names].to_numpy())
    assert torch.equal(model.outputs(table), expected)  # y and split are passed over
    assert torch.equal(model.outputs(table[names[::-1]]), expected)
    with pytest.raises(InputError, match=r"the table must have the columns of the data, but lacks debt\. Add them\."):
        model.predict(table.drop(columns="debt"))
    assert repr(model).startswith(f"Model of ewc on {trained.stream.name}, domain-il, 2 tasks: accuracy 0.")


def test_a_damaged_bundle_is_one_line(bundle: Path) -> None:
    def change(**changes: Any) -> str:
        text = (bundle / "model.json").read_text()
        (bundle / "model.json").write_text(json.dumps({**json.loads(text), **changes}))
        return text

    before = (bundle / "model.json").read_text()
    for later in ({"later": True}, {}):  # a key that is unknown, and none
        change(format=2, **later)
        with pytest.raises(InputError, match=r"format 2 is newer than 1.*Upgrade it"):
            load(bundle)
        (bundle / "model.json").write_text(before)
    change(scenario="other")
    with pytest.raises(InputError, match="`scenario` is wrong"):
        load(bundle)
    (bundle / "model.json").write_text(before[:200])
    with pytest.raises(InputError, match="Export the model again"):
        load(bundle)
    (bundle / "model.json").write_text(before)
    change(network={"name": "mlp", "args": {"hidden": [5]}})
    with pytest.raises(InputError, match=r"network `mlp` is another one.*they differ in `body.1.bias` and"):
        load(bundle)
    (bundle / "model.json").write_text(before)
    about = json.loads(before)
    for wrong, said in (
        ({"n_outputs": 0}, "a model has tasks, outputs and an input, but it has none"),
        ({"n_outputs": about["n_outputs"] + 1}, "labels for "),
        ({"scores": {**about["scores"], "validation": [[0.5]]}}, "`scores.validation` is no matrix of "),
        ({"constant": {"validation": [0.5] * 9}}, "`constant.validation` does not fit the "),
        ({"scores": {"other": []}, "constant": {}}, "`other` is no part of the data"),
        ({"files": {"../x": "0"}}, "`files` names ../x, which is not in the bundle"),
        ({"settings": {}}, "the bundle has no setting `optimizer`"),
        ({"settings": {**about["settings"], "lr": "x"}}, "`0 < lr` must hold, but got lr='x'"),
    ):
        change(**wrong)
        with pytest.raises(InputError, match=re.escape(said)):
            load(bundle)
        (bundle / "model.json").write_text(before)
    (bundle / "model.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="Export the model again"):
        load(bundle)
    (bundle / "model.json").write_text(before)
    weights = load_file(bundle / WEIGHTS)
    for content in (b"", (bundle / WEIGHTS).read_bytes()[:-4]):  # noted as it is: damaged before
        kept = (bundle / WEIGHTS).read_bytes()
        (bundle / WEIGHTS).write_bytes(content)
        change(files={**about["files"], WEIGHTS: sha256(bundle / WEIGHTS)})
        with pytest.raises(InputError, match=r"weights.safetensors: it holds no tensors .* Export the model again"):
            load(bundle)
        (bundle / WEIGHTS).write_bytes(kept)
        (bundle / "model.json").write_text(before)
    save_file({name: value + 1 for name, value in weights.items()}, bundle / WEIGHTS)
    with pytest.raises(InputError, match=r"weights.safetensors: it was changed"):
        load(bundle)
    (bundle / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"weights.safetensors is missing"):
        load(bundle)
    with pytest.raises(InputError, match=r"no model.json there"):
        load(bundle / "absent")


def test_a_wrong_question_is_one_line(bundle: Path) -> None:
    model = load(bundle)
    x = torch.zeros(2, 1, 6, 6)
    with pytest.raises(InputError, match=r"examples must be \(n, 1, 6, 6\), but got \(2, 6, 6\)"):
        model.outputs(x[:, 0], 0)
    first = model.about.tasks[0].name
    with pytest.raises(InputError, match=rf"told of which task the examples are: 0 \(`{first}`\), 1 \("):
        model.outputs(x)
    with pytest.raises(InputError, match=rf"`0 <= task < 3` must hold, but got 3\. It has learned 0 \(`{first}`\)"):
        model.predict(x, 3)


def test_tasks_that_are_called_alike_are_told_apart(bundle: Path) -> None:
    about = load(bundle).about
    assert about.task_names == tuple(task.name for task in about.tasks)
    again = (*about.tasks[:2], about.tasks[2].model_copy(update={"name": about.tasks[0].name}))
    name, other = about.tasks[0].name, about.tasks[1].name
    assert about.model_copy(update={"tasks": again}).task_names == (f"0: {name}", f"1: {other}", f"2: {name}")


def test_nothing_that_a_bundle_brings_is_run_or_unpickled(bundle: Path) -> None:
    """Its weights are in safetensors, its facts in JSON; a pickle in place of weights is no model."""
    torch.save({"x": torch.zeros(1)}, bundle / WEIGHTS)
    with pytest.raises(InputError, match="it was changed"):
        load(bundle)


def test_what_is_no_run_at_its_end_gives_no_program(tmp_path: Path) -> None:
    pack = make_pack(small_stream(), ("ewc",))
    pack.train_next_task()
    with pytest.raises(ValueError, match="has learned all tasks"):
        bundle_of(pack, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())
