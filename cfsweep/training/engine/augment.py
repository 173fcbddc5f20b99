"""Other pictures of the same examples, for training: moved, mirrored, or what a transform of one's own makes of them.

All work on raw examples, before these are standardised: what is moved in from beyond the edge is 0, black.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from cfsweep.errors import InputError, first_line, unknown
from cfsweep.training.plugins import contained, current_folder_importable, imported

BUILT_IN = ("crop", "flip")
TRIED = 8  # examples that a transform of one's own is shown before it is used
Drawn = NDArray[np.int64]


class Augmentation(Protocol):
    """Pictures from pictures, by random numbers that were drawn before."""

    def draw(self, rng: np.random.Generator, steps: int, n: int) -> Drawn:
        """(steps, n or 1, k): the numbers for `n` examples in each of so many steps."""

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Pictures like the raw examples x (rows, n, C, H, W), by what was drawn for them (rows, n or 1, k)."""


def augmentations(names: Sequence[str], input_shape: tuple[int, ...], where: str) -> tuple[Augmentation, ...]:
    """What `names` stand for, in their order: `crop`, `flip`, or a function `package.module:function` that returns a
    transform, such as one of torchvision's v2.

    Raises:
        InputError: the examples are no images, a name is unknown or stands twice, or a function is missing or fails.
    """
    if names and len(input_shape) != 3:
        raise InputError(
            f"{where}: `augment` is for images (channels, height, width), but the examples have the shape "
            f"{input_shape}. Leave it out, or give the examples as images."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}: an augmentation stands once, but `{twice[0]}` stands twice in `augment`. Drop one.")
    found: list[Augmentation] = []
    for is_own, group in groupby(names, lambda name: ":" in name):
        together = tuple(group)
        if is_own:
            found += [OwnTransform(name, where) for name in together]
            continue
        for name in together:
            if name not in BUILT_IN:
                raise unknown(where, "augmentation", name, [*BUILT_IN, "package.module:function"])
        found.append(Moves(together, input_shape))
    return tuple(found)


def widest_move(side: int) -> int:
    """By how many pixels at most `crop` moves an image of this many: an eighth, rounded half up.

    >>> widest_move(32), widest_move(28), widest_move(8)
    (4, 4, 1)
    """
    return (side + 4) // 8


class Moves:
    """`crop` and `flip`, in any order: of each output pixel where it comes from, and all pixels fetched at once.

    `crop` moves an image by as many pixels up or down, and left or right, as chance says, an eighth of its side at
    most, each number as probable as any: a crop of the image in a black frame of that width. `flip` mirrors it, left to
    right, half of the time. No name stands twice.

    References:
        He, Zhang, Ren & Sun 2016 (CVPR), section 4.2: "4 pixels are padded on each side, and a 32x32 crop is randomly
        sampled from the padded image or its horizontal flip".
    """

    def __init__(self, names: Sequence[str], input_shape: tuple[int, ...]) -> None:
        self.names, (_, self.height, self.width) = tuple(names), input_shape

    def draw(self, rng: np.random.Generator, steps: int, n: int) -> Drawn:
        """By name, in order: of `crop` how far up and how far to the left, of `flip` 0 or 1."""
        drawn: list[Drawn] = []
        for name in self.names:
            if name == "crop":
                widest = (widest_move(self.height), widest_move(self.width))
                drawn += [rng.integers(-most, most + 1, (steps, n)) for most in widest]
            else:
                drawn.append(rng.integers(0, 2, (steps, n)))
        return np.stack(drawn, -1)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        numbers = list(drawn.unsqueeze(-2).unbind(-1))  # (rows, n, 1) each
        down = torch.arange(self.height, device=x.device).expand(*x.shape[:2], -1)
        across = torch.arange(self.width, device=x.device).expand(*x.shape[:2], -1)
        # Where a pixel comes from is asked from the last picture back to the first. What lies beyond the edge stays
        # there: it is mirrored to beyond the other edge, and moved but once.
        for name in reversed(self.names):
            if name == "crop":
                across, down = across + numbers.pop(), down + numbers.pop()
            else:
                across = torch.where(numbers.pop() == 1, self.width - 1 - across, across)
        return self._fetched(x, down, across)

    def _fetched(self, x: Tensor, down: Tensor, across: Tensor) -> Tensor:
        """x[down, across] of each picture; black where that lies beyond the edge, which is one pixel of a frame."""
        flat = pad(x, (1, 1, 1, 1)).flatten(-2)  # (rows, n, C, (H + 2) (W + 2))
        down, across = down.clamp(-1, self.height) + 1, across.clamp(-1, self.width) + 1
        places = down.unsqueeze(-1) * (self.width + 2) + across.unsqueeze(-2)  # (rows, n, H, W)
        return flat.gather(-1, places.flatten(-2).unsqueeze(2).expand(-1, -1, x.shape[2], -1)).view(x.shape)


