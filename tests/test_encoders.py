"""torchvision's networks as encoders: the file's weights, the transforms that belong to them, no head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from cfsweep.encoders import torchvision
from cfsweep.errors import InputError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.resnet18()
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def refused(model: str, weights: Path | str, size: int | None = None, entry: str = "DEFAULT") -> str:
    with pytest.raises(InputError) as caught:
        torchvision(model, str(weights), size, entry)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_features_are_those_before_the_head_of_the_model_with_its_own_transforms(weights: Path) -> None:
    encoder = torchvision("resnet18", str(weights)).eval()
    x = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    network = models.resnet18().eval()
    network.load_state_dict(torch.load(weights))
    head, network.fc = network.fc, nn.Identity()
    seen = models.ResNet18_Weights.IMAGENET1K_V1.transforms()(x)
    assert seen.shape == (2, 3, 224, 224)
    with torch.no_grad():
        found, expected = encoder(x), network(seen)
    assert found.shape == (2, 512)
    torch.testing.assert_close(found, expected)
    assert head.in_features == 512


def test_grey_images_floats_and_a_size_of_ones_own(weights: Path) -> None:
    encoder = torchvision("resnet18", str(weights), size=32).eval()
    x = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        grey, three, floats = encoder(x), encoder(x.expand(-1, 3, -1, -1)), encoder(x / 255)
    assert torch.equal(grey, three)
    torch.testing.assert_close(grey, floats, rtol=1e-2, atol=1e-2)  # torchvision resizes uint8 to uint8


def test_images_of_another_kind_are_refused(weights: Path) -> None:
    encoder = torchvision("resnet18", str(weights), size=32)
    with pytest.raises(InputError, match=r"images must be \(n, 1 or 3, height, width\), but got \(2, 28\)"):
        encoder(torch.zeros(2, 28))
    with pytest.raises(InputError, match=r"must lie in \[0, 1\], but are between 0 and 255\. Give uint8"):
        encoder(torch.tensor([0.0, 255.0]).reshape(2, 1, 1, 1))


def test_a_head_of_other_classes_is_cut_off_and_may_be_missing(tmp_path: Path, weights: Path) -> None:
    state = torch.load(weights)
    for change in ({"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}, None):
        own = {name: value for name, value in state.items() if not name.startswith("fc.")} | (change or {})
        torch.save(own, tmp_path / "own.pth")
        assert isinstance(torchvision("resnet18", str(tmp_path / "own.pth")), nn.Module)


def test_what_does_not_match_is_reported(tmp_path: Path, weights: Path) -> None:
    state = torch.load(weights)
    del state["conv1.weight"]
    state |= {"layer9.weight": torch.zeros(2), "bn1.bias": torch.zeros(3)}
    torch.save(state, tmp_path / "own.pth")
    said = refused("resnet18", tmp_path / "own.pth")
    assert "must hold all weights of `resnet18`, but 1 missing (conv1.weight); 1 not of the model (layer9" in said
    assert "1 of another shape (bn1.bias)" in said


def test_names_and_files_that_are_not_there_are_one_line(tmp_path: Path, weights: Path) -> None:
    assert "closest first: resnet18" in refused("resnet81", weights)
    assert "there is no file" in refused("resnet18", tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    assert "cannot be read" in refused("resnet18", tmp_path / "bad.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    assert "must hold a state dict, tensors by name" in refused("resnet18", tmp_path / "list.pth")
    assert "IMAGENET1K_V1" in refused("resnet18", weights, entry="V3")
    assert "`size >= 1` must hold, but got size=0" in refused("resnet18", weights, size=0)


@pytest.mark.parametrize(
    ("model", "d"), [("mobilenet_v3_small", 1024), ("efficientnet_b0", 1280), ("vit_b_16", 768), ("densenet121", 1024)]
)
@pytest.mark.slow
def test_heads_of_other_families_are_found(tmp_path: Path, model: str, d: int) -> None:
    network = models.get_model(model, weights=None)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    encoder = torchvision(model, str(tmp_path / "own.pth")).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, d)
