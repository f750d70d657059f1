"""A compiled destination: implements gateway.destination.Plan. All of it is pure; it holds no state between events.

Vendor event ids are the event's own: `id`, `id-2`, `id-3` for further parts, in the order of the rules.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config.models import DestinationConfig
from gateway.config.tree import MarkedMap
from gateway.destination import Batch, Judgement, Part, Reply, Request
from gateway.event import Event
from gateway.manifest import Manifest
from gateway.mapping.assembly import content, serialise
from gateway.mapping.auth import Draft, Step
from gateway.mapping.envelope import Enveloper, Unfit
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.probe import Probe
from gateway.mapping.replies import Reader
from gateway.mapping.rules import Require, Rule
from gateway.mapping.scope import Context, Run, Scope
from gateway.mapping.values import elements
from gateway.outcomes import Ending, Outcome

_PLAIN_NAME = re.compile(r"[^a-z0-9]")
Rules = tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Validation:
    """The vendor's validation endpoint: one event in `every` is asked about."""

    every: int
    envelope: Enveloper
    complaints: Run | None


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compile_plan made of the files. `rules[name]` is None for a tombstone; `unlisted` is None to skip."""

    rules: Mapping[str, Rules | None]
    unlisted: Rules | None
    when: Run | None
    loop: Run | None
    auth: tuple[Step, ...]
    reader: Reader
    validation: Validation | None
    probe: Probe | None
    check: Require | None
    max_event_bytes: int | None
    limits: bool


class CompiledPlan:
    """One destination's mapping. `tree` is the merged tree with its places, `context` what it was compiled with."""

    def __init__(
        self, manifest: Manifest, config: DestinationConfig, tree: MarkedMap, context: Context, compiled: Compiled
    ) -> None:
        self.manifest = manifest
        self.config = config
        self.settings = config.settings
        self.tree = tree
        self.context = context
        self._made = compiled
        self._conditions = {name: found for name, rules in compiled.rules.items() if (found := _conditions(rules or ()))}
        self._names = frozenset(_PLAIN_NAME.sub("", name.lower()) for name in (config.name, config.type))

    @property
    def probe(self) -> Probe | None:
        """How to ask the vendor whether settings and token are good; None where it offers nothing for that."""
        return self._made.probe

    def __repr__(self) -> str:
        return f"CompiledPlan({self.config.name!r})"

    def loops(self, event: Event) -> bool:
        """Whether the vendor already has this event from the page itself."""
        loop = self._made.loop
        return loop is not None and bool(loop(Scope(event.data)))

    def filtered(self, event: Event, now: float) -> str | None:
        """Why the event is left out: the hit's own list, a tombstone, the customer's or the rules' `when`; else None."""
        if not self._invited(event.data.get("integrations")):
            return "the hit's own list of destinations leaves this one out"
        rules = self._made.rules.get(event.name, ())
        if rules is None:
            return f"{event.name} is null in the mapping"
        when = self._made.when
        if when is not None and not when(Scope(event.data, now, event.name)):
            return "the destination's `when` does not hold"
        conditions = self._conditions.get(event.name)
        if conditions:
            scope = Scope(event.data, now, event.name)
            if not any(holds(scope) for holds in conditions):
                return "no rule's `when` holds"
        return None

    def _invited(self, listed: Any) -> bool:
        if not isinstance(listed, dict) or not listed:
            return True
        everything = True
        for name, wanted in listed.items():
            plain = _PLAIN_NAME.sub("", str(name).lower())
            if plain in self._names:
                return wanted is not False
            if plain == "all":
                everything = wanted is not False
        return everything

    def parts(self, event: Event, now: float) -> list[Part] | Ending:
        """The event's parts, or why there are none.

        This is the boundary behind which nothing of a mapping raises: an error here is ours, ends as rejected{mapping} (the
        event is kept and can be replayed) and names the error's type alone, never a value.
        """
        try:
            return self._parts(event, now)
        except Unfit as error:
            return Ending(Outcome.REJECTED, "mapping", str(error))
        except Exception as error:  # noqa: BLE001 (the boundary that the docstring states)
            return Ending(Outcome.REJECTED, "mapping", f"{type(error).__name__} while mapping {event.label}")

    def _parts(self, event: Event, now: float) -> list[Part] | Ending:
        rules = self.rules_for(event)
        if isinstance(rules, Ending):
            return rules
        scope = Scope(event.data, now, event.name)
        made = self._made
        limited, check, most = made.limits and self.limited(event), made.check, made.max_event_bytes
        parts: list[Part] = []
        why: str | None = None
        for rule, lacking in uses(rules, scope, event):
            if lacking is not None:
                why = why or lacking
                continue
            part = self._part(rule, event, scope, len(parts), limited)
            if check is not None and (unfit := check.lacking(scope)):
                why = why or unfit
                continue
            if most is not None and len(part.body) > most:
                return Ending(Outcome.REJECTED, "too_large", f"{len(part.body)} bytes, the vendor takes {most}")
            parts.append(part)
        if parts:
            return parts
        if why:
            return Ending(Outcome.SKIPPED, "incomplete", why)
        return Ending(Outcome.SKIPPED, "filter", "no rule's `when` holds")

    def rules_for(self, event: Event) -> Rules | Ending:
        """The rules of an event, or why it has none."""
        made = self._made
        rules = made.rules.get(event.name, made.unlisted)
        if rules is not None:
            return rules
        if event.name in made.rules:
            return Ending(Outcome.SKIPPED, "filter", f"{event.name} is null in the mapping")
        return Ending(Outcome.SKIPPED, "unmapped", f"{event.name} is not in the mapping")

    def limited(self, event: Event) -> bool:
        """Whether the vendor's limited form is due: an opt-out of sale, and the customer chose `on_opt_out: limit`."""
        return self._made.limits and (event.data.get("consent") or {}).get("sale_opt_out") is True

    def _part(self, rule: Rule, event: Event, scope: Scope, index: int, limited: bool) -> Part:
        body = rule.limited if limited and rule.limited is not None else rule.body
        scope.body = payload = body(scope)
        name = scope.name
        if type(name) is not str:
            scope.name = name = as_text(name) or ""
        envelope = rule.envelope.render(scope)
        identity = event.id if index == 0 else f"{event.id}-{index + 1}"
        return Part(event, index, identity, name, payload, serialise(payload, envelope.body), envelope)

    def assemble(self, batch: Batch, now: float) -> Request:
        """The request that carries a batch, authenticated and signed over the exact bytes."""
        envelope = batch.envelope
        url, body = content(envelope, batch.parts)
        draft = Draft(url, dict(envelope.headers), body)
        for step in self._made.auth:
            step(draft, now)
        return Request(envelope.method, draft.url, draft.headers, draft.body)

    def read(self, reply: Reply, batch: Batch) -> list[Judgement]:
        """One judgement per part."""
        return self._made.reader.read(reply, batch)

    def validation(self, batch: Batch, now: float) -> Request | None:
        """A request about the first event of the batch that is of the sample (chosen by its id, always the same ones)."""
        asked = self._made.validation
        if asked is None:
            return None
        for part in batch.parts:
            if zlib.crc32(part.id.encode()) % asked.every == 0:
                try:
                    envelope = asked.envelope.render(Scope(part.event.data, now, part.name))
                except Unfit:
                    return None
                return self.assemble(Batch(envelope, (part,)), now)
        return None

    def complaints(self, reply: Reply) -> list[str]:
        """What the validation endpoint found wrong, one text per message; none where the reply is no success."""
        asked = self._made.validation
        if asked is None or asked.complaints is None or not 200 <= reply.status < 300:
            return []
        scope = Scope({})
        scope.reply = reply.json()
        return [as_text(one) or "" for one in elements(asked.complaints(scope))]


