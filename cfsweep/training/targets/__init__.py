"""What can be learned, by name; a stream says which of it (`Stream.target`)."""

from __future__ import annotations

from cfsweep.errors import InputError, unknown
from cfsweep.training.plugins import current_folder_importable, imported, installed, path_of
from cfsweep.training.targets._base import Floats, Outputs, Score, Target
from cfsweep.training.targets.classification import Classification

__all__ = ["Floats", "Outputs", "Score", "Target", "registry", "target_of"]

registry: dict[str, type[Target]] = {target.name: target for target in (Classification,)}


def target_of(name: str) -> Target:
    """The target called `name`: a built-in one, the entry point of an installed package, or `package.module:Class`.

    Raises:
        InputError: there is none.
    """
    if name in registry:
        return registry[name]()
    path = path_of("targets", name)
    if path is None:
        raise unknown("stream", "target", name, [*registry, *installed("targets")])
    with current_folder_importable():
        found = imported(path, f"target `{name}`", "class")()
    if not isinstance(found, Target):
        raise InputError(
            f"target `{name}`: it must be a subclass of Target, but is {type(found).__name__}. Inherit it."
        )
    return found
