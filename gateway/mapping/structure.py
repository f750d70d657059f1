"""Compiles shapes: the YAML tree that looks like the payload, with its directives.

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
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping.compile import NULL, compile_condition, compile_scalar
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.scope import ABSENT, KNOWN, MAX_LOOPS, Code, Context, Run, Scope, Step, constant, key_mark

DIRECTIVES = ("$for", "$do", "$if", "$join", "$when", "$value", "$merge", "$use", "$keep")
_LOOKALIKES = ("$unset", "$user")
"""Vendor keys that are near a directive by chance."""
_NAMED = re.compile(r"(?P<list>.*\S)\s+as\s+(?P<name>[a-z_][a-z0-9_]*)\s*", re.DOTALL)
_ALONE = {"$for": ("$do", "$if", "$join"), "$keep": (), "$value": ("$when",)}


def prune(value: Any) -> Any:
    """The value without empties at any depth; itself where there are none. A hit's tree is at most 32 deep."""
    if isinstance(value, dict):
        if any(isinstance(inner, (dict, list)) or is_empty(inner) for inner in value.values()):
            return {key: kept for key, inner in value.items() if not is_empty(kept := prune(inner))}
    elif isinstance(value, list) and any(isinstance(inner, (dict, list)) or is_empty(inner) for inner in value):
        return [kept for inner in value if not is_empty(kept := prune(inner))]
    return value


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
    run = code.run

    def pruned(scope: Scope) -> Any:
        value = run(scope)
        return prune(value) if type(value) is dict or type(value) is list else value

    return Code(pruned, path=code.path, base=code.base, steps=code.steps, bare=run, otherwise=code.otherwise)


def _list(tree: list[Any], context: Context) -> Code:
    codes = [compile_shape(entry, context.under(str(index))) for index, entry in enumerate(tree)]
    # an expression's (or loop's) list is flattened into this one; a list written here stays a list
    runs = tuple((code.run, not isinstance(entry, list), code.keeps) for code, entry in zip(codes, tree, strict=True))
    if len(codes) == 1 and not codes[0].constant and not codes[0].keeps:
        one, flattens = codes[0], runs[0][1]
        path = one.path if flattens and not one.listed else None
        listed = path is not None
        return Code(
            _single(one.run, flattens), path=path, steps=one.steps, flat=one.flat, listed=listed, otherwise=one.otherwise
        )
    run = _several(runs)
    return constant(run(Scope({}))) if all(code.constant for code in codes) else Code(run)


def _single(entry: Run, flattens: bool) -> Run:
    """The most common list by far: one expression in brackets."""

    def run(scope: Scope) -> list[Any]:
        value = entry(scope)
        if flattens and type(value) is list:
            return value
        return [] if not value and is_empty(value) else [value]

    return run


def _several(entries: tuple[tuple[Run, bool, bool], ...]) -> Run:
    def run(scope: Scope) -> list[Any]:
        kept: list[Any] = []
        for entry, flattens, keeps in entries:
            value = entry(scope)
            if keeps:
                if value is not ABSENT:
                    kept.append(value)
            elif flattens and type(value) is list:
                kept.extend(value)
            elif not is_empty(value):
                kept.append(value)
        return kept

    return run


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
    run = _kept_fields(live) if any(code.keeps for _, code in live) else _plain_fields(live)
    return constant(run(Scope({}))) if all(code.constant for _, code in codes) else Code(run)


def _vanishes(code: Code) -> bool:
    return code.constant and not code.keeps and is_empty(code.value)


def _plain_fields(fields: list[tuple[str, Code]]) -> Run:
    """A map without `$keep`.

    Neighbours that read one section (or one loop's item) are done together: look-ups and their steps run here, without a
    call each, and a missing section costs one test for all of them. Everything else is called.
    """
    groups = tuple(_groups(fields))

    def run(scope: Scope) -> dict[str, Any]:
        out: dict[str, Any] = {}
        data, items = scope.data, scope.locals
        for slot, name, field, rows, others in groups:
            if field is not None:
                value = field(scope)
                if value or not (value is None or is_empty(value)):
                    if slot and (type(value) is dict or type(value) is list):
                        value = prune(value)
                        if not value:
                            continue
                    out[name] = value
                continue
            section = data.get(name) if slot < 0 else items[slot]
            if type(section) is not dict:
                if not others:
                    continue
                section = _NOTHING
            for key, step_key, steps, flat, listed, otherwise in rows:
                value = section.get(step_key)
                if otherwise is not None and (value is None or (not value and is_empty(value))):
                    value = otherwise(scope)
                if value is None:
                    continue
                for step in steps:
                    value = step(value)
                    if value is None:
                        break
                if not flat and (type(value) is dict or type(value) is list):
                    value = prune(value)
                if value or not (value is None or is_empty(value)):
                    out[key] = [value] if listed and type(value) is not list else value
        return out

    return run


