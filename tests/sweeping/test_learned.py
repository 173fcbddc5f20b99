"""A study whose network begins with weights from a file, from its beginning to a bundle that goes on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import cfsweep
from cfsweep.bundle import continue_, load
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.results.reader import read_table
from cfsweep.sweeping.learned import _by_chance, known_note
from cfsweep.training.networks import build
from cfsweep.training.streams import load_stream
from cfsweep.training.targets import target_of
from tests.bundle.test_continued import write_tasks
from tests.conftest import Run
from tests.training.streams.pictures import write_classes

pytestmark = pytest.mark.usefixtures("no_program")

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "pretrained.md"
NETWORK = NetworkConfig(args={"hidden": [8]})
SPACE = """
scenario: domain-il
network: {name: mlp, args: {hidden: [8]}, init: w.pt, freeze: [body.1.bias]}
ingredients: [ewc]
fixed: {epochs: 1, batch_size: 16, ewc_examples: 9, lr: 0.01}
search: {ewc_lambda: {choices: [1, 100]}}
"""


def source_weights(path: Path, n_outputs: int = 2, **changes: Tensor) -> dict[str, Tensor]:
    """Those of a network, which are written to `path`."""
    torch.manual_seed(3)
    weights = {**build(NETWORK, (10,), n_outputs).state_dict(), **changes}
    torch.save(weights, path)
    return weights


@pytest.fixture
def ground(tmp_path: Path) -> Mapping[str, Tensor]:
    """Three tasks in `tasks`, a fourth beside them, a space, and the weights that it names."""
    (write_tasks(tmp_path / "tasks", 4) / "task-3.npz").rename(tmp_path / "task-3.npz")
    (tmp_path / "space.yaml").write_text(SPACE)
    return source_weights(tmp_path / "w.pt")


BEGIN = ("run", "space.yaml", "--stream", "tasks", "--workers", "0", "--out", "study", "--trials", "2")
LEARNED = ("--set", "stream.learned=1")


def test_from_the_weights_to_a_bundle_that_goes_on(
    run: Run, tmp_path: Path, ground: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, complaints = run(*BEGIN, *LEARNED, "--dry-run")
    assert (code, complaints) == (0, "")
    assert f"begins with {tmp_path / 'w.pt'} (SHA-256 " in out
    assert "holds body.1.bias" in out
    assert "knows `task-0`, evaluated and not trained" in out
    assert run(*BEGIN, *LEARNED)[0] == 0
    rows = read_table(tmp_path / "study", "accuracy").to_pylist()
    assert {row["trial"] for row in rows} >= {-2, -1, 0, 1}
    before, source = (
        {(row["trial"], row["accuracy"]) for row in rows if (row["after_task"], row["eval_task"]) == (after, 0)}
        for after in (-1, 0)
    )
    trained = {pair for pair in source if pair[0] > -1000}
    assert len({score for _, score in trained}) == 1, "of all trials, the references too"
    assert trained <= before
    assert run("select", "study")[0] == run("confirm", "study", "--workers", "0", "--seeds", "1")[0] == 0
    assert run("export", "study", "--to", "model")[0] == 0
    (tmp_path / "w.pt").unlink()  # a bundle needs it no more
    about = load(tmp_path / "model").about
    assert (about.network.init, about.network.freeze) == (None, ("body.1.bias",))
    assert (
        about.network.init_sha256
        == yaml.safe_load((tmp_path / "study" / "study.yaml").read_text())["config"]["space"]["network"]["init_sha256"]
    )
    assert about.scores["test"][0] == about.scores["test"][1]
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "| first weights |" in card
    assert "It began with weights from a file (SHA-256 " in card
    assert "They knew `task-0`, evaluated and never trained. Held as they were: `body.1.bias`." in card
    continue_(tmp_path / "model", tmp_path / "task-3.npz", {}, tmp_path / "after")
    for folder in ("model", "after"):
        network = load(tmp_path / folder).network()
        assert torch.equal(network.get_parameter("body.1.bias"), ground["body.1.bias"])
        assert not torch.equal(network.get_parameter("head.bias"), ground["head.bias"])


def test_the_order_of_all_outputs_is_listed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights must have them so; without weights the first five are enough."""
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    write_classes(tmp_path / "pictures" / "1", ["zebra", "yak", "gnu"])
    write_classes(tmp_path / "pictures" / "2", ["ant", "bee", "cow", "dog"], seed=1)
    settings = ("--stream", "pictures", "--scenario", "class-il", "--dry-run", "--set", "network.name=mlp")
    code, out, _ = run("run", "replay", *settings)
    assert code == 0
    assert "classes by number, from 0: ant, bee, cow, dog, gnu and 2 more" in out
    torch.save(build(NetworkConfig(), (3, 8, 8), 7).state_dict(), tmp_path / "w.pt")
    code, out, complaints = run("run", "replay", *settings, "--set", "network.init=w.pt", *LEARNED)
    assert (code, complaints) == (0, "")
    assert "classes by number, from 0: ant, bee, cow, dog, gnu, yak, zebra" in out


