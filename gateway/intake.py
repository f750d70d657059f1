"""From decoded events to disk: normalise, enrich, decide consent, append; one transaction a hit (design §1, §3).

An event that no destination may have is stored hollow: id, name, time, source, consent and the reason, nothing of the
person. The same gate runs again before each request, so what is decided here only ever saves bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.clock import Clock
from gateway.config.models import Gateway, SourceConsent
from gateway.consent.decide import decide
from gateway.consent.gate import Need, refuses
from gateway.consent.withdrawal import subjects, withdrawn_purposes
from gateway.enrich import enrich
from gateway.errors import Refused, TooLarge
from gateway.event import label
from gateway.meter import Meter
from gateway.normalise import Normalised, normalise
from gateway.queue.base import NewEvent, Store
from gateway.receive.hit import Hit, RawEvent, Taken

AT_ONCE = 100
"""Events of a hit that are prepared in one go; then others have their turn, as a hit may hold thousands."""
MAX_EVENT_BYTES = 64 * 1024
_KEPT = ("v", "id", "name", "time", "received", "source", "dialect", "consent")
"""All that a hollow event keeps."""


class DurableIntake:
    """The Intake of the running gateway.

    `needs` is what each destination asks of consent, by the name of each source that it reads.
    """

    def __init__(self, config: Gateway, store: Store, needs: Mapping[str, Sequence[Need]], meter: Meter, clock: Clock) -> None:
        self._store = store
        self._meter = meter
        self._clock = clock
        self.reconfigure(config, needs)

    def reconfigure(self, config: Gateway, needs: Mapping[str, Sequence[Need]]) -> None:
        """Use the rules of a new configuration from the next hit on."""
        self._rules: dict[str, SourceConsent] = {name: source.consent for name, source in config.sources.items()}
        self._needs = {name: tuple(needs.get(name, ())) for name in config.sources}

    async def accept(self, hit: Hit, raws: Sequence[RawEvent | Refused]) -> list[Taken | Refused]:
        """Store what can be taken and say of each event what became of it. Raises QueueFull (nothing stored)."""
        now = self._clock.now()
        results = self._prepared(hit, raws[:AT_ONCE], now)
        for at in range(AT_ONCE, len(raws), AT_ONCE):
            await asyncio.sleep(0)
            results += self._prepared(hit, raws[at : at + AT_ONCE], now)
        fresh = [result for result in results if isinstance(result, NewEvent)]
        if not fresh:
            return [result for result in results if isinstance(result, Refused)]
        receipts = await self._store.append(fresh)
        if len(fresh) == len(results):
            return [Taken(event.id, receipt) for event, receipt in zip(fresh, receipts, strict=True)]
        told = iter(receipts)
        return [result if isinstance(result, Refused) else Taken(result.id, next(told)) for result in results]

    def _prepared(self, hit: Hit, raws: Sequence[RawEvent | Refused], now: float) -> list[NewEvent | Refused]:
        """Some events of a hit, ready to be stored."""
        counts: dict[str, int] = {}
        results = [raw if isinstance(raw, Refused) else self._prepare(raw, hit, now, counts) for raw in raws]
        for dialect, count in counts.items():
            self._meter.received(hit.source, dialect, count)
        return results

    def _prepare(self, raw: RawEvent, hit: Hit, now: float, counts: dict[str, int]) -> NewEvent | Refused:
        normal = normalise(raw, hit, now)
        if isinstance(normal, Refused):
            return normal
        for field in normal.dropped:
            self._meter.dropped(hit.source, field)
        counts[raw.dialect] = counts.get(raw.dialect, 0) + 1
        data = self._settle_consent(enrich(normal.data, hit), hit)
        body = orjson.dumps(data)
        if len(body) > MAX_EVENT_BYTES:
            return TooLarge("the event is over 64 KiB")
        return _new_event(data, normal, body, hit)

    def _settle_consent(self, data: dict[str, Any], hit: Hit) -> dict[str, Any]:
        data["consent"] = consent = decide(data, hit, self._rules[hit.source])
        table = self._store.withdrawals
        if table:
            people = subjects(self._store.salt, hit.source, data)
            data["consent"] = consent = narrow(consent, withdrawn_purposes(hit.received, people, table))
        needs = self._needs[hit.source]
        if not needs:
            return data
        reasons = [refuses(consent, need) for need in needs]
        return data if None in reasons else hollow(data, reasons[0] or "")


def _new_event(data: Mapping[str, Any], normal: Normalised, body: bytes, hit: Hit) -> NewEvent:
    name = data["name"]
    return NewEvent(hit.source, name, label(name), data["id"], body, hit.received, normal.client_id, normal.digest)


def narrow(consent: dict[str, Any], purposes: frozenset[str]) -> dict[str, Any]:
    """The consent block with withdrawn purposes denied, and the withdrawal named among its sources."""
    if not purposes:
        return consent
    sources = [*consent.get("sources", ()), {"name": "withdrawal", "explicit": True, "purposes": sorted(purposes)}]
    return {**consent, **dict.fromkeys(purposes, "denied"), "sources": sources}


def hollow(data: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """What is kept of an event that no destination may have."""
    return {**{key: data[key] for key in _KEPT if key in data}, "raw": {"reason": reason}}
