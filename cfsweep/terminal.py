"""What is printed: a line is a line, and what is in it is text."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from cfsweep.visible import visible


class Terminal(Console):
    """Rich's console, for which a string is one line of text: no markup, no emoji, no colours of its own, and nothing
    that a terminal would obey. What has lines or styles of ours is a `Text` (whose words of others are `visible`)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """`text` as it is printed, alone or in a cell."""
        return super().render_str(visible(text), **options)

    def say(self, line: str) -> None:
        """Prints a line, which is not broken, however long it is."""
        self.print(line, soft_wrap=True)


def say(*lines: str, error: bool = False) -> None:
    """Prints each of `lines` as one."""
    for line in lines:
        print(visible(line), file=sys.stderr if error else sys.stdout)