def test_a_study_goes_on_with_these_weights_alone_wherever_they_lie(
    run: Run, tmp_path: Path, ground: Mapping[str, Tensor]
) -> None:
    assert run(*BEGIN, *LEARNED)[0] == 0
    source_weights(tmp_path / "w.pt", **{"head.bias": torch.ones(2)})
    code, out, complaints = run("resume", "study", "--trials", "+1", "--workers", "0")
    assert (code, out) == (2, "")
    assert f"network.init {tmp_path / 'w.pt'}: it was a file of SHA-256 " in complaints
    assert complaints.endswith("Bring it back as it was, or start a new study.\n")
    assert complaints.count("\n") == 1
    code, _, complaints = run(*BEGIN, *LEARNED)
    assert code == 2
    assert "it holds another study" in complaints
    assert "differs in space.network.init_sha256 (" in complaints
    (tmp_path / "elsewhere").mkdir()
    source_weights(tmp_path / "elsewhere" / "w.pt")
    more = (*BEGIN[:-1], "3", *LEARNED, "--set", "network.init=elsewhere/w.pt")
    code, out, complaints = run(*more)
    assert (code, complaints) == (0, "")
    rows = read_table(tmp_path / "study", "runs").to_pylist()
    assert {row["trial"] for row in rows if row["state"] == "done"} >= {0, 1}


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "no weights": (
        {"init": None},
        LEARNED,
        "`stream.learned=1` needs weights that know the first tasks. Name their file",
    ),
    "another output layer": (
        {"args": {"hidden": [8]}},
        (*LEARNED, "--scenario", "class-il"),
        "needs an output layer that knows the first tasks, but of `head` `head.weight` is (2, 8) in the file, (",
    ),
    "none is left": (
        {},
        ("--set", "stream.learned=3"),
        "`stream.learned < 3`, its number of tasks, must hold",
    ),
    "fewer than none": ({}, ("--set", "stream.learned=-1"), "`stream.learned` should be greater than or equal to 0"),
    "no such file": ({"init": "no.pt"}, (), "no.pt: there is no such file."),
    "another network": ({"args": {"hidden": [9]}}, (), "`body.1.weight` is (8, 10) in it, (9, 10) in the network"),
    "no parameter": ({"freeze": ["bdy*"]}, (), "network.freeze: each pattern must match the name of a parameter, but"),
    "no list": ({"freeze": "body.*"}, (), "`network.freeze` should be"),
}


@pytest.mark.usefixtures("ground")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_line(run: Run, tmp_path: Path, case: str) -> None:
    changes, options, said = REFUSED[case]
    space = yaml.safe_load(SPACE)
    space["network"] |= changes
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    if "class-il" in options:
        shutil.rmtree(tmp_path / "tasks")
        write_tasks(tmp_path / "tasks", 3, distinct=True)
    code, out, complaints = run(*BEGIN, *options)
    assert (code, out) == (2, "")
    assert said in complaints
    assert complaints.count("\n") == 1
    assert not (tmp_path / "study").exists()


def test_a_remedy_that_goes_by_steps_is_refused_before_the_sweep(
    run: Run, tmp_path: Path, ground: Mapping[str, Tensor]
) -> None:
    space = yaml.safe_load(SPACE) | {"ingredients": ["si"], "search": {"si_c": {"choices": [0, 1]}}}
    space["fixed"].pop("ewc_examples")
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    code, _, complaints = run(*BEGIN, *LEARNED)
    assert code == 2
    assert "stream.learned: a task that the first weights know is not trained, but of its training `si` " in complaints


