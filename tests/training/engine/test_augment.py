"""Pictures that are moved, mirrored or made by a transform of one's own: against loops over examples, and what is
refused."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.training.engine.augment import Moves, OwnTransform, augmentations, try_augmentations, widest_move

OWN = "tests.training.own_transforms"


def sliced(picture: np.ndarray, names: tuple[str, ...], numbers: list[int]) -> np.ndarray:
    """One picture (C, H, W), moved in the most obvious way: padded with black, cut out, mirrored."""
    for name in names:
        if name == "crop":
            (down, across), numbers = numbers[:2], numbers[2:]
            (h, w) = picture.shape[1:]
            p, q = widest_move(h), widest_move(w)
            framed = np.zeros((len(picture), h + 2 * p, w + 2 * q), picture.dtype)
            framed[:, p : p + h, q : q + w] = picture
            picture = framed[:, p + down : p + down + h, q + across : q + across + w]
        else:
            mirrored, numbers = numbers[0], numbers[1:]
            picture = picture[:, :, ::-1] if mirrored else picture
    return picture


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip"), ("flip", "crop")])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 17), (2, 3, 32), (3, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_they_are_those_of_a_loop_over_examples(
    names: tuple[str, ...], shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.integers(1, 256, (2, 40, *shape))).to(dtype)
    moves = Moves(names, shape)
    drawn = np.stack([moves.draw(rng, 1, 40)[0] for _ in range(2)])
    made = moves(x, torch.from_numpy(drawn))
    assert made.dtype == dtype
    for row in range(2):
        for k in range(40):
            expected = sliced(x[row, k].numpy(), names, drawn[row, k].tolist())
            assert np.array_equal(made[row, k].numpy(), expected)


def test_by_hand() -> None:
    x = torch.arange(1, 17, dtype=torch.uint8).view(1, 1, 1, 4, 4)
    cropped = Moves(("crop",), (1, 4, 4))(x, torch.tensor([[[1, -1]]]))  # one row up, one column to the right
    assert cropped[0, 0, 0].tolist() == [[0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15], [0, 0, 0, 0]]
    flipped = Moves(("flip",), (1, 4, 4))(x, torch.tensor([[[1]]]))
    assert flipped[0, 0, 0, 0].tolist() == [4, 3, 2, 1]


def test_every_move_is_as_probable_as_any() -> None:
    drawn = Moves(("crop", "flip"), (3, 32, 8)).draw(np.random.default_rng(0), 1000, 36)
    assert drawn.shape == (1000, 36, 3)
    for place, values in enumerate((range(-4, 5), range(-1, 2), range(2))):
        found, counts = np.unique(drawn[..., place], return_counts=True)
        assert found.tolist() == list(values)
        expected = 36_000 / len(values)
        assert np.all(abs(counts - expected) < 5 * np.sqrt(expected))


def test_a_transform_of_ones_own_draws_from_the_seed_alone() -> None:
    transform = OwnTransform(f"{OWN}:all_noise", "here")
    x, seeds = torch.zeros(2, 3, 1, 2, 2), torch.tensor([[[7]], [[8]]])
    state = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    made = transform(x, seeds)
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.random.get_state()[1].tolist() == state[2]  # noqa: NPY002
    torch.rand(5)
    assert torch.equal(transform(x, seeds), made)
    assert torch.equal(transform(x[1:], seeds[1:]), made[1:]), "whatever the neighbours"
    assert torch.equal(transform(x[:, :2], seeds), made[:, :2])
    assert len(made.unique()) == made.numel()


def test_torchvisions_transforms_can_be_named() -> None:
    from torchvision.transforms import v2

    transform = OwnTransform("torchvision.transforms.v2:RandomHorizontalFlip", "here")
    x = torch.randint(0, 256, (1, 20, 3, 4, 4), dtype=torch.uint8)
    made = transform(x, torch.tensor([[[3]]]))
    torch.manual_seed(3)
    plain = v2.RandomHorizontalFlip()
    assert torch.equal(made[0], torch.stack([plain(picture) for picture in x[0]]))
    assert not torch.equal(made, x)


SHAPE = (1, 4, 4)
REFUSED = {
    "no images": ((16,), ["crop"], "`augment` is for images (channels, height, width), but the examples have the"),
    "unknown": (SHAPE, ["flop"], "unknown augmentation `flop`. Known, closest first: flip, "),
    "twice": (SHAPE, ["crop", "flip", "crop"], "an augmentation stands once, but `crop` stands twice in `augment`."),
    "no module": (SHAPE, ["no.such:thing"], "augment `no.such:thing`: there is no module `no`"),
    "no such function": (SHAPE, [f"{OWN}:jiter"], "unknown function in module `tests.training.own_transforms` `jiter`"),
    "a factory that fails": (SHAPE, [f"{OWN}:fails"], "which is called without arguments, failed (KeyError: 'why')"),
    "nothing to call": (SHAPE, [f"{OWN}:nothing"], "what turns an image into an image, but returned NoneType"),
    "another shape": (
        SHAPE,
        [f"{OWN}:smaller"],
        "must keep shape and type, (1, 4, 4) torch.float32, but returned (1, 3, 4) torch.float32",
    ),
    "another type": (SHAPE, [f"{OWN}:wider"], "but returned (1, 4, 4) torch.float64"),
    "no tensor": (SHAPE, [f"{OWN}:array"], "but returned ndarray"),
    "NaN": (SHAPE, [f"{OWN}:undefined"], "pictures must be finite, but some values are not"),
    "an error": (SHAPE, [f"{OWN}:raises"], "fails on examples of the stream (RuntimeError: not today). Mend it"),
    "no seed": (SHAPE, [f"{OWN}:counts"], "the same seed must give the same pictures, but does not"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    shape, names, said = REFUSED[name]
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        try_augmentations(augmentations(names, shape, "here"), torch.rand(3, *shape), "here")
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_built_in_ones_are_fetched_at_once_and_own_ones_between() -> None:
    found = augmentations(["crop", "flip", f"{OWN}:jitter"], SHAPE, "here")
    assert [type(one).__name__ for one in found] == ["Moves", "OwnTransform"]
    assert augmentations([], (16,), "here") == ()
    try_augmentations(found, torch.rand(3, *SHAPE), "here")


def test_a_transform_that_changes_what_it_is_given_changes_no_example() -> None:
    x: Tensor = torch.ones(1, 2, *SHAPE)
    try_augmentations(augmentations([f"{OWN}:in_place"], SHAPE, "here"), x[0], "here")
    assert torch.equal(x, torch.ones_like(x))
