"""What is told while a sweep runs: a live panel on a terminal, plain lines elsewhere, or a function that is called."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cfsweep.sweeping.broker import DAMAGED
from cfsweep.sweeping.trials import Summary
from cfsweep.texts import score_text

LINE_EVERY_S = 5.0


class Watcher(Protocol):
    """Is told how far a sweep is; a context manager around it."""

    def __enter__(self) -> Watcher: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, summary: Summary) -> None:
        """Takes in the state of the sweep."""


class Calls:
    """Calls a function, if any, whenever the state of the sweep has changed."""

    def __init__(self, progress: Callable[[Summary], object] | None) -> None:
        self.progress = progress
        self.last: Summary | None = None

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, summary: Summary) -> None:
        """Takes in the state of the sweep."""
        if self.progress is not None and summary != self.last:
            self.progress(summary)
        self.last = summary


class Display:
    """Shows a `Summary` whenever it changes; use as a context manager. Without `live` a terminal gets plain lines too,
    as a debugger needs."""

    def __init__(self, console: Console, live: bool = True) -> None:
        self.console = console
        self.started = time.monotonic()
        self.last: Summary | None = None
        self.printed: Summary | None = None
        self.ended_before: int | None = None
        self.last_line_at = float("-inf")
        self.live: Live | None = None
        if console.is_terminal and live:
            # Asked for anew at each refresh, so that the seconds go on between two reports.
            self.live = Live(console=console, refresh_per_second=2, transient=True, get_renderable=self.panel)

    def __enter__(self) -> Display:
        self.started, self.ended_before = time.monotonic(), None  # again where another scheduler goes on
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
        if self.last and self.last != self.printed:
            self.console.print(self.line(self.last), soft_wrap=True)

    def show(self, summary: Summary) -> None:
        """Takes in the state of the sweep; prints it if it has changed and a moment has passed."""
        if self.ended_before is None:
            self.ended_before = _ended(summary)
            if summary.runs_before or summary.runs_going_on:
                self._say(_picked_up(summary))
        if summary.hung > (self.last.hung if self.last else 0):
            self._say(f"a worker said and saved nothing for too long, and was killed ({summary.hung} so far)")
        if summary.deaths > (self.last.deaths if self.last else 0):
            self._say(f"a worker died ({summary.deaths} so far); another one goes on from its last checkpoint")
        if summary.damaged > (self.last.damaged if self.last else 0):
            self._say(
                f"a checkpoint was damaged ({summary.damaged} so far) and is set aside (checkpoints/*{DAMAGED}); its "
                "pack begins anew"
            )
        if summary.unsaved > 0 == (self.last.unsaved if self.last else 0):
            self._say(
                "the disk is full, and a checkpoint was not written: where a worker or this process dies now, the "
                "time since the one before is lost"
            )
        changed, self.last = summary != self.last, summary
        if self.live is None and changed and time.monotonic() - self.last_line_at >= LINE_EVERY_S:
            self.last_line_at, self.printed = time.monotonic(), summary
            self.console.print(self.line(summary), soft_wrap=True)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def left_s(self, summary: Summary) -> float | None:
        """Seconds left at the pace so far, of trials or of tasks, whichever have come further: when the first trials
        end, others are half done; and tasks are counted as if none were shared or stopped. None before the first trial
        of this session has ended."""
        ended = _ended(summary) - (self.ended_before or 0)
        if ended <= 0:
            return None
        left = max(0, summary.trials - _ended(summary)) / ended
        if summary.tasks:
            left = min(left, max(0, summary.tasks_at_most - summary.tasks) / summary.tasks)
        return (time.monotonic() - self.started) * left

    def line(self, summary: Summary) -> str:
        """The state in one line."""
        left = self.left_s(summary)
        parts = [
            f"{_ended(summary)}/{summary.trials} trials: {summary.done} done, {summary.stopped} stopped, "
            f"{summary.failed} failed",
            *([f"best mixed {score_text(summary.best)}"] if summary.best is not None else []),
            *([f"{summary.front} on the front"] if summary.front else []),
            *([_tasks(summary)] if summary.tasks else []),
            f"{_duration(time.monotonic() - self.started)} elapsed",
            *([f"about {_duration(left)} left"] if left else []),
        ]
        return ", ".join(parts)

    def panel(self) -> Table:
        """The last state as a small table with a bar."""
        summary, table = self.last, Table.grid(padding=(0, 2))
        if summary is None:
            return table
        left = self.left_s(summary)
        table.add_row("trials", ProgressBar(total=summary.trials, completed=_ended(summary), width=40))
        table.add_row("", f"{_ended(summary)} of {summary.trials}")
        table.add_row(
            "ended",
            Text.assemble(
                (f"{summary.done} done  ", "green"),
                (f"{summary.stopped} stopped  ", "yellow"),
                (f"{summary.failed} failed", "red"),
            ),
        )
        if summary.best is not None:
            table.add_row("best", f"mixed {score_text(summary.best)}")
        table.add_row("front", f"{summary.front} trial{'s' * (summary.front != 1)}")
        remaining = "" if left is None else f", about {_duration(left)} left"
        table.add_row("time", f"{_duration(time.monotonic() - self.started)} elapsed{remaining}")
        return table


def _ended(summary: Summary) -> int:
    return summary.done + summary.stopped + summary.failed


def _picked_up(summary: Summary) -> str:
    more = f"; {summary.runs_going_on} more go on from their last checkpoint" if summary.runs_going_on else ""
    ended = f"{_ended(summary)} of {summary.trials} trials"
    return f"picked up: {ended} had ended, {summary.runs_before} runs with those of references{more}"


def _tasks(summary: Summary) -> str:
    of = f" of at most {summary.tasks_at_most}" if summary.tasks <= summary.tasks_at_most else ""
    return f"{summary.tasks}{of} tasks of runs trained"


def _duration(seconds: float) -> str:
    """
    >>> _duration(5), _duration(65), _duration(3700)
    ('5 s', '1 min 5 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
