"""What a YAML text means: as YAML 1.2 has it, or a refusal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfsweep.errors import InputError
from cfsweep.yaml_text import parse_written, parse_yaml, read_yaml, written

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e+8", 1e8),
        ("1E5", 1e5),
        ("-2e2", -200.0),
        ("+3e1", 30.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -np.inf),
        ("010", 10),
        ("-007", -7),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("2026-01-01", "2026-01-01"),
        ("0b11", "0b11"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("TRUE", True),
        ("False", False),
        ("y", "y"),
        ("nothing", "nothing"),
        ("'no'", "no"),
        ('"on"', "on"),
        ("", None),
        ("~", None),
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("{<<: {a: 1}, a: 2}", {"a": 2}),
        (
            "{a: &a {x: 1}, b: &b {<<: *a, x: 2}, c: {<<: *b}}",  # what is merged stands where it was written
            {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2}},
        ),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("seed", range(20))
def test_json_means_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def made(depth: int) -> Any:
        kind = rng.integers(7 if depth else 5)
        if kind >= 5:
            items = [made(depth - 1) for _ in range(rng.integers(4))]
            return items if kind == 5 else {f"key {i}": item for i, item in enumerate(items)}
        return [None, bool(rng.integers(2)), int(rng.integers(-99, 99)), float(rng.normal()), "no: 1"][kind]

    content = made(4)
    assert parse_yaml(json.dumps(content)) == content


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr: 1\nepochs: 2\nlr: 3", "line 3, column 1: the key `lr` stands twice, in line 1 and in line 3: leave one"),
        ('lr: 1\n"lr": 3', "the key `lr` stands twice"),
        ("fixed: {lr: 1}\nsearch: {}\nfixed: {lr: 2}", "line 3, column 1: the key `fixed` stands twice, in line 1"),
        ("{low: 1, high: 2, low: 0}", "the key `low` stands twice"),
        ("a: [{b: {c: 1, c: 1}}]", "the key `c` stands twice"),
        ("{1: a, 1: b}", "the key `1` stands twice"),
        ("{1: a, 01: b}", "the key `1` stands twice"),
        ("references: no", "line 1, column 13: `no` is a truth value to some and text to others: write `false`, or"),
        ("choices: [sgd, ON]", '`ON` is a truth value to some and text to others: write `true`, or "ON"'),
        ("yes: 1", "`yes` is a truth value"),
        ("a: [1", "line 1, column 6: expected ',' or ']'"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a: 1\n---\na: 2", "but found another document"),
        ("!!python/object:os.system {}", "the tag `tag:yaml.org,2002:python/object:os.system` is not read: write the"),
        ("a: !!timestamp 2021-13-45", "the tag `tag:yaml.org,2002:timestamp` is not read"),
        ("a: !!float x", "the tag `tag:yaml.org,2002:float` is not read"),
        ("&a [*a]", "`*a` stands within what it stands for"),
        ("a: &a {b: {c: *a}}", "`*a` stands within what it stands for"),
        ("[" * 3000, "there are more than 50 lists and mappings within one another"),
        ("{a: " * 3000, "there are more than 50 lists and mappings within one another"),
        (BOMB, "it holds more than 1000000 values, its aliases written out"),
        ('a: "\\ud800"', "a text holds half of a character"),
    ],
)
def test_what_is_no_yaml_or_may_mean_two_things_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    for act, where in (
        (lambda: parse_yaml(text, "--set lr"), "--set lr"),
        (lambda: read_yaml(tmp_path / "space.yaml"), str(tmp_path / "space.yaml")),
    ):
        with pytest.raises(InputError) as caught:
            act()
        assert str(caught.value).startswith(f"{where}: not valid YAML (line ")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_mapping_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    for content, said in (
        (b"[1]", "a mapping of keys to values is needed, but got list"),
        (b"\xff\xfe\x00", "its text must be UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_yaml(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"cannot be read \(A pipe, socket or device, and no file\)"):
        read_yaml(tmp_path / "pipe")


@pytest.mark.parametrize("text", ["1" * 5000, "2021-13-45", "\x00", "*a", "a: &a {<<: *a}"])
def test_what_cannot_be_read_is_one_line_in_what_was_written_too(text: str) -> None:
    with pytest.raises(InputError, match=r"^here: not valid YAML \([^\n]*\)\.$"):
        parse_written(text, "here")


@pytest.mark.parametrize(
    "text", ["x\x85y", "\u2028", "a\u2029 b\n", "\ufeff", "\r", "\0", "\x1b[31m", "1e5", "é", " ", "a\n\nb "]
)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    content = {text: [text, {"a": text}], "b": 1e-5}
    assert parse_written(written(content), "here") == content
