"""What `study.yaml` says, and what is refused of a folder. (What a user reads of it: `test_cli`.)"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.folder import Folder, check_ground, describe
from cfsweep.sweeping.space import check_space, with_steering
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._own_data import checked_examples, own_stream
from cfsweep.training.streams._own_tasks import OwnExamples, OwnTask
from tests.sweeping.in_process import Sweep, tiny


def described(stream: Stream, config: StudyConfig) -> dict[str, Any]:
    return describe(config, check_space(config.space, "test"), stream)


def test_it_says_what_was_decided_and_reads_back(stream: Stream, tmp_path: Path) -> None:
    config, folder = tiny(seeds=3), Folder(tmp_path)
    assert not folder.exists()
    folder.create(config, check_space(config.space, "test"), stream)
    assert folder.exists()
    read, study = folder.read()
    assert read == config
    assert study == {**described(stream, config), "created_at": study["created_at"]}
    assert study["study_id"] == config.study_id
    assert study["tasks"][1] == {"name": "2, 3", "classes": [2, 3], "n_train": 259, "n_validation": 29, "n_test": 72}
    assert study["data_sha256"] == dict(stream.files)
    assert {"cfsweep", "torch", "ray", "optuna"} <= set(study["versions"])
    assert study["hypers"]["ewc_lambda"] == {
        "kind": "float", "default": 100.0, "searched": True, "low": 1.0, "high": 1e6, "log": True, "zero": True,
    }  # fmt: skip
    assert study["hypers"]["lr"] == {"kind": "float", "default": 0.001, "searched": False, "value": 0.01}


def test_it_says_what_each_strength_means(stream: Stream) -> None:
    """One text where the study has decided, a list where a searched setting does."""
    found = described(stream, tiny({}, ingredients=("ewc", "si", "replay")))["conventions"]
    assert set(found) == {"ewc", "si"}, "a buffer has no strength"
    assert found["ewc"] == {
        "penalty": "0.5 * lambda * sum F (theta - theta*)^2, separate",
        "fisher": "true label, mean over examples of squared per-example gradients",
    }
    searched = {"ewc_mode": {"choices": ["separate", "online"]}, "ewc_fisher": {"choices": ["empirical", "true"]}}
    assert described(stream, tiny(searched, ingredients=("ewc",)))["conventions"]["ewc"] == {
        "penalty": [f"0.5 * lambda * sum F (theta - theta*)^2, {mode}" for mode in ("separate", "online")],
        "fisher": [
            f"{label} label, mean over examples of squared per-example gradients" for label in ("empirical", "true")
        ],
    }
    assert described(stream, tiny({}, ingredients=()))["conventions"] == {}
    sizes = {"choices": list(range(1, 101))}
    many = dict.fromkeys(("epochs", "batch_size", "ewc_examples", "mas_examples"), sizes)  # 10^8 together
    found = described(stream, tiny({**many, "ewc_mode": searched["ewc_mode"]}, ingredients=("ewc", "mas")))[
        "conventions"
    ]
    assert len(found["ewc"]["penalty"]) == 2
    by_rule = tiny({"optimizer": {"choices": ["sgd", "adam"]}}, ingredients=())
    space = by_rule.space.model_copy(update={"ingredients": ("tests.sweeping.ingredients:Scaled",)})
    said = described(stream, by_rule.model_copy(update={"space": space}))["conventions"]
    assert said == {"scaled": {"penalty": ["nothing, with sgd", "nothing, with adam"]}}, "settings of any trial count"


def test_the_budget_alone_can_change(stream: Stream, tmp_path: Path) -> None:
    config, folder = tiny(trials=4), Folder(tmp_path)
    folder.create(config, check_space(config.space, "test"), stream)
    before = yaml.safe_load(folder.study_file.read_text())
    changed = folder.set_budget(9, 60.0)
    assert changed == config.model_copy(update={"trials": 9, "time_budget_s": 60.0})
    assert folder.read()[0] == changed
    after = yaml.safe_load(folder.study_file.read_text())
    assert {key for key in after if after[key] != before[key]} == {"config"}
    assert after["study_id"] == before["study_id"]


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match="another cfsweep is writing")
    with Folder(tmp_path / "study").locked(), refused, Folder(tmp_path / "study").locked():
        pass
    with Folder(tmp_path / "study").locked():
        Folder(tmp_path / "study").refuse_other_content()  # the lock is nobody's content


def test_data_is_held_against_its_hashes(stream: Stream) -> None:
    config = tiny()
    study = described(stream, config)
    check_ground(config, stream, study, Path("study.yaml"))
    (name,) = stream.files
    for files in ({name: "0" * 64}, {"another.csv": "0" * 64}):
        with pytest.raises(InputError, match=r"^study.yaml: the study began with .* of SHA-256 0000"):
            check_ground(config, stream, {**study, "data_sha256": files}, Path("study.yaml"))


def test_a_study_that_steered_by_validation_data_does_not_go_on_as_another_one(stream: Stream) -> None:
    """Before there were steering examples all of them were trained on; the study may have said nothing of it."""
    config = tiny({"patience": {"low": 1, "high": 3}}, {}, ("early-stopping",))
    now = load_stream(with_steering(config.space, config.stream))
    assert described(now, config)["tasks"][1] == {
        "name": "2, 3", "classes": [2, 3], "n_train": 230, "n_steering": 29, "n_validation": 29, "n_test": 72,
    }  # fmt: skip
    check_ground(config, now, described(now, config), Path("study.yaml"))
    said = r"^study.yaml: the study began with 259 train, 29 validation, 72 test examples of task `0, 1`, but this"
    with pytest.raises(InputError, match=said) as caught:
        check_ground(config, now, described(stream, config), Path("study.yaml"))
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
    check_ground(config, stream, study, Path("study.yaml"))
    assert study["outputs"].pop("class_ids", None) == ([3, 5, 7, 9] if classes[0] == (3, 7) else None)
    changed = {**study, "outputs": {**study["outputs"], "number": 17}}
    older = {key: value for key, value in study.items() if key != "outputs"}
    older["tasks"] = [{"classes": list(of)} for of in classes]
    for said, fine in ((changed, False), (older, before)):
        if fine:
            check_ground(config, stream, said, Path("study.yaml"))
        else:
            with pytest.raises(InputError, match="the study began with other outputs than this version") as caught:
                check_ground(config, stream, said, Path("study.yaml"))
            assert "\n" not in str(caught.value)


def test_code_of_ones_own_is_held_against_its_hashes(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network, an ingredient and a target; of what is built in nothing is noted, and older studies know nothing."""
    monkeypatch.syspath_prepend(tmp_path)
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
            check_ground(config, stream, study, Path("study.yaml"))
        check_ground(config, stream, {k: v for k, v in study.items() if k != "code_sha256"}, Path("study.yaml"))
        (tmp_path / name).write_text(text)
    check_ground(config, stream, study, Path("study.yaml"))


@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_journal_that_is_lost_or_too_old_is_no_new_begin(sweep: Sweep, keep: float) -> None:
    """Else the trials would be trained again, and each would have two runs of one seed."""
    sweep.train(sweep.open(tiny(trials=4)))
    before = sweep.rows()
    lines = sweep.folder.journal.read_bytes().splitlines(keepends=True)
    if keep:
        sweep.folder.journal.write_bytes(b"".join(lines[: int(keep * len(lines))]))
        with pytest.raises(InputError, match=r"the journal and what was trained contradict .*`cfsweep repair"):
            sweep.open(tiny(trials=4))
    else:
        sweep.folder.require_journal()
        sweep.folder.journal.unlink()
        with pytest.raises(InputError, match=r"journal\.jsonl: missing \(rsync and git leave"):
            sweep.folder.require_journal()
    assert sweep.rows() == before


def test_the_journal_is_called_what_it_was_where_a_study_began_with_that(tmp_path: Path) -> None:
    assert Folder(tmp_path).journal.name == "journal.jsonl"
    (tmp_path / "journal.log").touch()
    assert Folder(tmp_path).journal.name == "journal.log"
