"""What the lane tests are made with: a store in memory, a plan and a transport that do as they are told, and a bench."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from gateway.clock import FrozenClock, iso
from gateway.config.models import BatchLimits, DestinationConfig
from gateway.consent.gate import Need
from gateway.deliver.lane import Lane
from gateway.destination import Batch, Destination, Envelope, Judgement, Part, Reply, Request, Verdict
from gateway.event import Event
from gateway.manifest import Manifest, VendorLimits
from gateway.meter import Meter
from gateway.outcomes import Ending
from gateway.queue.base import Firing, LaneDepth, NewEvent, RetryState, Settlement, Store, Taken, Withdrawal

NOW = 1_795_514_400.0
GRANTED = {"ad_storage": "granted", "ad_user_data": "granted", "analytics_storage": "granted"}


def event(n: int, *, age: float = 1.0, **sections: Any) -> dict[str, Any]:
    """A canonical event as stored, `age` seconds old."""
    at = iso(NOW - age)
    base = {"v": 1, "id": f"e-{n}", "name": "purchase", "time": at, "received": iso(NOW), "source": "shop", "dialect": "json"}
    return {**base, "consent": GRANTED, **sections}


class SteppingClock(FrozenClock):
    """Stands still on both sides until it is moved, and says it is real."""

    frozen = False

    def monotonic(self) -> float:
        return self._ahead


class MemoryStore:
    """A Store that keeps everything in lists, with the same rules of taking and settling as a real one."""

    salt = b"salt"

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.log: list[NewEvent] = []
        self.endings: dict[int, Ending] = {}
        self.retries: dict[int, RetryState] = {}
        self.flying: set[int] = set()
        self.fired: list[Firing] = []
        self.late = 0
        self.failures = 0
        self.withdrawals: dict[bytes, dict[str, tuple[float, float]]] = {}
        self._fresh = 1
        self._ready = asyncio.Event()

    async def append(self, events: Sequence[NewEvent]) -> None:
        self.log += events
        self._ready.set()

    def take(self, lane: str, limit: int) -> list[Taken]:
        now = self.clock.now()
        due = [n for n, state in self.retries.items() if state.due <= now and n not in self.flying]
        due.sort(key=lambda n: self.retries[n].due)
        chosen = due[: (limit + 1) // 2]
        while len(chosen) < limit and self._fresh <= len(self.log):
            if self._fresh not in self.flying and self._fresh not in self.endings and self._fresh not in self.retries:
                chosen.append(self._fresh)
            self._fresh += 1
        chosen += due[(limit + 1) // 2 :][: limit - len(chosen)]
        self.flying.update(chosen)
        return [self._taken(n) for n in chosen]

    def _taken(self, n: int) -> Taken:
        one = self.log[n - 1]
        return Taken(one.source, n, one.label, one.body, one.received, self.retries.get(n))

    async def wait(self, lane: str, timeout: float) -> None:
        self._ready.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._ready.wait()

    def release(self, lane: str, taken: Iterable[Taken]) -> None:
        for one in taken:
            self.flying.discard(one.seq)
            self._fresh = min(self._fresh, one.seq)
            self._ready.set()

    def holds(self, lane: str, taken: Taken) -> bool:
        return taken.seq in self.flying

    async def shift_waits(self, lane: str, seconds: float) -> None:
        now = self.clock.now()
        for n, state in self.retries.items():
            first_at = state.first_at and state.first_at + seconds
            self.retries[n] = replace(state, due=max(now, state.due + seconds), first_at=first_at)

    async def settle(self, lane: str, settlements: Sequence[Settlement], firings: Sequence[Firing] = ()) -> int:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        late = 0
        for one in settlements:
            n = one.taken.seq
            self.flying.discard(n)
            if n in self.endings:
                late += 1
            elif one.ending:
                self.endings[n] = one.ending
                self.retries.pop(n, None)
            else:
                assert one.retry is not None
                self.retries[n] = one.retry
        self.fired += firings
        self.late += late
        self._ready.set()
        return late

    async def withdraw(self, withdrawals: Sequence[Withdrawal]) -> None:
        for one in withdrawals:
            self.withdrawals.setdefault(one.subject, {}).update(dict.fromkeys(one.purposes, (one.at, 0.0)))

    def depth(self, lane: str) -> LaneDepth:
        return LaneDepth(len(self.log) - len(self.endings), len(self.retries), None)

    def outcomes(self) -> Counter[str]:
        """How the events ended, as `delivered`, `skipped{consent}` …"""
        return Counter(str(ending) for ending in self.endings.values())


Rule = Callable[[Request], "Reply | float"]


class ScriptedTransport:
    """Answers from a list, else by a rule; a number instead of a reply is a hang of that many real seconds."""

    def __init__(self) -> None:
        self.script: list[Reply | float] = []
        self.rule: Rule = lambda _request: Reply(200)
        self.requests: list[Request] = []
        self.in_flight = self.most = 0
        self.delay = 0.0
        self.gate: asyncio.Event | None = None

    async def send(self, request: Request) -> Reply:
        self.requests.append(request)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.gate:
                await self.gate.wait()
            answer = self.script.pop(0) if self.script else self.rule(request)
            await asyncio.sleep(answer if isinstance(answer, float) else self.delay)
            return Reply(0, error="timeout", ms=10_000) if isinstance(answer, float) else answer
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        return None

    def ids(self) -> list[list[str]]:
        """The vendor ids of each request."""
        return [[one["id"] for one in orjson.loads(request.body)] for request in self.requests]


@dataclass
class FakePlan:
    """A plan that sends `{"id": …}` objects; `copies` parts an event; the envelope is `envelope(event)`."""

    limits: VendorLimits = field(default_factory=VendorLimits)
    batch: BatchLimits = field(default_factory=BatchLimits)
    copies: int = 1
    looping: bool = False
    left_out: str | None = None
    ending: Ending | None = None
    envelope: Callable[[Event], str] = lambda event: "all"
    sample: int = 0

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_construct(limits=self.limits, batch=self.batch)

    def loops(self, event: Event) -> bool:
        return self.looping

    def filtered(self, event: Event, now: float) -> str | None:
        return self.left_out

    def parts(self, event: Event, now: float) -> list[Part] | Ending:
        if self.ending:
            return self.ending
        key = self.envelope(event)
        envelope = Envelope("POST", "https://vendor.example/v1/events?token=hush-hush", (), "", None, key.encode())
        ids = [event.id if n == 0 else f"{event.id}-{n + 1}" for n in range(self.copies)]
        return [Part(event, n, id_, event.name, {"id": id_}, orjson.dumps({"id": id_}), envelope) for n, id_ in enumerate(ids)]

    def assemble(self, batch: Batch, now: float) -> Request:
        body = b"[" + b",".join(part.body for part in batch.parts) + b"]"
        return Request(batch.envelope.method, batch.envelope.url, dict(batch.envelope.headers), body)

    def read(self, reply: Reply, batch: Batch) -> list[Judgement]:
        """The status table of design §5; a 200 may name refused ids in `bad` and failed ones in `later`."""
        status = reply.status
        if 200 <= status < 300:
            found = reply.json() or {}
            return [self._partial(part, found) for part in batch.parts]
        return [table(reply, len(batch))] * len(batch)

    @staticmethod
    def _partial(part: Part, found: Mapping[str, Any]) -> Judgement:
        if part.id in found.get("bad", ()):
            return Judgement(Verdict.REJECTED, "vendor_code", "bad event")
        return Judgement(Verdict.RETRY, "vendor_code") if part.id in found.get("later", ()) else Judgement(Verdict.DELIVERED)

    def validation(self, batch: Batch, now: float) -> Request | None:
        self.sample -= 1
        return Request("POST", "https://vendor.example/debug", {}, b"[]") if self.sample == 0 else None

    def complaints(self, reply: Reply) -> list[str]:
        return list(reply.json() or [])


def table(reply: Reply, size: int) -> Judgement:
    """Design §5's default table for what is not 2xx."""
    status = reply.status
    if reply.error:
        return Judgement(Verdict.RETRY, reply.error)
    if status == 429:
        return Judgement(Verdict.RETRY, "rate")
    if status in (408, 425) or (status >= 500 and status != 501):
        return Judgement(Verdict.RETRY, "vendor_5xx")
    if status in (401, 403):
        return Judgement(Verdict.PAUSE, "auth", "token expired")
    if status == 413:
        return Judgement(Verdict.SPLIT, "too_large")
    return Judgement(Verdict.REJECTED if size == 1 else Verdict.SPLIT, "vendor_4xx", "refused")


