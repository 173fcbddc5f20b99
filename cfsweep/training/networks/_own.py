"""Your own network: an `nn.Module` factory by import path."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError, first_line
from cfsweep.training.networks._head import head_of
from cfsweep.training.plugins import contained, current_folder_importable, imported


def own_network(config: NetworkConfig, path: str, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """What the function at `path`, `package.module:function`, returns for `input_shape`, `n_outputs` and `config.args`.

    Raises:
        InputError: the function is missing, raises, takes other arguments, or returns no module that maps
            (n, *input_shape) to (n, n_outputs) through an output layer `head_of` can find.
    """
    where = f"network `{config.name}`"
    with current_folder_importable():
        factory = imported(path, where)
        given: dict[str, Any] = {"input_shape": input_shape, "n_outputs": n_outputs, **config.args}
        try:
            inspect.signature(factory).bind(**given)
        except TypeError as error:
            raise InputError(
                f"{where}: it is called with ({', '.join(given)}), but these do not fit ({error}). "
                f"It takes {inspect.signature(factory)}."
            ) from error
        try:
            with contained():
                module = factory(**given)
        except Exception as error:  # the user's function may raise anything
            raise InputError(f"{where}: the function failed ({first_line(error)}). Call it to see more.") from error
        if not isinstance(module, nn.Module):
            raise InputError(
                f"{where}: the function must return a torch.nn.Module, but returned {type(module).__name__}. "
                "See examples/own_network.py."
            )
        require_outputs(module, input_shape, n_outputs, where)
    head_of(module, n_outputs)
    return module


def require_outputs(module: nn.Module, input_shape: tuple[int, ...], n_outputs: int, where: str) -> None:
    """Shows `module` two examples.

    Raises:
        InputError: it does not take them, or gives something else than (2, n_outputs); `where` opens the line.
    """
    was_training = module.training
    module.eval()  # so that no running statistics see the trial batch
    try:
        with contained(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = module(torch.zeros(2, *input_shape))
    except Exception as error:  # the user's network may raise anything
        raise InputError(
            f"{where}: it must take float32 examples of the shape (n, {', '.join(map(str, input_shape))}), but failed "
            f"({first_line(error)}). Change its input layer."
        ) from error
    finally:
        module.train(was_training)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (2, n_outputs):
        raise InputError(
            f"{where}: its output for 2 examples must have the shape (2, {n_outputs}), but is {shape}. "
            "Give it `n_outputs` outputs, one row per example."
        )
