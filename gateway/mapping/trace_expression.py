"""Evaluates one expression slowly, noting every step: the value before and after, for `explain` (see trace.py).

It walks the nodes itself and shares with compile.py only the functions after `|` and the comparison rules, so that a test
that compares the two evaluators says something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.clock import iso
from gateway.mapping.compile import COMPARE
from gateway.mapping.functions import FAILURES, FUNCTIONS, as_text, is_empty, nothing
from gateway.mapping.functions_value import holds
from gateway.mapping.nodes import Alt, Call, Compare, Const, Junction, ListOf, Node, Not, Path, Pipe, Template, Word
from gateway.mapping.scope import SECTIONS, Context
from gateway.mapping.steps import stepped
from gateway.mapping.values import walk

MASK = "***"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `path`, `constant`, `list`, `text`, `empty` (an alternative that gave nothing), `call`, `join`, `when`, `item`.

    `text` is the step as written, `place` its file and line. Values that come from a secret setting are `***`.
    """

    kind: str
    text: str
    before: Any
    after: Any
    place: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.before!r} → {self.after!r}" if self.kind == "call" else f"{self.text} → {self.after!r}"


@dataclass(slots=True)
class Surrounding:
    """What an expression can read: the event, the time, the vendor's event name, and the loops' items, innermost last."""

    context: Context
    data: Mapping[str, Any]
    now: float
    name: Any = None
    loops: list[tuple[str, Any, int]] = field(default_factory=list)


def evaluate(node: Node, around: Surrounding, steps: list[Step], place: str) -> Any:
    """The value of a node; its steps are appended."""
    if isinstance(node, Pipe):
        return _pipe(node, around, steps, place)
    if isinstance(node, Alt):
        return _alt(node, around, steps, place)
    if isinstance(node, Const):
        value, kind = node.value, "constant"
    elif isinstance(node, Path):
        value, kind = _path(node, around), "path"
    elif isinstance(node, ListOf):
        value, kind = _list(node, around), "list"
    elif isinstance(node, Template):
        value, kind = _template(node, around), "text"
    else:
        value, kind = condition(node, around), "when"
    shown = MASK if _secret(node, around) and not is_empty(value) else value
    steps.append(Step(kind, node.text, None, shown, place))
    return value


def silent(node: Node, around: Surrounding) -> Any:
    """The value of a node without its steps."""
    return evaluate(node, around, [], "")


def condition(node: Node, around: Surrounding) -> bool:
    """Whether a condition holds."""
    if isinstance(node, Not):
        return not condition(node.operand, around)
    if isinstance(node, Junction):
        found = [condition(operand, around) for operand in node.operands]
        return all(found) if node.every else any(found)
    if isinstance(node, Compare):
        return COMPARE[node.op](silent(node.left, around), silent(node.right, around))
    return holds(silent(node, around))


def _secret(node: Node | Word, around: Surrounding) -> bool:
    """Whether a value may show a secret setting."""
    if isinstance(node, Path):
        return node.root == "setting" and bool(node.steps) and node.steps[0] in around.context.secrets
    if isinstance(node, Pipe):
        return _secret(node.base, around)
    if isinstance(node, Alt):
        return any(_secret(option, around) for option in node.options)
    if isinstance(node, ListOf):
        return any(_secret(item, around) for item in node.items)
    if isinstance(node, Template):
        return any(_secret(part, around) for part in node.parts if not isinstance(part, str))
    return False


def _alt(node: Alt, around: Surrounding, steps: list[Step], place: str) -> Any:
    for option in node.options:
        tried: list[Step] = []
        value = evaluate(option, around, tried, place)
        if not is_empty(value):
            steps.extend(tried)
            return value
        steps.append(Step("empty", option.text, None, value, place))
    return None


def _pipe(node: Pipe, around: Surrounding, steps: list[Step], place: str) -> Any:
    value = evaluate(node.base, around, steps, place)
    secret = _secret(node.base, around)
    for call in node.calls:
        before, value = value, apply(call, value, around)
        shown = (MASK if secret and not is_empty(before) else before, MASK if secret and not is_empty(value) else value)
        steps.append(Step("call", call.text, *shown, place))
    return value


def apply(call: Call, value: Any, around: Surrounding) -> Any:
    """One function on one value."""
    known = FUNCTIONS[call.name]
    args = [around.now] if known.takes_now else [_argument(known.takes_table, arg, around) for arg in call.args]
    if value is None and not known.sees_null:
        return None
    try:
        work = known.build(*args)
    except FAILURES:
        return None
    return None if work is nothing else stepped(known, work, None)(value)


def _argument(table: bool, arg: Node | Word, around: Surrounding) -> Any:
    if isinstance(arg, Word):
        return around.context.tables.get(arg.text) if table else arg.text
    return silent(arg, around)


def _path(node: Path, around: Surrounding) -> Any:
    root, steps = node.root, node.steps
    for name, item, index in reversed(around.loops):
        if root == name:
            return walk(item, steps)
        if root == "index":
            return index
    if root in SECTIONS:
        return walk(around.data.get(root), steps)
    roots: dict[str, Any] = {"event": around.data, "name": around.name, "now": iso(around.now), "batch": "(the events)"}
    return walk(around.context.settings if root == "setting" else roots.get(root), steps)


def _list(node: ListOf, around: Surrounding) -> list[Any]:
    out: list[Any] = []
    for item in node.items:
        value = silent(item, around)
        out.extend(value if isinstance(value, list) else [value])
    return [value for value in out if not is_empty(value)]


def _template(node: Template, around: Surrounding) -> str | None:
    texts, filled = [], False
    for part in node.parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        value = silent(part, around)
        text = "" if is_empty(value) else as_text(value) or ""
        filled = filled or bool(text)
        texts.append(text)
    return "".join(texts) if filled else None