def test_a_head_that_is_drawn_is_told(run: Run, tmp_path: Path, ground: Mapping[str, Tensor]) -> None:
    source_weights(tmp_path / "w.pt", n_outputs=5)
    code, out, _ = run(*BEGIN, "--dry-run")
    assert code == 0
    assert (
        "note: network.init: the output layer `head` begins as it is drawn, since `head.weight` is (5, 8) in the file, "
        "(2, 8) in the network" in out
    )


def test_the_order_of_settings_is_no_matter(tmp_path: Path, ground: Mapping[str, Tensor]) -> None:
    settings = {"network.init": str(tmp_path / "w.pt"), "network.args.hidden": [8], "epochs": 1, "network.name": "mlp"}
    stream = str(tmp_path / "tasks")
    for given in (settings, dict(reversed(settings.items()))):
        training = cfsweep.train(stream, settings=given, scenario="domain-il")
        assert training.config.space.network.init == str(tmp_path / "w.pt")
        assert "first weights" in training._repr_html_()
    assert "untrained" in cfsweep.train(stream, settings={"epochs": 1}, scenario="domain-il")._repr_html_()


def test_the_page_about_them_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what comes out, but for the last digits, which are the machine's."""
    from examples import pretrained

    monkeypatch.chdir(tmp_path)
    pretrained.write_domains(tmp_path / "domains")
    pretrained.write_source(tmp_path / "source.pt")
    x, _, part = pretrained._digits()
    with np.load(tmp_path / "domains" / "0-upright.npz") as arrays:
        seen = {image.tobytes() for image in x[(part == 1) | (part == 2)]}
        assert not seen & {image.tobytes() for image in np.concatenate([arrays["x_train"], arrays["x_test"]])}
    content: dict[str, Any] = {}
    text = PAGE.read_text()
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(code, content)
    for name, label in (("naive", "naive"), ("replay", "replay"), ("held", "naive, the first layer held")):
        mean = content[name].validation.mean(0)
        assert (content[name].validation[:, 0] == content[name].validation[:, 1]).all()
        (row,) = re.findall(rf"^\| {label} \| (.*) \|$", text, flags=re.MULTILINE)
        told = [mean[0, 0], mean[2, 0], mean[0, 1], mean[2, 1]]
        assert [float(cell) for cell in row.split(" | ")] == pytest.approx(told, abs=0.05)
    with np.load(tmp_path / "domains" / "1-turned.npz") as arrays:
        others = {name: value + 10 if name.startswith("y") else value for name, value in arrays.items()}
    np.savez(tmp_path / "domains" / "1-turned.npz", **others)
    for scenario in ("class-il", "task-il"):
        settings = {**content["known"], "network.init": "padded.pt", "epochs": 1}
        found = cfsweep.train("domains", scenario=scenario, settings=settings)
        assert found.validation[0, 1, 0] > 0.9, "the rows of the source are those of its labels"
        assert not any("do not know" in note for note in found.notes)


def test_what_is_said_to_be_learned_is_looked_at(tmp_path: Path) -> None:
    """Weights that know what they are to; and with two rows of the output layer, or all, in another order."""
    source = cfsweep.train("split-digits", scenario="class-il", ingredients=["replay"], settings={"epochs": 10})
    weights = source.model().network().state_dict()

    def note(rows: list[int]) -> str:
        moved = {name: value[rows] if name.startswith("head.") else value for name, value in weights.items()}
        torch.save(moved, tmp_path / "w.pt")
        known = {"network.init": str(tmp_path / "w.pt"), "stream.learned": 2, "epochs": 1}
        found = cfsweep.train("split-digits", scenario="class-il", settings=known)
        (said,) = (note for note in found.notes if note.startswith("network.init: accuracy of the first weights"))
        return said

    number = r"(\d\.\d+)"
    right = note(list(range(10)))
    told = re.findall(rf"`(\d, \d)` {number} \(the constant answer {number}\)", right)
    assert [name for name, *_ in told] == ["0, 1", "2, 3"]
    assert all(float(own) > 0.9 and 0.2 < float(constant) < 0.3 for _, own, constant in told)
    assert "do not know" not in right
    assert "So they do not know `0, 1`, said to be learned" in note([1, 0, *range(2, 10)])
    assert re.search("So they do not know .*`2, 3`, said to be learned", note(list(range(9, -1, -1))))


