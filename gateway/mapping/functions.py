"""The functions of mapping expressions: the registry FUNCTIONS, from which checks, `explain` and the docs are made.

Every function is total: null gives null, and what a function cannot do gives null too (compile.py counts that and catches
what a function raises of FAILURES, so a function may simply fail). Three kinds:

- *each*: takes text. compile.py gives it numbers and booleans as text, each element of a list in turn (dropping nulls), and
  never an empty text.
- *plain*: takes any value that is not null.
- *sees_null*: also takes null (`default`, `empty`, `exists`, `eq`).

`build(*args)` is called once at load with constant arguments, per event where an argument is a path. Functions live in
functions_text.py, functions_identity.py and functions_value.py; each registers itself with `@function`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What a function raises when it cannot do its work; also UnicodeError, a ValueError."""
Work = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how to build it, how many arguments it takes (None: any number), and its help."""

    name: str
    group: str
    signature: str
    help: str
    build: Callable[..., Work]
    fewest: int
    most: int | None
    each: bool = False
    sees_null: bool = False
    counts: bool = True
    takes_table: bool = False
    takes_now: bool = False
    passes: tuple[type, ...] = ()


def nothing(value: Any) -> None:
    """The work of a function whose arguments leave it nothing to do: compile.py makes it null at load."""


FUNCTIONS: dict[str, Function] = {}
"""Every function by name, in the order of the documentation."""


def max_args(name: str) -> int | None:
    """How many arguments a function takes at most; None for an unknown one or no limit."""
    known = FUNCTIONS.get(name)
    return known.most if known else None


def function(
    group: str,
    signature: str = "",
    *,
    fewest: int = 0,
    most: int | None = 0,
    name: str | None = None,
    each: bool = False,
    sees_null: bool = False,
    counts: bool = True,
    takes_table: bool = False,
    takes_now: bool = False,
    passes: tuple[type, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function. With `most=0` the decorated function does the work, else it builds what does.

    `counts=False` is for functions whose null is an answer (`then`, `first`, `raw_only`), not a failure. A value whose
    type is one of `passes` is its own result (a float only if it is finite, an integer only if it fits 64 bit).
    """

    def register(made: Callable[..., Any]) -> Callable[..., Any]:
        called = name or made.__name__.rstrip("_")
        build = (lambda: made) if most == 0 and not takes_now else made
        text = " ".join((made.__doc__ or "").split())
        FUNCTIONS[called] = Function(
            called,
            group,
            signature or called,
            text,
            build,
            fewest,
            most,
            each,
            sees_null,
            counts,
            takes_table,
            takes_now,
            passes,
        )
        return made

    return register


def is_empty(value: Any) -> bool:
    """null, "", [] and {} are empty; 0 and false are values."""
    if value:
        return False
    return value is None or isinstance(value, (str, list, dict, tuple))


def all_text(values: Iterable[Any]) -> bool:
    """Whether all of some values are text, and none of them empty."""
    for value in values:  # noqa: SIM110 (lists are short, and `all` with a generator takes three times as long)
        if type(value) is not str or not value:
            return False
    return True


def as_text(value: Any) -> str | None:
    """A scalar as text: whole numbers without a point, booleans as true and false, maps and lists as JSON."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    return to_json(value)


def scalar_text(value: Any) -> str | None:
    """As `as_text`, but maps and lists give null: for functions whose input must be one text."""
    return None if isinstance(value, (dict, list, tuple)) else as_text(value)


def to_json(value: Any) -> str:
    """Compact JSON text. Raises a ValueError or TypeError for what JSON cannot hold."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # integers beyond 64 bit, which orjson refuses and JSON allows
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


LARGEST = 2**63


def to_number(value: Any) -> Any:
    """A finite number (int or float) as it is, a decimal text (with outer space) as its number; anything else null."""
    kind = type(value)
    if kind is int:
        return value if -LARGEST <= value < LARGEST else None
    if kind is float:
        return value if value - value == 0 else None
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip()
    if not text.isascii() or "_" in text or not (text[-1:].isdigit() or text.endswith(".")):
        return None
    try:
        whole = text.lstrip("+-").isdigit()
        return to_number(int(text) if whole else float(text))
    except ValueError:
        return None
