"""A YAML file as plain maps and lists that still know where each value stood.

Leaves are `Scalar` (text with its place) or None: the declared type decides what a scalar means, not YAML, so
`pixel_id: 0123` is the text "0123" where text is declared. `Scalar.plain_value()` gives the YAML 1.2 reading for places
where no type is declared (constants in a mapping).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Scalar(str):
    """The text of a scalar, with its place, whether it was written without quotes, and whether inside `[…]` or `{…}`."""

    __slots__ = ("flow", "mark", "plain")
    mark: Mark
    plain: bool
    flow: bool

    def __new__(cls, text: str, mark: Mark, plain: bool = True, flow: bool = False) -> Scalar:
        scalar = super().__new__(cls, text)
        scalar.mark, scalar.plain, scalar.flow = mark, plain, flow
        return scalar

    def plain_value(self) -> str | int | float | bool | None:
        """What YAML 1.2's core schema reads: quoted is text; true, false, null, integers and decimals are values."""
        if not self.plain:
            return str(self)
        if self in _WORDS:
            return _WORDS[self]
        if _INT.match(self):
            return int(self)
        return float(self) if _FLOAT.match(self) else str(self)


class MarkedMap(dict[str, Any]):
    """A mapping; `mark` is its own place, `marks[key]` the place of each key."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark, items: dict[str, Any] | None = None, marks: dict[str, Mark] | None = None) -> None:
        super().__init__(items or {})
        self.mark = mark
        self.marks: dict[str, Mark] = marks or {}


class MarkedList(list[Any]):
    """A sequence; `mark` is its own place, `marks[i]` the place of each item."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark, items: list[Any] | None = None, marks: list[Mark] | None = None) -> None:
        super().__init__(items or [])
        self.mark = mark
        self.marks: list[Mark] = marks or []


def plain(tree: Any) -> Any:
    """The tree as ordinary Python values, undeclared scalars read by YAML 1.2."""
    if isinstance(tree, dict):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return tree.plain_value() if isinstance(tree, Scalar) else tree
