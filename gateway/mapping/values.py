"""What mappings do to single values while they run: look-ups, emptiness, pruning, what a loop runs over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.mapping.functions import all_text, is_empty

ZEROS = frozenset((int, float, bool))
"""Types of which the false one is a value: `v or type(v) in ZEROS` says that v is not empty."""
NUMBERS = frozenset((int, float))
"""Types of which the false one holds as a condition: `v or type(v) in NUMBERS` says that v holds."""
TREES = frozenset((dict, list))
"""Types inside which there can be empties."""


def is_zero(value: Any) -> bool:
    """Whether a value is false and yet not empty: 0 and false."""
    return not value and type(value) in ZEROS


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


def prune(value: Any) -> Any:
    """The value without empties at any depth; itself where there are none. A hit's tree is at most 32 deep."""
    if isinstance(value, dict):
        if any(isinstance(inner, (dict, list)) or is_empty(inner) for inner in value.values()):
            return {key: left for key, inner in value.items() if not is_empty(left := prune(inner))}
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) or is_empty(inner) for inner in value):
        return [left for inner in value if not is_empty(left := prune(inner))]
    return value


def kept(value: Any) -> Any:
    """The value pruned, or null where nothing is left of it."""
    if type(value) is list and all_text(value):
        return value or None
    value = prune(value)
    return None if is_empty(value) else value


def elements(value: Any) -> list[Any]:
    """What a loop runs over: a list, or another value as a list of one."""
    return value if isinstance(value, list) else [] if is_empty(value) else [value]
