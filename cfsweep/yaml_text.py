"""YAML as people mean it: numbers as YAML 1.2 has them, each key once, and no word that is a truth value to some.

YAML as cfsweep writes it, too; and nothing in either that is larger, deeper or other than it looks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cfsweep.errors import InputError, first_line, short
from cfsweep.reading import read_text

MOST_VALUES = 1_000_000  # with each alias counted as what it stands for
MOST_DEPTH = 50
# PyYAML's own, ten times faster where it was built with libyaml.
_OURS: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_LINE_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")  # to PyYAML, which writes them as they are, and reads others
_HALVES = re.compile("[\ud800-\udfff]")

_RESOLVED = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
_TRUTHS = {word: truth for truth, words in (("true", ("yes", "on")), ("false", ("no", "off"))) for word in words}


class _Loader(yaml.SafeLoader):
    """PyYAML's, with the scalars of YAML 1.2's core schema (and `1_000`): `010` is ten, `1:30` and a date are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as it is written; a key that stands in it twice is refused."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in lines:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key `{name}` stands twice, in line {lines[name]} and in line {line}: leave one "
                        "of them",
                        problem_mark=key.start_mark,
                    )
                lines[name] = line
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """A whole number; zeros before it mean nothing."""
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """A text; of those that YAML 1.1 takes for truth values nobody knows what is meant."""
        text = str(self.construct_scalar(node))
        if node.style is None and text.lower() in _TRUTHS:
            raise yaml.MarkedYAMLError(
                problem=f"`{text}` is a truth value to some and text to others: write `{_TRUTHS[text.lower()]}`, or "
                f'"{text}"',
                problem_mark=node.start_mark,
            )
        return text


for _name, (_pattern, _first) in _RESOLVED.items():
    _firsts = [*_first, ""] if _name == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _firsts)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which reads all that it writes as it was."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if _LINE_BREAKS.search(text) or not text.isprintable() else None
    ),
)


def parse_yaml(text: str, where: str = "YAML") -> Any:
    """The value of a YAML text.

    >>> parse_yaml("1e-3"), parse_yaml("[64, 010]"), parse_yaml("sgd"), parse_yaml("1:30")
    (0.001, [64, 10], 'sgd', '1:30')

    Raises:
        InputError: it is not YAML, a key stands in it twice, it has a word such as `no` that might be a truth value, a
            tag, or more or deeper values than anybody means.
    """
    return _parsed(text, _Loader, where)


def parse_written(content: bytes | str, where: str) -> Any:
    """The value of what `written` made of it. Raises as `parse_yaml`, but for keys and words.

    >>> parse_written(written({"a": "x\x85y", "b": [1e-5, None, "no"]}), "here")
    {'a': 'x\x85y', 'b': [1e-05, None, 'no']}
    """
    return _parsed(content, _OURS, where)


def written(content: Any) -> bytes:
    """The YAML of lists, mappings, texts, numbers, truth values and None."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, no text, or no mapping, or as `parse_yaml` raises.
    """
    content = parse_yaml(read_text(path), str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed, but got {type(content).__name__}.")
    return content


def _parsed(text: bytes | str, loader: Any, where: str) -> Any:
    try:
        _require_modest(text, loader)
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError) as error:  # a number of 5,000 digits, or a month that is none
        raise InputError(f"{where}: not valid YAML ({_problem(error)}).") from error


def _require_modest(text: bytes | str, loader: Any) -> None:
    """Raise for what might take for ever to build, or be something else than lists, mappings and single values."""
    # Of the document, and of each list and mapping that is open: its anchor, and how many values it has so far.
    open_ones: list[tuple[str | None, int]] = [(None, 0)]
    known: dict[str, int] = {}
    event: Any
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            _refuse_tag(event)
            if len(open_ones) > MOST_DEPTH:
                raise _at(event, f"there are more than {MOST_DEPTH} lists and mappings within one another")
            open_ones.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_ones.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (of for of, _ in open_ones):
                raise _at(event, f"{short(f'*{event.anchor}')} stands within what it stands for")
            anchor, size = None, known.get(str(event.anchor), 1)  # what is not known is refused when it is read
        elif isinstance(event, yaml.ScalarEvent):
            _refuse_tag(event)
            if _HALVES.search(event.value):
                raise _at(event, "a text holds half of a character (of U+D800 to U+DFFF)")
            anchor, size = event.anchor, 1
        else:
            continue
        if anchor is not None:
            known[anchor] = size
        outer, before = open_ones[-1]
        open_ones[-1] = (outer, before + size)
        if before + size > MOST_VALUES:
            raise _at(event, f"it holds more than {MOST_VALUES} values, its aliases written out")


def _refuse_tag(event: Any) -> None:
    if event.tag is not None:
        raise _at(event, f"the tag {short(event.tag)} is not read: write the value plainly")


def _at(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _problem(error: Exception) -> str:
    """What is wrong and where, in one line."""
    if not isinstance(error, yaml.YAMLError):
        return first_line(error)
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return place + " ".join(str(getattr(error, "problem", None) or error).split())
