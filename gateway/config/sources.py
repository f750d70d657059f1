"""The sources: checked one by one, then against each other, since a host or a key must name one source only."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.config.destinations import written_secret
from gateway.config.models import Source
from gateway.config.references import References, Referred
from gateway.config.tree import Mark, MarkedList, MarkedMap, Scalar
from gateway.config.validate import validated, without_echo
from gateway.config.words import shown
from gateway.errors import Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SECRET_KEYS = ("server_keys", "hooks", "links", "identity")
"""Keys of a source under which references are read."""
NAME_RULE = "a name has letters, digits, - and _, at most 100"


def good_name(name: str) -> bool:
    """Whether a source or destination may be called so: it becomes a file name, a metric label and a part of URLs."""
    return bool(_NAME.fullmatch(name))


def source(name: str, tree: MarkedMap, references: References, *, lab: bool, at: str) -> tuple[Source | None, list[Problem]]:
    """The source, or None with every problem. `at` is its path in messages, empty where it is a file of its own."""
    prefix = f"{at}." if at else ""
    for key in list(tree):
        if key in _SECRET_KEYS:
            tree[key] = references.replaced(tree[key], f"{prefix}{key}")
        else:
            references.refuse(MarkedMap(tree.mark, {key: tree[key]}, {key: tree.marks[key]}), at)
    said = references.take_problems()
    problems = (
        []
        if lab
        else [
            *_server_keys(tree, name, prefix),
            *_hooks(tree, prefix),
            *_links(tree, name, prefix),
            *_identity(tree, name, prefix),
        ]
    )
    keys = tree.get("server_keys")
    known = MarkedMap(tree.mark, dict(tree), tree.marks)
    if isinstance(keys, MarkedList):
        kept = [i for i, key in enumerate(keys) if not (isinstance(key, Referred) and not key)]
        known["server_keys"] = MarkedList(keys.mark, [keys[i] for i in kept], [keys.marks[i] for i in kept])
    found, more = validated(Source, known, at=at)
    problems = [*said, *without_echo(problems + more, said)]
    return (None, problems) if problems else (found, [])


def _server_keys(tree: MarkedMap, name: str, prefix: str) -> list[Problem]:
    keys = tree.get("server_keys")
    if not isinstance(keys, MarkedList):
        return []
    variable = f"{name}_SERVER_KEY".upper().replace("-", "_")
    return [
        Problem(f"{prefix}server_keys[{index}] {why}", key.mark.file, key.mark.line)
        for index, key in enumerate(keys)
        if (why := written_secret(key, variable))
    ]


def _hooks(tree: MarkedMap, prefix: str) -> list[Problem]:
    problems: list[Problem] = []
    for shop, hook in tree["hooks"].items() if isinstance(tree.get("hooks"), MarkedMap) else ():
        secret = hook.get("secret") if isinstance(hook, MarkedMap) else None
        problems += [
            Problem(f"{prefix}hooks.{shop}.secret {why}", one.mark.file, one.mark.line)
            for one in (secret if isinstance(secret, MarkedList) else [secret])
            if isinstance(one, Scalar) and (why := written_secret(one, f"{shop}_SECRET".upper()))
        ]
    return problems


def _identity(tree: MarkedMap, name: str, prefix: str) -> list[Problem]:
    identity = tree.get("identity")
    key = identity.get("key") if isinstance(identity, MarkedMap) else None
    why = written_secret(key, f"{name}_IDENTITY_KEY".upper().replace("-", "_")) if isinstance(key, Scalar) else None
    return [Problem(f"{prefix}identity.key {why}", key.mark.file, key.mark.line)] if why and isinstance(key, Scalar) else []


def _links(tree: MarkedMap, name: str, prefix: str) -> list[Problem]:
    links = tree.get("links")
    variable = f"{name}_LINK_KEY".upper().replace("-", "_")
    keys = links.get("keys") if isinstance(links, MarkedMap) else None
    return [
        Problem(f"{prefix}links.keys[{index}] {why}", key.mark.file, key.mark.line)
        for index, key in enumerate(keys if isinstance(keys, MarkedList) else ())
        if isinstance(key, Scalar) and (why := written_secret(key, variable))
    ]


class Clashes:
    """Hosts and keys that two sources claim; the later one has the problem."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._streams: dict[str, str] = {}

    def of(self, name: str, found: Source, tree: MarkedMap, at: str) -> list[Problem]:
        """The problems of one more source."""
        prefix = f"{at}." if at else ""
        problems = [
            Problem(f"{prefix}hosts: {text} belongs to the source {other} already", mark.file, mark.line)
            for text, mark, other in self._claimed(self._hosts, found.hosts, tree.get("hosts"), name)
        ]
        problems += [
            Problem(f"{prefix}write_keys: this key belongs to the source {other} already", mark.file, mark.line)
            for _, mark, other in self._claimed(self._keys, found.write_keys, tree.get("write_keys"), name)
        ]
        problems += [
            Problem(f"{prefix}ga4_ids: {text} belongs to the source {other} already", mark.file, mark.line)
            for text, mark, other in self._claimed(self._streams, found.ga4_ids, tree.get("ga4_ids"), name)
        ]
        secrets = [key.get_secret_value() for key in found.server_keys]
        problems += [
            Problem(f"{prefix}server_keys: this key belongs to the source {other} already", mark.file, mark.line)
            for _, mark, other in self._claimed(self._keys, secrets, tree.get("server_keys"), name)
        ]
        return problems

    def _claimed(
        self, taken: dict[str, str], values: Iterable[str], written: object, name: str
    ) -> Iterable[tuple[str, Mark, str]]:
        marks = written.marks if isinstance(written, MarkedList) else []
        for value, mark in zip(values, marks, strict=False):
            other = taken.setdefault(value, name)
            if other != name:
                yield value, mark, other


def unnamed(name: str, what: str) -> str:
    """The sentence about a name that cannot be one."""
    return f'{what} "{shown(name)}" cannot be called so: {NAME_RULE}'


def text_of(value: object) -> str | None:
    """A scalar's text, None for anything else."""
    return str(value) if isinstance(value, Scalar) else None
