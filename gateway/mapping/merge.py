"""Merges a manifest with a customer's file (design §5): the order decides what a patch can reach.

1. the customer's `defaults`, `blocks`, `tables`, `limits`, `batch` merge into the manifest's
2. `$use` is expanded (keys beside it are merged over the block)
3. `defaults` merge under each body
4. the customer's `events` merge

Maps merge by key, everything else is replaced, null deletes; null on an event is a tombstone. Every leaf stays the marked
value it was, so it knows its file and line.
"""

from __future__ import annotations

from typing import Any

from gateway.config.tree import Mark, MarkedList, MarkedMap
from gateway.mapping.scope import Context, key_mark
from gateway.mapping.structure import DIRECTIVES

SHARED = ("defaults", "blocks", "tables", "limits", "batch")
"""What a customer's file merges into the manifest's before anything else."""
_WHOLE = ("$for", "$value", "$keep")
"""A map with one of these is not an object with fields: a patch without directives replaces it."""
_BLOCK_DEPTH = 20
_NOWHERE = Mark("", 0, 0)


def empty_map(mark: Mark | None = None) -> MarkedMap:
    """A map without entries, at a place."""
    return MarkedMap(mark or _NOWHERE)


def put(tree: MarkedMap, key: str, value: Any, mark: Mark | None) -> None:
    """Set a key with its place."""
    tree[key] = value
    if mark is not None:
        tree.marks[key] = mark


def merge(base: Any, patch: Any) -> Any:
    """`patch` over `base`: maps by key, everything else replaced, null deletes. Neither is changed."""
    if not isinstance(base, MarkedMap) or not isinstance(patch, MarkedMap) or _replaces(base, patch):
        return strip_nulls(patch)
    out = MarkedMap(base.mark, dict(base), dict(base.marks))
    for key, value in patch.items():
        mark = key_mark(patch, key)
        if value is None:
            out.pop(key, None)
            out.marks.pop(key, None)
        else:
            put(out, key, merge(out[key], value) if key in out else strip_nulls(value), mark)
    return out


def _replaces(base: MarkedMap, patch: MarkedMap) -> bool:
    if "$for" in patch:  # another loop is another list, and lists are replaced
        return True
    whole, directs = any(key in base for key in _WHOLE), any(key in patch for key in DIRECTIVES)
    return (whole and not directs) or (not whole and any(key in patch for key in _WHOLE))


def strip_nulls(tree: Any) -> Any:
    """A patch on nothing: the nulls in it have nothing to delete. `$keep: null` is no patch and stays."""
    if isinstance(tree, MarkedMap):
        kept = {key: strip_nulls(value) for key, value in tree.items() if value is not None or key == "$keep"}
        return MarkedMap(tree.mark, kept, dict(tree.marks))
    return tree


def expand(tree: Any, blocks: dict[str, Any], context: Context, depth: int = 0) -> Any:
    """The tree with every `$use` replaced by its block."""
    if isinstance(tree, MarkedList):
        return MarkedList(tree.mark, [expand(value, blocks, context, depth) for value in tree], list(tree.marks))
    if not isinstance(tree, MarkedMap):
        return tree
    fields = MarkedMap(
        tree.mark,
        {key: expand(value, blocks, context, depth) for key, value in tree.items() if key != "$use"},
        dict(tree.marks),
    )
    return _used(tree, fields, blocks, context, depth) if "$use" in tree else fields


def _used(tree: MarkedMap, beside: MarkedMap, blocks: dict[str, Any], context: Context, depth: int) -> Any:
    place = key_mark(tree, "$use")
    name = tree["$use"]
    if not isinstance(name, str) or name not in blocks:
        context.unknown("block", str(name), blocks, place)
        return beside
    if depth >= _BLOCK_DEPTH:
        context.problem(f'the block "{name}" uses itself', place)
        return beside
    block = expand(blocks[name], blocks, context, depth + 1)
    if not beside:
        return block
    if not isinstance(block, MarkedMap):
        context.problem(f'the block "{name}" is no map, so nothing can stand beside its $use', place)
        return block
    return merge(block, beside)


def merge_tree(manifest: MarkedMap, customer: Any, context: Context) -> MarkedMap:
    """The manifest's tree with everything merged; `events` hold whole bodies. Problems are noted in the context."""
    own = customer if isinstance(customer, MarkedMap) else empty_map()
    out = MarkedMap(manifest.mark, dict(manifest), dict(manifest.marks))
    for key in SHARED:
        base, patch = manifest.get(key), own.get(key)
        if patch is not None:
            put(out, key, merge(base if base is not None else empty_map(), patch), key_mark(own, key))
    blocks = out.get("blocks")
    known = blocks if isinstance(blocks, MarkedMap) else {}
    if blocks is not None and not isinstance(blocks, MarkedMap):
        context.at("blocks").problem("must be a map of shapes by name", blocks)
    for key in ("defaults", "batch", "consent", "test", "validate", "endpoint"):
        if key in out:
            out[key] = expand(out[key], known, context.at(key))
    events = _events(manifest, own, known, out.get("defaults"), context)
    put(out, "events", events, key_mark(own, "events") or key_mark(manifest, "events"))
    return out


def _events(manifest: MarkedMap, own: MarkedMap, blocks: dict[str, Any], defaults: Any, context: Context) -> MarkedMap:
    base = _section(manifest, context)
    patch = _section(own, context)
    out = empty_map(base.mark)
    for name, rules in base.items():
        expanded = expand(rules, blocks, context.at(f"events.{name}"))
        put(out, name, _with_defaults(expanded, defaults), key_mark(base, name))
    for name, rules in patch.items():
        mark = key_mark(patch, name)
        expanded = expand(rules, blocks, context.at(f"events.{name}"))
        before = out.get(name)
        if isinstance(expanded, MarkedMap) and isinstance(before, MarkedMap):
            put(out, name, merge(before, expanded), mark)
        elif isinstance(expanded, MarkedMap):
            # a new event, or one instead of a list or a tombstone: the defaults lie under it as under any other
            put(out, name, merge(_with_defaults(empty_map(mark), defaults), expanded), mark)
        else:
            put(out, name, _with_defaults(expanded, defaults), mark)
    return out


def _section(tree: MarkedMap, context: Context) -> MarkedMap:
    events = tree.get("events")
    if events is None:
        return empty_map()
    if isinstance(events, MarkedMap):
        return events
    context.at("events").problem("must be a map of rules by event name", events)
    return empty_map()


def _with_defaults(rules: Any, defaults: Any) -> Any:
    """The rule (or each rule of a list) with the defaults under its body."""
    if isinstance(rules, MarkedList):
        return MarkedList(rules.mark, [_with_defaults(rule, defaults) for rule in rules], list(rules.marks))
    if not isinstance(rules, MarkedMap):
        return rules
    out = MarkedMap(rules.mark, dict(rules), dict(rules.marks))
    body = rules.get("body")
    if body is None:
        if defaults is not None:
            put(out, "body", defaults, getattr(defaults, "mark", None))
    elif defaults is not None:
        put(out, "body", merge(defaults, body), key_mark(rules, "body"))
    return out
