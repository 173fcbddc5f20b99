"""Whether a study's first weights can be what it takes them for: of `network.init` and `stream.learned`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.sweeping.pack_size import probe
from cfsweep.training.ingredients import ingredient_class, refuse_without_steps
from cfsweep.training.networks import head_of, init_note
from cfsweep.training.streams import Stream


def check_learned(
    config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, network: nn.Module, n_outputs: int, where: str
) -> str | None:
    """What the user should know of the `network` that begins with weights from a file: that its output layer is drawn
    all the same, and why. None where there is nothing to say.

    Raises:
        InputError: tasks are said to be learned, but by no weights, or not by the output layer; or a remedy that is on
            needs the steps that they were learned by.
    """
    head = head_of(network, n_outputs)
    left = init_note(network, head, config.space.network)
    if not stream.n_learned:
        return None if left is None else f"network.init: the output layer `{head}` begins as it is drawn, since {left}"
    if config.space.network.init is None:
        raise InputError(
            f"{where}: `stream.learned={stream.n_learned}` needs weights that know the first tasks. Name their file "
            "with `network.init`."
        )
    if left is not None:
        raise InputError(
            f"{where}: `stream.learned={stream.n_learned}` needs an output layer that knows the first tasks, but of "
            f"`{head}` {left}. Give it the {n_outputs} outputs of the stream."
        )
    values = [run.values for run in probe(config, hypers, 1).runs]
    refuse_without_steps(map(ingredient_class, config.space.ingredients), values, f"{where}: stream.learned")
    return None
