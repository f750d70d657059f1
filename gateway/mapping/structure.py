"""Compiles shapes, each into what it writes (writer.py): the YAML tree that looks like the payload, with its directives.

    $for / $do / $if / $join      a list, one entry per element
    $when (with $value)           there only if the condition holds
    $merge                        shallow union, later wins; keys beside it are the last layer
    $keep                         stays although empty
    ($use is expanded by merge.py before anything is compiled)

null, "", [] and {} vanish from maps and lists, also inside what an expression brings along (`prune`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping.calls import NULL
from gateway.mapping.compile import compile_condition, compile_scalar
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.scope import ABSENT, KNOWN, MAX_LOOPS, Context, Scope, key_mark
from gateway.mapping.values import prune
from gateway.mapping.writer import Code, Writer, constant

DIRECTIVES = ("$for", "$do", "$if", "$join", "$when", "$value", "$merge", "$use", "$keep")
_LOOKALIKES = ("$unset", "$user")
"""Vendor keys that are near a directive by chance."""
_NAMED = re.compile(r"(?P<list>.*\S)\s+as\s+(?P<name>[a-z_][a-z0-9_]*)\s*", re.DOTALL)
_ALONE = {"$for": ("$do", "$if", "$join"), "$keep": (), "$value": ("$when",)}


def compile_shape(tree: Any, context: Context) -> Code:
    """The code of a shape. Problems are noted in the context; what cannot be compiled gives null."""
    if isinstance(tree, dict):
        return _map(tree, context)
    if isinstance(tree, list):
        return _list(tree, context)
    if isinstance(tree, Scalar):
        return _leaf(tree, context)
    return constant(tree)


def _leaf(leaf: Scalar, context: Context) -> Code:
    code = compile_scalar(leaf, context)
    if code.constant:
        return constant(prune(code.value))
    if code.flat or "${" in leaf[:2]:
        return code

    def write(out: Writer) -> str:
        name = out.hold(code.put(out))
        return f"(prune({name}) if type({name}) in TREES else {name})"

    return Code(write, bare=code, falsy=code.falsy)


def _list(tree: list[Any], context: Context) -> Code:
    codes = [compile_shape(entry, context.under(str(index))) for index, entry in enumerate(tree)]
    # an expression's (or loop's) list is flattened into this one; a list written here stays a list
    flattens = [not isinstance(entry, list) for entry in tree]

    def write(out: Writer) -> str:
        made = out.temp("[]", "m")
        for code, flat in zip(codes, flattens, strict=True):
            _entry(out, made, code, flat)
        return made

    written = Code(write, falsy=True, entry=codes[0] if len(codes) == 1 and flattens[0] and not codes[0].keeps else None)
    return constant(written.run(Scope({}))) if all(code.constant for code in codes) else written


def _entry(out: Writer, made: str, code: Code, flattens: bool) -> None:
    name = out.hold(code.put(out))
    if code.keeps:
        out.line(f"if {name} is not ABSENT: {made}.append({name})")
        return
    if flattens:
        out.line(f"if type({name}) is list: {made}.extend({name})")
        out.line(f"elif {out.filled(name, code)}: {made}.append({name})")
    else:
        out.line(f"if {out.filled(name, code)}: {made}.append({name})")


def _map(tree: dict[str, Any], context: Context) -> Code:
    if not _directives_fit(tree, context):
        return NULL
    if "$for" in tree:
        return _for(tree, context)
    if "$keep" in tree:
        return _keep(tree, context)
    if "$value" in tree:
        return _conditional(tree, compile_shape(tree["$value"], context), context)
    fields = {key: value for key, value in tree.items() if key not in DIRECTIVES}
    code = _fields(fields, tree, context)
    if "$merge" in tree:
        code = _merge(tree["$merge"], code, context)
    return _conditional(tree, code, context) if "$when" in tree else code


def _directives_fit(tree: dict[str, Any], context: Context) -> bool:
    """Whether the directives of a map go together; notes what does not, and names that are nearly a directive."""
    used = [key for key in tree if key in DIRECTIVES]
    fits = True
    for key in tree:
        if key in DIRECTIVES or not key.startswith("$"):
            continue
        meant = difflib.get_close_matches(key, DIRECTIVES, 1, 0.79)
        if meant and key not in _LOOKALIKES:
            context.problem(f'unknown directive "{key}"; did you mean {meant[0]}?', key_mark(tree, key))
            fits = False
    for key, allowed in _ALONE.items():
        stray = [other for other in tree if other != key and other not in allowed] if key in tree and fits else []
        if stray:
            context.problem(f"{stray[0]} cannot stand beside {key}", key_mark(tree, stray[0]))
            fits = False
    for key in used:
        if key in ("$do", "$if", "$join") and "$for" not in tree:
            context.problem(f"{key} needs $for beside it", key_mark(tree, key))
            fits = False
    if "$for" in tree and "$do" not in tree:
        context.problem("$for needs $do beside it: the shape of one entry", key_mark(tree, "$for"))
        fits = False
    return fits


def _fields(fields: dict[str, Any], tree: dict[str, Any], context: Context) -> Code:
    codes = []
    for key, value in fields.items():
        inner = context.under(key)
        inner.trap(key, key_mark(tree, key))
        codes.append((str(key), compile_shape(value, inner)))
    live = [(key, code) for key, code in codes if not _vanishes(code)]

    def into(out: Writer, made: str) -> None:
        for key, code in live:
            _field(out, made, out.key(key), code)

    written = Code(lambda out: _filled(out, into), falsy=True, into=into)
    return constant(written.run(Scope({}))) if all(code.constant for _, code in codes) else written


def _filled(out: Writer, into: Callable[[Writer, str], None]) -> str:
    made = out.temp("{}", "m")
    into(out, made)
    return made


def _vanishes(code: Code) -> bool:
    return code.constant and not code.keeps and is_empty(code.value)


def _field(out: Writer, made: str, key: str, code: Code) -> None:
    """Set one field of a map where its value is not empty."""
    if code.constant and not code.keeps:
        out.line(f"{made}[{key}] = {code.put(out)}")
        return
    inner = code.entry or code
    source = inner.bare or inner
    if inner.keeps:
        name = out.hold(source.put(out))
        out.line(f"if {name} is not ABSENT: {made}[{key}] = {name}")
    elif source.present:
        with out.block(f"if {source.present(out)}"):
            _set(out, made, key, code, source.given(out))
    else:
        _set(out, made, key, code, source.put(out), null="{0} is not None and ")


def _set(out: Writer, made: str, key: str, code: Code, text: str, null: str = "") -> None:
    """Set one field to a value if it is not empty; `null` is the test that spares the others where it often is null."""
    inner = code.entry or code
    if inner.bare:  # most are text, in which nothing can be empty
        name = out.own(text)
        null = null.format(name)
        wanted = f"type({name}) is str and {name} or ({name} := kept({name})) is not None"
        wanted = f"{null}({wanted})" if null else wanted
    else:
        name = out.hold(text)
        wanted = name if inner.falsy else f"{name} or {null.format(name)}type({name}) in ZEROS"
    value = f"{name} if type({name}) is list else [{name}]" if code.entry else name
    out.line(f"if {wanted}: {made}[{key}] = {value}")


def _conditional(tree: dict[str, Any], code: Code, context: Context) -> Code:
    if "$when" not in tree:
        return code
    condition = compile_condition(tree["$when"], context.at("$when"))
    missing = "ABSENT" if code.keeps else "None"
    if condition.constant:
        return code if condition.value else constant(ABSENT if code.keeps else None, keeps=code.keeps)

    def write(out: Writer) -> str:
        test = condition.put(out)
        name = out.temp(missing)
        with out.block(f"if {test}"):
            out.line(f"{name} = {code.put(out)}")
        return name

    def into(out: Writer, made: str) -> None:
        with out.block(f"if {condition.put(out)}"):
            (code.into or _nothing)(out, made)

    return Code(write, keeps=code.keeps, flat=code.flat, falsy=code.falsy, into=into if code.into else None)


def _nothing(out: Writer, made: str) -> None:
    out.line("pass")


def _keep(tree: dict[str, Any], context: Context) -> Code:
    inner = tree["$keep"]
    # an expression is kept as it came: nothing is pruned inside it
    code = compile_scalar(inner, context) if isinstance(inner, Scalar) else compile_shape(inner, context)
    return Code(code.put, constant=code.constant, value=code.value, keeps=True)


def _merge(layers: Any, last: Code, context: Context) -> Code:
    inner = context.at("$merge")
    if not isinstance(layers, list):
        inner.problem("must be a list of expressions or maps", layers)
        return last
    codes = [compile_shape(layer, inner.narrowed(shown=f"{inner.shown}.{i}")) for i, layer in enumerate(layers)]
    live = [code for code in (*codes, last) if not _vanishes(code)]
    if len(live) == 1 and live[0] is last:
        return last

    def into(out: Writer, made: str) -> None:
        for layer in live:
            if layer.into:
                layer.into(out, made)
                continue
            name = out.hold(layer.put(out))
            out.line(f"if isinstance({name}, dict): {made}.update({name})")

    written = Code(lambda out: _filled(out, into), falsy=True, into=into)
    return constant(written.run(Scope({}))) if all(code.constant for code in (*codes, last)) else written


def split_loop(leaf: Any, context: Context) -> tuple[Any, str]:
    """`$items as product` → the list's expression and the name of its items (`item` unless named)."""
    if isinstance(leaf, Scalar) and (match := _NAMED.fullmatch(leaf)):
        name = match["name"]
        if name in KNOWN - {"item"} or name in context.loops:
            context.problem(f'a loop cannot be named "{name}": the name is taken', leaf)
        return Scalar(match["list"], leaf.mark, leaf.plain, leaf.flow), name
    return leaf, "item"


