"""Compiles paths: `$user.email`, `$item.price`, `$setting.token`. Look-ups go through maps and lists only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.clock import iso
from gateway.config.words import hint
from gateway.mapping.nodes import Path
from gateway.mapping.scope import KNOWN, SECTIONS, Code, Context, Run, Scope, constant

NULL = constant(None)
BATCH = orjson.Fragment(b"\x00")
"""The list of events while an envelope is rendered: a byte that JSON text never holds, so the envelope splits there."""


def walk(value: Any, steps: Sequence[str | int]) -> Any:
    """Follow steps through maps (by key) and lists (by position); a missing step gives null."""
    for step in steps:
        if type(value) is dict:
            value = value.get(step if type(step) is str else str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def compile_path(node: Path, leaf: Any, context: Context) -> Code:
    """The code of a path; an unknown or misplaced root is a problem at the leaf's place."""
    root = node.root
    if root in context.loops or root == "index":
        return _local(node, leaf, context)
    if root not in context.roots:
        _misplaced(node, leaf, context)
        return NULL
    if root == "setting":
        return _setting(node, leaf, context)
    if root == "batch":
        if node.steps:
            context.problem("$batch stands alone: it is the list of events", leaf)
        return constant(BATCH)
    if root in SECTIONS:
        return _section(root, node.steps)
    return Code(_other(root, node.steps))


def _misplaced(node: Path, leaf: Any, context: Context) -> None:
    root = node.root
    if root not in KNOWN:
        context.problem(f'unknown root "${root}"{hint(root, sorted(KNOWN | set(context.loops)))} (in `{node.text}`)', leaf)
    elif root in ("item", "index"):
        context.problem(f"${root} is known only inside a loop ($for, each)", leaf)
    elif root == "batch":
        context.problem("$batch is known only in batch.wrap", leaf)
    elif root in ("body", "wrap"):
        context.problem(f"${root} is known only in `check`", leaf)
    elif root in ("res", "f"):
        context.problem(f"${root} is known only in response rules" + (" under partial" if root == "f" else ""), leaf)
    else:
        context.problem(f"${root} is not known here", leaf)


def _local(node: Path, leaf: Any, context: Context) -> Code:
    if not context.loops:
        _misplaced(node, leaf, context)
        return NULL
    if node.root == "index":
        slot = 2 * len(context.loops) - 1
    else:
        slot = 2 * (len(context.loops) - 1 - context.loops[::-1].index(node.root))
    steps = node.steps
    if not steps:
        return Code(lambda scope: scope.locals[slot])
    if len(steps) == 1 and isinstance(steps[0], str):
        key = steps[0]

        def run(scope: Scope) -> Any:
            value = scope.locals[slot]
            return value.get(key) if type(value) is dict else None

        return Code(run, path=(slot, "", key))
    return Code(lambda scope: walk(scope.locals[slot], steps))


def _setting(node: Path, leaf: Any, context: Context) -> Code:
    if not node.steps:
        context.problem("name a setting: $setting.<name>", leaf)
        return NULL
    name = str(node.steps[0])
    if name not in context.known_settings:
        context.unknown("setting", name, context.known_settings, leaf)
        return NULL
    return constant(walk(context.settings.get(name), node.steps[1:]))


def _section(root: str, steps: tuple[str | int, ...]) -> Code:
    if not steps:
        return Code(lambda scope: scope.data.get(root))
    if len(steps) == 1 and isinstance(steps[0], str):
        key = steps[0]

        def run(scope: Scope) -> Any:
            section = scope.data.get(root)
            return section.get(key) if type(section) is dict else None

        return Code(run, path=(-1, root, key))
    return Code(lambda scope: walk(scope.data.get(root), steps))


def _other(root: str, steps: tuple[str | int, ...]) -> Run:
    if root == "event":
        if len(steps) == 1 and isinstance(steps[0], str):
            key = steps[0]
            return lambda scope: scope.data.get(key)
        return lambda scope: walk(scope.data, steps)
    if root == "name":
        return lambda scope: walk(scope.name, steps)
    if root == "now":
        return lambda scope: walk(iso(scope.now), steps)
    if root == "res":
        return lambda scope: walk(scope.reply, steps)
    if root == "body":
        return lambda scope: walk(scope.body, steps)
    if root == "wrap":
        return lambda scope: walk(scope.wrap, steps)
    return lambda scope: walk(scope.failure, steps)
