"""Cases of weights from a file, with which a network begins."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tests.fuzz import values
from tests.fuzz.cases import Case, Edit, file_edit, from_tree, other_thing, tree_edit
from tests.fuzz.commands import ADOPTED, trained_or_dry
from tests.fuzz.templates import needed

SAFE, PICKLED = "w.safetensors", "w.pt"


def weights(rng: random.Random, templates: Path) -> Case:
    name = rng.choice((SAFE, PICKLED))
    args, writes = trained_or_dry(rng)
    command: tuple[str, ...] = ("run", "space.yaml", "--stream", "tasks", "--set", f"network.init={name}", *args)
    if rng.random() < 0.2:
        command, writes = ("adopt", name, *ADOPTED), "out"
    edits, after = _edits(rng, templates, name)
    return Case("weights", command, ("space.yaml", "tasks", name), edits, writes, after)


def _edits(rng: random.Random, templates: Path, name: str) -> tuple[tuple[Edit, ...], Callable[[Path], object] | None]:
    pick = rng.random()
    if pick < 0.1:
        return (other_thing(rng, name),), None
    if pick < 0.3:
        about, change = values.damage_bytes(rng)
        return (Edit(f"{name}: {about}", file_edit(name, change)),), None
    if pick < 0.5 and name == SAFE:
        header = _header(needed(templates, name).read_bytes())
        about, change_tree = values.damage_tree(rng, header, values.JSON_TRICKS)
        body = _body(needed(templates, name).read_bytes())
        return (tree_edit(name, about, change_tree),), from_tree(name, header, lambda tree: _with_header(tree, body))
    if pick < 0.5:
        about, change = values.damage_bytes(rng)
        return (Edit(f"what is in {name}: {about}", file_edit(name, lambda old: _packed_anew(old, change))),), None
    of = rng.choice(("body.1.weight", "body.1.bias", "head.weight", "head.bias"))
    return (tensor(name, of, rng.choice(sorted(TENSORS if name == SAFE else TENSORS | PICKLED_ALONE))),), None


def _header(content: bytes) -> Any:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def _body(content: bytes) -> bytes:
    return content[8 + int.from_bytes(content[:8], "little") :]


def _with_header(header: Any, body: bytes) -> bytes:
    """A file of safetensors that says how long its header is, whatever that holds."""
    text = values.as_json(header, indent=None)
    return len(text).to_bytes(8, "little") + text + body


def _packed_anew(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """What torch.save wrote with its pickle changed, in an archive whose checksums are right."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for member in old.namelist():
            inside = old.read(member)
            new.writestr(member, change(inside) if member.endswith("data.pkl") else inside)
    return made.getvalue()


def tensor(name: str, of: str, way: str) -> Edit:
    """A tensor of the file, made another one."""

    def change(folder: Path) -> None:
        path = folder / name
        tensors: dict[Any, Any] = torch.load(folder / PICKLED) if name == PICKLED else _loaded(path)
        made = (TENSORS | PICKLED_ALONE)[way](tensors.pop(of))
        found = {**tensors, **(made if isinstance(made, dict) else {of: made})}
        torch.save(found, path) if name == PICKLED else path.write_bytes(save(found))

    return Edit(f"{name}: {of} {way}", change)


def _loaded(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {key: value.clone() for key, value in load_file(path).items()}


# What a tensor becomes, or what by other names.
TENSORS: dict[str, Callable[[Tensor], Any]] = {
    **{
        f"as {dtype}".replace("torch.", ""): lambda t, dtype=dtype: t.to(dtype)
        for dtype in (
            *(torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.uint8, torch.bool),
            torch.complex64,
        )
    },
    "NaN": lambda t: t * float("nan"),
    "infinite": lambda t: t * float("inf"),
    "of 1e300": lambda t: torch.full_like(t, 1e300, dtype=torch.float64),
    "of 1e38": lambda t: torch.full_like(t, 3e38),
    "subnormal": lambda t: torch.full_like(t, 1e-45),
    "zeros": torch.zeros_like,
    "removed": lambda t: {},
    "renamed": lambda t: {"x": t},
    "with a prefix": lambda t: {"module.x": t},
    "by a hostile name": lambda t: {"\x1b[31m\u202e" + "x" * 3000: t},
    "by no name": lambda t: {"": t},
    "empty": lambda t: t[:0].clone(),
    "a number": lambda t: torch.tensor(3.0),
    "longer": lambda t: torch.cat([t, t]),
    "flat": lambda t: t.flatten(),
    "of another dimension": lambda t: t[None].clone(),
    "of 20 dimensions": lambda t: t.reshape(t.shape + (1,) * 20),
    "wide": lambda t: torch.zeros(len(t), 1000),
}
PICKLED_ALONE: dict[str, Callable[[Tensor], Any]] = {
    "a parameter": torch.nn.Parameter,
    "sparse": lambda t: t.to_sparse(),
    "on no device": lambda t: t.to("meta"),
    "one number for 10**12": lambda t: torch.zeros(1).expand(10**6, 10**6),
    "one number for all": lambda t: torch.zeros(()).expand(t.shape),
    "conjugate": lambda t: torch.conj(t.to(torch.complex64)),
    "transposed": lambda t: t.T if t.dim() == 2 else t.flip(0),
    "a list": lambda t: t.tolist(),
    "an object": lambda t: Path("x"),
    "by a number": lambda t: {3: t},
    "in a mapping": lambda t: {"state_dict": {"x": t}},
    "twice": lambda t: {"body.1.bias": t, "head.bias": t},
}
