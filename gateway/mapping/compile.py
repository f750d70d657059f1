"""Compiles expressions at load: what each node writes into the function of its rule (writer.py). Nothing of it can raise.

An expression made of constants and settings alone is worked out here, so that a table of settings costs nothing per event.
A function that fails gives null and is counted with `Meter.mapping_null(destination, field)`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping.calls import NULL, apply
from gateway.mapping.expressions import ExpressionError, parse_condition, parse_expression, parse_template
from gateway.mapping.functions import as_text, is_empty, max_args, to_number
from gateway.mapping.functions_value import holds, ordered, same, within
from gateway.mapping.nodes import Alt, Compare, Const, Junction, ListOf, Node, Not, Path, Pipe, Template
from gateway.mapping.paths import compile_path
from gateway.mapping.scope import Context
from gateway.mapping.values import is_zero
from gateway.mapping.writer import Code, Writer, constant

_NESTED = 8
"""So many alternatives or conditions stand inside each other; the next ones ask again, since Python nests 100 levels."""
_EXPRESSION = re.compile(r"\$(?!\{)|[(\[]+\$[A-Za-z_]")
"""How an expression begins: with `$`, or with parentheses or brackets right before `$` and a name."""


def compile_scalar(leaf: Scalar, context: Context) -> Code:
    """The code of a leaf: an expression, text with holes, or a constant."""
    node = parse_scalar(leaf, context)
    return NULL if node is None else compile_node(node, leaf, context)


def parse_scalar(leaf: Scalar, context: Context) -> Node | None:
    """The node of a leaf; None (and a problem noted) where it cannot be read."""
    try:
        if leaf.startswith("$$"):
            return parse_template(leaf if leaf.startswith("$${") else leaf[1:], max_args)
        if _EXPRESSION.match(leaf):
            return parse_expression(leaf, max_args)
        if "${" in leaf:
            return parse_template(leaf, max_args)
    except ExpressionError as error:
        context.problem(explain(leaf, error), leaf)
        return None
    context.trap(leaf, leaf)
    return Const(leaf, leaf.plain_value() if isinstance(leaf, Scalar) else leaf)


def compile_condition(leaf: Any, context: Context) -> Code:
    """The code of a condition, which gives true or false."""
    node = parse_leaf_condition(leaf, context)
    return constant(False) if node is None else truth(compile_node(node, leaf, context))


def parse_leaf_condition(leaf: Any, context: Context) -> Node | None:
    """The node of a condition; None (and a problem noted) where it cannot be read."""
    if not isinstance(leaf, str):
        context.problem("must be a condition such as `$props.value > 0`", leaf)
        return None
    try:
        return parse_condition(leaf, max_args)
    except ExpressionError as error:
        context.problem(explain(leaf, error), leaf)
        return None


def explain(leaf: str, error: ExpressionError) -> str:
    """The message of an expression that cannot be read, with the traps that YAML sets for unquoted ones."""
    message = f"{error} (column {error.column} of `{leaf}`)"
    if isinstance(leaf, Scalar) and leaf.plain and error.ended:
        trap = "a comma ends an unquoted value inside [...] and {...}" if leaf.flow else "` #` ends an unquoted value"
        return f"{message}; {trap}: put the whole expression in double quotes"
    return message


def truth(code: Code) -> Code:
    """A value read as a condition."""
    if code.constant:
        return constant(holds(code.value))
    if code.test:
        return code

    def write(out: Writer) -> str:
        before, test = out.mark(), ""
        if code.present:
            test, value = f"{code.present(out)} and ", code.given(out)
        if not test or out.mark() != before:  # statements were needed, which cannot stand behind the test
            out.undo(before)
            test, value = "", code.put(out)
        if code.falsy:
            return f"({test}{value})" if test else value
        if value.isidentifier():
            return f"({value} or {value} is not None and type({value}) in NUMBERS)"
        name = out.name()
        return f"({test}(({name} := {value}) or type({name}) in NUMBERS))"

    return Code(write, test=True)


def compile_node(node: Node, leaf: Any, context: Context) -> Code:
    """The code of a node; mistakes are noted at the leaf's place."""
    made = _BUILDERS[type(node)](node, leaf, context)
    return made


def _const(node: Const, leaf: Any, context: Context) -> Code:
    return constant(node.value)


def _path(node: Path, leaf: Any, context: Context) -> Code:
    return compile_path(node, leaf, context)


def _alt(node: Alt, leaf: Any, context: Context) -> Code:
    options = [compile_node(option, leaf, context) for option in node.options]
    live = [option for option in options if not (option.constant and is_empty(option.value))]
    last = next((index for index, option in enumerate(live) if option.constant), len(live) - 1)
    live = live[: last + 1]
    if len(live) <= 1:
        return live[0] if live else NULL

    def write(out: Writer) -> str:
        name = out.own(live[0].put(out))
        depth = out.depth
        for index, option in enumerate(live[1:]):
            if index % _NESTED == 0:
                out.depth = depth
            out.line(f"if {out.empty(name, live[index])}:")
            out.depth += 1
            out.line(f"{name} = {option.put(out)}")
        if not live[-1].constant:
            out.line(f"if {out.empty(name, live[-1])}: {name} = None")
        out.depth = depth
        return name

    flat = all(option.flat or (option.constant and not isinstance(option.value, (dict, list))) for option in live)
    falsy = all(option.falsy or (option.constant and not is_zero(option.value)) for option in live)
    present = None if any(option.present is None for option in live) else _any_present(live)
    return Code(write, flat=flat, falsy=falsy, present=present)


