"""A task that came to the data since a study began is told, with what to do, and is never passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfsweep.config import Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.added import added_since, news_of
from cfsweep.sweeping.folder import describe
from cfsweep.sweeping.ground import check_ground
from cfsweep.sweeping.space import check_space
from cfsweep.training.streams import load_stream
from tests.training.streams.tables import ARGS, as_csv, as_parquet, months

WINDOWS = {"target": "churned", "date": "day", "windows": 2, "drop": ["month"]}


def study_of(name: Path | str, args: dict[str, Any] | None = None) -> tuple[StudyConfig, dict[str, Any]]:
    config = StudyConfig(space=Space(), stream=StreamConfig(name=str(name), scenario="domain-il", args=args or {}))
    return config, describe(config, check_space(config.space, "test"), load_stream(config.stream))


def npz(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    np.savez(path, x_train=rng.normal(size=(40, 3)), y_train=np.arange(40) % 2)


def table(folder: Path) -> tuple[Path, Callable[[], Path]]:
    path = as_csv(months(0, 2), folder / "t.csv")
    return path, lambda: as_csv(months(0, 3), path)


def parts(folder: Path) -> tuple[Path, Callable[[], Path]]:
    path = folder / "parts"
    path.mkdir()
    for number in range(2):
        as_parquet(months(number, 1), path / f"{number}.parquet")
    return path, lambda: as_parquet(months(2, 1), path / "2.parquet")


@pytest.mark.parametrize("made", [table, parts])
@pytest.mark.parametrize("args", [ARGS, WINDOWS])
def test_a_month_that_came_to_a_table_is_offered_as_the_next_task(
    tmp_path: Path, made: Callable[[Path], tuple[Path, Callable[[], Path]]], args: dict[str, Any]
) -> None:
    path, grow = made(tmp_path)
    config, study = study_of(path, args)
    assert news_of(config, study) is None
    check_ground(config, None, load_stream(config.stream), study, tmp_path / "study.yaml")
    task = grow()
    said = news_of(config, study)
    assert said is not None
    assert "task `2024-03` came after" in said or "rows after 2024-02-28 came after" in said
    assert f"`cfsweep continue BUNDLE --task {task} --to NEW`" in said
    with pytest.raises(InputError, match="came after the study began") as caught:
        check_ground(config, None, load_stream(config.stream), study, tmp_path / "study.yaml")
    assert "\n" not in str(caught.value)


def test_so_is_a_file_that_came_to_a_folder(tmp_path: Path) -> None:
    for number in range(2):
        npz(tmp_path / f"t{number}.npz", number)
    config, study = study_of(tmp_path)
    assert news_of(config, study) is None
    npz(tmp_path / "t2.npz", 2)
    assert news_of(config, study) == (
        "`t2.npz` came after the study began, which knows nothing of it. Its model learns it next, once it is "
        f"exported: `cfsweep continue BUNDLE --task {tmp_path}/t2.npz --to NEW`."
    )
    with pytest.raises(InputError, match=r"t2\.npz` came after the study began"):
        check_ground(config, None, load_stream(config.stream), study, tmp_path / "study.yaml")


def test_what_has_changed_otherwise_is_no_news(tmp_path: Path) -> None:
    path = as_csv(months(0, 2), tmp_path / "t.csv")
    config, study = study_of(path, ARGS)
    as_csv(months(0, 2, seed=1), path)
    assert added_since(config, load_stream(config.stream), study) is None
    with pytest.raises(InputError, match=r"the study began with t\.csv of SHA-256"):
        check_ground(config, None, load_stream(config.stream), study, tmp_path / "study.yaml")
    path.unlink()
    assert news_of(config, study) is None, "the data may be gone once all is trained"
    digits, of_digits = study_of("split-digits")
    assert news_of(digits, of_digits) is None
