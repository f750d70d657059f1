"""What a compiled mapping reads while it runs (Scope), and what the compiler knows while it works (Context).

A Scope belongs to one evaluation. A Context belongs to one destination and one place of its files; `narrowed()` makes the
one for another place. Problems are collected, so that one run reports all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.config.tree import Mark, MarkedList, MarkedMap, Scalar
from gateway.config.words import hint, suspicious
from gateway.errors import Problem
from gateway.meter import Meter

SECTIONS = ("user", "page", "device", "geo", "campaign", "ids", "session", "props", "items", "consent", "bot")
"""Roots that are parts of the event."""
VALUES = frozenset((*SECTIONS, "event", "name", "setting", "now"))
"""Roots allowed in a rule."""
ENVELOPE = VALUES
WRAP = VALUES | {"batch"}
CONDITIONS = VALUES - {"name"}
LOOP = CONDITIONS - {"now"}
REPLY = frozenset(("res", "setting"))
FAILURE = REPLY | {"f"}
SETTINGS = frozenset(("setting",))
CHECKS = VALUES | {"body", "wrap"}
KNOWN = VALUES | {"item", "index", "res", "f", "batch", "body", "wrap"}
MAX_LOOPS = 8


class Absent:
    """What a conditional `$keep` gives where its condition fails: nothing at all, not even null."""

    def __bool__(self) -> bool:
        return False


ABSENT = Absent()


class Scope:
    """One event (or reply) with the vendor's event name, the time, a rule's element, and for `check` what was made."""

    locals: Sequence[Any] = (None, None)
    """The element of a rule's `each` and its index; loops inside a rule have variables of their own."""
    reply: Any = None
    failure: Any = None
    body: Any = None
    wrap: Any = None

    def __init__(self, data: Mapping[str, Any], now: float = 0.0, name: Any = None) -> None:
        self.data = data
        self.now = now
        self.name = name


Run = Callable[[Scope], Any]
Step = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Context:
    """The destination's settings (secrets revealed), tables and meter, and what may be used at this place."""

    destination: str
    settings: Mapping[str, Any]
    known_settings: frozenset[str]
    secrets: frozenset[str]
    tables: Mapping[str, Mapping[str, Any]]
    meter: Meter
    problems: list[Problem]
    noted: set[tuple[str, int | None, str]]
    file: str
    roots: frozenset[str] = VALUES
    loops: tuple[str, ...] = ()
    field: str = ""
    shown: str = ""

    def narrowed(self, **changes: Any) -> Context:
        """The context of another place."""
        return replace(self, **changes)

    def under(self, key: str) -> Context:
        """The context of a field below this one; `field` is its path in the output, `shown` its path in the file."""
        path = f"{self.field}.{key}" if self.field else key
        return replace(self, field=path, shown=f"{self.shown}.{key}" if self.shown else key)

    def at(self, shown: str) -> Context:
        """The context of a key of the file that is not part of the output."""
        return replace(self, shown=f"{self.shown}.{shown}" if self.shown else shown)

    def problem(self, message: str, place: Any = None, *, joint: str = ": ") -> None:
        """Note a mistake at a place (a marked value or a Mark); the path in the file is put before the message.

        One mistake of a block or of `defaults` reaches many events; it is noted once, with the path that met it first.
        """
        mark = mark_of(place)
        where = (mark.file, mark.line) if mark and mark.file else (self.file, None)
        if (*where, message) not in self.noted:
            self.noted.add((*where, message))
            self.problems.append(Problem(f"{self.shown}{joint}{message}" if self.shown else message, *where))

    def trap(self, scalar: str, place: Any) -> None:
        """Note a key or value that YAML 1.1 reads as something else, unless it is quoted."""
        if wrong := suspicious(scalar):
            self.problem(wrong, place, joint=" ")

    def unknown(self, what: str, name: str, known: Any, place: Any) -> None:
        """Note an unknown name, with the near match or what there is."""
        self.problem(f'unknown {what} "{name}"{hint(name, sorted(known))}', place)


def mark_of(place: Any) -> Mark | None:
    """Where a marked value stands, or None for what has no place."""
    if isinstance(place, Mark):
        return place
    return place.mark if isinstance(place, (Scalar, MarkedMap, MarkedList)) else None


def key_mark(tree: Any, key: str) -> Mark | None:
    """Where a key of a map stands."""
    return tree.marks.get(key, tree.mark) if isinstance(tree, MarkedMap) else None


def check_keys(context: Context, tree: Any, known: Any) -> bool:
    """Note keys that are not known here; false when the tree is no map at all."""
    if not isinstance(tree, dict):
        context.problem(f"must be a map with {', '.join(known)}", tree)
        return False
    for key in tree:
        if key not in known:
            context.unknown("key", key, known, key_mark(tree, key))
    return True
