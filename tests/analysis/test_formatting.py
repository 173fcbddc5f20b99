"""Numbers as short text, and the escapes of each format."""

from __future__ import annotations

from analysis.formatting import for_csv, for_latex, mean_sd, plain
from cfsweep.texts import for_markdown


def test_numbers_and_escapes() -> None:
    assert plain(1039.6, digits=3) == "1040"
    assert plain(float("nan")) == "–"
    assert mean_sd(2048.0, 12.0) == "2048 ± 12"
    assert for_latex("a\n~^") == r"a \textasciitilde{}\textasciicircum{}"
    assert for_markdown("`[x](y)`") == r"\`\[x\](y)\`"
    assert for_csv("-1+cmd") == "'-1+cmd"
