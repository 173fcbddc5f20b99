"""The folders of studies: those that are written to, and those that are read."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cfsweep.errors import CfsweepError, InputError
from cfsweep.files import cache_folder
from cfsweep.results.addresses import is_address, refuse_secrets

HOMES = "studies"  # in the cache: the folders of studies that lie in a store


@contextmanager
def written_in(place: str | Path, anew: bool = False) -> Iterator[Path]:
    """The folder of this machine in which the study at `place` is written: `place` itself, or for an address one in the
    cache, from which all is carried there beside the training (`cfsweep.results.mirror`); `anew` also what was carried
    before.

    Raises:
        InputError: the address cannot be written to, holds something else, or another cfsweep writes there. What is
            said of the folder is said of the address.
        NotCarriedError: the store could not be written to at the end.
    """
    if not is_address(place):
        yield Path(place)
        return
    from cfsweep.results.mirror import open_mirror  # loads pyarrow

    refuse_secrets(place)
    address = str(place)
    home = cache_folder(HOMES) / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
    with open_mirror(address, home, on_lost=_end_sweep, anew=anew) as folder, _said_of(folder, address):
        yield folder


@contextmanager
def read_in(place: str | Path) -> Iterator[Path]:
    """A folder of this machine with the study at `place`, but for its checkpoints, to be read: `place` itself, or for
    an address a copy that is there as long as this lasts.

    Raises:
        InputError: the address cannot be read.
    """
    if not is_address(place):
        yield Path(place)
        return
    from cfsweep.results.store import FAULTS, Store, for_each

    with tempfile.TemporaryDirectory(prefix="cfsweep-") as scratch:
        folder, store = Path(scratch) / "study", Store(str(place))
        try:
            if store.has("study.yaml"):  # else the empty folder says it
                names = [name for name in store.entries() if not name.startswith((".", "checkpoints/"))]
                list(for_each(names, lambda name: store.fetch(name, folder / name)))
        except FAULTS as error:
            raise InputError(f"{place}: cannot be read ({error}). Check the address and your credentials.") from error
        with _said_of(folder, str(place)):
            yield folder


@contextmanager
def _said_of(folder: Path, address: str) -> Iterator[None]:
    """Where a complaint about the folder is one about the address."""
    try:
        yield
    except CfsweepError as error:
        error.args = (str(error).replace(str(folder), address),)  # of its own kind, which may be made of other things
        raise


def _end_sweep() -> None:
    """Has a sweep in this process end as after SIGTERM; does nothing where none takes that."""
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
