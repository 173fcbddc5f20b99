"""Addresses of places beyond this machine, such as `s3://bucket/folder?scheme=http`, taken apart and put together."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cfsweep.errors import InputError


def is_address(place: str | Path) -> bool:
    """Whether a place is given by its address, and not as a folder of this machine.

    >>> is_address("s3://bucket/a"), is_address("runs/demo")
    (True, False)
    """
    return "://" in str(place)


def inside(root: str | Path, name: str) -> str:
    """What is called `name` in the folder `root`, which may be an address with a query.

    >>> inside("runs/demo", "confirmed"), inside("s3://bucket/a/?scheme=http", "confirmed")
    ('runs/demo/confirmed', 's3://bucket/a/confirmed?scheme=http')
    """
    if not is_address(root):
        return f"{root}/{name}"
    parts = urlsplit(str(root))
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def above(root: str | Path) -> str:
    """The folder that `root` lies in.

    >>> above("runs/demo/confirmed"), above("s3://bucket/a/confirmed?scheme=http")
    ('runs/demo', 's3://bucket/a?scheme=http')
    """
    if not is_address(root):
        return str(Path(root).parent)
    parts = urlsplit(str(root))
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0]))


def name_of(root: str | Path) -> str:
    """The last name of a place.

    >>> name_of("s3://bucket/a/demo?scheme=http"), name_of("runs/demo")
    ('demo', 'demo')
    """
    if not is_address(root):
        return Path(root).resolve().name
    return urlsplit(str(root)).path.rstrip("/").rpartition("/")[2] or urlsplit(str(root)).netloc


def in_command(root: str | Path) -> str:
    """A place as it is written in a command that can be copied.

    >>> in_command("runs/demo"), in_command("my runs/demo"), in_command("s3://bucket/a?scheme=http&region=x")
    ('runs/demo', "'my runs/demo'", "'s3://bucket/a?scheme=http&region=x'")
    """
    return shlex.quote(str(root))


def refuse_secrets(root: str | Path) -> None:
    """Makes sure that an address may be shown and be kept in files.

    Raises:
        InputError: it holds credentials.
    """
    parts = urlsplit(str(root))
    if "@" in parts.netloc:
        shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        raise InputError(
            f"{shown}: an address must hold no credentials. Leave them out, and set them in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as your store takes them)."
        )
