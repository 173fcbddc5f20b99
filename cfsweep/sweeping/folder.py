"""The results folder of a study: made once, frozen, opened by one driver at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from cfsweep import identity
from cfsweep.config import Choices, StudyConfig
from cfsweep.errors import InputError, not_written
from cfsweep.files import git_revision, hold, write_atomically
from cfsweep.hypers import Hyper, Value
from cfsweep.results.addresses import in_command
from cfsweep.results.ledger import LEDGER
from cfsweep.results.leftovers import is_leftover
from cfsweep.results.opening import open_ledger
from cfsweep.results.reader import COPY, LAYOUT, LAYOUT_NOW, STUDY, damaged, is_sealed, read_study
from cfsweep.results.sealing import sealed_text
from cfsweep.results.status import LOCK, has_majority, trained_references
from cfsweep.sweeping.ground import FORMAT, NUMBERS, counts_of, ground_of, outputs_of, refuse_incomplete
from cfsweep.sweeping.outside import described_tasks
from cfsweep.sweeping.parsing import parse
from cfsweep.sweeping.references import reference_settings
from cfsweep.training.constant_answer import majority_shares
from cfsweep.training.ingredients import Conventions, ingredient_class
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of, target_of
from cfsweep.version import VERSION
from cfsweep.yaml_text import written

LOCK_TRIES = 10
_PACKAGES = (*NUMBERS, "ray", "optuna", "pyarrow")


class Folder:
    """Where everything of one study lies."""

    def __init__(self, root: Path) -> None:
        self.root = root
        before = root / "journal.log"  # as it was called once; but rsync and git leave such names out by habit
        self.journal = before if before.exists() else root / "journal.jsonl"
        self.checkpoints = root / "checkpoints"
        self.study_file = root / STUDY

    def exists(self) -> bool:
        return self.study_file.exists()

    def refuse_other_content(self) -> None:
        """Makes sure that a study can begin here.

        Raises:
            InputError: the folder holds files of something else.
        """
        if (self.root / COPY).exists():
            raise damaged(self.root, STUDY, "missing")
        if not self.root.exists() or (self.root.is_dir() and not self._others()):
            return
        raise InputError(f"--out {self.root}: it exists and is no study of cfsweep. Choose another folder.")

    def _others(self) -> list[Path]:
        """What is in the folder beside that which a driver leaves that was killed where it began."""
        begun = (LOCK, LEDGER)
        return [p for p in self.root.iterdir() if p.name not in begun and not is_leftover("", p.name)]

    def create(self, config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> None:
        """Writes `study.yaml`."""
        self.write(describe(config, hypers, stream))

    def write(self, study: Mapping[str, Any]) -> None:
        """Writes `study.yaml`, sealed, and its copy; before them the ledger, where there is none yet."""
        if not (self.exists() and (self.root / LEDGER).exists()):
            open_ledger(self.root, study["study_id"])
        text = sealed_text(written({**study, LAYOUT: LAYOUT_NOW}))
        for name in (STUDY, COPY):
            write_atomically(self.root / name, lambda file: file.write(text))

    def restore_copy(self) -> None:
        """Writes the copy of `study.yaml` if it is gone; earlier versions made none."""
        text = self.study_file.read_bytes()
        if is_sealed(text) and not (self.root / COPY).exists():
            write_atomically(self.root / COPY, lambda file: file.write(text))

    def read(self) -> tuple[StudyConfig, dict[str, Any]]:
        """The frozen study: its config, and all of `study.yaml`.

        Raises:
            InputError: there is none, or it was changed by hand.
        """
        study = read_study(self.root)
        refuse_incomplete(study, self.study_file)
        content = study.get("config", {})
        if isinstance(content, Mapping):
            content = {"identity_version": 0, **content}  # the first version did not write it
            content = identity.with_earlier_defaults(StudyConfig, content)
        config = parse(StudyConfig, content, str(self.study_file))
        if config.study_id != study["study_id"]:
            raise InputError(
                f"{self.study_file}: its config hashes to {config.study_id}, but it says study_id="
                f"{study['study_id']}. It was edited or is of another version; start a new study."
            )
        return config, study

    def require_journal(self) -> None:
        """Makes sure that what has been asked so far is known: without it a sweep would train all of it again.

        Raises:
            InputError: there are runs, but no journal.
        """
        if any((self.root / "runs").glob("*.parquet")) and not (self.journal.exists() and self.journal.stat().st_size):
            what = "empty" if self.journal.exists() else "missing (rsync and git leave out journal.log by habit)"
            raise InputError(
                f"{self.journal}: {what}, though there are runs. Bring it back, or "
                f"`cfsweep repair {in_command(self.root)}` makes it anew of them."
            )

    def reference_settings(self) -> list[dict[str, Value]]:
        """What the references are trained with of the base hyperparameters that are searched; the default alone in a
        study that does not say so."""
        return self.read()[1].get("references") or [{}]

    def references(self, config: StudyConfig) -> list[int]:
        """The numbers of the references that are trained for the budget of `config`, which may be more than the folder
        says yet."""
        return trained_references({**self.read()[1], "config": config.model_dump(include={"references", "trials"})})

    def has_majority(self) -> bool:
        """Whether the study has the reference `majority`."""
        return has_majority(self.read()[1])

    def set_budget(self, trials: int, time_budget_s: float | None, seeds: int | None = None) -> StudyConfig:
        """Changes the budget, which is no part of the study's identity; there may be more seeds than it began with."""
        config, study = self.read()
        changed = config.grown(trials, seeds or config.seeds).model_copy(update={"time_budget_s": time_budget_s})
        self.write({**study, "config": changed.model_dump(mode="json")})
        return changed

    def forget_packs(self) -> None:
        """Has packs on their way, and first tasks that others would share, begin anew: no run stands on two grounds."""
        for path in self.checkpoints.glob("p*"):
            if path.suffix in (".json", ".pt"):
                path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this driver.

        Raises:
            InputError: another driver holds it, the folder cannot be written to, or something in it lies elsewhere.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            refuse_links_out(self.root)
            lock = (self.root / LOCK).open("w")
        except OSError as error:
            raise not_written(error) from error
        with lock as file:
            for left in reversed(range(LOCK_TRIES)):  # `cfsweep status` holds it for a moment
                if hold(file, self.root):
                    break
                if not left:
                    raise InputError(f"{self.root}: another cfsweep is writing to this study. Wait for it, or stop it.")
                time.sleep(0.05)
            yield


