"""Reads one YAML file into a marked tree (gateway/config/tree.py), strictly.

The file is read as a stream of parser events, never composed by recursion and never resolved to types: a scalar stays the
text that was written. Refused, each with file, line and key: tags, anchors, aliases, merge keys, directives, a second
document, duplicate keys, keys that are not text, more than 1 MiB, 30,000 values or 32 levels, and the shapes that YAML
reads differently from what was meant (a value cut by ` #`, a comma inside `{…}`). Whatever stands in the file, the only
error raised is ConfigErrors, and it is raised in a fraction of a second: each limit is checked while the file is read.

A syntax error ends the reading, so it is the last of the problems reported; everything else is collected.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.config.tree import Mark, MarkedList, MarkedMap, Scalar
from gateway.config.yaml_hints import cut_by_comment, explain
from gateway.errors import ConfigErrors, Problem

MAX_BYTES = 1 << 20
MAX_NODES = 30_000
MAX_DEPTH = 32
MAX_KEY = 256
_MAX_PROBLEMS = 50
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: twenty times faster, the same events."""


def read_tree(path: Path, shown_as: str | None = None) -> MarkedMap:
    """The mapping in a file; `shown_as` is its name in messages and marks. Raises ConfigErrors with all problems found."""
    shown = shown_as or str(path)
    return parse_map(read_text(path, shown), shown)


def read_text(path: Path, shown: str) -> str:
    """A file's text: a regular file of UTF-8, at most 1 MiB. Raises ConfigErrors."""
    return decode(read_bytes(path, shown), shown)


def read_bytes(path: Path, shown: str, most: int = MAX_BYTES) -> bytes:
    """A regular file's bytes, at most `most`. Raises ConfigErrors."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigErrors([Problem("is not a regular file", shown)])
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise ConfigErrors([Problem("does not exist", shown)]) from None
    except (OSError, ValueError) as error:
        raise ConfigErrors([Problem(f"cannot be read: {getattr(error, 'strerror', None) or error}", shown)]) from None
    if len(data) > most:
        raise ConfigErrors([Problem(f"is larger than {most >> 10} KiB", shown)])
    return data


def decode(data: bytes, shown: str) -> str:
    """UTF-8 text of what may stand in YAML. Raises ConfigErrors."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([Problem("is not UTF-8 text", shown, line)]) from None
    if odd := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise ConfigErrors([Problem(f"the character U+{ord(odd[0]):04X} is not allowed", shown, line)])
    return text


def parse_map(text: str, file: str) -> MarkedMap:
    """The mapping in a text. Raises ConfigErrors."""
    tree = parse(text, file)
    if tree is None:
        raise ConfigErrors([Problem("is empty; it must hold a map of keys", file)])
    if not isinstance(tree, MarkedMap):
        raise ConfigErrors([Problem("must hold a map of keys (`key: value` lines)", file, tree.mark.line)])
    return tree


def parse(text: str, file: str) -> Any:
    """The one value in a text: MarkedMap, MarkedList, Scalar or None. Raises ConfigErrors."""
    builder = _Builder(file, _BREAK.split(text))
    try:
        for event in _events(text):
            builder.take(event)
    except _Stop:
        pass
    except yaml.YAMLError as error:
        message, line = explain(error, builder.lines)
        builder.problem(message, line, stop=False)
    if builder.problems:
        raise ConfigErrors(builder.problems)
    return builder.root


def _events(text: str) -> Iterator[Any]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Stop(Exception):
    """Enough is known: reading on would only cost time."""


@dataclass(slots=True)
class _Frame:
    """An open collection. `key` is the one that waits for its value; `dropped` that this value goes nowhere."""

    node: MarkedMap | MarkedList
    flow: bool
    key: Scalar | None = None
    dropped: bool = False
    as_key: bool = False


