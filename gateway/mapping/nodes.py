"""The nodes of mapping expressions: immutable, and each knows the text it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COMPARISONS = ("==", "!=", ">=", "<=", ">", "<")


@dataclass(frozen=True, slots=True)
class Const:
    """A number, text, true, false or null."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """`$user.traits["odd key"][0]`: the root's name and the steps below it."""

    text: str
    root: str
    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """`a // b`: the first option that is not empty."""

    text: str
    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word given to a function: text, or a table's name."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """`name:arg,arg` with the column of its name."""

    text: str
    name: str
    args: tuple[Node | Word, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Pipe:
    """`base | call | call`."""

    text: str
    base: Node
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`: empties are dropped and a list inside is flattened."""

    text: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """Text with holes; a part is text or an expression."""

    text: str
    parts: tuple[str | Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`not condition`."""

    text: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Junction:
    """`a and b` (every) or `a or b` (any)."""

    text: str
    every: bool
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`; op is one of COMPARISONS or `in`."""

    text: str
    op: str
    left: Node
    right: Node


Node = Const | Path | Alt | Pipe | ListOf | Template | Not | Junction | Compare
