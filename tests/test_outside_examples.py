"""The examples of trainers from outside: they do what they say, and what every trainer must do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cfsweep
from cfsweep.testing import check_trainer
from examples import finetune_lm, script_trainer

ROOT = Path(__file__).parent.parent
SMALL = {"batch_size": 32, "steps": 4, "lr": 0.003, "replay_share": 0.25, "l2_sp": 0.01}

# What `examples/avalanche_script.py` must come to, in one process that goes on; three tasks.
IN_ONE_PROCESS = """
import json, sys, torch
sys.path.insert(0, "examples")
import avalanche_script as script
torch.set_num_threads(1)
settings, here = json.loads(sys.argv[1]), script.benchmark()
for task in range(2):
    torch.manual_seed(task)
    if task == 0:
        strategy = script.strategy_at(0, settings, None)
    else:
        script.strategy_at(0, settings, None)  # draws as many numbers as a strategy that is loaded
    strategy.train(here.train_stream[task], reset_optimizer_state=True)
seen = strategy.eval(here.streams["validation"])
print(json.dumps([value for name, value in sorted(seen.items()) if "_Exp/eval_phase/validation_stream/" in name]))
"""


# ------------------------------------------------------------------------------------------------ the language model


def test_a_dialect_is_what_it_is_said_to_be() -> None:
    for task, (a, b) in enumerate(finetune_lm.DIALECTS.values()):
        texts = finetune_lm.texts_of(task, "train")
        assert texts.shape == (512, finetune_lm.LENGTH + 1)
        assert (texts[:, 0] == finetune_lm.WORDS + task).all()
        foretold = (a * texts[:, 1:-1] + b) % finetune_lm.WORDS == texts[:, 2:]
        usual = 1 - finetune_lm.NOISE + finetune_lm.NOISE / finetune_lm.WORDS
        assert float(foretold.float().mean()) == pytest.approx(usual, abs=0.01)
        assert torch.equal(texts, finetune_lm.texts_of(task, "train"))
        assert not torch.equal(texts[:128], finetune_lm.texts_of(task, "test"))


def test_no_word_is_foretold_by_those_after_it() -> None:
    torch.manual_seed(0)
    model, texts = finetune_lm.Transformer().eval(), finetune_lm.texts_of(0, "test")[:4, :-1]
    changed = texts.clone()
    changed[:, 10:] = 0
    torch.testing.assert_close(model(texts)[:, :10], model(changed)[:, :10])


def test_its_accuracy_by_hand() -> None:
    class NextIsThis(torch.nn.Module):
        def forward(self, texts: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(texts, finetune_lm.WORDS).float()

    assert finetune_lm.accuracy(NextIsThis(), torch.tensor([[9, 9, 9, 1], [9, 5, 2, 2]])) == 0.5


def test_the_language_model_is_a_trainer() -> None:
    check_trainer("examples.finetune_lm:train", SMALL)


def test_old_texts_keep_what_plain_training_forgets() -> None:
    kept = {}
    for share in (0.0, 0.5):
        settings, state = {**SMALL, "steps": 100, "replay_share": share, "l2_sp": 0.0}, None
        for task in range(2):
            scores, state = finetune_lm.train(settings, 0, task, state)
        assert scores["validation"]["south"] > 0.8
        kept[share] = scores["validation"]["north"]
    assert kept[0.0] < 0.2
    assert kept[0.5] > 0.8


def test_its_space_is_swept(tmp_path: Path) -> None:
    settings = {"steps": 2, "batch_size": 8}
    swept = cfsweep.sweep(ROOT / "examples" / "finetune_lm.yaml", trials=2, workers=0, out=tmp_path, settings=settings)
    assert swept.status.done == 2


# ------------------------------------------------------------------------------------------------ a script

SCRIPT = """
import json, sys
from pathlib import Path
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
state, task = Path(given["--state"]) / "seen.json", int(given["--task"])
seen = json.loads(state.read_text()) if state.exists() else []
assert len(seen) == task
if json.loads(given["--settings"])["lr"] > 1:
    sys.exit("the rate is too high")
state.write_text(json.dumps([*seen, int(given["--seed"])]))
scores = [0.5 + 0.1 * len(seen)] * 3
Path(given["--scores"]).write_text(json.dumps({"validation": scores, "test": scores}))
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(script_trainer, "COMMAND", [sys.executable, str(tmp_path / "script.py")])


@pytest.mark.usefixtures("script")
def test_any_script_is_a_trainer() -> None:
    check_trainer("examples.script_trainer:train", {"lr": 0.5})


@pytest.mark.usefixtures("script")
def test_what_the_script_says_last_is_why_it_failed() -> None:
    with pytest.raises(RuntimeError, match="the script ended with 1: the rate is too high"):
        script_trainer.train({"lr": 2.0}, 0, 0, None)


@pytest.fixture(scope="module")
def avalanche() -> str:
    """The Python of Avalanche's environment; skips where there is none."""
    python = script_trainer.PYTHON
    if not Path(python).exists():
        pytest.skip(f"there is no {python}: `make avalanche` makes Avalanche's environment")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["Naive", "Replay", "EWC"])
def test_a_strategy_of_avalanche_goes_on_as_if_it_had_not_been_interrupted(avalanche: str, strategy: str) -> None:
    settings = {"strategy": strategy, "lr": 0.003, "epochs": 2, "mem_size": 60, "ewc_lambda": 100.0}
    state: Path | None = None
    for task in range(2):
        scores, state = script_trainer.train(settings, 0, task, state)
    command = [avalanche, "-W", "ignore", "-c", IN_ONE_PROCESS, json.dumps(settings)]
    whole = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert scores["validation"] == json.loads(whole.splitlines()[-1])
    assert scores["validation"][1] > 0.5
    assert len(scores["test"]) == len(scores["n_validation"]) == 5


@pytest.mark.slow
def test_the_space_of_avalanche_is_swept(avalanche: str, tmp_path: Path) -> None:
    space: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "avalanche.yaml").read_text())
    space["search"] = {"strategy": {"choices": ["Replay"]}}
    space["fixed"] = {"epochs": 1, "lr": 0.003, "mem_size": 60, "ewc_lambda": 1.0}
    swept = cfsweep.sweep(space, trials=1, workers=0, out=tmp_path / "study")
    assert swept.status.done == 1
