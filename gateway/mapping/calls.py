"""Writes the functions after `|`: how a value passes one call, and a chain of calls.

A call is always right when it runs the function's step (steps.py: its kind's rules, the net under it, the count of its
failures). What is written before it is the common case done at once: the function's work without the step round it, text
through text functions, numbers past casts. Where that gives nothing, the step is asked from the beginning and says what the
value is and what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping import functions_identity, functions_more, functions_text, functions_value  # noqa: F401 (they register themselves)
from gateway.mapping.functions import FAILURES, FUNCTIONS, Function, is_empty, nothing
from gateway.mapping.functions_text import HASHES
from gateway.mapping.functions_value import holds
from gateway.mapping.nodes import Call, Node, Word
from gateway.mapping.scope import Context
from gateway.mapping.steps import counter, late, stepped, timed
from gateway.mapping.values import is_zero
from gateway.mapping.writer import Code, Writer, constant

NULL = constant(None)
_FLAT = frozenset(("str", "num", "int", "bool", "len", "sum", "split", "join", "empty", "exists", "eq"))
_SIFTS = frozenset(("omit", "pick", "rename", "flatten", "keys", "scalars", "clip", "head", "wrap"))
"""They give an empty map for an empty map, so at the end of a chain an empty one needs no more of them."""
_TAKE_NULL = frozenset(("map", "then", "str", "num", "int"))
"""What is written for them makes null of null, as for functions of text: no test needs to stand before it."""
_DEEPEST_CHAIN = 4
Write = Callable[[Writer, str], None]
"""Writes what makes of a variable its next value."""


class Link:
    """One call of a chain. `text`: what it does to non-empty text (then `step` is the whole of it).

    `name` is the function's; `sifts` and `takes_null`: see _SIFTS and _TAKE_NULL.
    """

    def __init__(
        self,
        name: str,
        write: Write,
        sees_null: bool,
        text: Callable[[str], Any] | None = None,
        step: Any = None,
    ) -> None:
        self.name, self.write, self.sees_null, self.text, self.step = name, write, sees_null, text, step
        self.sifts = step is not None and name in _SIFTS  # one whose arguments come from the event may give null or fail
        self.takes_null = name in _TAKE_NULL or text is not None


def apply(code: Code, calls: Sequence[Call], leaf: Any, context: Context, node_code: Callable[..., Code]) -> Code:
    """The code of `code | call | call`; `node_code` compiles an argument. Mistakes are noted at the leaf's place."""
    links: list[Link] = []
    flat, falsy = code.flat, code.falsy
    for call in calls:
        known = FUNCTIONS.get(call.name)
        if known is None:
            context.unknown("function", call.name, FUNCTIONS, leaf)
            return NULL
        if not _arity(known, call, leaf, context):
            return NULL
        args = [_argument(known, arg, leaf, context, node_code) for arg in call.args]
        if code.constant and not links and known.name in ("then", "default"):
            code = _decided(known, code, args[0])
            continue
        link = _link(known, call, args, leaf, context)
        if link is None:
            return NULL
        if code.constant and not links and link.step is not None:
            code = constant(link.step(code.value))
            continue
        links.append(link)
        fixed = not known.takes_now and all(arg.constant for arg in args)
        flat = fixed and _gives_no_tree(known)
        falsy = fixed and (known.each or (known.name == "then" and not is_zero(args[0].value)))
    return _chain(code, links, flat, falsy) if links else code


def _decided(known: Function, code: Code, other: Code) -> Code:
    """`then` and `default` of what is known at load."""
    if known.name == "then":
        return other if holds(code.value) else NULL
    return other if is_empty(code.value) else code


def _gives_no_tree(known: Function) -> bool:
    return known.each or known.group in ("money", "time") or known.name in _FLAT


def _argument(known: Function, arg: Node | Word, leaf: Any, context: Context, node_code: Callable[..., Code]) -> Code:
    if isinstance(arg, Word):
        if not known.takes_table:
            return constant(arg.text)
        if arg.text not in context.tables:
            context.unknown("table", arg.text, context.tables, leaf)
        return constant(context.tables.get(arg.text, {}))
    return node_code(arg, leaf, context)


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


def _link(known: Function, call: Call, args: list[Code], leaf: Any, context: Context) -> Link | None:
    """The call, or None where it always gives null."""
    if known.takes_now:
        return Link(known.name, _with_now(known, context), known.sees_null)
    if not all(arg.constant for arg in args):
        chosen = {"then": _then, "default": _default}.get(known.name)
        write = chosen(args[0]) if chosen else _late(known, args, context)
        return Link(known.name, write, known.sees_null)
    try:
        work = known.build(*(arg.value for arg in args))
        if work is nothing:
            return None
        step = stepped(known, work, counter(known, context))
    except FAILURES as error:
        context.problem(f"{call.text}: {error}", leaf)
        return None
    text = work if known.each else None
    write = _write(known, args, work, step)
    return Link(known.name, write, known.sees_null, text, step)


def _write(known: Function, args: list[Code], work: Any, step: Any) -> Write:
    if known.name == "then":
        return _then(args[0])
    if known.name == "default":
        return _default(args[0])
    if known.name == "map":
        return _map(args[0].value, step)
    done = _working(work, step, counts=known.counts)
    return _cast(known, done) if known.passes else done


