"""A study that lies in a store: written in a folder of this machine, and carried to the store beside that.

What the store holds is at any moment a study that can be resumed. A journal may say more than the tables there, never
less: it is carried before the parts, and they before the ledger that names them. A file that grows is carried whole,
up to the length that it had when the pass began. What is gone here is removed there last; but where `study.yaml` has
changed, checkpoints before it, as they may be of the ground of before.

`carried.jsonl`, beside the folder, tells what the store holds of it; `writer.json` which writer that was. As long as
the store names the same writer, nobody else has written since, and the folder is at least as new as the store.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cfsweep.errors import InputError, NotCarriedError
from cfsweep.files import hold, write_atomically
from cfsweep.results.carried import Carried, Seen
from cfsweep.results.lease import Lease
from cfsweep.results.ledger import LEDGER
from cfsweep.results.reader import COPY, JOURNALS, STUDY
from cfsweep.results.stages import INSIDE, LAST_STAGE, grows, is_checkpoint, is_hidden, is_of_analysis, listed, stage_of
from cfsweep.results.store import FAULTS, Entry, Store, for_each
from cfsweep.visible import tell

WRITER = ".writer"  # in the store: who wrote last
LEAST_PAUSE_S, MOST_PAUSE_S, PAUSES = 1.0, 60.0, 10  # between two passes: so many times as long as one takes
SILENT_S = 15.0  # without an answer to a claim, a small file: a cable is pulled, and the connection is still waited for
PATIENCE_S = 600.0  # at the end, for a store that is away


class Mirror:
    """The study in `store`, in `home`: its folder is `home/study`. Use `open_mirror`."""

    def __init__(self, store: Store, home: Path, lease: Lease, say: Callable[[str], object]) -> None:
        self.store, self.home, self.lease, self.say = store, home, lease, say
        self.folder = home / "study"
        self.carried = Carried(home / "carried.jsonl")
        self.is_away = self.given_up = False
        self.on_lost: Callable[[], object] = lambda: None
        self._ended, self._noting = threading.Event(), threading.Lock()
        self._asked_at: float | None = None  # since when it is waited for the answer to a claim
        acts = (self._carry_on, self._keep_lease, self._watch)
        self._threads = [threading.Thread(target=act, daemon=True) for act in acts]

    # ------------------------------------------------------------------ at the beginning

    def begin(self, anew: bool = False) -> None:
        """Makes the folder what the store holds, unless it is newer, and carries on from here: what has changed since,
        or all of it `anew`, whatever has become of that in the store.

        Raises:
            InputError: the store holds something else, or both have moved on.
        """
        here, there = _text(self.home / "writer.json"), self.store.read(WRITER)
        is_study = self.store.has(STUDY) or self.store.has(COPY)
        if not is_study and (other := [n for n in self.store.names() if not n.startswith(".")]):
            raise InputError(
                f"{self.store.address}: it holds {other[0]} and is no study of cfsweep. Choose another place."
            )
        if here is None or there is None or here.encode() != there:
            self._fetch_all()
        else:
            self._hold_against(self.store.entries())
            if anew:
                self.carried.files = dict.fromkeys(self.carried, Seen(-1, -1))
        self.carried.open()
        for thread in self._threads:
            thread.start()

    def _fetch_all(self) -> None:
        if (news := self._not_carried()) and not self._is_there(news):
            raise InputError(
                f"{self.store.address}: it was written to from elsewhere, and {self.folder} holds what was never "
                f"carried there ({news[0]}). One of both must go: move that folder away to go on with the store."
            )
        fetched = self.home / "fetched"  # whole before it takes the place of what was here
        for folder in (fetched, self.folder):
            shutil.rmtree(folder, ignore_errors=True)
        fetched.mkdir(parents=True)
        self._fetch(self.store.entries(), fetched)
        fetched.rename(self.folder)
        self.carried.files = self._files()
        writer = uuid.uuid4().hex
        write_atomically(self.home / "writer.json", lambda file: file.write(writer.encode()))
        self.store.write(WRITER, writer.encode())

    def _hold_against(self, there: Mapping[str, Entry]) -> None:
        """Takes up where the same writer has ended: what the analysis has written since is fetched, what the store
        lacks is to be carried again, and the checkpoints that are gone here are to go there."""
        self._fetch((name for name in there if is_of_analysis(name)), self.folder)
        for name, seen in list(self.carried.files.items()):
            if name not in there or (there[name].size != seen.size and not grows(name)):
                del self.carried.files[name]
        here = self._files()
        gone = [name for name in there if is_checkpoint(name) and name not in here]
        self.carried.files.update(dict.fromkeys(gone, Seen(-1, -1)))

    def _not_carried(self) -> list[str]:
        """The files here of which the store has been told nothing."""
        return [name for name, seen in self._files().items() if self.carried.files.get(name) != seen]

    def _is_there(self, names: list[str]) -> bool:
        """Whether the store has these files as they are here: a pass was ended before it was noted."""
        return all(self.store.read(name) == (self.folder / name).read_bytes() for name in names)

    def _fetch(self, names: Iterable[str], folder: Path) -> None:
        wanted = [name for name in names if not is_hidden(name)]
        for _ in for_each(wanted, lambda name: self.store.fetch(name, folder / name)):
            pass

    # ------------------------------------------------------------------ passes

    def carry(self) -> bool:
        """Has the store hold what the folder holds now; whether anything was to be done.

        Raises:
            OSError, pyarrow.ArrowException: the store cannot be written to.
        """
        files = self._taken_in()
        changed = [name for name, seen in files.items() if self.carried.files.get(name) != seen]
        gone = [name for name in self.carried if name not in files]
        if not changed and not gone:
            return False
        if any(name.rpartition("/")[2] == STUDY for name in changed):
            first = [name for name in gone if is_checkpoint(name)]
            for name in for_each(first, self._remove):
                self.carried.note(name, None)
            gone = [name for name in gone if not is_checkpoint(name)]
        for stage in range(LAST_STAGE + 1):
            names = [name for name in changed if stage_of(name) == stage]
            for name in for_each(names, lambda name: self._send(name, files[name])):
                self.carried.note(name, files[name])
            if stage == 0:  # where there is a study there is a ledger
                self._begin_ledgers(changed)
        for name in for_each(gone, self._remove):
            self.carried.note(name, None)
        return True

    def _begin_ledgers(self, names: Iterable[str]) -> None:
        """Sends the first line of each ledger that the store lacks: it names no part, but without a ledger the parts
        that come now would be those of a study that has lost its own."""
        for name in names:
            if name.rpartition("/")[2] == LEDGER and name not in self.carried.files:
                self._require_lease()
                first, end, _ = (self.folder / name).read_bytes().partition(b"\n")
                if end and b'"study_id"' in first:
                    self.store.write(name, first + end)

    def _send(self, name: str, seen: Seen) -> None:
        self._require_lease()
        path = self.folder / name
        if grows(name):
            with path.open("rb") as file:
                content = file.read(seen.size)
            self.store.write(name, content[: content.rfind(b"\n") + 1])
        elif path.exists():  # else its pack is over, and the next pass removes it there
            self.store.send(name, path)

    def _remove(self, name: str) -> None:
        self._require_lease()
        self.store.remove(name)

    def _require_lease(self) -> None:
        if self.given_up or not self.lease.may_write:
            raise OSError("the right to write there was not renewed")

    def _taken_in(self) -> dict[str, Seen]:
        """All files, those that grow as they were at one moment: the journal knows all trials of the ledger, and says
        of no run that it has ended whose rows the ledger does not name; all parts that this names are among them."""
        for _ in range(20):
            before, ledgers = self._growing(JOURNALS), self._growing((LEDGER,))
            files = {} if ledgers else self._files()  # a folder without one: what is there counts
            after = self._growing(JOURNALS)
            if before != after:
                continue  # after some attempts, the journal knows more: those runs might be trained again
            files = files or self._files()
            if all(name in ledgers or name in after for name in files if grows(name)):
                break  # else one was begun meanwhile, and may name parts that were not listed
        return {**(files or self._files()), **ledgers, **after}

    def _growing(self, names: tuple[str, ...]) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for name in (f"{place}{name}" for place in ("", *(f"{inner}/" for inner in INSIDE)) for name in names):
            with suppress(FileNotFoundError):
                found[name] = Seen.of(self.folder / name)
        return found

    def _files(self) -> dict[str, Seen]:
        """All files that are carried, by their paths, as they are now."""
        found: dict[str, Seen] = {}
        waiting = [self.folder] if self.folder.exists() else []
        while waiting:
            folder = waiting.pop()
            for name, seen, is_folder in listed(folder):
                if is_folder:
                    waiting.append(folder / name)
                else:
                    found[(folder / name).relative_to(self.folder).as_posix()] = seen
        return found

    # ------------------------------------------------------------------ beside the training

    def _carry_on(self) -> None:
        pause = failed = 0.0
        while not self._ended.wait(pause):
            began = time.monotonic()
            try:
                self.carry()
            except FAULTS as error:
                failed = min(MOST_PAUSE_S, 2 * failed or LEAST_PAUSE_S)
                pause = failed
                self._note_away(error)
            else:
                self._note_back()
                failed, pause = 0.0, min(MOST_PAUSE_S, max(LEAST_PAUSE_S, PAUSES * (time.monotonic() - began)))

    def _keep_lease(self) -> None:
        while not self._ended.wait(self.lease.renew_s / 4):
            self._asked_at = time.monotonic()
            with suppress(*FAULTS):
                self.lease.keep()
            self._asked_at = None
            if self.lease.lost:
                self.on_lost()
                return

    def _watch(self) -> None:
        """An error comes late where nothing comes at all: after minutes, by the rules of TCP."""
        while not self._ended.wait(SILENT_S / 15):
            if self._is_silent():
                self._note_away(TimeoutError(f"it has not answered for {SILENT_S:g} s"))

    def _is_silent(self) -> bool:
        asked_at = self._asked_at
        return asked_at is not None and time.monotonic() - asked_at > SILENT_S

    def _note_away(self, error: BaseException) -> None:
        with self._noting:
            is_new = not self.is_away and not self.lease.lost
            self.is_away = self.is_away or is_new
        if is_new:
            self.say(
                f"{self.store.address}: it cannot be written to ({_short(error)}). The sweep goes on; all is in "
                f"{self.folder} until it can"
            )

    def _note_back(self) -> None:
        if self.is_away and not self._is_silent():
            self.is_away = False
            self.say(f"{self.store.address}: it can be written to again, and has what was kept meanwhile")

    # ------------------------------------------------------------------ at the end

    def end(self, patience_s: float) -> None:
        """Carries what is left, and gives the store back.

        Raises:
            NotCarriedError: it cannot be written to in all that time.
            InputError: another writer has taken it over.
        """
        self._stop()
        deadline, pause = time.monotonic() + patience_s, LEAST_PAUSE_S
        while True:
            try:
                self.lease.keep()
                if self.lease.lost:
                    raise InputError(
                        f"{self.store.address}: another cfsweep has taken over this study while nothing was heard of "
                        f"this one. What it had not carried there is in {self.folder}."
                    )
                while self.carry():
                    pass
                if not self.carried.files:  # no study was begun
                    self.store.remove(WRITER)
                self.lease.release()
            except FAULTS as error:
                if time.monotonic() + pause > deadline:
                    raise NotCarriedError(
                        f"{self.store.address}: it could not be written to for {patience_s:.0f} s ({_short(error)}). "
                        f"Nothing is lost: all is in {self.folder}, and `cfsweep resume` of that address carries it."
                    ) from error
                self._note_away(error)
                time.sleep(pause)
                pause = min(MOST_PAUSE_S, 2 * pause)
            else:
                self._note_back()
                break

    def give_up(self) -> None:
        """Ends without a word to the store, as a killed process does: what is under way there is not waited for."""
        self.given_up = True
        self._ended.set()

    def _stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()


@contextmanager
def open_mirror(
    address: str,
    homes: Path,
    say: Callable[[str], object] | None = None,
    store: Store | None = None,
    lease: Lease | None = None,
    on_lost: Callable[[], object] = lambda: None,
    patience_s: float = PATIENCE_S,
    anew: bool = False,
) -> Iterator[Path]:
    """The folder of this machine in which the study at `address` is written; what is written there is carried.

    `homes` is where such folders lie, each called by the address. `say` is told of a store that is away; `on_lost()`
    is called when another writer has taken the study over. Within it nobody else writes to the study (`lease`). With
    `anew` nothing that the store holds of the folder here is taken for what was carried.

    Raises:
        InputError: the address cannot be written to, another cfsweep writes to it, or it has moved on elsewhere, while
            the folder here has, too.
        NotCarriedError: at the end it could not be written to for `patience_s`; all is in the folder.
    """
    store = store or Store(address)
    lease = lease or Lease(store)
    mirror = Mirror(store, homes, lease, say or tell)
    mirror.on_lost = on_lost
    with _alone(homes, address):
        try:
            lease.take()
        except FAULTS as error:
            raise InputError(
                f"{address}: it cannot be written to ({_short(error)}). Check the address and your credentials."
            ) from error
        try:
            mirror.begin(anew)
        except BaseException as error:
            with suppress(*FAULTS):
                lease.release()
            if isinstance(error, FAULTS):
                raise InputError(
                    f"{address}: it cannot be read ({_short(error)}). Check the address and your credentials."
                ) from error
            raise
        try:
            yield mirror.folder
        except KeyboardInterrupt:  # the second: nobody waits
            mirror.give_up()
            raise
        except Exception:
            with suppress(NotCarriedError):
                mirror.end(0.0)
            raise
        else:
            mirror.end(patience_s)
        finally:
            mirror.carried.close()


@contextmanager
def _alone(home: Path, address: str) -> Iterator[None]:
    """Holds the folder of an address against other processes of this machine."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:
        if not hold(file, home):
            raise InputError(
                f"{address}: another cfsweep on this machine is writing to this study. Wait for it, or stop it."
            )
        yield


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