def compile_loop(leaf: Any, context: Context) -> tuple[Code, Context, int]:
    """The list of a loop, the context inside it, and the slot of its item (its index is in the next)."""
    source, name = split_loop(leaf, context)
    inner = context.at("$for")
    # what is looped over is no output: it is not pruned, so $index counts what came in
    code = compile_scalar(source, inner) if isinstance(source, Scalar) else compile_shape(source, inner)
    depth = len(context.loops)
    if depth >= MAX_LOOPS:
        context.problem(f"loops nest deeper than {MAX_LOOPS}", leaf)
        return NULL, context.narrowed(loops=(*context.loops[:-1], name)), 0
    return code, context.narrowed(loops=(*context.loops, name)), 2 * depth


def _for(tree: dict[str, Any], context: Context) -> Code:
    source, inside, slot = compile_loop(tree["$for"], context)
    test = compile_condition(tree["$if"], inside.at("$if")) if "$if" in tree else constant(True)
    body = compile_shape(tree["$do"], inside)

    def write(out: Writer) -> str:
        made = out.temp("[]", "m")
        values = out.hold(source.put(out))
        with out.loop(slot, f"({values} if type({values}) is list else elements({values}))"):
            if not test.constant:
                out.line(f"if not {test.put(out)}: continue")
            elif not test.value:
                out.line("continue")
            name = out.hold(body.put(out))
            wanted = f"{name} is not ABSENT" if body.keeps else out.filled(name, body)
            out.line(f"if {wanted}: {made}.append({name})")
        return made

    code = Code(write, falsy=True)
    return _joined(code, tree["$join"], context) if "$join" in tree else code


def _joined(listed: Code, separator: Any, context: Context) -> Code:
    if not isinstance(separator, str):
        context.problem("$join must be text", separator)
        return listed
    by = str(separator)

    def join(entries: list[Any]) -> str | None:
        return by.join([as_text(entry) or "" for entry in entries]) or None

    return Code(lambda out: f"{out.bind(join)}({listed.put(out)})", flat=True, falsy=True)