class OwnTransform:
    """What the function at a path returns, called for each example (C, H, W) by itself.

    Within it torch's random numbers, Python's and NumPy's begin anew with each batch of a run, from a seed of its own.
    """

    def __init__(self, path: str, where: str) -> None:
        self.path, place = path, f"{where}: augment `{path}`"
        with current_folder_importable():
            factory = imported(path, place)
            try:
                with contained():
                    made = factory()
            except Exception as error:  # the user's function may raise anything
                raise InputError(
                    f"{place}: the function, which is called without arguments, failed ({first_line(error)}). "
                    "Call it to see more."
                ) from error
        if not callable(made):
            raise InputError(
                f"{place}: the function must return what turns an image into an image, but returned "
                f"{type(made).__name__}. Return a transform, such as torchvision's v2 has."
            )
        self.transform: Callable[[Tensor], Tensor] = made

    def draw(self, rng: np.random.Generator, steps: int, n: int) -> Drawn:
        """The seed of each step."""
        return rng.integers(2**63 - 1, size=(steps, 1, 1))

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        pictures = torch.empty_like(x)
        for row, seed in enumerate(drawn.flatten().tolist()):
            with _seeded(seed, x.device):
                for k, example in enumerate(x[row]):
                    pictures[row, k] = self._picture(example)
        return pictures

    def _picture(self, example: Tensor) -> Tensor:
        """
        Raises:
            ValueError: it is no picture like the example.
        """
        kind = f"{tuple(example.shape)} {example.dtype}"  # first: a transform may change what it is given
        made = self.transform(example)
        if not isinstance(made, Tensor) or (made.shape, made.dtype) != (example.shape, example.dtype):
            got = f"{tuple(made.shape)} {made.dtype}" if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(f"augment `{self.path}` must keep shape and type, {kind}, but returned {got}")
        return made


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within it all random numbers that a transform may draw come from `seed`; those of all else go on as before."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (a transform may draw from it)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def try_augmentations(found: Sequence[Augmentation], x: Tensor, where: str) -> None:
    """Holds transforms of one's own to what they must do, on some raw examples x (n, C, H, W).

    Raises:
        InputError: one fails, changes the shape or the type, gives what is not finite, or other pictures for one seed.
    """
    for augmentation in found:
        if not isinstance(augmentation, OwnTransform):
            continue
        place, shown = f"{where}: augment `{augmentation.path}`", x[None, :TRIED]
        drawn = torch.from_numpy(augmentation.draw(np.random.default_rng(0), 1, shown.shape[1]))
        try:
            with contained():
                pictures, again = (augmentation(shown.clone(), drawn) for _ in range(2))
        except Exception as error:  # the user's transform may raise anything
            said = str(error).partition("\n")[0] if isinstance(error, ValueError) else first_line(error)
            raise InputError(f"{place} fails on examples of the stream ({said}). Mend it, or leave it out.") from error
        if not bool(torch.isfinite(pictures).all()):
            raise InputError(f"{place}: pictures must be finite, but some values are not. Mend it, or leave it out.")
        if not torch.equal(pictures, again):
            raise InputError(
                f"{place}: the same seed must give the same pictures, but does not. Draw from torch's random numbers, "
                "Python's or NumPy's, and keep nothing from call to call."
            )
