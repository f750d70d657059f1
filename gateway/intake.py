"""From decoded events to disk: normalise, enrich, decide consent, append; one transaction a hit (design §1, §3).

An event that no destination may have is stored hollow: id, name, time, source, consent and the reason, nothing of the
person; of an order's number a keyed hash (gateway/queue/barred.py). What a browser keeps for us (gateway/enrich/visitor.py)
is read and set by the consent of its events. An event of a shop's webhook first takes over what the browser of its checkout
left (gateway/checkout.py). The same gate runs again before each request, so what is decided here only ever saves bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway import checkout
from gateway.clock import Clock
from gateway.config.models import Gateway, SourceConsent
from gateway.consent.decide import decide
from gateway.consent.gate import Need, refuses
from gateway.consent.signals import Signal
from gateway.consent.withdrawal import subjects, withdrawn_purposes
from gateway.enrich import describe, enrich
from gateway.enrich.lookups import NOTHING, Lookups
from gateway.enrich.pace import Pace
from gateway.enrich.visitor import Visitor, Visitors
from gateway.errors import Refused, TooLarge
from gateway.event import label
from gateway.meter import Meter
from gateway.normalise import Normalised, normalise
from gateway.queue import barred
from gateway.queue.base import CONTEXT_AGE, Context, NewEvent, Store
from gateway.receive.hit import Hit, RawEvent, Taken
from gateway.receive.shop import DIALECTS as SHOPS

AT_ONCE = 100
"""Events of a hit that are prepared in one go; then others have their turn, as a hit may hold thousands."""
MAX_EVENT_BYTES = 64 * 1024
_KEPT = ("v", "id", "name", "time", "received", "source", "dialect", "consent")
"""All that a hollow event keeps."""


class DurableIntake:
    """The Intake of the running gateway.

    `needs` is what each destination asks of consent, by the name of each source that it reads; `known` what files say of
    addresses (gateway/enrich/lookups.py).
    """

    def __init__(
        self,
        config: Gateway,
        store: Store,
        needs: Mapping[str, Sequence[Need]],
        meter: Meter,
        clock: Clock,
        known: Lookups = NOTHING,
    ) -> None:
        self._store = store
        self._meter = meter
        self._clock = clock
        self._pace = Pace()
        self.reconfigure(config, needs, known)

    def reconfigure(self, config: Gateway, needs: Mapping[str, Sequence[Need]], known: Lookups = NOTHING) -> None:
        """Use the rules of a new configuration from the next hit on."""
        self._known = known
        self._rules: dict[str, SourceConsent] = {name: source.consent for name, source in config.sources.items()}
        self._needs = {name: tuple(needs.get(name, ())) for name in config.sources}
        self._identities = {name: source.identity for name, source in config.sources.items()}
        self._visitors: dict[str, Visitors] = {}

    async def accept(self, hit: Hit, raws: Sequence[RawEvent | Refused]) -> list[Taken | Refused]:
        """Store what can be taken and say of each event what became of it. Raises QueueFull (nothing stored)."""
        now = self._clock.now()
        visitor = self.visitors(hit.source).of(hit) if hit.browser else None
        results = self._prepared(hit, visitor, raws[:AT_ONCE], now)
        for at in range(AT_ONCE, len(raws), AT_ONCE):
            await asyncio.sleep(0)
            results += self._prepared(hit, visitor, raws[at : at + AT_ONCE], now)
        fresh = [result for result in results if isinstance(result, NewEvent)]
        if not fresh:
            return [result for result in results if isinstance(result, Refused)]
        receipts = await self._store.append(fresh)
        if len(fresh) == len(results) and visitor is None:
            return [Taken(event.id, receipt) for event, receipt in zip(fresh, receipts, strict=True)]
        told = iter(receipts)
        answers = [result if isinstance(result, Refused) else Taken(result.id, next(told)) for result in results]
        return _with_cookies(answers, visitor.cookies()) if visitor else answers

    def visitors(self, source: str) -> Visitors:
        """The visitors of a source; the store is open by now, whose secret signs."""
        found = self._visitors.get(source)
        if found is None:
            found = self._visitors[source] = Visitors(self._identities[source], self._store.salt)
        return found

    def _prepared(
        self, hit: Hit, visitor: Visitor | None, raws: Sequence[RawEvent | Refused], now: float
    ) -> list[NewEvent | Refused]:
        """Some events of a hit, ready to be stored."""
        counts: dict[str, int] = {}
        results = [raw if isinstance(raw, Refused) else self._prepare(raw, hit, visitor, now, counts) for raw in raws]
        for dialect, count in counts.items():
            self._meter.received(hit.source, dialect, count)
        return results

    def _prepare(
        self, raw: RawEvent, hit: Hit, visitor: Visitor | None, now: float, counts: dict[str, int]
    ) -> NewEvent | Refused:
        normal = normalise(raw, hit, now)
        if isinstance(normal, Refused):
            return normal
        for field in normal.dropped:
            self._meter.dropped(hit.source, field)
        counts[raw.dialect] = counts.get(raw.dialect, 0) + 1
        named = checkout.keys(self._store.salt, hit.source, normal.data)
        data, signals = self._carried(raw.dialect, named, normal.data, hit) if named else (normal.data, ())
        data = describe(enrich(data, hit, self._known), hit, self._pace.suspicions(hit), self._known)
        data = self._settle_consent(data, hit, visitor, signals)
        body = bytes(memoryview(orjson.dumps(data)))  # a copy: what orjson makes keeps its buffer of several KiB
        if len(body) > MAX_EVENT_BYTES:
            return TooLarge("the event is over 64 KiB")
        leaves = named and hit.browser and raw.dialect not in SHOPS
        contexts = checkout.contexts(self._store.salt, named, data) if leaves else ()
        return _new_event(data, normal, body, hit, contexts)

    def _carried(
        self, dialect: str, named: Sequence[checkout.Key], data: dict[str, Any], hit: Hit
    ) -> tuple[dict[str, Any], Sequence[Signal]]:
        """A shop's event with what the browser of its checkout said, and the consent given there."""
        data = checkout.without_tokens(data)
        if dialect not in SHOPS:
            return data, ()
        found = self._store.contexts([key.digest for key in named], hit.received - CONTEXT_AGE)
        carried = checkout.choose(self._store.salt, named, found, data)
        return (checkout.fill(data, carried, hit.received), checkout.signals(carried)) if carried else (data, ())

    def _settle_consent(
        self, data: dict[str, Any], hit: Hit, visitor: Visitor | None, carried: Sequence[Signal]
    ) -> dict[str, Any]:
        data["consent"] = consent = decide(data, hit, self._rules[hit.source], carried)
        table = self._store.withdrawals
        if table:
            people = subjects(self._store.salt, hit.source, data)
            if visitor:
                people += subjects(self._store.salt, hit.source, visitor.subject)
            data["consent"] = consent = narrow(consent, withdrawn_purposes(hit.received, people, table))
        if visitor:
            data = visitor.fill(data)
        needs = self._needs[hit.source]
        if not needs:
            return data
        reasons = [refuses(consent, need) for need in needs]
        return data if None in reasons else hollow(data, reasons[0] or "", self._store.salt)


