"""Explains every output field: the chain from what came in to what is sent, and which step removed what is missing.

The slow evaluator behind `tagway explain --field`. It walks the same merged tree as the compiled plan and must give the same
payload (a test holds them together); each step has the file and line where it can be changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.config.tree import Mark, Scalar
from gateway.event import Event
from gateway.mapping.compile import parse_leaf_condition, parse_scalar
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.nodes import Const, Node
from gateway.mapping.plan import CompiledPlan, uses
from gateway.mapping.scope import ABSENT, Context, Scope, key_mark
from gateway.mapping.structure import DIRECTIVES, split_loop
from gateway.mapping.trace_expression import Step, Surrounding, condition, evaluate
from gateway.mapping.values import elements, prune
from gateway.outcomes import Ending

ENVELOPE = "envelope"


def _bare(value: Any) -> bool:
    return is_empty(prune(value))


@dataclass(frozen=True, slots=True)
class FieldTrace:
    """One output field of one part. `sent` tells whether it is in the payload; `removed` is the first step that emptied it."""

    part: int
    field: str
    steps: tuple[Step, ...]
    value: Any
    sent: bool

    @property
    def removed(self) -> Step | None:
        """The first step whose result is empty (or holds nothing but empties), when the field is not sent."""
        if self.sent:
            return None
        emptied = (
            step for step in self.steps if step.kind in ("call", "join") and _bare(step.after) and not _bare(step.before)
        )
        never = (step for step in self.steps if _bare(step.after) or step.after is False)
        return next(emptied, None) or next(never, None)

    @property
    def place(self) -> str:
        """The file and line that would change it."""
        return next((step.place for step in reversed(self.steps) if step.place), "")


@dataclass(frozen=True, slots=True)
class PartTrace:
    """One part: its vendor id and name, the payload of this evaluator, and its fields (those of the wrap as `envelope.…`)."""

    id: str
    name: str
    payload: Any
    fields: tuple[FieldTrace, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of an event: its parts, or the ending that it had instead."""

    parts: tuple[PartTrace, ...]
    ending: Ending | None = None

    def __iter__(self) -> Iterator[FieldTrace]:
        return (one for part in self.parts for one in part.fields)


def trace(plan: CompiledPlan, event: Event, now: float, field: str | None = None) -> Trace:
    """Trace an event; `field` (`user_data.em`, `envelope.client_id`) keeps that field and what is below it."""
    ended = plan.parts(event, now)
    if isinstance(ended, Ending):
        return Trace((), ended)
    rules = plan.rules_for(event)
    if isinstance(rules, Ending):
        return Trace((), rules)
    parts: list[PartTrace] = []
    scope = Scope(event.data, now, event.name)
    for rule, lacking in uses(rules, scope, event):
        if lacking is None:
            parts.append(_part(plan, event, scope, rule.trees, rule.envelope.trees, len(parts), field))
    return Trace(tuple(parts))


def _part(plan: CompiledPlan, event: Event, scope: Scope, trees: Any, outer: Any, index: int, field: str | None) -> PartTrace:
    context = plan.context
    around = Surrounding(context, event.data, scope.now, scope.name)
    start: list[Step] = []
    if trees["each"] is not None:
        leaf, name = split_loop(trees["each"], context)
        around.loops.append((name, scope.locals[0], scope.locals[1]))
        start = [Step("item", f"{leaf}[{scope.locals[1]}]", None, scope.locals[0], _place(leaf))]
    tracer = _Tracer(around, index)
    body = trees["limited"] if trees["limited"] is not None and plan.limited(event) else trees["body"]
    payload = tracer.shape(body, "", start) if body is not None else {}
    around.loops.clear()
    around.name = as_text(scope.name)
    tracer.shape(outer.get("wrap"), ENVELOPE, [])
    for key in ("query", "headers"):
        if outer.get(key) is not None:
            tracer.shape(outer[key], f"{ENVELOPE}.{key}", [])
    fields = tuple(one for one in tracer.fields.values() if field is None or _below(one.field, field))
    identity = event.id if index == 0 else f"{event.id}-{index + 1}"
    return PartTrace(identity, as_text(scope.name) or "", payload, fields)


def _below(path: str, field: str) -> bool:
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _place(tree: Any, mark: Mark | None = None) -> str:
    found = getattr(tree, "mark", None) or mark
    return str(found) if found else ""