def test_the_statistics_of_batch_norm_are_looked_at_as_they_came(tmp_path: Path) -> None:
    """What was tried on the network before has not moved them."""
    name, known = "tests.sweeping.networks:normed", {"network.init": str(tmp_path / "w.pt"), "stream.learned": 2}
    own: dict[str, Any] = {"network.name": name, "epochs": 5}
    source = cfsweep.train("split-digits", scenario="class-il", ingredients=["replay"], settings=own)
    torch.save(source.model().network().state_dict(), tmp_path / "w.pt")
    found = cfsweep.train("split-digits", scenario="class-il", settings={**own, **known, "epochs": 1})
    (said,) = (note for note in found.notes if note.startswith("network.init: accuracy of the first weights"))
    told = [float(score) for score in re.findall(r"`\d, \d` (\d\.\d+)", said)]
    assert told == pytest.approx(found.validation[0, 0, :2].tolist(), abs=0.1), "of other examples"
    assert min(told) > 0.7
    assert "do not know" not in said


@pytest.mark.parametrize(("factor", "is_known"), [(1.0, True), (-1.0, False)])
def test_amounts_that_are_said_to_be_learned_are_looked_at_in_their_units(
    tmp_path: Path, factor: float, is_known: bool
) -> None:
    """By a network that is right to the last digits, by hand, and by one that answers with the opposite."""
    rng, slope = np.random.default_rng(0), np.array([30.0, -20.0, 5.0, 50.0])
    for number in range(2):
        x = rng.normal(size=(60, 4)).astype(np.float32)
        np.savez(tmp_path / f"{number}.npz", x_train=x, y_train=x @ slope + 7)
    config = StreamConfig(name=str(tmp_path), scenario="domain-il", target="regression", standardise="none", learned=1)
    stream = load_stream(config)
    assert stream.unit is not None
    shift, scale = (float(part) for part in stream.unit)
    network = build(NETWORK, (4,), 1)
    weight = torch.from_numpy(slope * factor / scale).float()
    signs = torch.cat([torch.eye(4), -torch.eye(4)])
    last = {"head.weight": torch.cat([weight, -weight])[None], "head.bias": torch.tensor([(7 - shift) / scale])}
    network.load_state_dict({"body.1.weight": signs, "body.1.bias": torch.zeros(8), **last})
    note = known_note(stream, "domain-il", network, target_of("regression").outputs(stream, "domain-il"))
    assert note is not None
    assert note.startswith("network.init: neg_rmse of the first weights on training examples: `0` -")
    assert ("do not know" not in note) == is_known


def test_chance_alone_does_not_make_a_task_known() -> None:
    """0.5 by 256 examples has a standard error of 1 / 32; an error has none that could be told."""
    (task, *_) = load_stream(StreamConfig()).tasks
    of_256 = replace(task, validation=np.arange(256))
    accuracy, error = (target_of(name).scores[0] for name in ("classification", "regression"))
    assert _by_chance(accuracy, 0.5, of_256) == pytest.approx(0.5 + 2 / 32, abs=1e-3)
    assert _by_chance(error, -3.0, of_256) == -3.0


def test_what_the_source_falls_to_is_seen(tmp_path: Path) -> None:
    """Weights that know the first task of digits, told as learned: their accuracy on it before and after."""
    stream = load_stream(StreamConfig(scenario="domain-il"))
    whole = cfsweep.train("split-digits", scenario="domain-il", settings={"epochs": 5, "stream.n_tasks": 5})
    torch.save(whole.model().network().state_dict(), tmp_path / "w.pt")
    known = {"network.init": str(tmp_path / "w.pt"), "stream.learned": 1, "epochs": 2}
    found = cfsweep.train("split-digits", scenario="domain-il", settings=known)
    model = cfsweep.train("split-digits", scenario="domain-il", settings={**known, "stream.learned": 4}).model()
    assert found.validation.shape == (1, 6, 5)
    assert (found.validation[0, 0] == found.validation[0, 1]).all()
    assert (found.validation[0, 0] == whole.validation[0, -1]).all(), "as the model itself was scored"
    assert len(model.about.tasks) == len(stream.tasks)