Row = tuple[str, str, tuple[Step, ...], bool, bool, Run | None]
Group = tuple[int, str, Run | None, tuple[Row, ...], bool]
"""A section, its rows and whether one has an alternative; or, with a Run, 1 for a result to be pruned, and the key."""
_NOTHING: dict[str, Any] = {}


def _groups(fields: list[tuple[str, Code]]) -> list[Group]:
    groups: list[Group] = []
    for key, code in fields:
        if code.path is None:
            groups.append((int(code.bare is not None), key, code.bare or code.run, (), False))
            continue
        slot, root, name = code.path
        row = (key, name, code.steps, code.flat, code.listed, code.otherwise)
        other = code.otherwise is not None
        if groups and groups[-1][2] is None and groups[-1][:2] == (slot, root):
            groups[-1] = (slot, root, None, (*groups[-1][3], row), other or groups[-1][4])
        else:
            groups.append((slot, root, None, (row,), other))
    return groups


def _kept_fields(fields: list[tuple[str, Code]]) -> Run:
    entries = tuple((key, code.run, code.keeps) for key, code in fields)

    def run(scope: Scope) -> dict[str, Any]:
        out = {}
        for key, field, keeps in entries:
            value = field(scope)
            if (keeps and value is not ABSENT) or not (value is ABSENT or is_empty(value)):
                out[key] = value
        return out

    return run


def _conditional(tree: dict[str, Any], code: Code, context: Context) -> Code:
    if "$when" not in tree:
        return code
    condition = compile_condition(tree["$when"], context.at("$when"))
    missing = ABSENT if code.keeps else None
    test, run = condition.run, code.run
    if condition.constant:
        return code if condition.value else constant(missing, keeps=code.keeps)
    return Code(lambda scope: run(scope) if test(scope) else missing, keeps=code.keeps)


def _keep(tree: dict[str, Any], context: Context) -> Code:
    inner = tree["$keep"]
    # an expression is kept as it came: nothing is pruned inside it
    code = compile_scalar(inner, context) if isinstance(inner, Scalar) else compile_shape(inner, context)
    return Code(code.run, code.constant, code.value, keeps=True)


def _merge(layers: Any, last: Code, context: Context) -> Code:
    inner = context.at("$merge")
    if not isinstance(layers, list):
        inner.problem("must be a list of expressions or maps", layers)
        return last
    codes = [compile_shape(layer, inner.narrowed(shown=f"{inner.shown}.{i}")) for i, layer in enumerate(layers)]
    live = [code for code in (*codes, last) if not _vanishes(code)]
    runs = tuple(code.run for code in live)
    if len(live) == 1 and live[0] is last:
        return last

    def run(scope: Scope) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for layer in runs:
            value = layer(scope)
            if isinstance(value, dict):
                out.update(value)
        return out

    return constant(run(Scope({}))) if all(code.constant for code in (*codes, last)) else Code(run)


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


def elements(value: Any) -> list[Any]:
    """What a loop runs over: a list, or another value as a list of one."""
    return value if isinstance(value, list) else [] if is_empty(value) else [value]


def _for(tree: dict[str, Any], context: Context) -> Code:
    source, inside, slot = compile_loop(tree["$for"], context)
    test = compile_condition(tree["$if"], inside.at("$if")).run if "$if" in tree else None
    body = compile_shape(tree["$do"], inside)
    items, do, keeps = source.run, body.run, body.keeps

    def run(scope: Scope) -> list[Any]:
        out: list[Any] = []
        values = scope.locals
        before = values[slot], values[slot + 1]
        for index, item in enumerate(elements(items(scope))):
            values[slot], values[slot + 1] = item, index
            if test is None or test(scope):
                made = do(scope)
                if made or not (is_empty(made) or made is ABSENT) or (keeps and made is not ABSENT):
                    out.append(made)
        values[slot], values[slot + 1] = before
        return out

    return Code(_joined(run, tree["$join"], context)) if "$join" in tree else Code(run)


def _joined(run: Run, separator: Any, context: Context) -> Run:
    if not isinstance(separator, str):
        context.problem("$join must be text", separator)
        return run
    by = str(separator)
    return lambda scope: by.join(as_text(entry) or "" for entry in run(scope)) or None
