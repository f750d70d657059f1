"""From decoded events to disk: normalise, enrich, decide consent, append; one transaction a hit (design §1, §3).

An event that no destination may have is stored hollow: id, name, time, source, consent and the reason, nothing of the
person; of an order's number a keyed hash (gateway/queue/barred.py). What a browser keeps for us (gateway/enrich/visitor.py)
is read and set by the consent of its events. An event of a shop's webhook first takes over what the browser of its checkout
left (gateway/checkout.py), which it does only at a source that takes such webhooks. The same gate runs again before each
request, so what is decided here only ever saves bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway import checkout
from gateway.clock import Clock
from gateway.config.models import Gateway
from gateway.consent.decide import Decider
from gateway.consent.gate import Need, refuses
from gateway.consent.signals import Signal
from gateway.consent.withdrawal import subjects, withdrawn_purposes
from gateway.enrich import complete
from gateway.enrich.lookups import NOTHING, Lookups
from gateway.enrich.pace import Pace
from gateway.enrich.visitor import Visitor, Visitors
from gateway.errors import Refused, TooLarge
from gateway.event import hand_over, label
from gateway.meter import Meter
from gateway.normalise import Normalised, normalise
from gateway.queue import barred
from gateway.queue.base import CONTEXT_AGE, NewEvent, Store
from gateway.receive.hit import Hit, RawEvent, Taken
from gateway.receive.shop import DIALECTS as SHOPS

AT_ONCE = 100
"""Events of a hit that are prepared in one go; then others have their turn, as a hit may hold thousands."""
MAX_EVENT_BYTES = 64 * 1024
_KEPT = ("v", "id", "name", "time", "received", "source", "dialect", "consent")
"""All that a hollow event keeps."""


@dataclass(slots=True)
class _Told:
    """Of an event of a checkout: what the shops know it by, and the consent that was carried to it."""

    named: Sequence[checkout.Key] = ()
    signals: Sequence[Signal] = ()


_NOTHING_TOLD = _Told()


class DurableIntake:
    """The Intake of the running gateway.

    `needs` is what each destination asks of consent, by the name of each source that it reads; `known` what files say of
    addresses (gateway/enrich/lookups.py). With `lanes` the lanes that read what is stored run in this process.
    """

    def __init__(
        self,
        config: Gateway,
        store: Store,
        needs: Mapping[str, Sequence[Need]],
        meter: Meter,
        clock: Clock,
        known: Lookups = NOTHING,
        *,
        lanes: bool = True,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._meter = meter
        self._clock = clock
        self._pace = Pace()
        self.reconfigure(config, needs, known)

    def reconfigure(self, config: Gateway, needs: Mapping[str, Sequence[Need]], known: Lookups = NOTHING) -> None:
        """Use the rules of a new configuration from the next hit on."""
        self._known = known
        self._deciders = {name: Decider(source.consent) for name, source in config.sources.items()}
        self._shops = {name for name, source in config.sources.items() if source.hooks.any}
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
        del raws
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
        """Some events of a hit, ready to be stored; stage by stage, since what just ran costs two thirds the next time."""
        normals = [raw if isinstance(raw, Refused) else normalise(raw, hit, now) for raw in raws]
        fit = [one for one in normals if not isinstance(one, Refused)]
        if not fit:
            return [one for one in normals if isinstance(one, Refused)]
        told = self._looked_at(fit, hit)
        suspicions = self._pace.suspicions(hit)
        for one in fit:
            complete(one.data, hit, suspicions, self._known)
        for one, of_checkout in zip(fit, told, strict=True):
            one.data = self._settle_consent(one.data, hit, visitor, of_checkout.signals)
        finished = [self._finished(one, hit, of_checkout.named) for one, of_checkout in zip(fit, told, strict=True)]
        if len(fit) == len(normals):
            return finished
        rest = iter(finished)
        return [one if isinstance(one, Refused) else next(rest) for one in normals]

    def _looked_at(self, fit: Sequence[Normalised], hit: Hit) -> list[_Told]:
        """Count the events of a hit and what they lost; returns what is told of each by its checkout."""
        counts: dict[str, int] = {}
        told = []
        for one in fit:
            if one.dropped:
                for field in one.dropped:
                    self._meter.dropped(hit.source, field)
            dialect = one.data["dialect"]
            counts[dialect] = counts.get(dialect, 0) + 1
            told.append(self._told(one, hit))
        for dialect, count in counts.items():
            self._meter.received(hit.source, dialect, count)
        return told

    def _told(self, normal: Normalised, hit: Hit) -> _Told:
        """Take the tokens out of an event; a shop's also gets what the browser of its checkout said."""
        data = normal.data
        shop = data["dialect"] in SHOPS
        if not shop and not (hit.browser and hit.source in self._shops):
            normal.data = checkout.without_tokens(data)
            return _NOTHING_TOLD
        salt = self._store.salt
        named = checkout.keys(salt, hit.source, data)
        normal.data = data = checkout.without_tokens(data)
        if not named:
            return _NOTHING_TOLD
        if not shop:
            return _Told(named)
        found = self._store.contexts([key.digest for key in named], hit.received - CONTEXT_AGE)
        carried = checkout.choose(salt, named, found, data)
        if not carried:
            return _NOTHING_TOLD
        normal.data = checkout.fill(data, carried, hit.received)
        return _Told(signals=checkout.signals(carried))

    def _settle_consent(
        self, data: dict[str, Any], hit: Hit, visitor: Visitor | None, signals: Sequence[Signal]
    ) -> dict[str, Any]:
        data["consent"] = consent = self._deciders[hit.source](data, hit, signals)
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

    def _finished(self, normal: Normalised, hit: Hit, named: Sequence[checkout.Key]) -> NewEvent | Refused:
        data = normal.data
        body = bytes(memoryview(orjson.dumps(data)))  # a copy: what orjson makes keeps its buffer of several KiB
        if len(body) > MAX_EVENT_BYTES:
            return TooLarge("the event is over 64 KiB")
        if self._lanes and self._needs[hit.source]:
            hand_over(body, data)
        contexts = checkout.contexts(self._store.salt, named, data) if named else ()
        name = data["name"]
        return NewEvent(
            hit.source, name, label(name), data["id"], body, hit.received, normal.client_id, normal.digest, contexts
        )


def _with_cookies(answers: list[Taken | Refused], lines: bytes) -> list[Taken | Refused]:
    """The answers, the last event that was taken with what the browser shall keep."""
    if lines:
        for at in range(len(answers) - 1, -1, -1):
            answer = answers[at]
            if not isinstance(answer, Refused):
                answers[at] = answer._replace(cookies=lines)
                break
    return answers


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
