"""What a user says of a table's columns, `stream.args`, parsed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator

from cfsweep.config import Frozen, Name
from cfsweep.errors import InputError, unknown

Kind = Literal["number", "category", "boolean", "date", "text"]
SUFFIXES = (".csv", ".tsv", ".parquet")


class TableSettings(Frozen):
    """Which column of a table is what.

    `target` is the label. The tasks are what the column `task` says (a month, a region), or `windows` of the column
    `date`: so many of equal length between the first and the last date, or those that begin at these dates, the first
    one being the earliest. `split` says `train` or `test` of each row. All columns but these and `drop` are features;
    `types` says what kind some are of, where the guess would be wrong, and `{target: category}` that labels are words.
    A `text` is what an encoder sees, as the one feature of its table.

    `preprocessing`: the statistics by which numbers are standardised are those of the training rows of the `first`
    task, or, for the rows of a task, of the `past`, that is of its training rows and those of the tasks before. Words
    have their columns from the first task on. `unknown`: a word that has none shares a column with all others such,
    the `bucket`, or the table is to `refuse`.
    """

    target: Name
    task: Name | None = None
    date: Name | None = None
    windows: PositiveInt | tuple[str, ...] | None = None
    split: Name | None = None
    drop: tuple[Name, ...] = ()
    types: dict[str, Kind] = Field(default_factory=dict)
    preprocessing: Literal["first", "past"] = "first"
    unknown: Literal["bucket", "refuse"] = "bucket"

    @field_validator("target", "task", "date", "split", mode="before")
    @classmethod
    def _as_name(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # as YAML reads `2024`

    @field_validator("drop", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("windows", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        return [str(date) for date in value] if isinstance(value, list | tuple) else value  # YAML makes dates of them

    @property
    def roles(self) -> dict[str, str]:
        """The columns that are no features, by what they are for."""
        named = {"target": self.target, "task": self.task, "date": self.date, "split": self.split}
        return {role: column for role, column in named.items() if column is not None}


def is_table(args: Mapping[str, Any]) -> bool:
    """Whether the arguments of a stream are those of a table: a folder of tasks takes none."""
    return "target" in args


def table_settings(args: Mapping[str, Any], where: str) -> TableSettings:
    """`args` as settings.

    Raises:
        InputError: one is unknown, missing or of another kind, or they contradict one another.
    """
    for name in args:
        if name not in TableSettings.model_fields:
            raise unknown(where, "argument", str(name), TableSettings.model_fields)
    if "target" not in args:
        raise InputError(f"{where}: a table needs `target`, the column of its labels. Add `--arg target=COLUMN`.")
    try:
        found = TableSettings.model_validate(dict(args))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][: 2 if first["loc"][0] == "types" else 1]))  # not pydantic's own marks
        rule = str(first["msg"]).removeprefix("Input should be ")
        raise InputError(f"{where}: `{name}` should be {rule}, but got {first['input']!r}. Change `args`.") from error
    _require_tasks(found, where)
    _require_once(found, where)
    return found


def _require_tasks(settings: TableSettings, where: str) -> None:
    cuts = settings.windows is not None
    if settings.task is None and not (settings.date and cuts):
        raise InputError(
            f"{where}: what is a task must be said, by `task`, the column that names it, or `date` and `windows`. Add "
            "`--arg task=COLUMN`, or `--arg date=COLUMN --arg windows=6`."
        )
    if cuts and settings.task:
        raise InputError(f"{where}: `windows` make the tasks, but so does `task`. Leave one of them out.")
    if cuts and not isinstance(settings.windows, int) and not settings.windows:
        raise InputError(f"{where}: `windows` must be a number, or the dates at which they begin, but got none.")


def _require_once(settings: TableSettings, where: str) -> None:
    taken: dict[str, str] = {}
    for role, column in [*settings.roles.items(), *(("drop", column) for column in settings.drop)]:
        if column in taken:
            raise InputError(
                f"{where}: a column is for one thing, but `{column}` is both `{taken[column]}` and `{role}`. Name "
                "another one."
            )
        taken[column] = role
    for column in settings.types:
        if column in taken and taken[column] != "target":
            raise InputError(f"{where}: `types` are of features, but `{column}` is `{taken[column]}`. Leave it out.")
    if settings.types.get(settings.target, "category") != "category":
        kind = settings.types[settings.target]
        raise InputError(
            f"{where}: the label may be `category`, for words, or go untyped, but got {kind}. Leave it out."
        )


def require_columns(settings: TableSettings, names: Iterable[str], where: str) -> None:
    """Raise if a column is named that the table does not have."""
    known = list(names)
    for column in (*settings.roles.values(), *settings.drop, *settings.types):
        if column not in known:
            raise unknown(where, "column", column, known)
