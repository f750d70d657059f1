"""Compiles expressions into closures, once, at load. Nothing a closure does at run time can raise.

An expression made of constants and settings alone is worked out here, so that a table of settings costs nothing per event.
A function that fails gives null and is counted with `Meter.mapping_null(destination, field)`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping import functions_identity, functions_more, functions_text, functions_value  # noqa: F401 (they register themselves)
from gateway.mapping.expressions import ExpressionError, parse_condition, parse_expression, parse_template
from gateway.mapping.functions import FAILURES, FUNCTIONS, Function, as_text, is_empty, max_args, nothing
from gateway.mapping.functions_value import holds, ordered, same, within
from gateway.mapping.nodes import Alt, Call, Compare, Const, Junction, ListOf, Node, Not, Path, Pipe, Template, Word
from gateway.mapping.paths import compile_path
from gateway.mapping.scope import Code, Context, Run, Scope, Step, constant
from gateway.mapping.steps import counter, late, stepped, timed

NULL = constant(None)
_FLAT = frozenset(("str", "num", "int", "bool", "len", "sum", "split", "join", "empty", "exists", "eq"))
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
    run = code.run
    if code.path and not code.steps and code.otherwise is None:
        return Code(_path_test(*code.path))

    def test(scope: Scope) -> bool:
        value = run(scope)
        if value is True or value is False:
            return value is True
        return value is not None and holds(value)

    return Code(test)


def _path_test(slot: int, root: str, key: str) -> Run:
    """A look-up read as a condition."""

    def test(scope: Scope) -> bool:
        section = scope.data.get(root) if slot < 0 else scope.locals[slot]
        value = section.get(key) if type(section) is dict else None
        if value is None or value is False:
            return False
        return bool(value) or not is_empty(value)

    return test


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
    live = []
    for option in options:
        if option.constant and is_empty(option.value):
            continue
        live.append(option)
        if option.constant:
            break
    if not live or live[0].constant:
        return live[0] if live else NULL
    if len(live) == 1:
        return live[0]
    flat = all(option.flat or (option.constant and not isinstance(option.value, (dict, list))) for option in live)
    rest = _rest(live[1:])
    first = live[0]
    path = first.path if not first.steps and first.otherwise is None else None
    return Code(_either(first.run, rest), path=path, otherwise=rest if path else None, flat=flat)


def _rest(options: list[Code]) -> Run:
    """The alternatives after the first, as one; null where all are empty. Look-ups are done here, without a call each."""
    plain = [option.path if not option.steps and option.otherwise is None else None for option in options]
    entries = tuple((option.run, *(path or (-2, "", ""))) for option, path in zip(options, plain, strict=True))
    if len(options) == 1 and options[0].constant:
        return options[0].run

    def run(scope: Scope) -> Any:
        for option, slot, root, key in entries:
            if slot == -2:
                value = option(scope)
            else:
                section = scope.data.get(root) if slot < 0 else scope.locals[slot]
                if type(section) is not dict:
                    continue
                value = section.get(key)
            if value or not (value is None or is_empty(value)):
                return value
        return None

    return run


def _either(left: Run, right: Run) -> Run:
    def run(scope: Scope) -> Any:
        value = left(scope)
        return value if value or not is_empty(value) else right(scope)

    return run


def _pipe(node: Pipe, leaf: Any, context: Context) -> Code:
    code = compile_node(node.base, leaf, context)
    for call in node.calls:
        code = _apply(code, call, leaf, context)
    return code


def _apply(code: Code, call: Call, leaf: Any, context: Context) -> Code:
    known = FUNCTIONS.get(call.name)
    if known is None:
        context.unknown("function", call.name, FUNCTIONS, leaf)
        return NULL
    if not _arity(known, call, leaf, context):
        return NULL
    args = [_argument(known, arg, leaf, context) for arg in call.args]
    if known.takes_now:
        return Code(timed(code.run, known, context))
    if not all(arg.constant for arg in args):
        return Code(late(code.run, known, [arg.run for arg in args], context))
    try:
        work = known.build(*(arg.value for arg in args))
        if work is nothing:
            return NULL
        step = stepped(known, work, counter(known, context))
    except FAILURES as error:
        context.problem(f"{call.text}: {error}", leaf)
        return NULL
    if code.constant:
        return constant(step(code.value))
    flat = known.each or known.group in ("money", "time") or known.name in _FLAT
    if known.sees_null:
        inner = code.run
        return Code(lambda scope: step(inner(scope)), flat=flat)
    base, steps = code.base or code.run, (*code.steps, step)
    return Code(_chain(base, steps), path=code.path, base=base, steps=steps, flat=flat, otherwise=code.otherwise)


def _chain(base: Run, steps: tuple[Step, ...]) -> Run:
    """A beginning and what is done to it, stopping at null."""
    if len(steps) == 1:
        only = steps[0]

        def run_one(scope: Scope) -> Any:
            value = base(scope)
            return None if value is None else only(value)

        return run_one

    def run(scope: Scope) -> Any:
        value = base(scope)
        for step in steps:
            if value is None:
                return None
            value = step(value)
        return value

    return run


def _arity(known: Function, call: Call, leaf: Any, context: Context) -> bool:
    count = len(call.args)
    if known.fewest <= count and (known.most is None or count <= known.most):
        return True
    wanted = known.fewest if count < known.fewest else known.most
    message = f"{call.name} takes {wanted or 'no'} argument{'s' if wanted != 1 else ''} ({known.signature}), not {count}"
    if count < known.fewest and isinstance(leaf, Scalar) and leaf.plain and leaf.flow:
        message += "; a comma ends an unquoted value inside [...] and {...}: put the whole expression in double quotes"
    context.problem(message, leaf)
    return False


def _argument(known: Function, arg: Node | Word, leaf: Any, context: Context) -> Code:
    if isinstance(arg, Word):
        if not known.takes_table:
            return constant(arg.text)
        if arg.text not in context.tables:
            context.unknown("table", arg.text, context.tables, leaf)
        return constant(context.tables.get(arg.text, {}))
    return compile_node(arg, leaf, context)


def _list(node: ListOf, leaf: Any, context: Context) -> Code:
    items = [compile_node(item, leaf, context) for item in node.items]
    runs = tuple(item.run for item in items)

    def run(scope: Scope) -> list[Any]:
        kept: list[Any] = []
        for item in runs:
            value = item(scope)
            if isinstance(value, list):
                kept.extend(inner for inner in value if not is_empty(inner))
            elif not is_empty(value):
                kept.append(value)
        return kept

    return constant(run(Scope({}))) if all(item.constant for item in items) else Code(run)


def _template(node: Template, leaf: Any, context: Context) -> Code:
    parts = [constant(part) if isinstance(part, str) else compile_node(part, leaf, context) for part in node.parts]
    holes = tuple(not isinstance(part, str) for part in node.parts)
    runs = tuple(part.run for part in parts)

    def run(scope: Scope) -> str | None:
        texts = []
        filled = False
        for hole, part in zip(holes, runs, strict=True):
            value = part(scope)
            text = "" if is_empty(value) else as_text(value) or ""
            filled = filled or (hole and text != "")
            texts.append(text)
        return "".join(texts) if filled else None

    return constant(run(Scope({}))) if all(part.constant for part in parts) else Code(run)


def _not(node: Not, leaf: Any, context: Context) -> Code:
    inner = truth(compile_node(node.operand, leaf, context))
    if inner.constant:
        return constant(not inner.value)
    return Code(lambda scope: not inner.run(scope))


def _junction(node: Junction, leaf: Any, context: Context) -> Code:
    operands = [truth(compile_node(operand, leaf, context)) for operand in node.operands]
    decides = not node.every
    if any(operand.constant and operand.value is decides for operand in operands):
        return constant(decides)
    runs = tuple(operand.run for operand in operands if not operand.constant)
    if not runs:
        return constant(not decides)

    def run(scope: Scope) -> Any:
        for test in runs:
            if test(scope) is decides:
                return decides
        return not decides

    return Code(run)


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
    compare, first, second = COMPARE[node.op], left.run, right.run
    if left.constant and right.constant:
        return constant(compare(left.value, right.value))
    if right.constant:
        against = right.value
        return Code(lambda scope: compare(first(scope), against))
    return Code(lambda scope: compare(first(scope), second(scope)))


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
