"""For the tests of whoever writes an ingredient: does it do what every ingredient must do?

    from cfsweep.testing import check_ingredient
    from my_package.penalties import MyPenalty

    def test_my_penalty() -> None:
        check_ingredient(MyPenalty)

A failing check says which of them. With `twin=MyPlainLoop`, a `PlainLoop` that does the same to one model in the most
obvious way, its weights and answers are compared too. The streams are small: `check_ingredient(MyReplay, my_buffer=9)`
gives another default for all checks. `compose_or_are_refused(MyPenalty, "replay")` tells whether it
goes together with another ingredient. `check_trainer("my_package.my_file:train", {"lr": 0.01})` is for whoever writes
a trainer from outside.
"""

import os

# As on a worker of a sweep, where a run gets the bits in a pack that it gets alone; before torch is loaded.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

from cfsweep.testing.ingredients import CHECKS, check_ingredient
from cfsweep.testing.packs import CNN, MLP, finish, make_pack, small_stream, values_of
from cfsweep.testing.pairs import compose_or_are_refused
from cfsweep.testing.plain import PlainLoop
from cfsweep.testing.trainers import TRAINER_CHECKS, check_trainer
from cfsweep.testing.twins import twins_agree

__all__ = [
    "CHECKS",
    "CNN",
    "MLP",
    "TRAINER_CHECKS",
    "PlainLoop",
    "check_ingredient",
    "check_trainer",
    "compose_or_are_refused",
    "finish",
    "make_pack",
    "small_stream",
    "twins_agree",
    "values_of",
]
