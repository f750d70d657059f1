"""From a manifest and a customer's file to a CompiledPlan: merge, then compile every place, all problems in one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config.models import DestinationConfig, size
from gateway.config.tree import MarkedList, MarkedMap, Scalar, plain
from gateway.errors import ConfigErrors, Problem
from gateway.manifest import Manifest, revealed
from gateway.mapping.assembly import LINES
from gateway.mapping.auth import body_auth, compile_auth
from gateway.mapping.compile import compile_condition, compile_scalar
from gateway.mapping.envelope import Enveloper, compile_envelope
from gateway.mapping.functions import to_number
from gateway.mapping.merge import empty_map, expand, merge, merge_tree, put
from gateway.mapping.plan import Compiled, CompiledPlan, Rules, Validation
from gateway.mapping.probe import compile_probe
from gateway.mapping.replies import compile_replies
from gateway.mapping.rules import Rule, Surroundings, compile_require, compile_rule
from gateway.mapping.scope import CHECKS, CONDITIONS, LOOP, REPLY, SETTINGS, Context, Run, check_keys, key_mark
from gateway.mapping.structure import compile_shape
from gateway.meter import Meter

STAR = "*"
VALIDATE_KEYS = ("every", "url", "body", "complaints")


def merged(manifest: Manifest, config: DestinationConfig) -> MarkedMap:
    """The merged tree, every leaf with its file and line: `tagway explain --mapping`. Raises ConfigErrors."""
    context = _context(manifest, config, Meter())
    tree = merge_tree(manifest.tree, config.tree, context)
    if context.problems:
        raise ConfigErrors(context.problems)
    return tree


def compile_plan(manifest: Manifest, config: DestinationConfig, *, meter: Meter | None = None) -> CompiledPlan:
    """Compile a destination. Raises ConfigErrors with all problems, each with file and line."""
    context = _context(manifest, config, meter or Meter())
    tree = merge_tree(manifest.tree, config.tree, context)
    context = context.narrowed(tables=_tables(tree, context))
    compiled = _compile(manifest, config, tree, context)
    if context.problems:
        raise ConfigErrors(context.problems)
    return CompiledPlan(manifest, config, tree, context, compiled)


def _context(manifest: Manifest, config: DestinationConfig, meter: Meter) -> Context:
    return Context(
        destination=config.name,
        settings=revealed(dict(config.settings)),
        known_settings=frozenset(manifest.settings) | frozenset(config.settings),
        secrets=frozenset(name for name, spec in manifest.settings.items() if spec.secret),
        tables={},
        meter=meter,
        problems=[],
        noted=set(),
        file=manifest.tree.mark.file,
    )


def _tables(tree: MarkedMap, context: Context) -> dict[str, Mapping[str, Any]]:
    """The tables by name: constants only."""
    tables: dict[str, Mapping[str, Any]] = {}
    found = {f"tables.{name}": table for name, table in (tree.get("tables") or {}).items()}
    if tree.get("regions") is not None:
        found["regions"] = tree["regions"]
    for path, table in found.items():
        inner = context.narrowed(shown=path)
        if not isinstance(table, MarkedMap):
            inner.problem("must be a map of constants", table)
            continue
        _check_table(table, inner)
        tables[path.removeprefix("tables.")] = plain(table)
    return tables


def _check_table(table: MarkedMap, context: Context) -> None:
    for key, value in table.items():
        inner = context.at(key)
        inner.trap(key, key_mark(table, key))
        if isinstance(value, str):
            inner.trap(value, value)
        if isinstance(value, Scalar) and value.startswith("$"):
            inner.problem("a table holds constants, not expressions", value)


def _compile(manifest: Manifest, config: DestinationConfig, tree: MarkedMap, context: Context) -> Compiled:
    wrap, extra = _wrap(config, tree, context)
    shared = compile_envelope(tree.get("endpoint"), wrap, config.endpoint, context)
    _check_batch(tree, wrap, shared, context)
    around = _surroundings(config, tree, wrap, extra, shared, context)
    rules = {name: _rules(name, rule, around, context) for name, rule in tree["events"].items()}
    star = rules.pop(STAR, None)
    if STAR not in tree["events"]:
        star = _rules(STAR, _bare(tree), around, context)
    auth = tuple(compile_auth(tree.get("auth"), context))
    return Compiled(
        rules=rules,
        unlisted=star if _sends(manifest, config) else None,
        when=_when(config, context),
        loop=_condition(tree.get("loop"), context.narrowed(shown="loop", roots=LOOP)),
        auth=auth,
        reader=compile_replies(tree.get("response"), context),
        validation=_validation(config, tree, wrap, context),
        probe=compile_probe(tree, auth, config, context),
        check=compile_require(tree.get("check"), context.narrowed(shown="", roots=CHECKS), "check"),
        max_event_bytes=_max_event_bytes(tree),
        limits=config.consent.on_opt_out == "limit",
    )


def _wrap(config: DestinationConfig, tree: MarkedMap, context: Context) -> tuple[Any, tuple[Any, ...]]:
    """The envelope with `test` (in mode: test) and body authentication in it; where there is none they go into bodies."""
    batch = tree.get("batch")
    wrap = batch.get("wrap") if isinstance(batch, MarkedMap) else None
    layers = []
    test = tree.get("test")
    if config.mode == "test" and test is not None:
        if isinstance(test, MarkedMap):
            layers.append(test)
        else:
            context.at("test").problem("must be a map that is merged into the envelope", test)
    for method in body_auth(tree.get("auth")):
        layer = empty_map(getattr(method, "mark", None))
        put(layer, str(method.get("name")), method.get("value"), layer.mark)
        layers.append(layer)
    if not isinstance(wrap, MarkedMap):
        if wrap is not None and layers:
            context.at("batch.wrap").problem("must be a map: `test` and body authentication are merged into it", wrap)
        return wrap, tuple(layers)
    for layer in layers:
        wrap = merge(wrap, layer)
    return wrap, ()


def _check_batch(tree: MarkedMap, wrap: Any, shared: Enveloper | None, context: Context) -> None:
    batch = tree.get("batch")
    most = batch.get("max_events") if isinstance(batch, MarkedMap) else None
    if most is None or wrap is not None or shared is None or shared.kind in LINES:
        return
    if (to_number(most) or 1) > 1:
        context.at("batch").problem(f"max_events is {most}, but without `wrap` a request carries one event", most)


def _surroundings(
    config: DestinationConfig, tree: MarkedMap, wrap: Any, extra: tuple[Any, ...], shared: Enveloper | None, context: Context
) -> Surroundings:
    consent = tree.get("consent")
    limit = consent.get("limit") if isinstance(consent, MarkedMap) else None
    asked = config.consent.on_opt_out == "limit"
    if asked and not isinstance(limit, MarkedMap):
        problem = Problem(f"consent.on_opt_out: limit, but {config.type} has no limited form; use skip", config.file)
        context.problems.append(problem)
    return Surroundings(
        endpoint=tree.get("endpoint"),
        wrap=wrap,
        base=config.endpoint,
        limit=limit if asked and isinstance(limit, MarkedMap) else None,
        extra=extra,
        shared=shared,
        require=compile_require(tree.get("require"), context.narrowed(shown="")),
    )


def _bare(tree: MarkedMap) -> MarkedMap:
    """The rule of events that no rule names, where the manifest has no "*"."""
    rule = empty_map(tree.mark)
    if tree.get("defaults") is not None:
        put(rule, "body", tree["defaults"], key_mark(tree, "defaults"))
    return rule


def _sends(manifest: Manifest, config: DestinationConfig) -> bool:
    return config.unlisted == "send" if config.unlisted else manifest.sends_unlisted


def _rules(name: str, tree: Any, around: Surroundings, context: Context) -> Rules | None:
    if tree is None:
        return None
    inner = context.narrowed(shown=f"events.{name}")
    if not isinstance(tree, MarkedList):
        rule = compile_rule(tree, around, inner)
        return (rule,) if rule else ()
    rules: list[Rule] = []
    for index, one in enumerate(tree):
        if rule := compile_rule(one, around, inner.narrowed(shown=f"events.{name}[{index}]")):
            rules.append(rule)
    return tuple(rules)


def _when(config: DestinationConfig, context: Context) -> Run | None:
    own = config.tree.get("when") if isinstance(config.tree, MarkedMap) else None
    leaf = own if own is not None else config.when
    return _condition(leaf, context.narrowed(shown="when", roots=CONDITIONS, file=config.file))


def _condition(leaf: Any, context: Context) -> Run | None:
    return None if leaf is None else compile_condition(leaf, context).run


def _max_event_bytes(tree: MarkedMap) -> int | None:
    limits = tree.get("limits")
    given = limits.get("max_event_bytes") if isinstance(limits, MarkedMap) else None
    if given is None:
        return None
    number = to_number(given)
    return int(size(str(given)) if number is None else number)


def _validation(config: DestinationConfig, tree: MarkedMap, wrap: Any, context: Context) -> Validation | None:
    asked = tree.get("validate")
    if asked is None:
        return None
    inner = context.narrowed(shown="validate")
    if not check_keys(inner, asked, VALIDATE_KEYS):
        return None
    every = asked.get("every")
    settings = inner.at("every").narrowed(roots=SETTINGS)
    count = to_number(compile_scalar(every, settings).value if isinstance(every, Scalar) else every)
    endpoint = empty_map(tree.mark)
    put(endpoint, "url", asked.get("url"), key_mark(asked, "url"))
    extra = asked.get("body")
    if extra is not None and not isinstance(wrap, MarkedMap):
        inner.at("body").problem("needs batch.wrap, into which it is merged", extra)
        return None
    whole = merge(wrap, expand(extra, {}, inner)) if extra is not None else wrap
    envelope = compile_envelope(merge(tree.get("endpoint"), endpoint), whole, config.endpoint, inner)
    complaints = asked.get("complaints")
    run = compile_shape(complaints, inner.at("complaints").narrowed(roots=REPLY)).run if complaints is not None else None
    return Validation(int(count), envelope, run) if count and count >= 1 and envelope else None
