"""Fine-tuning a language model as a trainer from outside: `cfsweep run examples/finetune_lm.yaml`, from the folder that
holds `examples`.

The loop is plain PyTorch, as in any fine-tuning script: a transformer learns one dialect after another, and cfsweep
calls `train` once for each of them. Put your model, your data and your remedies in place of these; what must stay is
what goes in and what comes out (docs/outside-trainer.md).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WORDS, LENGTH, WIDTH = 16, 24, 32
DIALECTS = {"north": (3, 1), "south": (5, 2), "islands": (11, 7)}  # the next word is a * word + b (mod WORDS)
NOISE = 0.1  # so often it is any word instead
SIZES = {"train": 512, "validation": 128, "test": 128}  # texts of each dialect


class Transformer(nn.Module):
    """Texts (n, length) of word numbers to the logits (n, length, words) of the word after each."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS + len(DIALECTS), WIDTH)  # each text begins with the name of its dialect
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, texts: Tensor) -> Tensor:
        length = texts.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        return self.head(self.body(self.words(texts) + self.places[:length], mask=mask, is_causal=True))


def texts_of(task: int, part: str) -> Tensor:
    """(n, LENGTH + 1): the same ones each time."""
    a, b = list(DIALECTS.values())[task]
    draw = torch.Generator().manual_seed(10 * task + list(SIZES).index(part))
    n = SIZES[part]
    columns = [torch.full((n,), WORDS + task), torch.randint(WORDS, (n,), generator=draw)]
    while len(columns) < LENGTH + 1:
        any_word = torch.randint(WORDS, (n,), generator=draw)
        columns.append(torch.where(torch.rand(n, generator=draw) < NOISE, any_word, (a * columns[-1] + b) % WORDS))
    return torch.stack(columns, 1)


def accuracy(model: nn.Module, texts: Tensor) -> float:
    """The share of words that are foretold rightly, the first two of each text aside, which nothing foretells."""
    with torch.no_grad():
        foretold = model(texts[:, :-1]).argmax(-1)
    return float((foretold == texts[:, 1:])[:, 1:].float().mean())


def train(
    settings: dict[str, Any], seed: int, task: int, state: Path | bytes | None
) -> tuple[dict[str, dict[str, float]], bytes]:
    """Fine-tunes on one dialect, with two remedies: texts of the old ones in each batch (`replay_share`), and a pull
    to the weights of before (`l2_sp`, Li et al. 2018, ½·λ·Σ (θ − θ_before)²)."""
    torch.manual_seed(1000 * seed + task)  # all randomness of this call
    model = Transformer()
    if isinstance(state, bytes):
        model.load_state_dict(torch.load(io.BytesIO(state)))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    texts = texts_of(task, "train")
    old = torch.cat([texts_of(k, "train") for k in range(task)]) if task else texts
    n_old = round(settings["replay_share"] * settings["batch_size"]) if task else 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"])
    for _ in range(settings["steps"]):
        new = texts[torch.randint(len(texts), (settings["batch_size"] - n_old,))]
        batch = torch.cat([new, old[torch.randint(len(old), (n_old,))]])
        loss = cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].clamp(max=WORDS - 1).flatten())
        if task:
            squares = [(p - q).square().sum() for p, q in zip(model.parameters(), before, strict=True)]
            loss = loss + 0.5 * settings["l2_sp"] * torch.stack(squares).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    scores: dict[str, dict[str, float]] = {}
    for part in ("validation", "test"):
        scores[part] = {name: accuracy(model, texts_of(k, part)) for k, name in enumerate(DIALECTS)}
        scores[f"n_{part}"] = dict.fromkeys(DIALECTS, SIZES[part])
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return scores, file.getvalue()