class Recording(Meter):
    """Keeps what a lane reports."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.messages: list[int] = []

    def lane_state(self, destination: str, state: str) -> None:
        self.states.append(state)

    def validation(self, destination: str, messages: int) -> None:
        self.messages.append(messages)


def config(**keys: Any) -> DestinationConfig:
    return DestinationConfig(**{"name": "acme", "type": "acme", "file": "acme.yaml", "sources": ["shop"], **keys})


class Bench:
    """A lane with everything round it.

    `async with` runs it, a second time as a new lane over the same store; `until` waits for a condition, `advance` moves
    time and lets the lane react.
    """

    def __init__(
        self,
        plan: FakePlan | None = None,
        *,
        destination: Callable[[FakePlan], Destination] = Destination,
        need: Need | None = None,
        store: Any = None,
        clock: FrozenClock | None = None,
        **keys: Any,
    ) -> None:
        self.clock = clock or FrozenClock(NOW)
        self.store = store or MemoryStore(self.clock)
        self.transport = ScriptedTransport()
        self.plan = plan or FakePlan()
        self.meter = Recording()
        self.slept: list[float] = []
        self._parts = config(**keys), destination(self.plan), need or Need(requires=("ad_storage",), ads=True)
        self.lane = self._lane()
        self._task: asyncio.Task[None] | None = None

    def _lane(self) -> Lane:
        made, destination, need = self._parts
        return Lane(
            made,
            destination,
            self.plan,
            need,
            cast(Store, self.store),
            self.transport,
            self.meter,
            self.clock,
            rng=random.Random(7),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        """Waiting inside the lane moves the clock instead."""
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    async def put(self, *events: Mapping[str, Any]) -> None:
        await self.store.append(
            [
                NewEvent(str(e["source"]), str(e["name"]), str(e["name"]), str(e["id"]), orjson.dumps(e), self.clock.now())
                for e in events
            ]
        )

    async def __aenter__(self) -> Bench:
        if self._task:
            self.lane = self._lane()
        self._task = asyncio.create_task(self.lane.run())
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.lane.stop(0.0)
        if self._task:
            await self._task
        assert not self.lane._held, "the lane still holds events"

    async def until(self, holds: Callable[[], bool], within: float = 5.0) -> None:
        """Wait until something holds; fails the test when it does not in real time."""
        async with asyncio.timeout(within):
            while not holds():
                await asyncio.sleep(0.001)

    async def done(self, events: int, within: float = 5.0) -> None:
        """Wait until this many events have an outcome."""
        await self.until(lambda: len(self.store.endings) >= events, within)

    async def advance(self, seconds: float) -> None:
        """Let time pass and the lane react."""
        self.clock.advance(seconds)
        self.lane.poke()
        await self.quiet()

    async def quiet(self) -> None:
        """Let the lane come to rest: nothing under way, nothing to settle."""
        for _ in range(4):
            await asyncio.sleep(0.002)
            await self.until(lambda: not self.lane._flying and not self.store.flying)
