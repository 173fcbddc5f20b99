"""`model.onnx` answers as the model does, within rounding, or is not written."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cfsweep
from cfsweep.bundle import continue_, load, onnx_file, read_manifest
from cfsweep.bundle.onnx_file import ONNX, apart
from cfsweep.bundle.program import Program
from cfsweep.cli import app
from cfsweep.config import NetworkConfig, Scenario
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, UNLIFTABLE, finish, make_pack, small_stream, trained_once
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream
from tests.bundle.test_bundle import EVALUATED
from tests.bundle.test_bundle import bundle_of as bundle_of_pack
from tests.bundle.test_continued import bundle_of, write_tasks

ROUNDING = 1e-5  # of outputs near 1
RESNET = NetworkConfig(name="resnet18-slim", args={"width": 4, "groups": 2})
pytestmark = pytest.mark.usefixtures("no_program")


def batch_norm(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """Convolutions with statistics."""
    layers = [nn.Conv2d(input_shape[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 9, n_outputs))


def airy(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A network with a function that ONNX has not."""
    return nn.Sequential(nn.Flatten(), Airy(), nn.Linear(int(np.prod(input_shape)), n_outputs))


class Airy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.special.airy_ai(x.detach())


def trained(name: str, scenario: Scenario, stream: Stream | None = None, **given: Any) -> Pack:
    return finish(make_pack(stream or small_stream(), (name,), scenario=scenario, epochs=1, batch_size=6, **given))


def asks(folder: Path) -> Callable[[Tensor, int], NDArray[Any]]:
    """What answers with the outputs of the file."""
    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    assert names == (["x", "task"] if read_manifest(folder).needs_task else ["x"])

    def ask(x: Tensor, task: int) -> NDArray[Any]:
        given = {"x": x.numpy(), "task": np.array(task, np.int64)}
        (outputs,) = session.run(["outputs"], {name: given[name] for name in names})
        assert isinstance(outputs, np.ndarray)
        return outputs

    return ask


def same_as_the_model(pack: Pack, folder: Path, rng: torch.Generator) -> None:
    """On random examples, on each task, at several sizes of a batch."""
    model, ask = load(folder), asks(folder)
    for task in range(len(pack.stream.tasks)):
        for n in (1, 5):
            x = 1.5 * torch.randn(n, *pack.stream.input_shape, generator=rng)
            if pack.stream.x.dtype == torch.uint8:
                x = (x * 40 + 128).clamp(0, 255).to(torch.uint8)
            found = ask(x, task)
            assert apart(found, model.outputs(x, task).numpy()) <= ROUNDING
            labels = model.about.tasks[task].labels
            assert [labels[output] for output in found.argmax(1)] == model.predict(x, task)


# ------------------------------------------------------------------------------------------------ the same answers


def with_convolutions(name: str, scenario: Scenario) -> object:
    in_time = name in ("adapters", "slda")
    return pytest.param(name, scenario, CNN, id=f"{name}-cnn", marks=() if in_time else pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "scenario", "network"),
    [
        *((name, scenario, None) for name, scenario in EVALUATED),
        # What remedies do with the answers of a network does not go by its layers, but for adapters, which are in them.
        *(with_convolutions(name, scenario) for name, scenario in EVALUATED if name != "ewc"),
        ("replay", "class-il", UNLIFTABLE),
        ("replay", "task-il", NetworkConfig(name=f"{__name__}:batch_norm")),
        ("ewc", "class-il", RESNET),
    ],
)
def test_onnxruntime_answers_as_the_model(
    name: str, scenario: Scenario, network: NetworkConfig | None, tmp_path: Path
) -> None:
    pack = trained(name, scenario, **({} if network is None else {"network": network}))
    about = bundle_of_pack(pack, tmp_path / "bundle", onnx=True)
    assert ONNX in about.files
    same_as_the_model(pack, tmp_path / "bundle", torch.Generator().manual_seed(0))


