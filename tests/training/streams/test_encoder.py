"""Encoders: what they make of a stream, once; and what is refused of them, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.files import cache_folder
from cfsweep.training.streams import Stream, load_stream, open_encoder
from cfsweep.training.streams._encoder import BATCH
from tests import own_encoders
from tests.own_encoders import CALLS

OWN = "tests.own_encoders"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    CALLS.clear()
    return tmp_path / "cache" / "features"


def digits(encoder: str | None, **args: Any) -> Stream:
    return load_stream(StreamConfig(name="split-digits", encoder=encoder, encoder_args=args))


def refused(name: str, **args: Any) -> str:
    with pytest.raises(InputError) as caught:
        digits(name, **args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_stream_is_that_of_the_features() -> None:
    raw, encoded = digits(None), digits(f"{OWN}:doubled", factor=3.0)
    assert torch.equal(encoded.x, raw.x.flatten(1).float() * 3)
    assert encoded.x.dtype == torch.float32
    assert torch.equal(encoded.y, raw.y)
    for one, other in zip(raw.tasks, encoded.tasks, strict=True):
        assert all(np.array_equal(one.parts[part], other.parts[part]) for part in one.parts)
    assert encoded.standardised == "feature"
    first = encoded.x[encoded.tasks[0].train].double()
    np.testing.assert_allclose(torch.as_tensor(encoded.shift), first.mean(0), rtol=1e-5)
    assert encoded.files == raw.files
    assert encoded.encoder is not None
    assert (encoded.encoder.name, encoded.encoder.args) == (f"{OWN}:doubled", {"factor": 3.0})
    assert (encoded.encoder.input_shape, encoded.encoder.input_dtype) == ((1, 8, 8), "uint8")
    assert raw.encoder is None


def test_it_runs_once_over_all_examples_and_then_never(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    one = digits(f"{OWN}:doubled")
    n = len(one.x)
    assert sum(CALLS) == n + BATCH, "the first batch is encoded twice, to compare"
    assert max(CALLS) == BATCH
    said = capsys.readouterr().err
    assert f"features ({n}, 64) of the encoder are in {cache}" in said
    assert "MiB" in said
    assert cache == cache_folder("features")
    CALLS.clear()
    assert torch.equal(digits(f"{OWN}:doubled").x, one.x)
    assert not CALLS
    assert capsys.readouterr().err == ""
    digits(f"{OWN}:doubled", factor=1.0)
    assert CALLS, "other arguments, other features"
    assert len(list(cache.iterdir())) == 2


def test_other_data_has_features_of_its_own() -> None:
    digits(f"{OWN}:doubled")
    CALLS.clear()
    load_stream(StreamConfig(name="split-digits", class_order=3, encoder=f"{OWN}:doubled"))
    assert not CALLS, "the same examples in the same order"
    load_stream(StreamConfig(name="examples.own_stream:tasks", encoder=f"{OWN}:doubled"))
    assert CALLS


def test_a_module_encodes_in_evaluation_mode() -> None:
    module = own_encoders.network().eval()
    with torch.no_grad():
        expected = module(digits(None).x)
    torch.testing.assert_close(digits(f"{OWN}:network").x, expected)


@pytest.mark.parametrize("function", ["network", "holding", "enclosing"])
def test_other_weights_are_another_encoder(function: str) -> None:
    first, again, other = (open_encoder(f"{OWN}:{function}", {}) for _ in "123")
    assert first.sha256 == again.sha256
    weights = other.run if isinstance(other.run, torch.nn.Module) else None
    assert weights is None or not weights.training
    of_zero, of_one = (open_encoder(f"{OWN}:{function}", {"seed": seed}).sha256 for seed in (0, 1))
    assert of_zero != of_one


def test_weights_have_a_say_beside_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [open_encoder(f"{OWN}:{name}", {}).sha256 for name in ("network", "holding", "enclosing", "doubled")]
    kind = own_encoders.Network
    monkeypatch.setattr(own_encoders, "Network", lambda seed, size: kind(seed + 1, size))
    after = [open_encoder(f"{OWN}:{name}", {}).sha256 for name in ("network", "holding", "enclosing", "doubled")]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, False, True]


def test_the_code_has_a_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for number in (1, 2):
        module = tmp_path / "encoder_of_a_test.py"
        module.write_text(f"def make():\n    return lambda x: x.flatten(1).float() * {number}\n")
        found.append(open_encoder("encoder_of_a_test:make", {}).sha256)
    assert found[0] != found[1]


def test_texts_become_features() -> None:
    config = StreamConfig(name=f"{OWN}:text_tasks", encoder=f"{OWN}:lengths", validation_frac=0.25)
    stream = load_stream(config)
    assert stream.x.shape == (64, 2)
    first = own_encoders.text_tasks()[0]["train"][0]
    assert stream.x[:24].tolist() == own_encoders.lengths()(first).tolist()
    assert stream.encoder is not None
    assert stream.encoder.input_shape is None
    assert {name.partition(" (")[2] for name in stream.files} >= {"returned texts)"}
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]


def test_texts_without_an_encoder_and_texts_beside_numbers_are_refused() -> None:
    with pytest.raises(InputError, match=r"its x are texts, which need an encoder\. Name one, `--encoder"):
        load_stream(StreamConfig(name=f"{OWN}:text_tasks"))
    with pytest.raises(InputError, match="x must be texts in all tasks or in none, but some are numbers"):
        load_stream(StreamConfig(name=f"{OWN}:mixed_tasks", encoder=f"{OWN}:lengths"))


def test_what_is_not_finite_is_named_by_its_number() -> None:
    stream = load_stream(StreamConfig(name="examples.own_stream:tasks"))
    number = 300
    said_of = float(stream.x[number, 0])
    config = StreamConfig(name="examples.own_stream:tasks", encoder=f"{OWN}:nan_at", encoder_args={"number": said_of})
    with pytest.raises(InputError, match=rf"features must be finite, but those of example {number} \(from 0\) are not"):
        load_stream(config)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unflattened", r"for 128 examples it must return \(128, d\), but returned (128, 1, 8, 8). Flatten or pool"),
        ("widening", r"for 5 examples it must return (5, 128), but returned (5, 5)"),
        ("random", "called twice it must return the same, but its features are"),
        ("raising", "it failed (RuntimeError: no such layer for 128 examples). Call it to see more."),
        ("nothing", "the function must return an nn.Module or a callable, but returned int."),
        ("failing", "the function failed (OSError: no weights here). Call it to see more."),
        ("dubled", "unknown function in module `tests.own_encoders` `dubled`"),
    ],
)
def test_what_is_wrong_with_an_encoder_is_one_line(name: str, said: str) -> None:
    text = refused(f"{OWN}:{name}")
    assert said.replace("\\", "") in text


def test_arguments_and_names_that_do_not_fit_are_refused() -> None:
    assert "its arguments do not fit" in refused(f"{OWN}:doubled", colour="red")
    assert "Change `encoder_args`." in refused(f"{OWN}:doubled", colour="red")
    assert "an encoder is named `package.module:function`" in refused("resnet18")


def test_nothing_is_kept_of_an_encoder_that_is_refused(cache: Path) -> None:
    refused(f"{OWN}:widening")
    assert not cache.exists()
