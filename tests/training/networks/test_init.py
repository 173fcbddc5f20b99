"""A network that begins with weights from a file: by name, all of them or one line, the output layer apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, MLP, SHAPE
from cfsweep.training.networks import build, head_of, init_note, noted
from tests.training.own_networks import batch_norm

BATCH_NORM = NetworkConfig(name="tests.training.own_networks:batch_norm")


def made(config: NetworkConfig, seed: int = 0, n_outputs: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return build(config, SHAPE, n_outputs)


def from_file(path: Path, tensors: Mapping[str, Tensor], config: NetworkConfig = MLP) -> NetworkConfig:
    """`config` with these weights, which are written to `path`."""
    save_file(dict(tensors), path) if path.suffix == ".safetensors" else torch.save(dict(tensors), path)
    return noted(config.model_copy(update={"init": str(path)}))


def refused(path: Path, tensors: Mapping[str, Tensor], config: NetworkConfig = MLP) -> str:
    with pytest.raises(InputError) as caught:
        made(from_file(path, tensors, config))
    return str(caught.value)


@pytest.mark.parametrize("config", [MLP, CNN, BATCH_NORM], ids=lambda config: config.name)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_every_seed_begins_with_the_weights_and_statistics_of_the_file(
    config: NetworkConfig, suffix: str, tmp_path: Path
) -> None:
    known = made(config, seed=7)
    known.train()(torch.randn(9, *SHAPE))  # which moves statistics
    config = from_file(tmp_path / f"w.{suffix}", known.state_dict(), config)
    for seed in (0, 1):
        found = made(config, seed).state_dict()
        assert all(torch.equal(value, known.state_dict()[name]) for name, value in found.items())
    module = made(config)
    assert init_note(module, head_of(module, 6), config) is None


def test_an_output_layer_of_another_size_is_left_as_it_is_drawn(tmp_path: Path) -> None:
    known = made(MLP, seed=7, n_outputs=4).state_dict()
    config, drawn = from_file(tmp_path / "w.pt", known), made(MLP, seed=3).state_dict()
    found = made(config, seed=3)
    for name, value in found.state_dict().items():
        assert torch.equal(value, drawn[name] if name.startswith("head.") else known[name])
    assert init_note(found, "head", config) == "`head.weight` is (4, 9) in the file, (6, 9) in the network"
    without = {name: value for name, value in known.items() if name != "head.bias"}
    fitting = {**without, "head.weight": torch.ones(6, 9)}
    config = from_file(tmp_path / "other.pt", fitting)
    assert init_note(found, "head", config) == "the file has no `head.bias`"
    assert torch.equal(made(config, seed=3).state_dict()["head.weight"], drawn["head.weight"]), "all of it or nothing"
    assert init_note(found, "head", MLP) is None


def test_a_network_draws_no_other_numbers_for_it(tmp_path: Path) -> None:
    config = from_file(tmp_path / "w.pt", made(MLP, seed=7).state_dict())
    torch.manual_seed(3)
    build(MLP, SHAPE, 6)
    expected = torch.rand(3)
    torch.manual_seed(3)
    build(config, SHAPE, 6)
    assert torch.equal(torch.rand(3), expected)


def test_numbers_of_another_precision_are_converted(tmp_path: Path) -> None:
    known = made(MLP, seed=7).state_dict()
    config = from_file(tmp_path / "w.pt", {name: value.half() for name, value in known.items()})
    found = made(config).state_dict()
    assert all(value.dtype == torch.float32 for value in found.values())
    assert all(torch.equal(value, known[name].half().float()) for name, value in found.items())


def test_files_of_older_versions_of_torch_count_no_batches(tmp_path: Path) -> None:
    known = batch_norm(SHAPE, 6).state_dict()
    older = {name: value for name, value in known.items() if not name.endswith("num_batches_tracked")}
    found = made(from_file(tmp_path / "w.pt", older, BATCH_NORM)).state_dict()
    assert torch.equal(found["1.weight"], known["1.weight"])


class Tied(nn.Module):
    """One weight under two names, and a table that torch does not save."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, n_outputs)
        self.other.weight = self.one.weight
        self.register_buffer("table", torch.ones(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.other(self.one(x.flatten(1))))
        return out


def tied(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Tied(n_outputs)


def test_a_shared_weight_is_known_by_any_of_its_names(tmp_path: Path) -> None:
    config, known = NetworkConfig(name=f"{__name__}:tied"), Tied(6).state_dict()
    assert "table" not in known
    for name in ("one.weight", "other.weight"):
        alone = {key: value for key, value in known.items() if key != name}
        found = made(from_file(tmp_path / f"{name}.pt", alone, config)).state_dict()
        assert torch.equal(found["one.weight"], known["one.weight"])
    neither = {key: value for key, value in known.items() if key not in ("one.weight", "other.weight")}
    assert "it lacks `one.weight`, `other.weight`" in refused(tmp_path / "none.pt", neither, config)
    whole = {**known, "table": torch.full((2,), 5.0)}  # as a bundle's weights have it
    assert made(from_file(tmp_path / "whole.pt", whole, config)).get_buffer("table").tolist() == [5.0, 5.0]


def test_what_does_not_fit_is_said_in_one_line(tmp_path: Path) -> None:
    path, known = tmp_path / "w.pt", made(MLP).state_dict()
    remedy = "Name the network that it is of, `network.name` and `network.args`, or give its tensors these names."
    fewer = {name: value for name, value in known.items() if name != "body.1.weight"}
    begin = f"network.init {path}: it does not fit network `mlp`: it lacks `body.1.weight`"
    assert refused(path, fewer) == f"{begin}. {remedy}"
    said = refused(path, {**fewer, "fc.weight": torch.ones(1), "body.1.bias": torch.ones(3)})
    more = "`body.1.bias` is (3,) in it, (12,) in the network"
    assert said == f"{begin}; it has `fc.weight`, unknown to the network; {more}. {remedy}"
    many = {f"layer.{k}": torch.ones(1) for k in range(9)}
    assert "`layer.3`, `layer.4` and 4 more, unknown to the network" in refused(path, {**known, **many})
    said = refused(path, {name: value[:1] for name, value in known.items()})
    assert "; 2 more differ in shape. " in said
    wrapped = {f"module.{name}": value for name, value in known.items()}
    assert refused(path, wrapped).endswith(". Take `module.` from the names.")


def test_weights_that_are_no_weights(tmp_path: Path) -> None:
    path, known = tmp_path / "w.pt", made(MLP).state_dict()
    said = refused(path, {**known, "body.3.bias": torch.ones(9, dtype=torch.int64)})
    assert said.endswith("w.pt: `body.3.bias` must hold floating-point numbers, but holds int64. Give another file.")
    said = refused(path, {**known, "body.3.bias": torch.full((9,), torch.inf)})
    assert said.endswith("every weight must be finite, but those of `body.3.bias` are not. Give another file.")
    said = refused(path, {**known, "body.3.bias": torch.full((9,), 1e300, dtype=torch.float64)})
    assert said.endswith("finite, but those of `body.3.bias` are not in float32. Give another file.")
    for given in (tmp_path / "no.pt", tmp_path):
        with pytest.raises(InputError, match=r"^network\.init /.*: there is no such file\. Give a \.safetensors file"):
            noted(MLP.model_copy(update={"init": str(given)}))


def test_another_file_at_its_place_is_another_one(tmp_path: Path) -> None:
    path, known = tmp_path / "w.pt", made(MLP).state_dict()
    config = from_file(path, known)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(path.read_bytes())
    made(config.model_copy(update={"init": str(moved)}))  # wherever it lies, it is the same one
    torch.save({name: value + 1 for name, value in known.items()}, path)
    os.utime(path, ns=(1, 1))
    for act in (made, noted):
        act_on: Any = act
        with pytest.raises(InputError, match=rf"was a file of SHA-256 {str(config.init_sha256)[:12]}, but is now of"):
            act_on(config)
    assert noted(MLP) == MLP
    with pytest.raises(InputError, match=r"^network\.init_sha256 abcd: it must be of a file, but none is named\. Name"):
        noted(MLP.model_copy(update={"init_sha256": "abcd"}))
