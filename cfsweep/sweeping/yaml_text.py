"""YAML as people mean it: numbers as YAML 1.2 has them, each key once, and no word that is a truth value to some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cfsweep.errors import InputError

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


def parse_yaml(text: str, where: str = "YAML") -> Any:
    """The value of a YAML text.

    >>> parse_yaml("1e-3"), parse_yaml("[64, 010]"), parse_yaml("sgd"), parse_yaml("1:30")
    (0.001, [64, 10], 'sgd', '1:30')

    Raises:
        InputError: it is not YAML, a key stands in it twice, or it has a word such as `no` that might be a truth value.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML ({_problem(error)}).") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, no text, or no mapping, or as `parse_yaml` raises.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML ({error}).") from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed, but got {type(content).__name__}.")
    return content


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong and where, in one line."""
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return place + " ".join(str(getattr(error, "problem", None) or error).split())