class _Builder:
    """Puts events together into a tree; an explicit stack stands for recursion."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines
        self.problems: list[Problem] = []
        self.root: Any = None
        self._stack: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def problem(self, message: str, line: int, *, stop: bool = False) -> None:
        """Note a problem; raises _Stop when there are enough."""
        last = len(self.lines) - (self.lines[-1] == "")
        self.problems.append(Problem(message, self.file, max(1, min(line, last))))
        if stop or len(self.problems) >= _MAX_PROBLEMS:
            raise _Stop

    def take(self, event: Any) -> None:
        """Add one parser event."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._document(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        line = event.start_mark.line + 1
        if event.version or event.tags:
            self.problem("% directives are not read; remove the line", line)
        if self._documents > 1:
            self.problem("a second document begins here (---); one file holds one document", line, stop=True)

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        self.problem(
            f"{self._path()}*{event.anchor} is an alias, which is not read; "
            f'quote it if text was meant ("*{event.anchor}"), or use extends or $use to share',
            line,
        )
        self._add(None, self._mark(event))

    def _mark(self, event: Any) -> Mark:
        return Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _path(self, key: str | None = None) -> str:
        """Where we are, as `settings.pixel_id` (or `settings.pixel_id: ` without a key); empty at the top."""
        steps = ""
        for frame in self._stack:
            if isinstance(frame.node, MarkedList):
                steps += f"[{len(frame.node)}]"
            elif frame.key is not None:
                steps += f".{frame.key}"
        if key is not None:
            return f"{steps}.{key}".removeprefix(".")
        return f"{steps.removeprefix('.')}: " if steps else ""

    def _unwanted(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor is not None:
            self.problem(f"{self._path()}&{event.anchor} is an anchor, which is not read; use extends or $use to share", line)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(f"{self._path()}the tag {tag} is not read; the declared type decides", line)

    def _count(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self.problem(f"more than {MAX_NODES} values in one file", event.start_mark.line + 1, stop=True)

    def _open(self, event: Any) -> None:
        self._count(event)
        self._unwanted(event)
        mark = self._mark(event)
        if len(self._stack) >= MAX_DEPTH:
            self.problem(f"nested deeper than {MAX_DEPTH} levels", mark.line, stop=True)
        node = MarkedMap(mark) if isinstance(event, yaml.MappingStartEvent) else MarkedList(mark)
        as_key = self._wants_key()
        if as_key:
            self.problem(f"{self._path()}a key must be text, not a list or map; quote it", mark.line)
        self._stack.append(_Frame(node, bool(event.flow_style), as_key=as_key))

    def _close(self) -> None:
        frame = self._stack.pop()
        if frame.as_key:
            self._stack[-1].key, self._stack[-1].dropped = Scalar("?", frame.node.mark), True
        else:
            self._add(frame.node, frame.node.mark)

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].node, MarkedMap) and self._stack[-1].key is None

    def _scalar(self, event: Any) -> None:
        self._count(event)
        self._unwanted(event)
        plain = bool(event.implicit[0])
        flow = bool(self._stack) and self._stack[-1].flow
        scalar = Scalar(event.value, self._mark(event), plain, flow)
        if self._wants_key():
            self._key(scalar)
            return
        if plain:
            self._check_plain(scalar, event)
        self._add(None if plain and event.value in _NULLS else scalar, scalar.mark)

    def _key(self, key: Scalar) -> None:
        frame = self._stack[-1]
        if len(key) > MAX_KEY or "\n" in key:
            self.problem(f"{self._path()}a key must be one line of at most {MAX_KEY} characters", key.mark.line)
            key, frame.dropped = Scalar("?", key.mark, plain=False), True
        elif key.plain and key == "":
            self.problem(f'{self._path()}a key is missing before ":"', key.mark.line)
            frame.dropped = True
        elif key.plain and key == "<<":
            self.problem(f"{self._path()}<< (a merge key) is not read; use extends or $use to share", key.mark.line)
            frame.dropped = True
        elif isinstance(frame.node, MarkedMap) and key in frame.node:
            first = frame.node.marks[key].line
            self.problem(f"{self._path(key)} is given twice (first in line {first})", key.mark.line)
            frame.dropped = True
        frame.key = key

    def _check_plain(self, scalar: Scalar, event: Any) -> None:
        if not self._stack:
            return
        frame = self._stack[-1]
        if scalar == "" and frame.flow and frame.key is not None and not (frame.dropped or frame.as_key):
            self.problem(
                f"{self._path().removesuffix(': ')} has no value; inside {{…}} a comma ends the value before it: "
                "put that value in double quotes, or write null where nothing is meant",
                frame.key.mark.line,
            )
        elif why := cut_by_comment(scalar, self.lines, event.end_mark):
            self.problem(f"{self._path()}{why}", scalar.mark.line)

    def _add(self, value: Any, mark: Mark) -> None:
        if not self._stack:
            self.root = value
            return
        frame = self._stack[-1]
        if isinstance(frame.node, MarkedList):
            frame.node.append(value)
            frame.node.marks.append(mark)
            return
        if frame.key is None:  # an alias in the place of a key
            frame.key, frame.dropped = Scalar("?", mark), True
            return
        if not frame.dropped:
            frame.node[frame.key] = value
            frame.node.marks[frame.key] = frame.key.mark
        frame.key, frame.dropped = None, False
