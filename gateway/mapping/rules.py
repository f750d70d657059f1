"""Compiles the rules of events: which events become which vendor events, and what each of them needs.

An event has one rule, or a list of rules (each makes a part), and a rule with `each` makes a part per element. `require`
unmet leaves a rule out; if nothing is left the event is `skipped{incomplete}`. What is missing is told in the words of the
mapping, or in those that stand beside the condition:

    all: [$props.currency, {if: $props.value > 0, say: a value above zero}]
    any: [[$user.email], [$ids.fbp]]
    say: somebody whom the vendor can know          # where none of `any` holds
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway.config.tree import MarkedList, MarkedMap, Scalar
from gateway.mapping.compile import compile_condition, junction
from gateway.mapping.envelope import Enveloper, compile_envelope
from gateway.mapping.merge import empty_map, merge, put
from gateway.mapping.scope import CONDITIONS, Context, Run, Scope, check_keys, key_mark
from gateway.mapping.structure import compile_loop, compile_shape
from gateway.mapping.writer import Code, Writer, constant

RULE_KEYS = ("name", "require", "when", "each", "body", "endpoint", "wrap")
REQUIRE_KEYS = ("all", "any", "say")
CONDITION_KEYS = ("if", "say")
Condition = tuple[str, Code]
"""What a condition asks for, in words or as it is written, and its code."""


class Require:
    """Conditions that must all hold, and groups of which one must hold as a whole; each with its text."""

    def __init__(self, every: Sequence[Condition], groups: Sequence[Sequence[Condition]], say: str = "") -> None:
        self._every = every
        self._groups = groups
        self._say = say

    @cached_property
    def lacking(self) -> Callable[[Scope], str | None]:
        """What is missing, in the words of the mapping; None when nothing is."""
        return Code(self._write).function

    def _write(self, out: Writer) -> str:
        for text, code in self._every:
            if code.constant and code.value:
                continue
            out.line(f"if not {code.put(out)}: return {out.bind(f'needs {text}')}")
        if self._groups:
            found = junction([junction([code for _, code in group], every=True) for group in self._groups], every=False)
            listed = ", ".join(" + ".join(text for text, _ in group) for group in self._groups)
            words = self._say or f"one of {listed}"
            out.line(f"if not {found.put(out)}: return {out.bind(f'needs {words}')}")
        return "None"


@dataclass(frozen=True)
class Rule:
    """One compiled rule. `each_code` is the list it runs over and `limited_code` the body after an opt-out of sale.

    `trees` are what name, each, body and limited were compiled from, for the tracing evaluator. The functions are made when
    an event first needs them.
    """

    name_code: Code
    when_code: Code | None
    each_code: Code | None
    requires: tuple[Require, ...]
    body_code: Code
    limited_code: Code | None
    envelope: Enveloper
    trees: Mapping[str, Any]

    @cached_property
    def name(self) -> Run:
        """The vendor's event name."""
        return self.name_code.function

    @cached_property
    def when(self) -> Run | None:
        """Whether the rule is for this event; None: always."""
        return self.when_code.function if self.when_code else None

    @cached_property
    def each(self) -> Run | None:
        """What the rule runs over; None: once."""
        return self.each_code.function if self.each_code else None

    @cached_property
    def body(self) -> Run:
        """The payload."""
        return self.body_code.function

    @cached_property
    def limited(self) -> Run | None:
        """The payload after an opt-out of sale."""
        return self.limited_code.function if self.limited_code else None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all rules of a plan share: trees of the endpoint and its wrap, the limiting shape, test fields for bodies."""

    endpoint: Any
    wrap: Any
    base: str | None
    limit: Any
    extra: tuple[Any, ...]
    shared: Enveloper | None
    require: Require | None


def compile_require(tree: Any, context: Context, key: str = "require") -> Require | None:
    """A `require` or `check`: a map of `all` and `any`, or a list (all of it). Notes problems."""
    if tree is None:
        return None
    inner = context.at(key)
    if isinstance(tree, list):
        return Require(_conditions(tree, inner), ())
    if not check_keys(inner, tree, REQUIRE_KEYS):
        return None
    groups = []
    for index, group in enumerate(_listed(tree.get("any"), inner.at("any"))):
        conditions = _conditions(group if isinstance(group, list) else [group], inner.at(f"any.{index}"))
        groups.append(conditions)
    say = _words(tree.get("say"), inner.at("say"), tree) if "say" in tree else ""
    return Require(_conditions(_listed(tree.get("all"), inner.at("all")), inner.at("all")), groups, say)


def _listed(tree: Any, context: Context) -> list[Any]:
    if tree is None:
        return []
    if not isinstance(tree, list):
        context.problem("must be a list", tree)
        return []
    return tree


def _conditions(tree: list[Any], context: Context) -> list[Condition]:
    return [_condition(leaf, context) for leaf in tree]


def _condition(leaf: Any, context: Context) -> Condition:
    if not isinstance(leaf, dict):
        return str(leaf), compile_condition(leaf, context)
    check_keys(context, leaf, CONDITION_KEYS)
    if any(key not in CONDITION_KEYS for key in leaf):
        return "", constant(False)
    return _words(leaf.get("say"), context, leaf), compile_condition(leaf.get("if"), context)


def _words(say: Any, context: Context, holder: Any) -> str:
    """What a person reads who asks why an event was held."""
    if not isinstance(say, str) or not say.strip():
        context.problem("`say` must be words that end the sentence `needs …`", holder)
        return ""
    return say.strip()


def compile_rule(tree: Any, around: Surroundings, context: Context) -> Rule | None:
    """One rule. Notes problems; None where it cannot be compiled."""
    if not check_keys(context, tree, RULE_KEYS):
        return None
    each, inside = _each(tree, context)
    body = tree.get("body")
    for extra in around.extra:
        body = merge(body if body is not None else empty_map(tree.mark), extra)
    code = _body(body, inside)
    limited = _body(_limited_tree(body, around.limit), inside) if around.limit is not None else None
    requires = [around.require] if around.require else []
    if own := compile_require(tree.get("require"), inside):
        requires.append(own)
    envelope = _envelope(tree, around, context)
    if envelope is None:
        return None
    return Rule(
        name_code=_name(tree, inside),
        when_code=compile_condition(tree["when"], inside.at("when")) if "when" in tree else None,
        each_code=each,
        requires=tuple(requires),
        body_code=code,
        limited_code=limited,
        envelope=envelope,
        trees={"name": tree.get("name"), "each": tree.get("each"), "body": body, "limited": _limited_tree(body, around.limit)},
    )


def _each(tree: MarkedMap, context: Context) -> tuple[Code | None, Context]:
    if "each" not in tree:
        return None, context
    code, inside, _ = compile_loop(tree["each"], context.narrowed(roots=CONDITIONS, shown=f"{context.shown}.each"))
    return code, inside.narrowed(roots=context.roots, shown=context.shown)


def _name(tree: MarkedMap, context: Context) -> Code:
    leaf = tree.get("name")
    if leaf is None:
        return Code(lambda out: 'data.get("name")')
    inner = context.at("name").narrowed(roots=CONDITIONS, field="name")
    code = compile_shape(leaf, inner)
    if code.constant and isinstance(leaf, Scalar):
        # a constant name is text, whatever YAML makes of it
        return constant(str(code.value) if code.value is not None else None)
    return code


def _body(body: Any, context: Context) -> Code:
    return compile_shape(body, context.narrowed(shown=f"{context.shown}.body")) if body is not None else constant({})


def _limited_tree(body: Any, limit: Any) -> Any:
    """The body with the limiting shape over it; a body that is an expression gets it as a last layer."""
    if limit is None or isinstance(body, MarkedMap):
        return None if limit is None else merge(body, limit)
    layered = empty_map(limit.mark)
    put(layered, "$merge", MarkedList(limit.mark, [body if body is not None else empty_map(limit.mark)]), limit.mark)
    return merge(layered, limit)


def _envelope(tree: MarkedMap, around: Surroundings, context: Context) -> Enveloper | None:
    """The rule's own envelope where it overrides the endpoint or the wrap, else the shared one."""
    if "endpoint" not in tree and "wrap" not in tree:
        return around.shared
    own = tree.get("endpoint")
    if own is not None and not isinstance(own, MarkedMap):
        context.at("endpoint").problem("must be a map", own)
        return None
    endpoint = merge(around.endpoint, own) if own is not None else around.endpoint
    if own is not None and "url" in own and "path" not in own and "path" in endpoint:
        endpoint = merge(endpoint, _without_path(own))
    wrap = tree.get("wrap", around.wrap)
    return compile_envelope(endpoint, wrap, around.base, context.narrowed(loops=(), field=""))


def _without_path(own: MarkedMap) -> MarkedMap:
    out = empty_map(own.mark)
    put(out, "path", None, key_mark(own, "url"))
    return out
