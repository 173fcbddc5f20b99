"""The encoder of a bundle, which is not in it: found by its name, and held against its hash."""

from __future__ import annotations

from cfsweep.errors import InputError
from cfsweep.training.streams import Encoder, EncoderInfo, open_encoder


def encoder_of(about: EncoderInfo, where: str) -> Encoder:
    """The encoder that the bundle `where` needs.

    Raises:
        InputError: it cannot be had, or is another one than made the features.
    """
    try:
        found = open_encoder(about.name, about.args)
    except InputError as error:
        raise InputError(f"{where}: the model needs its encoder. {error}") from error
    _require(about.sha256, found.sha256, about.name, where)
    return found


def require_same(about: EncoderInfo, here: EncoderInfo, where: str) -> None:
    """
    Raises:
        InputError: the encoder `here` is another one than the bundle's.
    """
    _require(about.sha256, here.sha256, about.name, where)


def _require(then: str, now: str, name: str, where: str) -> None:
    if then != now:
        raise InputError(
            f"{where}: the features were made by encoder `{name}` of SHA-256 {then[:12]} (of code, weights and "
            f"arguments), but the one here has {now[:12]}. Bring it back as it was, or train again."
        )
