"""Sections of the measured pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import PERFORMANCE, measured_on, put_section


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# P\n<!-- begin a -->\nold\n<!-- end a -->\n<!-- begin b -->\nkept\n<!-- end b -->\n")
    put_section(page, "a", "new\n")
    put_section(page, "a", "newer")
    text = page.read_text()
    assert text == "# P\n<!-- begin a -->\nnewer\n<!-- end a -->\n<!-- begin b -->\nkept\n<!-- end b -->\n"


@pytest.mark.parametrize("text", ["", "<!-- begin a -->", "<!-- end a --><!-- begin a -->"])
def test_a_page_without_the_marks_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="needs the marks"):
        put_section(page, "a", "new")
    assert page.read_text() == text


def test_the_foot_names_the_command_and_the_machine() -> None:
    assert measured_on("python -m benchmarks.loop").startswith("`python -m benchmarks.loop`, 20")


def test_the_page_has_a_place_for_each_benchmark() -> None:
    text = PERFORMANCE.read_text()
    for name in ("peers", "loop", "first-task", "startup", "driver", "stopping", "gpu"):
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1