def _conditions(rules: Rules) -> tuple[Run, ...]:
    """What of some rules must hold for one of them to be used; nothing where one is used in any case, or for each element."""
    conditions = tuple([rule.when for rule in rules if rule.when is not None and rule.each is None])
    return conditions if len(conditions) == len(rules) else ()


def uses(rules: Rules, scope: Scope, event: Event) -> Iterable[tuple[Rule, str | None]]:
    """Each use of a rule with what it lacks: None when it goes out, "" when its `when` does not hold.

    The scope holds the use's name and element while the caller looks at it.
    """
    if len(rules) == 1 and rules[0].each is None:  # as nearly all events have it
        return ((rules[0], _use(rules[0], scope)),)
    return _several(rules, scope, event)


def _several(rules: Rules, scope: Scope, event: Event) -> Iterator[tuple[Rule, str | None]]:
    own_name = event.name
    for rule in rules:
        scope.name = own_name
        if rule.each is None:
            yield rule, _use(rule, scope)
            continue
        values = elements(rule.each(scope))
        if not values:
            yield rule, "`each` has no elements"
        for index, value in enumerate(values):
            scope.locals = (value, index)
            scope.name = own_name
            yield rule, _use(rule, scope)


def _use(rule: Rule, scope: Scope) -> str | None:
    scope.name = name = rule.name(scope)
    if rule.when is not None and not rule.when(scope):
        return ""
    if not name and is_empty(name):
        return "the name is empty"
    for require in rule.requires:
        if lacking := require.lacking(scope):
            return lacking
    return None
