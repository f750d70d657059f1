"""`${NAME}`, `${NAME:-default}` and `${file:/path}`: where they are read, and what is wrong with them elsewhere.

A reference is a whole scalar under `settings`, `admin`, `queue`, `endpoint`, `server_keys`, `hooks` or `links`. It
is replaced once: what an environment variable or file holds is never looked at again. Messages name the variable or file,
never its value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config import words
from gateway.config.source_files import SourceFiles
from gateway.config.tree import Mark, MarkedList, MarkedMap, Scalar
from gateway.errors import ConfigErrors, Problem

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
_FILE = re.compile(r"\$\{file:([^{}]+)\}")
_ANY = re.compile(r"\$\{(?:file:[^{}]*|[A-Za-z_][A-Za-z0-9_]*(?::-[^{}]*)?)\}")
_LITERALS = frozenset({"${true}", "${false}", "${null}"})
_MAX_SECRET = 64 * 1024

READ_IN = "settings, admin, queue, endpoint, server_keys, hooks and links"


class Referred(Scalar):
    """A scalar whose text came from a reference. `missing`: there was none, and the text is still the reference."""

    __slots__ = ("literal", "missing")
    missing: bool
    literal: bool

    def __repr__(self) -> str:
        return "'${…}'"

    @classmethod
    def of(cls, scalar: Scalar, text: str, *, missing: bool = False, literal: bool = False) -> Referred:
        """`literal`: the text is the default that is written in the file."""
        made = cls(text, scalar.mark, plain=False)
        made.missing, made.literal = missing, literal
        return made


class References:
    """Replaces the references of one run and collects what is wrong with them."""

    def __init__(self, env: Mapping[str, str], files: SourceFiles, *, needed: bool = True) -> None:
        """`needed` false: what is not set passes as it is (a check without secrets)."""
        self._env, self._files, self.needed = env, files, needed
        self.problems: list[Problem] = []

    def take_problems(self) -> list[Problem]:
        """The problems since the last call."""
        found, self.problems = self.problems, []
        return found

    def replaced(self, node: Any, path: str) -> Any:
        """A copy of a tree with its references replaced."""
        if isinstance(node, MarkedMap):
            self._keys(node, path)
            return MarkedMap(node.mark, {k: self.replaced(v, f"{path}.{k}") for k, v in node.items()}, node.marks)
        if isinstance(node, MarkedList):
            return MarkedList(node.mark, [self.replaced(v, f"{path}[{i}]") for i, v in enumerate(node)], node.marks)
        return self._scalar(node, path) if isinstance(node, Scalar) and "${" in node else node

    def refuse(self, node: Any, path: str) -> None:
        """Nothing here is replaced: a reference would silently stay text."""
        if isinstance(node, MarkedMap):
            self._keys(node, path)
        for step, inner in _children(node):
            self.refuse(inner, f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}".removeprefix("."))
        if isinstance(node, Scalar) and "${" in node:
            self._say(f"{path} holds ${{…}}; variables are read only as whole values under {READ_IN}", node.mark)

    def refuse_in_mapping(self, node: Any, path: str) -> None:
        """In a mapping a hole `${$…}` holds an expression; a variable's name in it is a mistake."""
        if isinstance(node, MarkedMap):
            self._keys(node, path, mapping=True)
        for step, inner in _children(node):
            self.refuse_in_mapping(inner, f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}")
        if isinstance(node, Scalar) and (found := _ANY.search(node)) and found[0] not in _LITERALS:
            self._say(
                f"{path} holds {_shown(found[0])}; environment variables are not read in mappings: "
                "put it under settings and write $setting.NAME",
                node.mark,
            )

    def _keys(self, node: MarkedMap, path: str, *, mapping: bool = False) -> None:
        for key, mark in node.marks.items():
            if "${" in key:
                at = path.removeprefix(".")
                self._say(f"{f'{at}: ' if at else ''}a key cannot hold ${{…}}; variables are read only as whole values", mark)

    def _say(self, message: str, mark: Mark) -> None:
        self.problems.append(Problem(message, mark.file, mark.line))

    def _scalar(self, scalar: Scalar, path: str) -> Scalar:
        if found := _VARIABLE.fullmatch(scalar):
            return self._variable(scalar, found[1], found[2])
        if found := _FILE.fullmatch(scalar):
            return self._file(scalar, found[1].strip())
        self._say(f"{path} {_misuse(scalar)}", scalar.mark)
        return Referred.of(scalar, scalar, missing=True)

    def _variable(self, scalar: Scalar, name: str, default: str | None) -> Scalar:
        value = self._env.get(name)
        if value:
            return Referred.of(scalar, value)
        if default is not None:
            return Referred.of(scalar, default, literal=bool(default))
        if self.needed and value is None:
            self._absent(f"{name} is not set", "set it in the environment or use ${file:/run/secrets/…}", scalar.mark)
        elif self.needed:
            self._absent(f"{name} is empty", f"set it, or write ${{{name}:-}} where it may be empty", scalar.mark)
        return Referred.of(scalar, scalar, missing=True)

    def _file(self, scalar: Scalar, name: str) -> Scalar:
        shown = os.path.normpath(Path(scalar.mark.file).parent / name)
        quoted = words.shown(shown)
        try:
            text = self._files.secret(shown, _MAX_SECRET).decode("utf-8-sig").rstrip("\r\n")
        except ConfigErrors as error:
            if self.needed:
                self._absent(f"{quoted} {error.problems[0].message}", "check the path and who may read it", scalar.mark)
        except UnicodeDecodeError:
            self._absent(f"{quoted} is not UTF-8 text", "a secret is one line of text", scalar.mark)
        else:
            if text:
                return Referred.of(scalar, text)
            if self.needed:
                self._absent(f"{quoted} is empty", "put the value there as one line", scalar.mark)
        return Referred.of(scalar, scalar, missing=True)

    def _absent(self, what: str, remedy: str, mark: Mark) -> None:
        self.problems.append(Problem(f"{what} ({mark}); {remedy}"))


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, MarkedMap):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, MarkedList) else []


def _shown(reference: str) -> str:
    """A reference without its default, which may be a secret."""
    return f"{reference.split(':-')[0].removesuffix('}')}}}"


def _misuse(text: str) -> str:
    if re.search(r"\$\{[^}]*\$\{", text):
        return "holds ${…} inside ${…}; a variable is replaced once, so write one variable alone"
    if found := _ANY.search(text):
        return f"holds {_shown(found[0])} among other text; a variable must be the whole value"
    if re.search(r"\$\{\s*['\"(\[]?\$", text):
        return "holds an expression; settings are plain values, expressions belong under events"
    return "holds ${ that is not ${NAME}, ${NAME:-default} or ${file:/path}"
