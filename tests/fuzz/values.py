"""Hostile values, and how content of lists and mappings, texts and bytes are damaged."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml


class Raw(str):
    """Text that stands in a file as it is, whatever its syntax makes of it."""


NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 1000, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**20, -(10**20), 10**400, -(2**63)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e300, 5e-324, 1e12, -1e308, float("inf"), float("-inf"), float("nan")),
)
TEXTS: tuple[str, ...] = (
    *(
        "",
        " ",
        "x",
        "0",
        "1e3",
        "nan",
        "-",
        "²",
        "é",
        "\x85",
        "\u2028",
        "\u202e",
        "\x1b[31m",
        "\t",
        "\n",
        "a\nb",
        "\ufeff",
    ),
    *("../../x", "/etc/passwd", "/", ".", "~", "~nosuchuser/x", "/dev/null", "a" * 300, "x" * 100_000, "s3://", "hf:"),
    *("a:b", "math:sqrt", "os.path:join", "torchvision:resnet18", "%s%n", "{0}", "${HOME}", "[bold]", "[/]", "<b>"),
    *("true", "no", "null", "2021-13-45", "2024-01-31", "1:30", "fixed", "auto", "mlp", "class-il", "x log"),
)
OTHERS: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], [1, "a", None], [1e12], [10**20], [0], [-1], {"a": None}, {"": ""}),
    *(
        [1] * 1000,
        {str(i): i for i in range(300)},
        [[[[[[[[1]]]]]]]],
        ["x", "x"],
        [float("nan")],
        {"low": 1, "high": 2},
    ),
)
YAML_TRICKS: tuple[Raw, ...] = tuple(
    Raw(text)
    for text in (
        *("!!timestamp 2021-13-45", "!!timestamp x", "!!float x", "!!int x", "!!binary '*'", "!!set [1]", "!!omap [1]"),
        *(
            "!!python/object:os.system x",
            "!own x",
            "!!bool 7",
            "!!null x",
            "!!str {}",
            "!!map []",
            "!!seq {}",
            "!!pairs 1",
        ),
        *("2021-13-45", "2021-01-01", "0x", "0o9", "1__0", "1e", ".", "*a", "&a [*a]", "&a {b: *a}", "<<", "? [1]"),
        *(
            "[" * 3000,
            "{a: " * 3000,
            "[" * 30 + "]" * 30,
            '"\\ud800"',
            '"\\0"',
            '"\\x85"',
            "'a",
            '"',
            "|",
            ">",
            "%",
            "@x",
        ),
        *(
            "{a: 1, a: 2}",
            "{[1]: 2}",
            "{{}: 1}",
            "{1: a, 1.0: b}",
            "{true: 1}",
            "{null: 1}",
            "\x07",
            "\x00",
            "\ufffe",
            "\t",
        ),
        "&a [x,x,x,x,x,x,x,x,x]",
        "!!merge <<",
        "- - - -",
        "--- a",
        "...",
        "? ",
        ": ",
        "1" * 5000,
        "-" * 5000,
        "0b1",
    )
)
JSON_TRICKS: tuple[Raw, ...] = tuple(
    map(
        Raw,
        (
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "[" * 3000,
            "[" * 200_000,
            '"\\ud800"',
            '"\\u0000"',
            "1" * 5000,
            "",
            "{",
            "nul",
        ),
    )
)
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
)


def hostile(rng: random.Random, tricks: tuple[Raw, ...] = ()) -> Any:
    """A value that nobody means."""
    return rng.choice([*NUMBERS, *TEXTS, *OTHERS, *tricks])


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value below `content`."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield (*path, key)
        yield from places(value, (*path, key))


def damage_tree(rng: random.Random, content: Any, tricks: tuple[Raw, ...]) -> tuple[str, Callable[[Any], Any]]:
    """One change of a tree, in words and as a function of the tree (which it changes)."""
    path = rng.choice(list(places(content)))
    shown = ".".join(map(str, path))
    way = rng.choice(("value", "value", "value", "value", "remove", "rename", "add", "swap", "wrap"))
    if way == "value":
        value = hostile(rng, tricks)
        return f"{shown} = {_short(value)}", lambda tree: _with(tree, path, lambda _: value)
    if way == "wrap":
        return f"{shown} in a list", lambda tree: _with(tree, path, lambda old: [old])
    if way == "add":
        key, value = rng.choice(TEXTS[:12]), hostile(rng, tricks)
        return f"{shown} + {_short(key)}: {_short(value)}", lambda tree: _with(
            tree, path, lambda old: _added(old, key, value)
        )
    if way == "swap":
        other = rng.choice(list(places(content)))
        found = copy.deepcopy(_at(content, other))
        return f"{shown} = that of {'.'.join(map(str, other))}", lambda tree: _with(tree, path, lambda _: found)
    name = None if way == "remove" else rng.choice((*TEXTS[:20], 3, None, True, 1.5))
    return f"{shown} {'removed' if way == 'remove' else f'renamed {_short(name)}'}", lambda tree: _moved(
        tree, path, way, name
    )


def _added(old: Any, key: Any, value: Any) -> Any:
    return {**old, key: value} if isinstance(old, dict) else [*old, value] if isinstance(old, list) else {key: value}


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _with(tree: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """The tree with the value at `path` changed; as it is where an earlier change has taken the place away."""
    try:
        parent = _at(tree, path[:-1])
        parent[path[-1]] = change(parent[path[-1]])
    except (KeyError, IndexError, TypeError):
        pass
    return tree


def _moved(tree: Any, path: tuple[Any, ...], way: str, name: Any) -> Any:
    try:
        parent = _at(tree, path[:-1])
        value = parent.pop(path[-1])
        if way == "rename" and isinstance(parent, dict):
            parent[name] = value
    except (KeyError, IndexError, TypeError, AttributeError):
        pass
    return tree


def as_yaml(content: Any) -> bytes:
    """YAML, with each `Raw` as it stands."""
    raws: list[str] = []
    text = yaml.safe_dump(_held(content, raws), sort_keys=False, allow_unicode=True, width=10_000_000)
    return _released(text, raws, "").encode("utf-8", "surrogatepass")


def as_json(content: Any, indent: int | None = 2) -> bytes:
    """JSON, with each `Raw` as it stands; without `indent` on one line."""
    raws: list[str] = []
    text = json.dumps(_held(content, raws, keys=str), indent=indent, separators=None if indent else (",", ":"))
    return _released(text, raws, '"').encode("utf-8", "surrogatepass")


def _held(content: Any, raws: list[str], keys: Callable[[Any], Any] = lambda key: key) -> Any:
    if isinstance(content, Raw):
        raws.append(content)
        return f"RAW{len(raws) - 1}RAW"
    if isinstance(content, dict):
        return {keys(key): _held(value, raws, keys) for key, value in content.items()}
    return [_held(value, raws, keys) for value in content] if isinstance(content, list) else content


def _released(text: str, raws: list[str], quote: str) -> str:
    for number, raw in enumerate(raws):
        text = text.replace(f"{quote}RAW{number}RAW{quote}", raw)
    return text


def damage_bytes(rng: random.Random) -> tuple[str, Callable[[bytes], bytes]]:
    """One change of a file's bytes, in words and as a function of them."""
    at, other, bit = rng.random(), rng.random(), rng.randrange(8)
    way = rng.choice(("flip", "flip", "flip", "cut", "cut", "drop", "twice", "insert", "zero", "empty"))
    odd = rng.choice(
        (
            b"\xff",
            b"\0",
            b"\x80\x81",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b'"',
            b"\n",
            b"\r",
            b",",
            b"\xed\xa0\x80",
            b"\x1b[2J",
        )
    )

    def change(old: bytes) -> bytes:
        place = int(at * len(old))
        end = min(len(old), place + 1 + int(other * 64))
        if way == "flip" and old:
            return old[:place] + bytes([old[place] ^ 1 << bit]) + old[place + 1 :]
        if way == "zero":
            return old[:place] + bytes(end - place) + old[end:]
        made = {"cut": old[:place], "drop": old[:place] + old[end:], "insert": old[:place] + odd + old[place:]}
        return {**made, "twice": old[:end] + old[place:], "empty": b""}.get(way, old)

    return f"{way} at {at:.3f}" + (
        f" bit {bit}" if way == "flip" else f" {odd!r}" if way == "insert" else f" of {other:.3f}"
    ), change


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)})"
