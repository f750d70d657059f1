"""Lanes over the real store: every event ends exactly once, whatever the vendor does and however often the lane restarts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import FrozenClock
from gateway.config.models import BatchLimits, Window
from gateway.consent.withdrawal import subjects
from gateway.deliver.parked import ParkedLane
from gateway.destination import Reply, Request
from gateway.meter import Meter
from gateway.queue.base import DeadFilter, RetryState, Settlement, Withdrawal
from gateway.queue.sqlite import SqliteStore
from tests.lane_kit import NOW, Bench, FakePlan, SteppingClock, event


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(
        tmp_path / "queue", clock=clock, retention=Window(), firings=Window(), personal=259200.0, ballast=100_000
    )
    await made.open()
    await made.open_lane("acme", ["shop"])
    yield made
    audit = await made.audit()
    assert audit.balanced, audit.problems
    await made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes look again after milliseconds: time is moved by hand here."""
    monkeypatch.setattr("gateway.deliver.lane.IDLE_SECONDS", 0.005)
    monkeypatch.setattr("gateway.deliver.parked.IDLE_SECONDS", 0.005)


def outcomes(store: SqliteStore) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, lane, _, outcome, reason), count in store.counters().items():
        if lane == "acme" and count:
            found[f"{outcome}{{{reason}}}" if reason else outcome] += count
    return found


def ended(store: SqliteStore) -> int:
    return outcomes(store).total()


def batched(n: int, **keys: Any) -> FakePlan:
    return FakePlan(batch=BatchLimits(max_events=n, max_wait_ms=0), **keys)


async def test_every_event_ends_once_over_restarts_and_a_vendor_of_every_mood(store: SqliteStore, clock: FrozenClock) -> None:
    rng = random.Random(11)
    moods = ["good"] * 6 + ["poison", "flaky", "slow", "hang"]
    fates = {f"e-{n}": rng.choice(moods) for n in range(1200)}
    seen: Counter[str] = Counter()
    taken: set[str] = set()

    def vendor(request: Request) -> Reply | float:
        ids = [one["id"] for one in orjson.loads(request.body)]
        moods_of = {fates[i] for i in ids if fates[i] == "poison" or seen[i] < 2}
        seen.update(ids)
        if "poison" in moods_of:
            return Reply(400, ms=1.0)
        if "hang" in moods_of:
            return 0.001
        if "slow" in moods_of:
            return Reply(429, {"retry-after": "20"}, ms=1.0)
        if "flaky" in moods_of:
            return Reply(503, ms=6000.0)
        taken.update(ids)
        return Reply(200, ms=1.0)

    put = 0
    for _ in range(6):
        bench = Bench(batched(20), store=store, clock=clock)
        bench.transport.rule = vendor
        async with bench:
            await bench.put(*(event(n) for n in range(put, put + 200)))
            put += 200
            for _ in range(3):
                clock.advance(31)
                bench.lane.poke()
                await asyncio.sleep(0.02)
    bench = Bench(batched(20), store=store, clock=clock)
    bench.transport.rule = vendor
    async with bench:
        while ended(store) < 1200:
            clock.advance(301)
            bench.lane.poke()
            await asyncio.sleep(0.01)
    poison = sum(fate == "poison" for fate in fates.values())
    assert outcomes(store) == {"delivered": 1200 - poison, "rejected{vendor_4xx}": poison}
    assert taken == {i for i, fate in fates.items() if fate != "poison"}
    assert len(await store.dead(DeadFilter(lane="acme", limit=1000))) == poison


async def test_parts_wait_on_disk_and_the_outcome_comes_with_the_last(store: SqliteStore, clock: FrozenClock) -> None:
    bench = Bench(batched(1, copies=2), store=store, clock=clock)
    bench.transport.script = [Reply(400, ms=1.0), Reply(503, ms=6000.0)]
    async with bench:
        await bench.put(event(1))
        await bench.until(lambda: store.depth("acme").retrying == 1)
    assert ended(store) == 0
    again = Bench(batched(1, copies=2), store=store, clock=clock)
    async with again:
        clock.advance(5)
        await again.until(lambda: ended(store) == 1)
    assert again.transport.ids() == [["e-1-2"]]
    assert outcomes(store) == {"rejected{vendor_4xx}": 1}


async def test_the_firings_of_an_event_can_be_found(store: SqliteStore, clock: FrozenClock) -> None:
    async with Bench(batched(5), store=store, clock=clock) as bench:
        await bench.put(event(1), event(2))
        await bench.until(lambda: ended(store) == 2)
    (fired,) = await store.firings("acme", "e-2", 10)
    assert (fired.status, fired.request) == (200, "POST https://vendor.example/v1/events (27 bytes)")


async def test_a_withdrawal_holds_for_what_waits_in_hand(store: SqliteStore, clock: FrozenClock) -> None:
    ada = {"user": {"email": "ada@shop.example"}}
    async with Bench(batched(10), store=store, clock=clock, limits={"concurrency": 1}) as bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(event(0))
        await bench.until(lambda: bench.transport.in_flight == 1)
        await bench.put(event(1, **ada), event(2))
        await bench.until(lambda: len(bench.lane._held) == 3)
        people = subjects(store.salt, "shop", ada)
        await store.withdraw([Withdrawal(one, frozenset({"ad_storage"}), clock.now()) for one in people])
        bench.transport.gate.set()
        await bench.until(lambda: ended(store) == 3)
    assert bench.transport.ids() == [["e-0"], ["e-2"]]
    assert outcomes(store) == {"delivered": 2, "withdrawn": 1}


