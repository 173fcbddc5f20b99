"""What whoever reads `selection.json` relies on: the types of what is in it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
_MOST = 2**31  # no trial has such a number
Reference = Annotated[int, Field(lt=0, gt=-_MOST)]


class _Part(BaseModel):
    """What is not named is somebody else's; what has a default an earlier version did not write."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Mean(_Part):
    """Over seeds; `sd` is null where there is one."""

    mean: Finite | None
    sd: Finite | None = None


class References(_Part):
    """The number of the best reference of each method."""

    naive: Reference | None = None
    joint: Reference | None = None
    majority: Reference | None = None


class SelectionFile(_Part):
    """The whole of it."""

    trial: Annotated[int, Field(ge=0, lt=_MOST)]
    study_id: str
    rule: str
    selected_at: str
    at_least: Finite | None = None
    settings: dict[str, Finite | int | str | None] = {}
    references: References = References()
    seeds: list[Annotated[int, Field(ge=0, lt=_MOST)]] = []
    validation: dict[str, Mean] = {}
    chosen_among: int | None = None
    corrected_for_the_choice: dict[str, Finite | None] = {}
    replaces: list[dict[str, Any]] = []
    sha256: str | None = None  # of all else