class _Tracer:
    """Walks shapes; `fields` by path, later layers over earlier ones."""

    def __init__(self, around: Surrounding, part: int) -> None:
        self.around = around
        self.part = part
        self.fields: dict[str, FieldTrace] = {}
        self.context: Context = around.context.narrowed(problems=[], noted=set())

    def shape(self, tree: Any, path: str, steps: list[Step]) -> Any:
        """The value of a shape at a path; ABSENT where a `$keep` is conditional and its condition fails."""
        if isinstance(tree, dict):
            return self._map(tree, path, steps)
        if isinstance(tree, list):
            return self._list(tree, path, steps)
        if isinstance(tree, Scalar):
            return self._leaf(tree, path, steps)
        return tree

    def _note(self, path: str, steps: list[Step], value: Any, *, keep: bool = False) -> None:
        self.fields[path] = FieldTrace(self.part, path, tuple(steps), value, keep or not is_empty(value))

    def _leaf(self, leaf: Scalar, path: str, steps: list[Step], *, keep: bool = False) -> Any:
        node = parse_scalar(leaf, self.context)
        own = list(steps)
        value = self._value(node, leaf, own)
        value = value if keep else prune(value)
        self._note(path, own, own[-1].after if own and own[-1].after == "***" else value, keep=keep)
        return value

    def _value(self, node: Node | None, leaf: Scalar, steps: list[Step]) -> Any:
        if node is None or isinstance(node, Const):
            value = node.value if node else None
            steps.append(Step("constant", leaf, None, value, str(leaf.mark)))
            return value
        return evaluate(node, self.around, steps, str(leaf.mark))

    def _list(self, tree: list[Any], path: str, steps: list[Step]) -> list[Any]:
        out: list[Any] = []
        for index, entry in enumerate(tree):
            value = self.shape(entry, f"{path}[{index}]", steps)
            if _keeps(entry):
                out += [] if value is ABSENT else [value]
            elif isinstance(value, list) and not isinstance(entry, list):
                out += value
            elif not is_empty(value):
                out.append(value)
        return out

    def _holds(self, leaf: Any, steps: list[Step], key: str) -> bool:
        node = parse_leaf_condition(leaf, self.context)
        found = node is not None and condition(node, self.around)
        steps.append(Step("when", f"{key}: {leaf}", None, found, _place(leaf)))
        return found

    def _map(self, tree: dict[str, Any], path: str, steps: list[Step]) -> Any:
        if "$for" in tree:
            return self._for(tree, path, steps)
        own = list(steps)
        if "$when" in tree and not self._holds(tree["$when"], own, "$when"):
            self._note(path, own, None)
            return ABSENT if _keeps(tree) else None
        if "$keep" in tree:
            return self._keep(tree["$keep"], path, own)
        if "$value" in tree:
            return self.shape(tree["$value"], path, own)
        out: dict[str, Any] = {}
        for layer in tree.get("$merge", ()):
            self._layer(layer, path, own, out)
        out.update(self._fields(tree, path, own))
        return out

    def _keep(self, inner: Any, path: str, steps: list[Step]) -> Any:
        if isinstance(inner, Scalar):
            return self._leaf(inner, path, steps, keep=True)
        value = self.shape(inner, path, steps)
        if is_empty(value):
            self._note(path, [*steps, Step("constant", "$keep", None, value, _place(inner))], value, keep=True)
        return value

    def _fields(self, tree: dict[str, Any], path: str, steps: list[Step]) -> dict[str, Any]:
        out = {}
        for key, value in tree.items():
            if key in DIRECTIVES:
                continue
            made = self.shape(value, f"{path}.{key}" if path else str(key), steps)
            if (_keeps(value) and made is not ABSENT) or not (made is ABSENT or is_empty(made)):
                out[str(key)] = made
            if value is None:
                self._note(f"{path}.{key}" if path else str(key), [_null(tree, key)], None)
        return out

    def _layer(self, layer: Any, path: str, steps: list[Step], out: dict[str, Any]) -> None:
        value = self.shape(layer, path, steps)
        brought = self.fields.pop(path, None)
        if not isinstance(value, dict):
            return
        out.update(value)
        if brought is not None:  # an expression brought a whole map along: each of its keys is a field
            for key, inner in value.items():
                step = Step("path", f"[{key!r}]", brought.value, inner, brought.place)
                self._note(f"{path}.{key}" if path else str(key), [*brought.steps, step], inner)

    def _for(self, tree: dict[str, Any], path: str, steps: list[Step]) -> Any:
        source, name = split_loop(tree["$for"], self.context)
        own = list(steps)
        listed = self._value(parse_scalar(source, self.context), source, own) if isinstance(source, Scalar) else None
        if not isinstance(source, Scalar):
            listed = self.shape(source, path, steps)
        values = elements(listed)
        if not values:
            self._note(path, own, None)
        out: list[Any] = []
        for index, item in enumerate(values):
            self.around.loops.append((name, item, index))
            inner = [*own, Step("item", f"[{index}]", None, item, _place(source))]
            if "$if" not in tree or self._holds(tree["$if"], inner, "$if"):
                made = self.shape(tree["$do"], f"{path}[{len(out)}]", inner)
                if (_keeps(tree["$do"]) and made is not ABSENT) or not (made is ABSENT or is_empty(made)):
                    out.append(made)
            self.around.loops.pop()
        if "$join" in tree:
            text = str(tree["$join"]).join(as_text(entry) or "" for entry in out) or None
            self._note(path, [*own, Step("join", f"$join: {tree['$join']}", out, text, _place(tree["$join"]))], text)
            return text
        return out


def _keeps(tree: Any) -> bool:
    """Whether a shape stays although empty."""
    if not isinstance(tree, dict):
        return False
    return "$keep" in tree or ("$value" in tree and _keeps(tree["$value"]))


def _null(tree: Any, key: str) -> Step:
    return Step("constant", "null", None, None, _place(None, key_mark(tree, key)))
