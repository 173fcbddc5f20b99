"""The packs that wait to be trained, and those on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.pack_files import PackFiles
from cfsweep.training.spec import PackSpec

Key = tuple[int, int]
"""(trial, seed) of a run."""


@dataclass
class PackJob:
    """A pack to train: what it is, which attempt, when it began. In this session so many `deaths` of workers have come
    since its last progress, at the last of which it had `saved` so many checkpoints; the runs that are `gone` have
    failed in it, and wait in a pack of their own to be tried again."""

    pack_id: str
    spec: PackSpec
    attempt: int = 1
    deaths: int = 0
    saved: int = 0
    gone: set[Key] = field(default_factory=set)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class PackQueue:
    """The packs of one driver, from the moment they are cut until nothing of them is left to be written.

    `waiting` are in the order in which they are handed out; `in_flight`, by id, those that have been, which lie in the
    folder for a later driver, and `pack_of` names that of each run in flight; `last_task` holds the ids of those that
    are training their last task, `over` of those to forget once their results are written. `close(pack_id)` is called
    when a pack is forgotten.
    """

    def __init__(self, folder: Folder, close: Callable[[str], None]) -> None:
        self.files, self.close = PackFiles(folder), close
        self.waiting: list[PackJob] = []
        self.in_flight: dict[str, PackJob] = {}
        self.pack_of: dict[Key, str] = {}
        self.last_task: set[str] = set()
        self.over: list[str] = []
        self.n_ids = self.files.first_free()

    def new_id(self) -> str:
        """Of a pack, or of results that are written like one's."""
        self.n_ids += 1
        return f"pack{self.n_ids - 1:06d}"

    def add(self, specs: Iterable[PackSpec], attempt: int = 1) -> None:
        """Has them wait behind all others."""
        self.waiting += [PackJob(self.new_id(), spec, attempt) for spec in specs]

    def again(self, job: PackJob) -> None:
        """Has a pack whose worker died wait before all others."""
        self.waiting.insert(0, replace(job, attempt=job.attempt + 1))

    def hand_out(self) -> PackJob:
        """The first one that waits; it is in flight from now on."""
        job = replace(self.waiting[0], started_at=datetime.now(UTC))
        self.files.save(job.pack_id, job.spec, job.attempt)
        self.waiting.pop(0)
        self.in_flight[job.pack_id] = job
        self.pack_of.update((run.key, job.pack_id) for run in job.spec.runs)
        return job

    def of_runs(self, keys: AbstractSet[Key]) -> dict[str, set[Key]]:
        """By pack, those of these runs that are in flight."""
        by_pack: dict[str, set[Key]] = {}
        for key in keys & self.pack_of.keys():
            by_pack.setdefault(self.pack_of[key], set()).add(key)
        return by_pack

    def pop(self, pack_id: str) -> PackJob | None:
        """Takes the pack out of those in flight."""
        job = self.in_flight.pop(pack_id, None)
        self.last_task.discard(pack_id)
        for run in job.spec.runs if job else ():
            if self.pack_of.get(run.key) == pack_id:
                del self.pack_of[run.key]
        return job

    def forget(self, pack_id: str) -> None:
        """Removes its files."""
        self.close(pack_id)
        self.files.remove(pack_id)

    def forget_over(self) -> None:
        """Removes the files of those whose results are written."""
        for pack_id in self.over:
            self.forget(pack_id)
        self.over.clear()

    def take_up(self, left_of: Callable[[PackJob], set[Key]]) -> set[Key]:
        """The runs that have not ended of the packs that an earlier driver had on their way: these packs wait from now
        on, and those of which nothing is left are forgotten. `left_of` gives such runs of a pack."""
        found: set[Key] = set()
        for pack_id, spec, attempt in self.files.saved():
            job = PackJob(pack_id, spec, attempt + 1)
            left = left_of(job)
            if left:
                self.waiting.append(job)
            else:
                self.forget(pack_id)
            found |= left
        return found