def test_raw_bytes_go_in(tmp_path: Path) -> None:
    stream = small_stream()
    images = (stream.x * 40 + 128).clamp(0, 255).to(torch.uint8)
    pack = trained("packnet", "task-il", replace(stream, x=images, shift=120.5, scale=1 / 33))
    bundle_of_pack(pack, tmp_path / "bundle", onnx=True)
    (x, _) = onnx.load(tmp_path / "bundle" / ONNX).graph.input
    assert x.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    same_as_the_model(pack, tmp_path / "bundle", torch.Generator().manual_seed(0))


def test_the_file_is_alone_and_says_nothing_of_where_it_was_made(tmp_path: Path) -> None:
    pack = trained_once(("packnet",), "task-il")
    about = bundle_of_pack(pack, tmp_path / "bundle", onnx=True)
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == {*about.files, "model.json"}
    assert [name for name in about.files if name.startswith(ONNX)] == [ONNX]
    content = (tmp_path / "bundle" / ONNX).read_bytes()
    assert not any(path.encode() in content for path in (str(Path(cfsweep.__file__).parent), "site-packages"))
    first = onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "n"
    (tmp_path / "bundle" / ONNX).write_bytes(content + b"x")
    with pytest.raises(InputError, match=r"model.onnx: it was changed"):
        load(tmp_path / "bundle")


def test_weights_that_lie_beside_a_large_file_have_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = partial(torch.onnx.ONNXProgram.save, external_data=True)
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", lambda written, path: save(written, path))
    wide = NetworkConfig(name="mlp", args={"hidden": [40]})
    about = bundle_of_pack(trained("ewc", "class-il", network=wide), tmp_path / "bundle", onnx=True)
    assert {ONNX, f"{ONNX}.data"} <= set(about.files)


def test_nobody_gets_it_unasked(tmp_path: Path) -> None:
    bundle_of_pack(trained_once(("ewc",), "class-il"), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / ONNX).exists()


# ------------------------------------------------------------------------------------------------ what is refused


