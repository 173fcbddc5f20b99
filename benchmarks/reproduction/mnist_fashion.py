"""MNIST, then FashionMNIST, with a small convolutional network; then the same with each remedy."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.reproduction.model import Claim, Quantity, Row, Table, Why, accuracy, transfer
from cfsweep.config import NetworkConfig, Scenario, Space, StreamConfig, StudyConfig
from cfsweep.hypers import Value
from cfsweep.results.schema import JOINT_TRIAL

BASE: dict[str, Value] = {"optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 3}
BUFFER: dict[str, Value] = {"replay_buffer": 500}
NETWORK = NetworkConfig(name="benchmarks.reproduction.networks:small_cnn", args={"channels": [8, 16], "hidden": 128})

FACTS = (
    "Two convolutions (8, 16 channels), each halved by max-pooling, and 128 units; Adam 0.001, batches of 64. The "
    "article names neither its network nor its epochs; one epoch of its 60,000 garments is 938 steps, and the claimed "
    "row takes 7 epochs, 882 steps. Digits kept at a third, and not at zero, is what one output layer of ten for both "
    "data sets gives, so the claims stand beside domain-il.",
    "The remedies take 3 epochs, and stand beside `naive-3-epochs`.",
    "The article trains on all 60,000 images of each data set; here are 14,048 digits and 8,226 garments. Fewer "
    "images cost accuracy on the garments above all: the rows `half-the-images` show what halving them again "
    "costs at as many steps.",
    "Every remedy has the strength of its default or of its paper, not one tuned on this stream: the rows show "
    "that and how it acts, not the best it can do.",
)

LESS_DATA = Why(
    "fewer training images than the article has; halving them again, at as many steps, moves the number the same way",
    ("mnist-fashion/naive-half-the-images",),
)
_MEASURES = (
    ("digits when learned", accuracy(0, 0), 99.2),
    ("garments when learned", accuracy(1, 1), 91.1),
    ("digits at the end", accuracy(-1, 0), 33.9),
    ("backward transfer", transfer, -65.3),
)


def _row(
    name: str,
    method: str,
    setting: str,
    ingredients: tuple[str, ...] = (),
    fixed: Mapping[str, Value] | None = None,
    *,
    scenario: Scenario = "domain-il",
    claimed: bool = False,
    held_out: float = 0.02,
    joint: bool = False,
    experiment: bool = False,
) -> Row:
    study = StudyConfig(
        space=Space(network=NETWORK, ingredients=ingredients, fixed={**BASE, **(fixed or {})}),
        stream=StreamConfig(name="mnist-fashion", scenario=scenario, validation_frac=held_out),
        trials=1,
        references=joint,
        stop_trials=False,
    )
    quantities = tuple(
        Quantity(name, of, Claim(value) if claimed else None, LESS_DATA if claimed else None)
        for name, of, value in _MEASURES
    )
    trial = JOINT_TRIAL if joint else None
    return Row(name, method, f"{scenario}, {setting}", study, quantities, trial, experiment=experiment)


TABLE = Table(
    "mnist-fashion",
    "MNIST, then FashionMNIST, with a small convolutional network",
    "the source article on two data sets: 99.2 on digits, 91.1 on garments, then 33.9 on digits (a transfer of -65.3)",
    120_000,
    FACTS,
    (
        _row("naive", "naive", "epochs 7", fixed={"epochs": 7}, claimed=True),
        _row("naive-3-epochs", "naive", "plain"),
        _row("joint", "all data", "joint", joint=True),
        _row("l2-sp", "L2-SP", "l2_sp_lambda 0.1", ("l2-sp",), {"l2_sp_lambda": 0.1}),
        _row("ewc", "EWC", "ewc_lambda 10000", ("ewc",), {"ewc_lambda": 10000.0}),
        _row("si", "SI", "si_c 100", ("si",), {"si_c": 100.0}),
        _row("mas", "MAS", "mas_lambda 1", ("mas",), {"mas_lambda": 1.0, "mas_examples": 200}),
        _row("replay", "replay", "500 images, half of each batch", ("replay",), BUFFER),
        _row(
            "replay-balanced",
            "replay, class-balanced",
            "500 images, half of each batch",
            ("replay",),
            {**BUFFER, "replay_mode": "class-balanced"},
        ),
        _row("naive-class-il", "naive", "plain", scenario="class-il"),
        _row("replay-class-il", "replay", "500 images, half of each batch", ("replay",), BUFFER, scenario="class-il"),
        _row("er-ace-class-il", "ER-ACE", "500 images", ("er-ace",), {"er_ace_buffer": 500}, scenario="class-il"),
        _row("der++", "DER++", "500 images", ("der++",), {"der_buffer": 500}),
        _row("a-gem", "A-GEM", "500 images", ("a-gem",), {"a_gem_buffer": 500}),
        _row("generative-replay", "generative replay", "defaults", ("generative-replay",)),
        _row(
            "lwf",
            "LwF",
            "lwf_alpha 1, lwf_temperature 2",
            ("lwf",),
            {"lwf_alpha": 1.0, "lwf_temperature": 2.0, "lwf_weighting": "constant"},
        ),
        _row("feature-distillation", "feature distillation", "defaults", ("feature-distillation",)),
        _row("freeze", "freeze", "freeze_depth 2", ("freeze",), {"freeze_depth": 2}),
        _row("naive-task-il", "naive", "plain", scenario="task-il"),
        _row("packnet-task-il", "PackNet", "packnet_rate 0.5", ("packnet",), {"packnet_rate": 0.5}, scenario="task-il"),
        _row("adapters-task-il", "adapters", "defaults", ("adapters",), scenario="task-il"),
        _row(
            "naive-half-the-images",
            "naive",
            "half of the training images, as many steps",
            fixed={"epochs": 14},
            held_out=0.5,
            experiment=True,
        ),
    ),
)