async def test_removing_a_file_parks_the_lane_and_putting_it_back_resumes(store: SqliteStore, clock: FrozenClock) -> None:
    bench = Bench(store=store, clock=clock)
    await bench.put(event(1))
    parked = ParkedLane("acme", store, Meter())
    task = asyncio.create_task(parked.run())
    await bench.until(lambda: ended(store) == 1)
    await parked.stop(1.0)
    await task
    async with bench:
        await bench.put(event(2))
        await bench.until(lambda: ended(store) == 2)
    assert outcomes(store) == {"skipped{disabled}": 1, "delivered": 1}


async def test_a_paused_lane_keeps_its_events_over_a_restart(store: SqliteStore, clock: FrozenClock) -> None:
    async with Bench(batched(10), store=store, clock=clock) as bench:
        bench.transport.rule = lambda _r: Reply(401, ms=1.0)
        for n in range(5):
            await bench.put(*(event(n * 20 + k) for k in range(20)))
            clock.advance(60)
            bench.lane.poke()
            await asyncio.sleep(0.02)
        await bench.until(lambda: bench.lane.state == "paused")
    assert (ended(store), store.depth("acme").queued) == (0, 100)
    async with Bench(batched(10), store=store, clock=clock) as bench:
        clock.advance(400)
        await bench.until(lambda: ended(store) == 100)
    assert outcomes(store) == {"delivered": 100}


async def test_an_event_that_was_erased_in_the_lanes_hands_is_not_sent(store: SqliteStore, clock: FrozenClock) -> None:
    """Two wait behind a request in flight, fresh and from a retry row; their person is erased, then the vendor answers."""
    ada = {"user": {"email": "ada@example.com"}}
    bench = Bench(batched(1), store=store, clock=clock, limits={"concurrency": 1})
    bench.transport.script = [Reply(503)] * 3
    async with bench:
        await bench.put(event(0, **ada))
        await bench.until(lambda: store.depth("acme").retrying == 1)
        bench.transport.gate = asyncio.Event()
        sent = len(bench.transport.requests)
        await bench.put(event(1), event(2, **ada))
        await bench.until(lambda: bench.transport.in_flight == 1)
        clock.advance(4000)
        bench.lane.poke()
        await bench.until(lambda: len(bench.lane._held) == 3)
        assert await store.erase(frozenset(), [("user", "email", "ada@example.com")]) == 2
        bench.transport.gate.set()
        await bench.until(lambda: ended(store) == 3 and not bench.lane._held)
    assert bench.transport.ids()[sent:] == [["e-1"]]
    assert outcomes(store) == {"delivered": 1, "erased": 2}
    assert b"ada@example.com" not in b"".join(f.read_bytes() for f in (store._folder.file.parent).iterdir() if f.is_file())


async def test_a_step_back_of_the_clock_makes_no_retry_wait_longer(tmp_path: Path) -> None:
    """A day back: what was due in ten minutes is still due in ten minutes, and what was due already is sent at once."""
    clock = SteppingClock(NOW)
    store = SqliteStore(tmp_path / "queue", clock=clock, retention=Window(), firings=Window(), personal=1e9, ballast=0)
    await store.open()
    await store.open_lane("acme", ["shop"])
    bench = Bench(store=store, clock=clock)
    await bench.put(event(1), event(2))
    one, two = store.take("acme", 2)
    waiting = [RetryState(NOW + 600, 1, NOW - 100), RetryState(NOW - 1, 1, NOW - 100)]
    await store.settle("acme", [Settlement(t, "e", retry=w) for t, w in zip((one, two), waiting, strict=True)])
    bench.transport.gate = asyncio.Event()
    async with bench:
        await bench.until(lambda: bench.transport.in_flight == 1)
        clock.step_wall(-86400)
        bench.transport.gate.set()
        await bench.until(lambda: ended(store) == 1)
        [(due, first_at)] = store._core.reader.execute("select due, first_at from retry").fetchall()
        while due > NOW:
            await asyncio.sleep(0.01)
            [(due, first_at)] = store._core.reader.execute("select due, first_at from retry").fetchall()
        assert (due, first_at) == (NOW - 86400 + 600, NOW - 86400 - 100)
        clock.advance(590)
        await asyncio.sleep(0.05)
        assert ended(store) == 1
        clock.advance(20)
        await bench.until(lambda: ended(store) == 2)
    await store.close()


async def test_what_a_lane_queued_of_a_source_it_no_longer_reads_is_disabled(store: SqliteStore, clock: FrozenClock) -> None:
    await store.open_lane("acme", ["shop", "blog"])
    bench = Bench(store=store, clock=clock)
    await bench.put(event(1), event(2, source="blog"))
    await store.open_lane("acme", ["shop", "blog"])
    async with bench:
        await bench.put(event(3, source="blog"))
        await bench.until(lambda: ended(store) == 3)
    assert bench.transport.ids() == [["e-1"]]
    assert outcomes(store) == {"delivered": 1, "skipped{disabled}": 2}