def _working(work: Any, step: Any, *, counts: bool) -> Write:
    """The function's work at once; the step where it gives null, if that may have to be counted."""

    def write(out: Writer, name: str) -> None:
        fast = out.name("w") if counts else name
        out.line(f"try: {fast} = {out.bind(work)}({name})")
        out.line(f"except FAILURES: {fast} = None")
        if counts:
            out.line(f"{name} = {out.bind(step)}({name}) if {fast} is None else {fast}")

    return write


def _cast(known: Function, done: Write) -> Write:
    """A value that has the cast's kind already passes: a float if it is finite, an integer if it surely fits 64 bit."""
    kinds = {float: "type({0}) is float and {0} - {0} == 0.0", int: "type({0}) is int and LOW < {0} < HIGH"}
    tests = [kinds.get(kind, f"type({{0}}) is {kind.__name__}") for kind in reversed(known.passes)]

    def write(out: Writer, name: str) -> None:
        passing = " or ".join(test.format(name) for test in tests)
        with out.block(f"if not ({passing})"):
            done(out, name)

    return write


def _map(table: Any, step: Any) -> Write:
    """Text is looked up at once."""

    def write(out: Writer, name: str) -> None:
        found = f"{out.bind(table)}.get({name}, {out.bind(table.get('_'))})"
        out.line(f"{name} = {found} if type({name}) is str else {out.bind(step)}({name})")

    return write


def _then(other: Code) -> Write:
    """The argument is worked out only where it is wanted."""

    def write(out: Writer, name: str) -> None:
        with out.block(f"if {name} or type({name}) in NUMBERS"):
            out.line(f"{name} = {other.put(out)}")
        out.line(f"else: {name} = None")

    return write


def _default(other: Code) -> Write:
    def write(out: Writer, name: str) -> None:
        with out.block(f"if not {name} and ({name} is None or type({name}) not in ZEROS)"):
            out.line(f"{name} = {other.put(out)}")

    return write


def _late(known: Function, args: list[Code], context: Context) -> Write:
    """A function whose arguments are known only per event."""
    work = late(known, context)

    def write(out: Writer, name: str) -> None:
        given = ", ".join((name, *(arg.put(out) for arg in args)))
        out.line(f"{name} = {out.bind(work)}({given})")

    return write


def _with_now(known: Function, context: Context) -> Write:
    work = timed(known, context)
    return lambda out, name: out.line(f"{name} = {out.bind(work)}({name}, scope.now)")


def _chain(code: Code, links: list[Link], flat: bool, falsy: bool) -> Code:
    groups = _grouped(links)

    def write(out: Writer, given: bool = False) -> str:
        name = out.own(code.given(out) if given else code.put(out))
        depth = out.depth
        for index, group in enumerate(groups):
            if group[0].sees_null or out.depth - depth >= _DEEPEST_CHAIN:
                out.depth = depth
            if not group[0].sees_null and not (given and index == 0 and group[0].takes_null):
                spared = index > 0 and all(link.sifts for rest in groups[index - 1 :] for link in rest)
                out.line(f"if {_worth(name)}:" if spared else f"if {name} is not None:")
                out.depth += 1
            if group[0].text:
                _write_texts(out, name, group)
            else:
                group[0].write(out, name)
        out.depth = depth
        return name

    if code.present is None or any(link.sees_null for link in links):
        return Code(write, flat=flat, falsy=falsy)
    return Code(write, flat=flat, falsy=falsy, present=code.present, given=lambda out: write(out, given=True))


def _worth(name: str) -> str:
    """The test before functions that sift, up to the end of a chain: not null, and no map in which nothing is left."""
    return f"{name} or {name} is not None and type({name}) is not dict"


def _grouped(links: list[Link]) -> list[list[Link]]:
    """Text functions that follow each other are written together."""
    groups: list[list[Link]] = []
    for link in links:
        if link.text and groups and groups[-1][0].text:
            groups[-1].append(link)
        else:
            groups.append([link])
    return groups


def _write_texts(out: Writer, name: str, group: list[Link]) -> None:
    """Text goes through all of them; what is no text, or comes out empty, goes through their steps from the start."""
    fast = out.name("w")
    with out.block("try"):
        calls = " and ".join(f"({fast} := {_worked(out, fast, link)})" for link in group)
        out.line(f"{fast} = type({name}) is str and ({fast} := {name}) and {calls}")
    out.line(f"except FAILURES: {fast} = None")
    out.line(f"{name} = {fast} or {out.bind(_steps(group))}({name})")


def _worked(out: Writer, name: str, link: Link) -> str:
    """The work of a function of text on a text; hashes, of which there are most, are made in place."""
    worked = f"{out.bind(link.text)}({name})"
    if link.name not in HASHES:
        return worked
    make, length = HASHES[link.name]
    return f"{worked} if len({name}) == {length} else {out.bind(make)}({name}.encode()).hexdigest()"


def _steps(group: list[Link]) -> Callable[[Any], Any]:
    steps = tuple(link.step for link in group)
    if len(steps) == 1:
        only: Callable[[Any], Any] = steps[0]
        return only

    def run(value: Any) -> Any:
        for step in steps:
            if value is None:
                return None
            value = step(value)
        return value

    return run