def _with_cookies(answers: list[Taken | Refused], lines: bytes) -> list[Taken | Refused]:
    """The answers, the last event that was taken with what the browser shall keep."""
    if lines:
        for at in range(len(answers) - 1, -1, -1):
            answer = answers[at]
            if not isinstance(answer, Refused):
                answers[at] = answer._replace(cookies=lines)
                break
    return answers


def _new_event(data: Mapping[str, Any], normal: Normalised, body: bytes, hit: Hit, contexts: tuple[Context, ...]) -> NewEvent:
    name = data["name"]
    return NewEvent(hit.source, name, label(name), data["id"], body, hit.received, normal.client_id, normal.digest, contexts)


def narrow(consent: dict[str, Any], purposes: frozenset[str]) -> dict[str, Any]:
    """The consent block with withdrawn purposes denied, and the withdrawal named among its sources."""
    if not purposes:
        return consent
    sources = [*consent.get("sources", ()), {"name": "withdrawal", "explicit": True, "purposes": sorted(purposes)}]
    return {**consent, **dict.fromkeys(purposes, "denied"), "sources": sources}


def hollow(data: Mapping[str, Any], reason: str, salt: bytes) -> dict[str, Any]:
    """What is kept of an event that no destination may have."""
    raw = {"reason": reason, **barred.marked(salt, data["source"], data)}
    return {**{key: data[key] for key in _KEPT if key in data}, "raw": raw}
