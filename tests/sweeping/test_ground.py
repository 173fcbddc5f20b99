"""What a study stands on: it goes on with the same data, code, defaults and versions, or with what its user accepts."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from cfsweep.sweeping import ground
from cfsweep.sweeping.folder import describe, described_hypers
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


