"""Who may run code on a Ray: whoever has its token.

A Ray on this machine listens on loopback alone, where other users of the machine are; it gets a token of its own, which
lies in the environment of its processes and in no file. A cluster has to demand the token that its owner has made.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cfsweep.errors import InputError
from cfsweep.sweeping.ray_backend.deaths import short
from cfsweep.sweeping.ray_backend.ray_internals import authenticated, has_token, lets_in, require_listener
from cfsweep.sweeping.restarts import NotThereError
from cfsweep.sweeping.scheduler import Workers

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
START = "Start one with `ray up cluster.yaml` or `ray start --head`, or leave `--address` out to use this machine."


@contextmanager
def by_token(workers: Workers) -> Iterator[None]:
    """Within it Ray is started with a token of its own, or the cluster at the address is joined with its token.

    Raises:
        NotThereError: no cluster answers at the address.
        InputError: it demands no token, or one that is not here.
    """
    if workers.address is None:
        with authenticated(**{MODE: "token", TOKEN: secrets.token_hex(32)}):
            yield
        return
    with authenticated(**{MODE: _mode_of(workers.address, workers.insecure)}):
        yield


def _mode_of(address: str, insecure: bool) -> str:
    """RAY_AUTH_MODE as the cluster has it."""
    where = f"--address {address}"
    if address.startswith("ray://"):
        raise InputError(f"{where}: a sweep runs on a machine of the cluster. Give auto, or host:port of its head.")
    try:
        place = require_listener(address)
        with authenticated(**{MODE: "disabled"}):
            if lets_in(place):
                if insecure:
                    return "disabled"
                raise InputError(
                    f"{where}: the cluster demands no token, and whoever reaches its ports can run code there. Start "
                    "it with RAY_AUTH_MODE=token, or say `--insecure` where nobody else reaches it."
                )
        _require_token(where)
        with authenticated(**{MODE: "token"}):
            if not lets_in(place):
                raise InputError(f"{where}: the cluster wants a token, and not {_token()}. Take the one of its head.")
    except InputError:
        raise
    except Exception as error:  # of many kinds, and a cluster may be back soon
        raise NotThereError(f"{where}: no Ray cluster answers there ({short(error)})", START) from error
    return "token"


def _require_token(where: str) -> None:
    file, given = token_file(), TOKEN_PATH in os.environ and TOKEN not in os.environ
    if given and not _holds_something(file):
        raise InputError(
            f"{where}: the cluster wants a token, but {TOKEN_PATH} is {file}, and no file with one is there. Copy the "
            "token of its head to it."
        )
    if not has_token():
        raise InputError(
            f"{where}: the cluster wants a token, and none is here. Set {TOKEN_PATH} to the file with that of its "
            f"head, or copy it to {file}."
        )
    keep_to_oneself(file)


def _token() -> str:
    """Where the token that is used comes from."""
    return f"that in {TOKEN}" if os.environ.get(TOKEN) else f"that in {token_file()}"


def token_file() -> Path:
    """Where Ray looks for a token."""
    return Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def _holds_something(file: Path) -> bool:
    try:
        return bool(file.read_text().strip())
    except (OSError, UnicodeDecodeError):
        return False


def keep_to_oneself(file: Path) -> None:
    """Closes this user's token file to all others; Ray writes it as the umask has it. What is another's stays."""
    with suppress(OSError):
        found = file.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077:
            file.chmod(0o600)
