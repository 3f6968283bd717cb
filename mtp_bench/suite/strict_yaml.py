"""YAML that knows its lines: what looks like a word is a word, ``1e-3`` is a number.

Booleans are ``true`` and ``false`` only, no base-60 numbers, no octals, no dates, no duplicate
keys, no anchors, merge keys or tags. Every value remembers where it stood, so that any later
complaint can name line and column.
"""

import re
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Any

import yaml

from mtp_bench.errors import UserError

Loc = tuple[str | int, ...]
Mark = tuple[int, int]

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+|0[xob][0-9a-fA-F_]+")
DEEPEST = 20
LONGEST_NUMBER = 18
_CONSTANTS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Document:
    """A file's data, and where each part of it stands (line and column from 1)."""

    path: Path
    data: Any
    keys: dict[Loc, Mark]
    values: dict[Loc, Mark]

    def problem(self, loc: Loc, message: str, *, at_key: bool = False) -> str:
        """``file:line:column: where: message`` for the innermost part of ``loc`` that exists."""
        return _told(self.path, self.mark(loc, at_key=at_key), message, loc)

    def mark(self, loc: Loc, *, at_key: bool = False) -> Mark:
        """Line and column, from 1, of the innermost part of ``loc`` that exists."""
        if at_key and loc in self.keys:
            return self.keys[loc]
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.values:
                return self.values[loc[:end]]
        return (1, 1)


def _told(path: Path, mark: Mark, message: str, loc: Loc = ()) -> str:
    where = ".".join(map(str, loc))
    return f"{path}:{mark[0]}:{mark[1]}: {where + ': ' if where else ''}{message}"


def _mark(given: Any) -> Mark:
    """PyYAML's mark, which counts from 0; the file's beginning where it has none."""
    return (given.line + 1, given.column + 1) if given else (1, 1)


class _Builder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.keys: dict[Loc, Mark] = {}
        self.values: dict[Loc, Mark] = {}

    def complain(self, node: yaml.Node, loc: Loc, message: str) -> None:
        self.problems.append(_told(self.path, _mark(node.start_mark), message, loc))

    def build(self, node: yaml.Node, loc: Loc) -> Any:
        self.values[loc] = _mark(node.start_mark)
        if len(loc) > DEEPEST:
            self.complain(node, loc[:2], "is nested too deeply")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*loc, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(key_node, loc, "a key must be a plain word")
                continue
            key = str(key_node.value)
            here = (*loc, key)
            if key in data:
                first = self.keys[here][0]
                self.complain(key_node, here, f"this key stands twice (first in line {first})")
            elif key == "<<":
                self.complain(key_node, here, "merge keys are not read: write the keys out")
            else:
                self.keys[here] = _mark(key_node.start_mark)
                data[key] = self.build(value_node, here)
        return data

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        text = str(node.value)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            self.complain(node, loc, "holds half of a character (a surrogate)")
            return ""
        if node.style is not None:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        return self._number(node, loc, text)

    def _number(self, node: yaml.ScalarNode, loc: Loc, text: str) -> Any:
        """A number, or a word that is none."""
        whole = _INT.fullmatch(text) is not None
        if _OCTAL.fullmatch(text):
            advice = "write a plain number, or quote the word"
            self.complain(node, loc, f"'{text}' may be octal or decimal: {advice}")
            return text
        if not whole and not _FLOAT.fullmatch(text):
            return text
        if (whole and len(text) > LONGEST_NUMBER) or (not whole and isinf(float(text))):
            self.complain(node, loc, f"'{text[:LONGEST_NUMBER]}…' is too large a number")
            return 0
        return int(text.replace("_", "")) if whole else float(text)


def _refuse(path: Path, text: str) -> None:
    """Anchors, aliases and tags, at their place."""
    kinds = {yaml.AnchorToken: "anchors", yaml.AliasToken: "aliases", yaml.TagToken: "tags"}
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if kind := kinds.get(type(token)):
            why = f"{kind} are not read: write the value out"
            raise UserError(_told(path, _mark(token.start_mark), why))


def read(path: Path) -> Document:
    """Parse one file. ``UserError`` holds a line for each problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    builder = _Builder(path)
    try:
        _refuse(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise UserError(f"{path}:1:1: is nested too deeply") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = _mark(getattr(error, "problem_mark", None))
        raise UserError(_told(path, mark, f"not YAML: {problem}")) from None
    if node is None:
        raise UserError(f"{path}:1:1: the file is empty")
    data = builder.build(node, ())
    if builder.problems:
        raise UserError(*builder.problems)
    return Document(path, data, builder.keys, builder.values)