def _any_present(options: list[Code]) -> Callable[[Writer], str]:
    return lambda out: " or ".join([option.present(out) for option in options if option.present])


def _pipe(node: Pipe, leaf: Any, context: Context) -> Code:
    return apply(compile_node(node.base, leaf, context), node.calls, leaf, context, compile_node)


def _list(node: ListOf, leaf: Any, context: Context) -> Code:
    items = [compile_node(item, leaf, context) for item in node.items]
    if all(item.constant for item in items):
        return constant(_gathered(tuple(item.value for item in items)))

    def write(out: Writer) -> str:
        values = ", ".join([item.put(out) for item in items])
        return f"{out.bind(_gathered)}(({values},))"

    return Code(write, falsy=True)


def _gathered(values: tuple[Any, ...]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if isinstance(value, list):
            kept.extend(inner for inner in value if not is_empty(inner))
        elif not is_empty(value):
            kept.append(value)
    return kept


def _template(node: Template, leaf: Any, context: Context) -> Code:
    parts = [constant(part) if isinstance(part, str) else compile_node(part, leaf, context) for part in node.parts]
    holes = tuple(not isinstance(part, str) for part in node.parts)
    if all(part.constant for part in parts):
        return constant(_filled(holes, tuple(part.value for part in parts)))

    def write(out: Writer) -> str:
        values = ", ".join([part.put(out) for part in parts])
        return f"{out.bind(_filled)}({out.bind(holes)}, ({values},))"

    return Code(write, flat=True, falsy=True)


def _filled(holes: tuple[bool, ...], values: tuple[Any, ...]) -> str | None:
    """The text of all parts; null where no hole has any."""
    texts = []
    filled = False
    for hole, value in zip(holes, values, strict=True):
        text = "" if is_empty(value) else as_text(value) or ""
        filled = filled or (hole and text != "")
        texts.append(text)
    return "".join(texts) if filled else None


def _not(node: Not, leaf: Any, context: Context) -> Code:
    inner = truth(compile_node(node.operand, leaf, context))
    if inner.constant:
        return constant(not inner.value)
    return Code(lambda out: f"(not {inner.put(out)})", test=True)


def _junction(node: Junction, leaf: Any, context: Context) -> Code:
    return junction([truth(compile_node(operand, leaf, context)) for operand in node.operands], every=node.every)


def junction(operands: list[Code], *, every: bool) -> Code:
    """Whether all conditions hold, or any of them; those after the deciding one are not looked at."""
    decides = not every
    if any(operand.constant and operand.value is decides for operand in operands):
        return constant(decides)
    live = [operand for operand in operands if not operand.constant]
    if not live:
        return constant(every)
    word, go_on = ("and", "if {}:") if every else ("or", "if not {}:")

    def write(out: Writer) -> str:
        name, depth = out.name("t"), out.depth
        found = live[0].put(out)
        for operand in live[1:]:
            before = out.mark(), out.depth
            out.line(f"{name} = {found}")
            out.line(go_on.format(name))
            out.depth += 1
            start = out.mark()
            value = operand.put(out)
            if out.mark() == start:  # no statement was needed: one expression will do
                out.undo(before[0])
                out.depth = before[1]
                found = f"{found} {word} {value}"
            else:
                out.line(f"{name} = {value}")
                found = name
            if out.depth - depth >= _NESTED:
                out.depth = depth
        out.depth = depth
        return f"({found})"

    return Code(write, test=True)


def _ordering(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        pair = ordered(left, right)
        return pair is not None and bool(test(*pair))

    return compare


COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": same,
    "!=": lambda left, right: not same(left, right),
    "in": within,
    ">": _ordering(operator.gt),
    ">=": _ordering(operator.ge),
    "<": _ordering(operator.lt),
    "<=": _ordering(operator.le),
}
"""Each comparison as the language defines it: unequal kinds are never ordered, `!=` is the opposite of `==`."""


def _compare(node: Compare, leaf: Any, context: Context) -> Code:
    left, right = compile_node(node.left, leaf, context), compile_node(node.right, leaf, context)
    compare = COMPARE[node.op]
    if left.constant and right.constant:
        return constant(compare(left.value, right.value))
    # text that is no number equals only the same text, so Python's own comparison says the same
    plain = node.op in ("==", "!=") and right.constant and isinstance(right.value, str) and to_number(right.value) is None
    whole = node.op != "in" and right.constant and type(right.value) is int and to_number(right.value) is not None

    def write(out: Writer) -> str:
        one, other = left.put(out), right.put(out)
        if plain:
            return f"({one} {node.op} {other})"
        if whole:  # as are two integers that a mapping takes for numbers
            name = out.hold(one)
            fits = f"type({name}) is int and LOW < {name} < HIGH"
            return f"({name} {node.op} {other} if {fits} else {out.bind(compare)}({name}, {other}))"
        return f"{out.bind(compare)}({one}, {other})"

    return Code(write, test=True)


_BUILDERS: Mapping[type, Callable[[Any, Any, Context], Code]] = {
    Const: _const,
    Path: _path,
    Alt: _alt,
    Pipe: _pipe,
    ListOf: _list,
    Template: _template,
    Not: _not,
    Junction: _junction,
    Compare: _compare,
}
