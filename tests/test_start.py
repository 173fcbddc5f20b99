"""docs/start.md word for word, on data of each kind: from the data to a model that answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.conftest import Run

PAGE = Path(__file__).resolve().parent.parent / "docs" / "start.md"
COMMANDS = [
    shlex.split(command, comments=True)[1:]
    for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    for command in re.sub(r"\\\n\s*", "", block).splitlines()
]
SWEEPS = [command for command in COMMANDS if command[0] == "run"]
REST = [command for command in COMMANDS if command[0] in ("select", "report", "confirm", "gate", "export", "predict")]
SMALL = {"--trials": "2", "--seeds": "3"}
NETWORK = """
from torch import nn
def build(input_shape, n_outputs):
    layers = [nn.Conv2d(input_shape[0], 6, 3, stride=4), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * 64, n_outputs))
"""
ENCODER = """
import numpy as np
def build():
    return lambda texts: np.array([[len(text), text.count("good"), text.count("bad")] for text in texts], np.float32)
"""


def months() -> str:
    rng, n = np.random.default_rng(0), 160
    frame = pd.DataFrame(
        {"age": rng.normal(40, 9, n), "plan": rng.choice(["a", "b"], n), "month": np.repeat([1, 2], n // 2)}
    )
    frame["day"] = [f"2024-0{month}-{1 + k % 28:02}" for k, month in enumerate(frame["month"])]
    frame["churned"] = np.where(frame["age"] + rng.normal(0, 5, n) > 45, "left", "stayed")
    frame.to_csv("months.csv", index=False)
    return "months.csv"


def pictures(classes: int = 4) -> str:
    rng = np.random.default_rng(0)
    for kind in range(classes):
        folder = Path("pictures") / f"kind-{kind}"
        folder.mkdir(parents=True)
        for number in range(24):
            noise = rng.normal(60 * kind, 30, (32, 32, 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    Path("mynet.py").write_text(NETWORK)
    return "pictures"


def domains() -> str:
    import torchvision

    pictures(2)
    Path("pictures").rename("source")
    for kind in ("kind-0", "kind-1"):
        for task, angle in (("1-source", 0), ("2-new", 90)):
            folder = Path("pictures") / task / kind
            folder.mkdir(parents=True)
            for path in (Path("source") / kind).iterdir():
                Image.open(path).rotate(angle).save(folder / path.name)
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), "source.pt")
    return "pictures"


def reviews() -> str:
    rows = [
        (f"{mood} pan number {k} indeed", mood, domain)
        for domain in ("kitchen", "hotel")
        for k in range(40)
        for mood in ("good", "bad")
    ]
    pd.DataFrame(rows, columns=["text", "mood", "domain"]).to_csv("reviews.csv", index=False)
    Path("myencoder.py").write_text(ENCODER)
    return "reviews.csv"


def tickets() -> str:
    frame = pd.read_csv(reviews())
    frame["minutes"] = frame.pop("mood").map({"good": 5.5, "bad": 61.0}) + np.arange(len(frame)) % 7
    frame.to_csv("tickets.csv", index=False)
    return "tickets.csv"


MAKERS: list[Callable[[], str]] = [months, pictures, domains, reviews, tickets]


def test_each_kind_of_data_has_its_sweep() -> None:
    assert len(SWEEPS) == len(MAKERS)
    assert [command[0] for command in REST] == ["select", "confirm", "report", "gate", "export", "predict", "gate"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "made"), list(zip(SWEEPS, MAKERS, strict=True)), ids=lambda x: getattr(x, "__name__", "")
)
def test_from_the_data_to_answers(
    command: list[str], made: Callable[[], str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    data = made()
    smaller = [SMALL.get(before, word) for before, word in zip(["", *command], command, strict=False)]
    assert run(*smaller, "--set", "epochs=1", "--workers", "0")[0] == 0
    for rest in REST[:-1]:
        words = ["2" if before == "--seeds" else word for before, word in zip(["", *rest], rest, strict=False)]
        words = [data if word == "NEW" else word for word in words]
        code, out, said = run(*words, *(["--workers", "0"] if rest[0] == "confirm" else []))
        assert code in ((0, 1) if rest[0] == "gate" else (0,)), (rest, out, said)
    answers = pd.read_csv("answers.csv")
    assert len(answers)
    if data == "tickets.csv":
        assert answers["prediction"].between(-100, 200).all()
        return
    assert set(answers["prediction"].astype(str)) <= {"left", "stayed", "good", "bad", *(f"kind-{k}" for k in range(4))}
