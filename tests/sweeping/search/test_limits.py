"""How much of a study the sampler looks at: who is told so."""

from __future__ import annotations

import pytest

from cfsweep.sweeping.search.limits import history_note
from cfsweep.sweeping.study import prepare
from tests.sweeping.in_process import tiny


def test_a_study_of_which_the_sampler_sees_a_part_is_noted() -> None:
    assert history_note(300) is None
    assert history_note(1000) == (
        "1000 trials: once more than 300 have ended, TPE looks at the best 50 and the latest of the others alone, so "
        "that its answers take no longer than before."
    )


@pytest.mark.parametrize(("trials", "said"), [(300, ()), (301, (history_note(301),))])
def test_who_prepares_such_a_study_is_told(trials: int, said: tuple[str, ...]) -> None:
    assert prepare(tiny(trials=trials), "space.yaml").notes == said
