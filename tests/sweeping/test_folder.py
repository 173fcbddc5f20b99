"""What `study.yaml` says, and what is refused of a folder. (What a user reads of it: `test_cli`.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.folder import Folder, describe
from cfsweep.sweeping.space import check_space
from cfsweep.training.streams import Stream
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


TEXTS = [
    "a\x85b",
    "a\u2028 b\u2029",
    "\ufeffa",
    "x\x00\x1b[31m\x7f\x9f",
    " lead: #- 'and' \"both\"\n\ntrail ",
    "no",
    "1e3",
    "é😀" * 90,
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_any_text_reads_back_as_it_was(stream: Stream, tmp_path: Path, text: str, loader: Any) -> None:
    """PyYAML takes more characters for ends of lines than it gives back: such a study could never go on."""
    config, folder = tiny(), Folder(tmp_path)
    config = config.model_copy(update={"space": config.space.model_copy(update={"description": text})})
    folder.create(config, check_space(config.space, "test"), stream)
    assert folder.read()[0] == config
    assert yaml.load(folder.study_file.read_bytes(), Loader=loader)["config"]["space"]["description"] == text


@pytest.mark.parametrize("name", [".lock", "journal.jsonl", "checkpoints", "runs"])
def test_nothing_is_written_through_a_link_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """A folder may have come from anywhere."""
    outside, root = tmp_path / "outside", tmp_path / "study"
    outside.write_text("mine")
    root.mkdir()
    (root / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"{name}: it is a link out of the results folder"), Folder(root).locked():
        pass
    assert outside.read_text() == "mine"
    (root / name).unlink()
    (root / "inside").touch()
    (root / name).symlink_to("inside")
    (tmp_path / "here").symlink_to(root)
    with Folder(tmp_path / "here").locked():
        pass


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match="another cfsweep is writing")
    with Folder(tmp_path / "study").locked(), refused, Folder(tmp_path / "study").locked():
        pass
    with Folder(tmp_path / "study").locked():
        Folder(tmp_path / "study").refuse_other_content()  # the lock is nobody's content


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
