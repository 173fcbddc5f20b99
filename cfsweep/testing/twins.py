"""Is an ingredient in a pack the same as in a loop that anyone could have written?"""

from __future__ import annotations

from dataclasses import replace

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.testing.packs import MLP, finish, make_pack, small_stream, values_of
from cfsweep.testing.plain import PlainLoop
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream


def agrees_with_its_twin(name: str, twin: type[PlainLoop]) -> None:
    """A pack and the plain loop end with the same weights and the same accuracies, in all scenarios that the ingredient
    knows; and both with other weights than plain training.

    Raises:
        AssertionError: they do not.
    """
    for scenario in ingredient_class(name).scenarios:
        run = RunSpec(0, 5, values_of((name,)))
        twins_agree((name,), twin, small_stream(n_train=40), run, scenario)


def twins_agree(
    names: tuple[str, ...],
    twin: type[PlainLoop],
    stream: Stream,
    run: RunSpec,
    scenario: Scenario,
    network: NetworkConfig = MLP,
    atol: float = 2e-5,
) -> tuple[Pack, PlainLoop]:
    """A pack with the ingredients `names` and the plain loop, both at the end of `run`: with the same weights (within
    `atol`) and the same accuracies, and with other weights than plain training.

    Raises:
        AssertionError: they do not agree.
    """
    plain = twin(stream, run, scenario, network)
    accuracies = plain.train()
    pack = finish(make_pack(stream, names, (run,), scenario, network))
    assert pack.records[0].failure is None, f"the pack failed in {scenario}: {pack.records[0].failure}"
    apart = float((pack.stack.theta[0] - plain.theta()).abs().max())
    said = f"{twin.__qualname__} does something else than `{'+'.join(names)}` in {scenario}"
    assert apart <= atol, f"{said}: the weights differ by up to {apart:.2g}, where {atol:g} is allowed"
    assert accuracies == pack.records[0].test, f"{said}: the accuracies differ"
    base = {key: value for key, value in run.values.items() if key in values_of(())}
    naive = finish(make_pack(stream, (), (replace(run, values=base),), scenario, network))
    said = f"in {scenario} it has no say with these values: plain training ends with the same weights"
    assert (plain.theta() - naive.stack.theta[0]).abs().max() > 1e-3, said
    return pack, plain
