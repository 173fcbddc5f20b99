"""A bundle as a model that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.bundle.answers_file import read_answers
from cfsweep.bundle.described import Origin, manifest_of
from cfsweep.bundle.encoding import encoder_of
from cfsweep.bundle.manifest import Manifest, read_manifest, read_tensors
from cfsweep.bundle.places import fetched
from cfsweep.bundle.program import UNIT, Program
from cfsweep.bundle.table import read_preprocessing, settled
from cfsweep.bundle.writer import HELD, WEIGHTS, answers_of, weights_of, whole
from cfsweep.errors import InputError, few, first_line
from cfsweep.hypers import Value
from cfsweep.texts import score_text
from cfsweep.training.answering import ByWhat
from cfsweep.training.engine.evaluation import chunk_size
from cfsweep.training.engine.layout import Layout, tensors_of
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.ingredients import Classifier, Context, Held, Settings, Substitute, hypers_of, ingredient_class
from cfsweep.training.networks import unliftable_reason
from cfsweep.training.pack import Pack
from cfsweep.training.pack_context import built_network
from cfsweep.training.plugins import is_trusting, named
from cfsweep.training.streams import SUFFIXES, Encoder, Preprocessing, rows_of_table, texts_of_table
from cfsweep.training.targets import Outputs, target_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


Table: TypeAlias = "pd.DataFrame | pa.Table | str | Path"
Examples: TypeAlias = "NDArray[np.generic] | Tensor | Table | Sequence[str]"


class Model:
    """A trained model, from a bundle. `about` is all that is known of it.

    It answers as the trainer did, to the last bit, for the same examples in the same order and number. Of a table of
    pandas it takes the columns by name, where the data had names. Where it was trained on a table, it takes raw ones,
    with words and gaps: of pandas, Polars or Arrow, or the path of a .csv, .tsv or .parquet file (`transformed`).
    """

    def __init__(
        self,
        about: Manifest,
        weights: Mapping[str, Tensor],
        answers: Mapping[str, Tensor],
        where: str = "model",
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """`weights`, `answers` and `preprocessing` are what the files of these names hold; `where` is named in what is
        refused.

        Raises:
            InputError: the network at hand is another one.
        """
        self.about, self.where = about, where
        self._encoder: Encoder | None = None  # not before it is asked for
        self.kinds = [ingredient_class(name, where) for name in about.ingredients]
        module = network_of(about, weights, where)
        self.layout = Layout(module, about.n_outputs)
        self.lifted = Lifted(module, unliftable_reason(module, about.input_shape) is None, self.layout.head)
        self.target = target_of(about.target)
        self.answers, self.preprocessing = answers, preprocessing
        self.answerer = self._answerer()

    def outputs(self, x: Examples, task: int | None = None, *, encoded: bool = False) -> Tensor:
        """(n, n_outputs) for raw examples x (n, *input_shape), or what `features` made of them, if they are `encoded`;
        minus infinity at the outputs that are not active. Amounts are in the user's units.

        Raises:
            InputError: the examples have another shape, or the task must be told, or there is no such task; or the
                encoder is not at hand.
        """
        number = self._task(task)
        examples = self.seen(x, task, encoded=encoded)
        parameters = self._weights(number)
        layers = () if self.answerer is None else ("",)
        size = chunk_size(1, int(np.prod(self.about.input_shape)), self.lifted.stack is not None, on_gpu=False)
        found = []
        with torch.no_grad(), self.lifted.draws(torch_seed(self.about.seed, "evaluation", number)):
            for chunk in torch.split(examples, size):
                outputs, features = self.lifted.answers(parameters, chunk, layers, shared=True)
                if self.answerer is None:
                    found.append(outputs[0])
                else:
                    by, held = self.answerer
                    found.append(by.outputs_for(features[""].flatten(2)[0], held))
        outputs = torch.cat(found)
        if UNIT[0] in self.answers:
            shift, scale = (self.answers[name].to(torch.float32) for name in UNIT)
            outputs = outputs * scale + shift
        return outputs.masked_fill(~self.answers["masks"][number], -torch.inf)

    def predict(self, x: Examples, task: int | None = None, *, encoded: bool = False) -> list[Any]:
        """The label of each example (n,), as the user calls it; where there are several, or several amounts, a list of
        them. x as for `outputs`."""
        number = self._task(task)
        mask = self.answers["masks"][number]
        predicted = self.target.predict(self.outputs(x, task, encoded=encoded), mask)
        if not self.target.has_classes:
            predicted = predicted[:, mask]
            found: list[Any] = (predicted.squeeze(1) if predicted.shape[1] == 1 else predicted).tolist()
            return found
        labels = self.about.tasks[number].labels
        return [labels[output] for output in predicted.tolist()]

    def probabilities(self, x: Examples, task: int | None = None, *, encoded: bool = False) -> pd.DataFrame:
        """How likely each label is, as scores take it: a row for each example (n,), a column for each label that the
        task has, called as the user calls it; they add up to 1. Where an example has several labels, each is called by
        its place among those of its task, from 0, and is by itself. x as for `outputs`.

        Raises:
            InputError: what is learned are amounts, which have none; or as `outputs`.
        """
        import pandas as pd

        number = self._task(task)
        mask = self.answers["masks"][number]
        outputs = self.outputs(x, task, encoded=encoded)
        try:
            found = self.target.probabilities(outputs, mask)[:, mask].numpy()
        except NotImplementedError as error:
            raise InputError(f"model: the answers of `{self.about.target}` have no probabilities.") from error
        if not self.target.has_classes:
            return pd.DataFrame(found)
        labels = self.about.tasks[number].labels
        return pd.DataFrame(found, columns=[labels[output] for output in mask.nonzero().flatten().tolist()])

    def __repr__(self) -> str:
        about = self.about
        said = ", ".join(f"{score_text(value)} on {part} data" for part, value in about.average.items())
        names = "+".join(about.ingredients) or "naive"
        scores = f": {about.score} {said}" if said else ""
        return f"Model of {names} on {about.stream}, {about.scenario}, {len(about.tasks)} tasks{scores}"

    def network(self) -> nn.Module:
        """A copy of the network, with the weights after the last task, in evaluation mode. It maps examples as it sees
        them, `seen(x)`, to outputs (n, n_outputs), those that are not active too."""
        return deepcopy(self.lifted.module)

    def transformed(self, table: Table, task: int | None = None) -> Tensor:
        """(n, *input_shape) float32: the rows of a raw table as examples, by what was fitted for a task (default: the
        last one; they differ where `preprocessing` is `past`). It is what `model.pt2` takes.

        Raises:
            InputError: the model was not trained on a table, a column is missing, or a value does not fit its column.
        """
        if self.preprocessing is None:
            raise InputError(
                "model: it was not trained on a table, so there is nothing to transform. Give the examples."
            )
        if self.preprocessing.text is not None:
            raise InputError("model: its examples are features of texts. Call `features` with the table.")
        if task is not None:
            self._task(task)
        with settled():
            return torch.from_numpy(rows_of_table(self.preprocessing, table, task))

    def features(self, x: Examples, task: int | None = None) -> Tensor:
        """What the bundle's encoder makes of raw examples or texts, (n, d) float32; without one the examples, and of a
        raw table those that `transformed` gives.

        Raises:
            InputError: the encoder is not at hand, or cannot encode them, or a table does not fit.
        """
        about = self.about.encoder
        if about is not None and self._encoder is None:
            self._encoder = encoder_of(about, self.where)
        if about is not None and about.input_shape is None:
            assert self._encoder is not None
            return self._encoder.features(self._texts(x))
        if isinstance(x, str | Path) and self.preprocessing is None:
            raise self._no_examples(x)
        is_raw = self.preprocessing is not None and not isinstance(x, Tensor | np.ndarray)
        raw = self.transformed(x, task) if is_raw else _array(x, self.about.features)
        if about is None or self._encoder is None or about.input_shape is None:
            return raw
        raw = raw.to(getattr(torch, str(about.input_dtype)))
        if tuple(raw.shape[1:]) != about.input_shape:
            raise _other_shape(about.input_shape, raw)
        return self._encoder.features(raw)

    def _texts(self, x: Any) -> list[str]:
        """The texts (n,) of x: a list, an array or a column of some; where the data were a table, a raw one, or its
        path.

        Raises:
            InputError: it is neither.
        """
        listed: Any = x.tolist() if hasattr(x, "tolist") else x
        if isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed):
            return [str(one) for one in listed]
        is_path = isinstance(x, Path) or (isinstance(x, str) and Path(x).suffix.lower() in SUFFIXES)
        is_table = hasattr(x, "__arrow_c_stream__") or hasattr(x, "columns")
        if self.preprocessing is not None and (is_path or is_table):
            with settled():
                return texts_of_table(self.preprocessing, x)
        kinds = "a list of texts" if self.preprocessing is None else "a list of texts, or a table with them"
        got = "one text" if isinstance(x, str) else type(x).__name__
        raise InputError(f"model: it answers {kinds}, but got {got}. Give a list of texts, such as [text].")

    def seen(self, x: Examples, task: int | None = None, *, encoded: bool = False) -> Tensor:
        """Raw examples x, or rows of a raw table, as the network sees them, float32, standardised: (n, *input_shape).
        `encoded`: they are what `features` made of them.

        Raises:
            InputError: as `features`, or they have another shape.
        """
        found = _array(x, ()) if encoded else self.features(x, task)
        if tuple(found.shape[1:]) != self.about.input_shape:
            raise _other_shape(self.about.input_shape, found)
        return standardised(found, self.answers)

    def _no_examples(self, given: str | Path) -> InputError:
        encoder, images = self.about.encoder, self.about.image_shape
        asked = self.about.input_shape if encoder is None else encoder.input_shape
        shape = ", ".join(["n", *map(str, asked or ())])
        remedy = "`cfsweep.predict(bundle, folder, to)` answers a folder of images" if images else "Load it first"
        return InputError(f"model: it takes an array or a tensor ({shape}), but got the path {given}. {remedy}.")

    def _task(self, task: int | None) -> int:
        names = self.about.task_names
        listed = few(f"{number} (`{name}`)" for number, name in enumerate(names))
        if task is None and self.about.needs_task:
            raise InputError(f"model: it must be told of which task the examples are: {listed}. Give `task`.")
        if task is not None and not 0 <= task < len(names):
            raise InputError(f"model: `0 <= task < {len(names)}` must hold, but got {task}. It has learned {listed}.")
        return task or 0

    def _weights(self, task: int) -> dict[str, Tensor]:
        own = dict(self.lifted.module.named_parameters())
        place = int(self.answers["which"][task])
        found = {}
        for entry in self.layout.entries:
            stacked = self.answers.get(f"weights/{entry.name}")
            found[entry.name] = own[entry.name].detach() if stacked is None else stacked[place]
        return self.layout.unflatten(self.layout.flatten(found).unsqueeze(0))

    def _answerer(self) -> tuple[Substitute, ByWhat] | None:
        """What answers in place of the output layer, and what it goes by."""
        held = {name.removeprefix(HELD): value for name, value in self.answers.items() if name.startswith(HELD)}
        if not held:
            return None
        kind = next(kind for kind in self.kinds if issubclass(kind, Substitute))
        by = kind(self._context(), static_settings(self.about))
        return by, Held(**held) if issubclass(kind, Classifier) else held

    def require_fit(self) -> None:
        """Has what answers in place of the output layer, where something does, answer one example.

        Raises:
            InputError: it cannot: what it goes by is of another network, or of no shape or type that it takes.
        """
        if self.answerer is None:
            return
        try:
            found = self.outputs(torch.zeros(1, *self.about.input_shape), 0, encoded=True)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            raise self._misfit(first_line(error)) from error
        if tuple(found.shape) != (1, self.about.n_outputs):
            raise self._misfit(f"it answers {tuple(found.shape)} where (1, {self.about.n_outputs}) is needed")

    def _misfit(self, said: str) -> InputError:
        return InputError(f"{self.where}: `{HELD}...` does not fit the network ({said}). Export the model again.")

    def _context(self) -> Context:
        """One without examples: what answers needs none but those that are held."""
        about, none = self.about, torch.empty(0, dtype=torch.int64)
        masks = self.answers["masks"].expand(len(about.tasks) + 1, -1, -1)
        return Context(
            layout=self.layout,
            target=self.target,
            n_tasks=len(about.tasks),
            scenario=about.scenario,
            input_shape=about.input_shape,
            forward=lambda theta, x: self.lifted.one(self.layout.unflatten(theta), x),
            squared_gradients=_nothing,
            output_sensitivity=_nothing,
            outputs=Outputs(about.n_outputs, none, none, masks),
            classes=none.numpy(),
            output_tasks=(),
        )


def load(folder: str | Path) -> Model:
    """The model of the bundle in `folder`, or at a URI such as s3://bucket/folder, as `cfsweep export` wrote it.
    Nothing is unpickled. Code that the bundle names by an import path, its network's, say, is run if it is yours, or
    `with cfsweep.trusting()` (SECURITY.md).

    Raises:
        InputError: there is no bundle, a file was changed, the network at hand is another one, or the code is not to be
            run.
    """
    with fetched(folder) as here:
        about = read_manifest(here)
        if is_trusting():
            named(about.model_dump(mode="json"))  # its encoder is called later
        weights = read_tensors(here / WEIGHTS)
        answers = read_answers(here, about, weights)
        found = Model(about, weights, answers, str(folder), read_preprocessing(here, about))
        found.require_fit()
        return found


def of_pack(pack: Pack, origin: Origin) -> Model:
    """The model of a `pack` of one run; nothing is written."""
    program = Program(pack)
    manifest = manifest_of(pack, origin, program.needs_task, with_examples=True)
    weights, answers = whole(weights_of(pack)), whole(answers_of(program))
    return Model(manifest, weights, answers, preprocessing=pack.stream.preprocessing)


def _other_shape(wanted: tuple[int, ...], found: Tensor) -> InputError:
    shape = ", ".join(["n", *map(str, wanted)])
    return InputError(f"model: examples must be ({shape}), but got {tuple(found.shape)}. Reshape them.")


def _array(x: Any, features: tuple[str, ...]) -> Tensor:
    """Raw examples as a tensor; of a table the columns of the data by their names, or as they come if these have none.

    Raises:
        InputError: the table lacks a column.
    """
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(x))
    if isinstance(x, Sequence):
        raise InputError("model: examples must be an array, a tensor or a table, but got a list. Convert it.")
    missing = [name for name in features if name not in x.columns]
    if missing:
        raise InputError(f"model: the table must have the columns of the data, but lacks {few(missing)}. Add them.")
    return torch.from_numpy(np.ascontiguousarray((x[list(features)] if features else x).to_numpy(np.float32)))


def _nothing(*_: Any) -> Tensor:
    raise NotImplementedError("a model that answers takes no gradients")


def standardised(x: Tensor, answers: Mapping[str, Tensor]) -> Tensor:
    """Raw examples (n, ...) as the network of a bundle with these `answers` sees them, float32."""
    return x.to(torch.float32, copy=True).sub_(answers["shift"]).mul_(answers["scale"])


def static_settings(about: Manifest) -> Settings:
    """Those of the bundle that an ingredient gets when it is made.

    Raises:
        InputError: one is missing, or no legal value.
    """
    found: dict[str, Value] = {}
    for name, hyper in hypers_of(about.ingredients).items():
        if name not in about.settings and hyper.static:
            raise InputError(f"model: the bundle has no setting `{name}`. Export the model again.")
        if name in about.settings:
            value = hyper.check(about.settings[name], "model")
            found |= {name: value} if hyper.static else {}
    return found


def network_of(about: Manifest, weights: Mapping[str, Tensor], where: str) -> nn.Module:
    """The network of the bundle at `where` with its `weights` and statistics, in evaluation mode.

    Raises:
        InputError: the network at hand is another one.
    """
    kinds = [ingredient_class(name, where) for name in about.ingredients]
    hypers, settings = hypers_of(about.ingredients), static_settings(about)
    module = built_network(about.network, about.input_shape, about.n_outputs, kinds, hypers, settings)
    load_weights(module, weights, another_network(where, about), BRING_BACK)
    return module.eval()


BRING_BACK = "Bring back its code"


def another_network(where: str | Path, about: Manifest) -> str:
    """What is wrong where the code at hand builds another network than that of the bundle at `where`."""
    return f"{where}: network `{about.network.name}` is another one than was trained"


def load_weights(module: torch.nn.Module, weights: Mapping[str, Tensor], complaint: str, remedy: str) -> None:
    """Gives `module` these weights and statistics, by name.

    Raises:
        InputError: it has others, as `complaint` says; `remedy` is what can be done.
    """
    own = tensors_of(module)
    different = sorted(
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    )
    if different:
        raise InputError(
            f"{complaint}: they differ in `{different[0]}`"
            f"{'' if len(different) == 1 else f' and {len(different) - 1} more'}. {remedy}."
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