def refuse_links_out(root: Path) -> None:
    """
    Raises:
        InputError: to write into the results folder would be to write elsewhere: it may have come from anywhere.
    """
    inside = root.resolve()
    for path in root.iterdir():
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise InputError(
                f"{path}: it is a link out of the results folder, where nothing is written. Put what it leads to in "
                "its place."
            )


def describe(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> dict[str, Any]:
    """The content of `study.yaml`."""
    outside = config.space.trainer is not None
    return {
        "study_id": config.study_id,
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "hypers": described_hypers(config, hypers),
        "references": reference_settings(config.space) if config.references else [],
        "scores": [{"name": score.name, "bounds": list(score.bounds)} for score in scores_of(stream)],
        **({"tasks": described_tasks(stream)} if outside else _of_examples(config, hypers, stream)),
        **ground_of(config, stream),
        "versions": {
            "cfsweep": VERSION,
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "git_revision": git_revision(Path(__file__).parent),
        LAYOUT: LAYOUT_NOW,
    }


def _of_examples(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> dict[str, Any]:
    """What follows from the examples, and from what is done with them."""
    return {
        "majority": majority_shares(stream) if target_of(stream.target).has_classes else [],
        "conventions": _conventions(config, hypers),
        "outputs": outputs_of(config, stream),
        "tasks": [{"name": task.name, "classes": list(task.classes), **counts_of(task)} for task in stream.tasks],
        **({"table": stream.preprocessing.described()} if stream.preprocessing else {}),
    }


def _conventions(config: StudyConfig, hypers: Mapping[str, Hyper]) -> dict[str, dict[str, str | list[str]]]:
    """By ingredient, what its strength means: one text, or a list where a searched setting decides."""
    found: dict[str, dict[str, str | list[str]]] = {}
    static = {name: _values(hyper, config) for name, hyper in hypers.items() if hyper.static}
    first = {name: values[0] for name, values in static.items()}
    for kind in map(ingredient_class, config.space.ingredients):
        # All that its own settings can be together, and each of the others by itself: all of all may be millions.
        own = {hyper.name: static[hyper.name] for hyper in kind.hypers if hyper.static}
        changes = [dict(zip(own, chosen, strict=True)) for chosen in product(*own.values())]
        changes += [{name: value} for name in static if name not in own for value in static[name][1:]]
        said = [kind.conventions({**first, **change}) for change in changes]
        texts = {
            key: list(dict.fromkeys(filter(None, of)))
            for key, of in zip(Conventions._fields, zip(*said, strict=True), strict=True)
        }
        found[kind.name] = {key: of[0] if len(of) == 1 else of for key, of in texts.items() if of}
    return {name: of for name, of in found.items() if of}


def _values(hyper: Hyper, config: StudyConfig) -> list[Value]:
    """The values that a static hyperparameter can have in the trials of a study; its default where it has a range."""
    searched = config.space.search.get(hyper.name)
    if searched is None:
        return [config.space.fixed.get(hyper.name, hyper.default)]
    return list(searched.choices) if isinstance(searched, Choices) else [hyper.default]


def described_hypers(config: StudyConfig, hypers: Mapping[str, Hyper]) -> dict[str, dict[str, Any]]:
    """By name, what `study.yaml` says of the hyperparameters of a study."""
    return {name: _describe_hyper(hyper, config) for name, hyper in hypers.items()}


def _describe_hyper(hyper: Hyper, config: StudyConfig) -> dict[str, Any]:
    searched = config.space.search.get(hyper.name)
    described: dict[str, Any] = {"kind": hyper.kind, "default": hyper.default, "searched": searched is not None}
    if searched is None:
        return {**described, "value": config.space.fixed.get(hyper.name, hyper.default)}
    if isinstance(searched, Choices):
        return {**described, "choices": list(searched.choices)}
    return {**described, **searched.model_dump(mode="json", exclude={"whole"})}  # which the kind says
