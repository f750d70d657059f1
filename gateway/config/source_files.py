"""The files of one run: read strictly, `extends` followed, remembered for the configuration's hash and for the watcher."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from gateway.config.tree import Mark, MarkedMap, Scalar
from gateway.config.words import shown as quoted
from gateway.config.yaml_file import decode, parse_map, read_bytes
from gateway.errors import ConfigErrors, Problem

_MAX_CHAIN = 10


class SourceFiles:
    """Reads for one run; `watched` is every file and folder that was looked at."""

    def __init__(self) -> None:
        self.watched: dict[str, None] = {}
        self._digests: dict[str, bytes] = {}
        self._shared: dict[str, MarkedMap] = {}

    def tree(self, shown: str) -> MarkedMap:
        """The map in a file, under its name as messages show it. Raises ConfigErrors."""
        self.watched[shown] = None
        data = read_bytes(Path(shown), shown)
        self._digests[shown] = hashlib.sha256(data).digest()
        return parse_map(decode(data, shown), shown)

    def extended(self, shown: str) -> MarkedMap:
        """The same with `extends` followed: maps merge by key, everything else is replaced, each mark keeps its own file."""
        return self.resolve(self.tree(shown), (os.path.realpath(shown),))

    def resolve(self, tree: MarkedMap, chain: tuple[str, ...] = ()) -> MarkedMap:
        """Follow the `extends` of a map that is read already; `chain` are the real paths on the way here."""
        if "extends" not in tree:
            return tree
        mark = tree.marks["extends"]
        wanted = tree["extends"]
        if not isinstance(wanted, Scalar) or not wanted.strip():
            raise ConfigErrors([Problem("extends must be the path of one file", mark.file, mark.line)])
        shown = beside(mark, wanted)
        real = os.path.realpath(shown)
        if real in chain:
            raise ConfigErrors([Problem(f"extends {quoted(wanted)} goes round in a circle", mark.file, mark.line)])
        if len(chain) > _MAX_CHAIN:
            raise ConfigErrors([Problem(f"extends goes deeper than {_MAX_CHAIN} files", mark.file, mark.line)])
        base = self.resolve(self._base(shown, mark), (*chain, real))
        own = MarkedMap(tree.mark, {k: v for k, v in tree.items() if k != "extends"}, tree.marks)
        return merged(base, own)

    def _base(self, shown: str, mark: Mark) -> MarkedMap:
        """A shared file is read once for all that extend it: merging copies what it changes."""
        try:
            return self._shared.get(shown) or self._shared.setdefault(shown, self.tree(shown))
        except ConfigErrors as error:
            first = error.problems[0]
            if first.line is not None:
                raise
            raise ConfigErrors([Problem(f"extends: {quoted(shown)} {first.message}", mark.file, mark.line)]) from None

    def secret(self, shown: str, most: int) -> bytes:
        """A secret file's bytes: watched, but no part of the hash that metrics show. Raises ConfigErrors."""
        self.watched[shown] = None
        return read_bytes(Path(shown), shown, most)

    def folder(self, shown: str) -> list[str]:
        """The names in a folder, hidden ones left out (a mounted ConfigMap has `..data`). Raises ConfigErrors."""
        self.watched[shown] = None
        try:
            return sorted(name for name in os.listdir(shown) if not name.startswith("."))
        except NotADirectoryError:
            raise ConfigErrors([Problem("is not a folder", shown)]) from None
        except (OSError, ValueError) as error:
            raise ConfigErrors([Problem(f"cannot be read: {getattr(error, 'strerror', None) or error}", shown)]) from None

    def hash(self) -> str:
        """sha256 over the names and bytes of every YAML file."""
        total = hashlib.sha256()
        for name in sorted(self._digests):
            total.update(os.path.basename(name).encode(errors="surrogateescape") + b"\0" + self._digests[name])
        return total.hexdigest()


def beside(mark: Mark, name: str) -> str:
    """A relative path as it is meant: from the file that names it."""
    return os.path.normpath(os.path.join(os.path.dirname(mark.file), name))


def merged(base: MarkedMap, patch: MarkedMap) -> MarkedMap:
    """`patch` over `base`; null replaces too, and so deletes a default or makes a tombstone further on."""
    result = MarkedMap(patch.mark, dict(base), dict(base.marks))
    for key, value in patch.items():
        old: Any = base.get(key)
        both = isinstance(old, MarkedMap) and isinstance(value, MarkedMap)
        result[key] = merged(old, value) if both else value
        result.marks[key] = patch.marks[key]
    return result