def refused(pack: Pack, to: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        bundle_of_pack(pack, to, onnx=True)
    assert "\n" not in str(caught.value)
    assert not list(to.parent.iterdir()), "nor anything half-written"


@pytest.mark.parametrize("task", [0, 2])
def test_a_file_that_answers_otherwise_is_not_written(
    task: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here that of a model with another weight in the output layer for one task alone."""
    pack = trained_once(("packnet",), "task-il")
    other = Program(pack)
    assert other.names[5] == "head.bias"
    other.weight5[task, 2 * task] += 1e-3
    written = onnx_file._converted(other, pack)
    monkeypatch.setattr(onnx_file, "_converted", lambda program, pack: written)
    refused(
        pack,
        tmp_path / "bundle",
        rf"of task `{pack.stream.tasks[task].name}` onnxruntime's outputs must be .* but are 0.001 apart\. Leave",
    )


@pytest.mark.parametrize("change", [lambda found: found * np.nan, lambda found: found[:1]])
def test_what_is_no_number_or_of_another_shape_is_no_answer(
    change: Callable[[NDArray[Any]], NDArray[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = onnx_file._answers
    monkeypatch.setattr(onnx_file, "_answers", lambda *given: [change(found) for found in answers(*given)])
    refused(trained_once(("ewc",), "class-il"), tmp_path / "bundle", "onnxruntime's outputs must be those .* but are")


def test_each_task_is_asked_about_examples_of_its_own_and_about_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pack, asked = trained_once(("packnet",), "task-il"), []
    monkeypatch.setattr(onnx_file, "_answers", lambda path, questions: asked.extend(questions) or [])
    with pytest.raises(ValueError, match="shorter"):
        onnx_file.check_answers(Program(pack), pack, Path())
    for number, task in enumerate(pack.stream.tasks):
        (one, same), (several, also) = asked[2 * number : 2 * number + 2]
        assert (len(one), len(several), int(same), int(also)) == (1, min(32, len(several)), number, number)
        own = pack.stream.x[torch.from_numpy(np.concatenate(list(task.parts.values())))]
        assert torch.equal(several, own[:32])
        assert torch.equal(one, own[:1])


def test_what_is_active_must_be_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = trained_once(("packnet",), "task-il")
    other = Program(pack)
    other.masks |= True
    written = onnx_file._converted(other, pack)
    monkeypatch.setattr(onnx_file, "_converted", lambda program, pack: written)
    refused(pack, tmp_path / "bundle", "task `0` .* but are inf apart")


def test_no_file_of_onnxruntime_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", lambda written, path: path.write_bytes(b"no ONNX"))
    refused(
        trained_once(("ewc",), "class-il"), tmp_path / "b", "`mlp` cannot be run by onnxruntime .* Leave --onnx out"
    )


def test_an_operator_that_onnx_lacks_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = trained("replay", "class-il", network=NetworkConfig(name=f"{__name__}:airy"))
    capfd.readouterr()
    refused(pack, tmp_path / "bundle", r"airy` cannot be written as ONNX \(.*aten.special_airy_ai.*\)\. Leave")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_package_that_is_not_there_is_said_before_anything_is_done(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = trained_once(("ewc",), "class-il")
    monkeypatch.setitem(sys.modules, package, None)  # an import of it fails
    remedy = rf'--onnx: package `{package}` is needed .*`pip install "cfsweep\[onnx\]"`'
    refused(pack, tmp_path / "bundle", remedy)
    absent, to = tmp_path / "absent", tmp_path / "to"  # nothing is read before it is said
    for call in (
        lambda: continue_(absent, absent, {}, to, onnx=True),
        lambda: cfsweep.continue_(absent, absent, to, onnx=True),
        lambda: cfsweep.continue_(absent, absent, to, space={"search": {"lr": [0.1, 0.2]}}, onnx=True),
        lambda: cfsweep.export(absent, to, trial=0, onnx=True),
    ):
        with pytest.raises(InputError, match=remedy):
            call()
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ as a user goes


def call(*arguments: object) -> int:
    return int(app([str(argument) for argument in arguments], standalone_mode=False) or 0)


def test_only_the_option_decides_whether_the_next_bundle_has_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tasks before have no example at hand, and are asked about all the same."""
    tasks = write_tasks(tmp_path / "all", 3, distinct=True)
    next_task = tasks / "task-2.npz"
    (tmp_path / "first").mkdir()
    for number in range(2):
        (tasks / f"task-{number}.npz").rename(tmp_path / "first" / f"task-{number}.npz")
    bundle_of(tmp_path / "first", tmp_path / "model", "packnet", scenario="task-il")
    capfd.readouterr()
    call("continue", tmp_path / "model", "--task", next_task, "--to", tmp_path / "with", "--onnx")
    said = capfd.readouterr()
    first, *others = said.out.splitlines()
    assert first.startswith("task `task-2`: ")
    assert all(line.startswith("At the end it is no better than") for line in others), "nothing of torch's"
    assert said.err == ""
    call("continue", tmp_path / "model", "--task", next_task, "--to", tmp_path / "without")
    assert ONNX in read_manifest(tmp_path / "with").files
    assert ONNX not in read_manifest(tmp_path / "without").files
    model, ask = load(tmp_path / "with"), asks(tmp_path / "with")
    x = torch.randn(5, *model.about.input_shape, generator=torch.Generator().manual_seed(0))
    for task in range(3):
        assert apart(ask(x, task), model.outputs(x, task).numpy()) <= ROUNDING


def test_what_torch_has_to_say_of_it_stays_inside(capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.root.manager.disable
    with onnx_file._quiet():
        print("progress")
        print("progress", file=sys.stderr)
        warnings.warn("of torch's own making", stacklevel=1)
        logging.getLogger("torch.onnx").warning("of onnxscript's")
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == before
