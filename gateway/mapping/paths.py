"""Compiles paths: `$user.email`, `$item.price`, `$setting.token`. Look-ups go through maps and lists only."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.config.words import hint
from gateway.mapping.nodes import Path
from gateway.mapping.scope import KNOWN, SECTIONS, Context
from gateway.mapping.values import walk
from gateway.mapping.writer import Code, Writer, constant

NULL = constant(None)
BATCH = orjson.Fragment(b"\x00")
"""The list of events while an envelope is rendered: a byte that JSON text never holds, so the envelope splits there."""


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
    return _lookup(root, -1, node.steps)


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
    return _lookup("", slot, node.steps)


def _setting(node: Path, leaf: Any, context: Context) -> Code:
    if not node.steps:
        context.problem("name a setting: $setting.<name>", leaf)
        return NULL
    name = str(node.steps[0])
    if name not in context.known_settings:
        context.unknown("setting", name, context.known_settings, leaf)
        return NULL
    return constant(walk(context.settings.get(name), node.steps[1:]))


def _lookup(root: str, slot: int, steps: tuple[str | int, ...]) -> Code:
    """The value at a path below a root, or below the loop variable in a slot."""

    def write(out: Writer) -> str:
        if not steps:
            return out.root(root, slot)
        last = steps[-1]
        if isinstance(last, str):
            return f"{out.section(root, slot, steps[:-1])}.get({out.key(last)})"
        return f"walk({out.root(root, slot)}, {out.key_path(steps)})"

    def place(out: Writer) -> tuple[str, str]:
        """The name of the last key, and of the map that may hold it."""
        if steps:
            return out.key(str(steps[-1])), out.section(root, slot, steps[:-1])
        return f'"{root}"', "data"

    if not (isinstance(steps[-1], str) if steps else slot < 0 and root in SECTIONS):
        return Code(write)
    return Code(write, present=lambda out: "{} in {}".format(*place(out)), given=lambda out: "{1}[{0}]".format(*place(out)))
