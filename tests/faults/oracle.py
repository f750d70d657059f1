"""The oracle: it hands out ids, notes each 200 as an obligation, plays the vendors, and says in the end what is wrong.

    oracle = Oracle()
    async with Vendors(oracle, ["a", "b"]) as vendors, Load(gateway.url, oracle, rate=200):
        with killed(gateway):
            ...
    await oracle.settle(...)          # wait for what is owed
    assert oracle.problems(vendors.lanes) == []

Per destination it tells *missing* (answered with 200, not accepted by the vendor), *spurious* (never issued, or neither
answered 200 nor ever tried), *corrupted* (arrived with another content) and *duplicated* (accepted more than once).
Loss that a person has to find in a log does not count as a test.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

from gateway.event import uuid7
from tests.vendor import Play, Seen, Vendor

GRANTED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")


MOST_OPEN = 256
"""Hits on the way at once: beyond, the load itself would be what is slow."""


def value_of(event_id: str) -> float:
    """The amount that belongs to an id: what arrives with another one was corrupted on the way."""
    return zlib.crc32(event_id.encode()) % 100_000 / 100


@dataclass
class Oracle:
    """See the module.

    `issued` are all ids that were ever sent, `acknowledged` those that were answered with 200; `delays` are the seconds from
    a hit to each vendor.
    """

    issued: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    accepted: dict[str, Counter[str]] = field(default_factory=dict)
    corrupted: dict[str, set[str]] = field(default_factory=dict)
    delays: dict[str, list[float]] = field(default_factory=dict)
    _sent: dict[str, float] = field(default_factory=dict)

    def event(self, padding: int = 0, **changes: Any) -> dict[str, Any]:
        """A new purchase; `padding` bytes make it larger."""
        event_id = uuid7()
        self.issued.add(event_id)
        self._sent[event_id] = time.monotonic()
        props = {"value": value_of(event_id), "currency": "EUR", "transaction_id": f"o-{event_id}"}
        if padding:
            props["note"] = "x" * padding
        return {"name": "purchase", "id": event_id, "consent": GRANTED, "props": props, **changes}

    def saw(self, lane: str, events: Iterable[dict[str, Any]]) -> None:
        """A vendor accepted these."""
        accepted, now = self.accepted.setdefault(lane, Counter()), time.monotonic()
        delays = self.delays.setdefault(lane, [])
        for event in events:
            accepted[event["id"]] += 1
            delays.append(now - self._sent.get(event["id"], now))
            if event.get("props", {}).get("value") != value_of(event["id"]):
                self.corrupted.setdefault(lane, set()).add(event["id"])

    def missing(self, lane: str) -> set[str]:
        """Owed to this destination and not there."""
        return self.acknowledged - self.accepted.get(lane, Counter()).keys()

    def problems(self, lanes: Sequence[str], duplicates: int = 0) -> list[str]:
        """What is wrong, in sentences; up to `duplicates` repeats a destination are forgiven (at least once)."""
        found = []
        for lane in lanes:
            accepted = self.accepted.get(lane, Counter())
            twice = sum(count - 1 for count in accepted.values())
            for word, count in (
                ("missing", len(self.missing(lane))),
                ("spurious", len(accepted.keys() - self.issued)),
                ("corrupted", len(self.corrupted.get(lane, ()))),
                ("duplicated", twice if twice > duplicates else 0),
            ):
                if count:
                    found.append(f"{lane}: {count} {word}")
        return found

    async def settled(self, lanes: Sequence[str], within: float = 60.0) -> None:
        """Wait until nothing is missing, for at most `within` seconds; `problems` then says what still is."""
        deadline = time.monotonic() + within
        while any(self.missing(lane) for lane in lanes) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


class Vendors:
    """One fake vendor per lane behind one port; `mood[lane]` is how it answers now, a Play or a function of the ids."""

    def __init__(self, oracle: Oracle, lanes: Sequence[str]) -> None:
        self.oracle, self.lanes = oracle, list(lanes)
        self.mood: dict[str, Play | Callable[[list[str]], Play]] = {}
        self.requests: Counter[str] = Counter()
        self.server = Vendor()
        self.server.always(self._answer)

    async def __aenter__(self) -> Vendors:
        await self.server.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.server.stop()

    def files(self, batch: int = 50, more: str = "") -> dict[str, str]:
        """A destination file for each lane."""
        return {lane: webhook(self.server.url(f"/{lane}"), batch, more) for lane in self.lanes}

    def _answer(self, seen: Seen) -> Play:
        lane = seen.path.lstrip("/")
        self.requests[lane] += 1
        self.server.seen.clear()
        body = seen.json() if seen.body else []
        events = body if isinstance(body, list) else [body]
        mood = self.mood.get(lane, Play(200))
        play = mood([event["id"] for event in events]) if callable(mood) else mood
        if play.status == 200 and not play.fault:
            self.oracle.saw(lane, events)
        return play


def webhook(url: str, batch: int = 50, more: str = "") -> str:
    """A destination file that posts whole events."""
    return (
        f"type: webhook\nsettings:\n  url: {url}\nbatch:\n  max_events: {batch}\n  wrap: $batch\n"
        f"consent:\n  requires: [analytics_storage]\n{more}"
    )


class Load:
    """An open loop of hits: `rate` a second, each of `batch` events, whatever the gateway does (up to MOST_OPEN unanswered).

    What is not answered with 200 is sent again, with the same ids, until it is (`stubborn`) or given up. `statuses` counts
    every answer, 0 for none; `latencies` are those of the 200s in seconds.
    """

    def __init__(
        self,
        url: str,
        oracle: Oracle,
        rate: float,
        *,
        batch: int = 1,
        padding: int = 0,
        key: str = "wk_test",
        stubborn: bool = True,
    ) -> None:
        self._url, self._oracle, self._rate = f"{url}/v1/events", oracle, rate
        self._batch, self._padding, self._stubborn = batch, padding, stubborn
        self._headers = {"X-Write-Key": key}
        self._running = True
        self._hits: set[asyncio.Task[None]] = set()
        self.statuses: Counter[int] = Counter()
        self.slowest: dict[int, float] = {}
        self.latencies: list[float] = []

    async def __aenter__(self) -> Load:
        connector = aiohttp.TCPConnector(limit=128)
        self._client = aiohttp.ClientSession(headers=self._headers, connector=connector)
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            await self.stop()
        self._pump.cancel()
        for hit in self._hits:
            hit.cancel()
        await asyncio.gather(self._pump, *self._hits, return_exceptions=True)
        await self._client.close()

    async def stop(self) -> None:
        """Begin no more hits, and wait for the answers."""
        self._running = False
        await asyncio.gather(self._pump, *self._hits)

    @property
    def server_errors(self) -> int:
        """How many answers were 5xx."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    async def _run(self) -> None:
        due = time.monotonic()
        while self._running:
            if len(self._hits) >= MOST_OPEN:
                await asyncio.sleep(0.01)
                continue
            task = asyncio.create_task(self._hit())
            self._hits.add(task)
            task.add_done_callback(self._hits.discard)
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _hit(self) -> None:
        events = [self._oracle.event(self._padding) for _ in range(self._batch)]
        while True:
            started = time.monotonic()
            status = await self._post(events)
            self.statuses[status] += 1
            self.slowest[status] = max(self.slowest.get(status, 0.0), time.monotonic() - started)
            if status == 200:
                self._oracle.acknowledged.update(event["id"] for event in events)
                return
            if not self._stubborn:
                return
            await asyncio.sleep(0.1)

    async def _post(self, events: list[dict[str, Any]]) -> int:
        started = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(15)
            async with self._client.post(self._url, json=events, timeout=timeout) as answer:
                taken = answer.status != 200 or (await answer.json())["accepted"] == len(events)
        except (aiohttp.ClientError, TimeoutError):
            return 0
        assert taken, "a 200 took only a part of the hit"
        if answer.status == 200:
            self.latencies.append(time.monotonic() - started)
        return answer.status


def p99(seconds: Iterable[float]) -> float:
    """The 99th percentile; 0.0 of nothing."""
    ordered = sorted(seconds)
    return ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float, what: str) -> float:
    """Wait until something holds; returns the seconds it took. Raises AssertionError after `within`."""
    started = time.monotonic()
    while True:
        found = holds()
        if (await found) if isinstance(found, Awaitable) else found:
            return time.monotonic() - started
        if time.monotonic() - started > within:
            raise AssertionError(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.02)
