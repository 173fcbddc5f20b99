"""What every ingredient must do, as one check each. Together they take a few seconds for an ingredient.

An ingredient is given by its class, or by the name or import path that a space calls it by.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Value
from cfsweep.testing.calls import arguments_for, calls_by_piece, first_row
from cfsweep.testing.packs import (
    MLP,
    SHAPE,
    SIX,
    UNLIFTABLE,
    assert_equal,
    assert_same,
    assert_same_content,
    assert_same_outcome,
    defaults_instead,
    finish,
    make_pack,
    off_values,
    other_value,
    other_values,
    outcomes,
    path_to,
    refusal,
    restored,
    small_stream,
    stack_of_six,
    trained_once,
    two_convolutions,
    unlifted,
    values_of,
    variants,
    varied_runs,
    weights,
)
from cfsweep.testing.plain import PlainLoop
from cfsweep.testing.twins import agrees_with_its_twin
from cfsweep.training.acting import idle
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import (
    Buffered,
    BufferedOnline,
    ClosedForm,
    Ingredient,
    MixedReplay,
    StopRule,
    ingredient_class,
)
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec

OPTIMIZERS = ("sgd", "adam", "adamw")


def check_ingredient(kind: type[Ingredient] | str, twin: type[PlainLoop] | None = None, **given: Value) -> None:
    """Makes every check of `CHECKS`, and with a `twin`, which does the same to one model in the most obvious way, that
    the two agree. `given` are hyperparameters for all of them, where the defaults are made for real streams.

    Raises:
        AssertionError: a check fails; the note tells which one.
        InputError: `given` has an unknown hyperparameter, or a value that it cannot have.
    """
    name = path_to(kind)
    with defaults_instead(name, given):
        for check in CHECKS:
            try:
                check(name)
            except Exception as error:
                error.add_note(f"the ingredient `{name}` fails the check `{check.__name__}`: {check.__doc__}")
                raise
        if twin is not None:
            agrees_with_its_twin(name, twin)


def knows_its_scenarios(name: str) -> None:
    """In a scenario that it does not know it is refused in one line."""
    kind = ingredient_class(name)
    assert set(kind.scenarios) <= set(SCENARIOS), f"`scenarios` may name {', '.join(SCENARIOS)} alone"
    for scenario in SCENARIOS:
        if scenario not in kind.scenarios:
            said = refusal((name,), scenario)
            assert said is not None, f"it was not refused in {scenario}"
            assert f"`{kind.name}` works in" in said
            assert f"scenario={scenario}" in said
            assert "\n" not in said


def same_seed_gives_the_same_bits(name: str) -> None:
    """The same seed gives the same matrix and weights. Scenarios, optimizers and choices take turns."""
    kind = ingredient_class(name)
    for choice, (scenario, optimizer) in zip([{}, {}, *variants(kind)], _turns(kind), strict=False):
        given: dict[str, Any] = {"optimizer": optimizer, "weight_decay": 0.01, **choice}
        one, two = (finish(make_pack(small_stream(), (name,), scenario=scenario, curves=2, **given)) for _ in range(2))
        assert_same(one, two)
        record = one.records[0]
        assert record.failure is None
        assert np.shape(record.validation) == np.shape(record.test) == (4, 3)
        assert torch.isfinite(weights(one)).all()


def a_restored_run_continues_bitwise(name: str) -> None:
    """A pack that is stored and restored before each task gives the bits of one that is not."""
    stream = small_stream()
    chosen = [varied_runs((name,), 4, **choice) for choice in variants(ingredient_class(name))[1:]]
    wholes = [finish(make_pack(stream, (name,), runs, curves=1)) for runs in chosen]
    for whole in (stack_of_six(name), two_convolutions(name), unlifted(name), *wholes):
        pack = make_pack(stream, (name,), whole.spec.runs, network=whole.spec.network, curves=1)
        for _ in stream.tasks:
            pack = restored(pack)
            pack.train_next_task()
        assert_same(restored(pack), whole)


def a_run_goes_on_within_a_task(name: str) -> None:
    """A run that is saved between steps, and goes on from there, comes to the bits of one that is not. Networks and
    choices take turns."""
    stream, kind = small_stream(), ingredient_class(name)
    turns = zip([{}, {}, *variants(kind)[1:]], itertools.cycle((UNLIFTABLE, MLP)), strict=False)
    for choice, network in turns:
        given: dict[str, Any] = {"optimizer_state": "kept", "batch_size": 6, **choice}
        whole = make_pack(stream, (name,), network=network, curves=1, **given)
        whole.save_every_s, n_saved = 0.0, 0
        for _ in stream.tasks:
            saved: list[bytes] = []
            whole.train_next_task(saved.append)
            n_saved += len(saved)
            for place in {0, len(saved) - 1} if saved else ():
                again = Pack.restore(saved[place], stream)
                assert again is not None
                again.save_every_s, rest = 0.0, list[bytes]()
                again.train_next_task(rest.append)
                assert len(rest) == len(saved) - place - 1, "it does not begin where the other was saved"
                assert_same(again, whole)
                assert_same_content(again, whole)
        assert n_saved or issubclass(kind, ClosedForm | StopRule), "it was never between two steps"


def micro_batches_change_nothing(name: str) -> None:
    """A batch that passes through the network in several parts has the loss and the gradient of the whole."""
    stream, kind = small_stream(), ingredient_class(name)
    parts = MLP.model_copy(update={"micro_batch": 2})
    for choice in variants(kind):
        given: dict[str, Any] = {"optimizer": "sgd", **choice}
        whole, in_parts = (finish(make_pack(stream, (name,), network=of, **given)) for of in (MLP, parts))
        assert_same_outcome(outcomes(in_parts)[0], outcomes(whole)[0], "in micro-batches ")
        torch.testing.assert_close(weights(in_parts), weights(whole), rtol=1e-3, atol=1e-4)


def off_is_naive(name: str) -> None:
    """At each value that switches it off, it is plain training, to the last bit, and stores nothing, whatever its other
    settings are. Scenarios and optimizers take turns."""
    kind = ingredient_class(name)
    offs = off_values(kind)
    assert offs, "some hyperparameter must have an `off`"
    others = [{**changed, **off} for off in offs for changed in other_values(kind)]
    others = [values for values in others if kind.is_off(values_of((name,), **values))]
    turns = list(itertools.islice(_turns(kind), 3))
    pairs = [*itertools.product(offs, turns), *zip(others, itertools.cycle(turns), strict=False)]
    for off, (scenario, optimizer) in pairs:
        given: dict[str, Any] = {"optimizer": optimizer, "weight_decay": 0.01}
        naive = trained_once((), scenario, **given)
        switched_off = finish(make_pack(small_stream(), (name,), scenario=scenario, **given, **off))
        assert_same(naive, switched_off)
        assert switched_off.records[0].stored_bytes == 0


def an_idle_setting_changes_nothing(name: str) -> None:
    """What has `only_with` changes no bit where that is not given. Choices take turns."""
    kind = ingredient_class(name)
    for hyper in kind.hypers:
        for given in variants(kind) if hyper.only_with else ():
            other = other_value(hyper)
            assert other, f"`{hyper.name}` has `only_with`, and no other value than its default"
            one, two = values_of((name,), **given), values_of((name,), **{**given, **other})
            if hyper.name in idle((name,), one):
                runs = [(RunSpec(0, 0, values),) for values in (one, two)]
                assert_same(*(finish(make_pack(small_stream(), (name,), of)) for of in runs))


def on_is_not_naive(name: str) -> None:
    """With its defaults it changes the weights; and it stores bytes if it keeps state or examples, or looks at held-out
    ones of old tasks."""
    kind = ingredient_class(name)
    scenario = kind.scenarios[-1]  # of several that in which most is forgotten
    naive = trained_once((), scenario)
    on = finish(make_pack(small_stream(), (name,), scenario=scenario))
    assert not torch.equal(weights(naive), weights(on)), f"in {scenario} its defaults are plain training"
    (ingredient,) = on.context.ingredients
    looks_at_old = isinstance(ingredient, StopRule) and ingredient.looks_at_old
    kept = ingredient.kept(first_row(on.stack.states[kind.name]))
    keeps = issubclass(kind, Buffered | BufferedOnline) or looks_at_old or bool(kept)
    stored = on.records[0].stored_bytes
    assert (stored > 0) == keeps, f"it stores {stored} bytes, though it keeps {'something' if keeps else 'nothing'}"


def sharing_the_first_task_changes_nothing(name: str) -> None:
    """Runs that share the weights of the first task come to what they come to apart."""
    shared = stack_of_six(name)
    apart = finish(make_pack(small_stream(), (name,), shared.spec.runs, share_first_task=False, curves=1))
    for one, other in zip(outcomes(shared), outcomes(apart), strict=True):
        assert_same_outcome(one, other, "does some hyperparameter act before its `takes_effect`? ")
    torch.testing.assert_close(weights(shared), weights(apart), rtol=1e-3, atol=1e-4)


def alone_is_as_in_a_pack(name: str) -> None:
    """A run comes to the same alone as among others."""
    for together in (stack_of_six(name), two_convolutions(name)):
        for k, run in enumerate(together.spec.runs):
            alone = finish(make_pack(small_stream(), (name,), (run,), network=together.spec.network, curves=1))
            _assert_nearly_the_same(alone, together, k)


def a_dropped_neighbour_changes_nothing(name: str) -> None:
    """The others go on as if a run that is dropped had never been there."""
    stream, whole = small_stream(), stack_of_six(name)
    runs = whole.spec.runs
    for gone, after in (({0}, 1), ({1, 4}, 1), ({2, 3}, 2), ({5}, 0)):
        pack = make_pack(stream, (name,), runs, curves=1)
        for _ in range(after):
            pack.train_next_task()
        pack.drop(runs[i].key for i in gone)
        finish(pack)
        kept = [i for i in range(SIX) if i not in gone]
        assert pack.stack.alive == kept
        for i in kept:
            assert_same_outcome(outcomes(pack)[i], outcomes(whole)[i], "beside a run that was dropped ")
        assert_equal(weights(pack), weights(whole)[kept])


def a_kept_optimizer_is_restored_and_knows_no_neighbour(name: str) -> None:
    """The same holds where the optimizer goes on from task to task."""
    stream, runs = small_stream(), varied_runs((name,), 3, optimizer_state="kept")
    together, broken = finish(make_pack(stream, (name,), runs)), make_pack(stream, (name,), runs)
    while not broken.done:
        broken.train_next_task()
        broken = restored(broken)
    assert_same(broken, together)
    for k, run in enumerate(runs):
        _assert_nearly_the_same(finish(make_pack(stream, (name,), (run,))), together, k)


def state_moves_with_its_run(name: str) -> None:
    """Weights, state and buffers stay with their run when rows are forked or dropped."""
    kind, runs = ingredient_class(name).name, varied_runs((name,), SIX)
    in_answers = [hyper.name for hyper in ingredient_class(name).hypers if hyper.takes_effect == "answers"]
    pack = make_pack(small_stream(), (name,), runs)
    pack.train_next_task()
    theta = weights(pack)
    states = [{k: v[row] for k, v in pack.stack.states[kind].items()} for row in pack.stack.row_of]
    buffers = [pack.stack.buffers[kind][row] for row in pack.stack.row_of]
    acts: tuple[Callable[[], object], ...] = (
        lambda: pack.stack.fork_rows("later"),
        lambda: pack.drop([runs[3].key]),
        lambda: pack.drop([(0, 0)]),
    )
    for act in acts:
        act()
        for k, row in zip(pack.stack.alive, pack.stack.row_of, strict=True):
            assert torch.equal(pack.stack.theta[row], theta[k])
            assert all(torch.equal(v[row], states[k][n]) for n, v in pack.stack.states[kind].items())
            assert np.array_equal(pack.stack.buffers[kind][row].indices, buffers[k].indices)
            assert np.array_equal(pack.stack.buffers[kind][row].logits, buffers[k].logits)
            theirs = pack.stack.representatives[row].numbers
            assert all(theirs[n] == value for n, value in runs[k].numbers.items() if n not in in_answers)
    assert pack.stack.alive == [1, 2, 4, 5]


def functions_of_tensors_are_pure(name: str) -> None:
    """Called twice a method gives the same, and it changes none of its arguments."""
    pack = make_pack(small_stream(), (name,))
    pack.train_next_task()
    (ingredient,) = pack.context.ingredients
    given = arguments_for(pack, ingredient)
    before = pytree.tree_map(torch.clone, given)
    for call in (call for piece, call in calls_by_piece(ingredient, given).items() if isinstance(ingredient, piece)):
        with torch.no_grad():
            once, again = call(), call()
        assert all(map(torch.equal, pytree.tree_leaves(once), pytree.tree_leaves(again)))
        unchanged = map(torch.equal, pytree.tree_leaves(given), pytree.tree_leaves(before))
        assert all(unchanged), "a method modified one of its arguments"


def buffers_are_pure(name: str) -> None:
    """A new buffer leaves the old one as it was, and a mixed order has as many examples as the order."""
    stream = small_stream()
    pack = make_pack(stream, (name,))
    pack.train_next_task()
    (ingredient,) = pack.context.ingredients
    buffer, numbers = pack.stack.buffers[ingredient.name][0], pack.spec.runs[0].numbers
    kept, examples = buffer.indices.copy(), stream.tasks[1].train.copy()
    if isinstance(ingredient, MixedReplay):
        mixed = ingredient.mix_in(examples, 5, buffer, numbers, generator(0, "mix"))
        assert mixed.shape == examples.shape
    if isinstance(ingredient, Buffered):
        ingredient.update_buffer(buffer, examples, numbers, generator(0, "buffer"))
    if isinstance(ingredient, BufferedOnline):
        slots = ingredient.slots(buffer.offered, len(examples), numbers, generator(0, "buffer"))
        assert slots.shape == examples.shape
    assert np.array_equal(buffer.indices, kept)
    assert np.array_equal(examples, stream.tasks[1].train)


def what_scores_it_steers_nothing(name: str) -> None:
    """Noise in place of the images of validation and test data moves no weight and stores no byte more."""
    kind, stream = ingredient_class(name), small_stream()
    scored = np.concatenate([part for task in stream.tasks for part in (task.validation, task.test)])
    x = stream.x.clone()
    x[torch.from_numpy(scored)] = torch.randn(len(scored), *SHAPE, generator=torch.Generator().manual_seed(0))
    for scenario, choice in itertools.product(kind.scenarios, variants(kind)):
        seen, noise = (
            finish(make_pack(images, (name,), varied_runs((name,), SIX, **choice), scenario))
            for images in (stream, replace(stream, x=x))
        )
        assert torch.equal(weights(seen), weights(noise)), f"in {scenario} what scores a run moves its weights"
        for one, other in zip(seen.records, noise.records, strict=True):
            assert (one.steps, one.stored_bytes) == (other.steps, other.stored_bytes)
            assert one.test != other.test, "the noise is not seen by what scores"


CHECKS: tuple[Callable[[str], None], ...] = (
    knows_its_scenarios,
    same_seed_gives_the_same_bits,
    a_restored_run_continues_bitwise,
    a_run_goes_on_within_a_task,
    micro_batches_change_nothing,
    off_is_naive,
    an_idle_setting_changes_nothing,
    on_is_not_naive,
    sharing_the_first_task_changes_nothing,
    alone_is_as_in_a_pack,
    a_dropped_neighbour_changes_nothing,
    a_kept_optimizer_is_restored_and_knows_no_neighbour,
    state_moves_with_its_run,
    functions_of_tensors_are_pure,
    buffers_are_pure,
    what_scores_it_steers_nothing,
)


def _turns(kind: type[Ingredient]) -> Iterator[tuple[Scenario, str]]:
    """(scenario, optimizer) without an end: all of those that the ingredient knows, and all of these."""
    return zip(itertools.cycle(kind.scenarios), itertools.cycle(OPTIMIZERS), strict=False)


def _assert_nearly_the_same(alone: Pack, together: Pack, k: int) -> None:
    """For products as small as here torch has kernels of its own, and chooses by the size of the whole batch."""
    assert_same_outcome(outcomes(alone)[0], outcomes(together)[k], "alone and among others ")
    torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)
