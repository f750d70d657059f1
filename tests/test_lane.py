"""A lane as a whole: what it skips, sends, tries again, splits and gives up, and how it stops and comes back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from typing import Any

import orjson
import pytest

from gateway.config.models import BatchLimits
from gateway.consent.gate import Need
from gateway.consent.withdrawal import subjects
from gateway.deliver.gate import position
from gateway.deliver.parked import ParkedLane
from gateway.destination import Batch, Destination, Judgement, Reply, Request
from gateway.event import Event
from gateway.manifest import VendorLimits
from gateway.meter import Meter
from gateway.outcomes import Ending, Outcome
from gateway.queue.base import RetryState, Withdrawal
from tests.lane_kit import GRANTED, NOW, Bench, FakePlan, MemoryStore, SteppingClock, event

DAY = 86400.0


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    return Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, orjson.dumps(body) if body else b"", ms=5.0)


def batched(n: int, wait_ms: int = 0, **keys: Any) -> FakePlan:
    return FakePlan(batch=BatchLimits(max_events=n, max_wait_ms=wait_ms), **keys)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes look again after milliseconds: time is moved by hand here."""
    monkeypatch.setattr("gateway.deliver.lane.IDLE_SECONDS", 0.005)


# --- the order of skips

BAD: dict[str, Any] = {"bot": {"score": 99}, "consent": {"ad_storage": "denied"}}
STEPS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("skipped{bot}", {}, {}, {}),
    ("skipped{loop}", {"bot": {"score": 1}}, {}, {}),
    ("skipped{consent}", {}, {"looping": False}, {}),
    ("skipped{filter}", {"consent": GRANTED}, {}, {}),
    ("skipped{share}", {}, {"left_out": None}, {}),
    ("skipped{mode}", {}, {}, {"share": 100}),
    ("expired{age}", {}, {}, {"mode": "live"}),
    ("skipped{unmapped}", {}, {"limits": VendorLimits()}, {}),
    ("delivered", {}, {"ending": None}, {}),
]


@pytest.mark.parametrize("step", range(len(STEPS)), ids=[expected for expected, *_ in STEPS])
async def test_skips_are_decided_in_their_order(step: int) -> None:
    """An event with every fault at once ends by the first one; each step mends one more."""
    sections = dict(BAD)
    plan = FakePlan(
        looping=True,
        left_out="`when` does not hold",
        ending=Ending(Outcome.SKIPPED, "unmapped"),
        limits=VendorLimits(max_age=7 * DAY),
    )
    keys: dict[str, Any] = {"share": 0, "mode": "off"}
    for _expected, mend_event, mend_plan, mend_config in STEPS[: step + 1]:
        sections |= mend_event
        keys |= mend_config
        for name, value in mend_plan.items():
            setattr(plan, name, value)
    async with Bench(plan, **keys) as bench:
        await bench.put(event(1, age=8 * DAY, **sections))
        await bench.done(1)
    assert bench.store.outcomes() == {STEPS[step][0]: 1}
    assert len(bench.transport.requests) == (STEPS[step][0] == "delivered")


async def test_a_consent_skip_names_the_deciding_signal() -> None:
    async with Bench() as bench:
        await bench.put(event(1, consent={"ad_storage": "denied"}))
        await bench.done(1)
    assert bench.store.endings[1].detail == "ad_storage is denied (event)"


async def test_a_share_takes_the_same_visitors_always() -> None:
    visitors = [Event(event(n, user={"anonymous_id": f"v-{n % 500}"})) for n in range(2000)]
    taken = {one.get("user", "anonymous_id") for one in visitors if position(one) < 0.25 * 2**64}
    left = {one.get("user", "anonymous_id") for one in visitors if position(one) >= 0.25 * 2**64}
    assert not taken & left
    assert 90 < len(taken) < 160


async def test_a_dry_run_renders_and_sends_nothing() -> None:
    async with Bench(mode="dry_run") as bench:
        await bench.put(event(1))
        await bench.done(1)
    assert bench.store.outcomes() == {"skipped{mode}": 1}
    assert bench.transport.requests == []
    (fired,) = bench.store.fired
    assert (fired.status, fired.answer) == (0, "dry run: nothing was sent")
    assert fired.request == "POST https://vendor.example/v1/events (14 bytes)"


async def test_a_lane_that_is_off_settles_without_sending() -> None:
    async with Bench(mode="off") as bench:
        await bench.put(*(event(n) for n in range(10)))
        await bench.done(10)
        assert bench.lane.state == "off"
    assert bench.store.outcomes() == {"skipped{mode}": 10}
    assert bench.meter.states == ["off"]


async def test_a_parked_lane_lets_events_pass() -> None:
    bench = Bench()
    await bench.put(*(event(n) for n in range(5)))
    bench.store.retries[3] = RetryState(NOW - 1, tries=2, worst=Ending(Outcome.REJECTED, "auth"))
    lane = ParkedLane("acme", bench.store, bench.meter)
    task = asyncio.create_task(lane.run())
    await bench.done(5)
    await lane.stop(1.0)
    await task
    assert bench.store.outcomes() == {"skipped{disabled}": 4, "rejected{auth}": 1}
    assert (lane.state, bench.meter.states, lane.status().totals) == ("parked", ["parked"], {"skipped": 5})


# --- sending


async def test_events_of_one_envelope_share_a_request_and_others_never() -> None:
    plan = FakePlan(batch=BatchLimits(max_events=10, max_wait_ms=20), envelope=lambda e: e.data["user"]["id"])
    async with Bench(plan) as bench:
        await bench.put(*(event(n, user={"id": f"u-{n % 3}"}) for n in range(9)))
        await bench.done(9)
    assert sorted(bench.transport.ids()) == [[f"e-{n + 3 * k}" for k in range(3)] for n in range(3)]


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"max_events": 4}, [4, 4, 2]),
        ({"max_events": 100, "max_bytes": 40}, [3, 3, 3, 1]),
        ({"max_events": 100}, [10]),
        ({}, [1] * 10),
    ],
)
async def test_batches_keep_the_vendors_limits(limits: dict[str, int], sizes: list[int]) -> None:
    async with Bench(FakePlan(batch=BatchLimits(**limits))) as bench:
        await bench.put(*(event(n) for n in range(10)))
        await bench.done(10)
    assert sorted(map(len, bench.transport.ids()), reverse=True) == sizes


async def test_a_batch_waits_for_more_and_no_longer_than_it_may() -> None:
    async with Bench(FakePlan(batch=BatchLimits(max_events=10, max_wait_ms=60_000))) as bench:
        await bench.put(event(1))
        await asyncio.sleep(0.02)
        await bench.put(event(2))
        await bench.until(lambda: len(bench.lane._held) == 2)
        assert bench.transport.requests == []
        await bench.advance(60)
        await bench.done(2)
    assert bench.transport.ids() == [["e-1", "e-2"]]


async def test_a_request_is_recorded_once_without_query_secret_or_body() -> None:
    async with Bench(batched(2), settings={"token": _secret("s3cret-token")}) as bench:
        bench.transport.rule = lambda _r: Reply(200, body=b'{"echo": "s3cret-token", "x": "' + b"y" * 5000 + b'"}', ms=3.21)
        await bench.put(event(1), event(2))
        await bench.done(2)
    (fired,) = bench.store.fired
    assert fired.request == "POST https://vendor.example/v1/events (27 bytes)"
    assert (fired.lane, fired.status, fired.ms, fired.error) == ("acme", 200, 3.2, "")
    assert fired.answer.startswith('{"echo": "***"')
    assert len(fired.answer.encode()) <= 2048
    assert fired.events == (("shop", 1, "e-1"), ("shop", 2, "e-2"))


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


async def test_a_vendor_that_never_answers_holds_a_bounded_number_of_events() -> None:
    async with Bench(limits={"concurrency": 2}) as bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(*(event(n) for n in range(3000)))
        await asyncio.sleep(0.05)
        assert len(bench.lane._held) == bench.lane.bounds.held == 64
        bench.transport.gate.set()
        await bench.done(3000)


# --- verdicts


async def test_each_part_of_an_answer_is_judged_by_itself() -> None:
    async with Bench(batched(4)) as bench:
        bench.transport.script = [reply(200, {"bad": ["e-2"], "later": ["e-3"]})]
        await bench.put(*(event(n) for n in range(1, 5)))
        await bench.done(3)
        assert bench.store.retries[3].tries == 1
        await bench.advance(10)
        await bench.done(4)
    assert bench.store.outcomes() == {"delivered": 3, "rejected{vendor_code}": 1}
    assert bench.transport.ids()[1] == ["e-3"]


async def test_random_answers_end_as_the_oracle_says() -> None:
    rng = random.Random(42)
    fates = {f"e-{n}": rng.choices(["good", "bad", "later"], [6, 1, 3])[0] for n in range(2000)}
    seen: Counter[str] = Counter()

    def judge(request: Request) -> Reply:
        ids = [one["id"] for one in orjson.loads(request.body)]
        seen.update(ids)
        bad = [i for i in ids if fates[i] == "bad"]
        return reply(200, {"bad": bad, "later": [i for i in ids if fates[i] == "later" and seen[i] < 2]})

    async with Bench(batched(25)) as bench:
        bench.transport.rule = judge
        await bench.put(*(event(n) for n in range(2000)))
        while len(bench.store.endings) < 2000:
            await bench.advance(5)
    assert bench.store.outcomes() == {
        "delivered": sum(fate != "bad" for fate in fates.values()),
        "rejected{vendor_code}": sum(fate == "bad" for fate in fates.values()),
    }
    assert all(count == (2 if fates[i] == "later" else 1) for i, count in seen.items())


@pytest.mark.parametrize("status", [400, 413])
async def test_one_bad_event_in_a_thousand_costs_at_most_22_requests(status: int) -> None:
    for bad in ("e-0", "e-499", "e-500", "e-777", "e-999"):
        async with Bench(batched(1000, 60_000)) as bench:
            bench.transport.rule = lambda r, bad=bad: reply(status if f'"{bad}"'.encode() in r.body else 200)  # type: ignore[misc]
            await bench.put(*(event(n) for n in range(1000)))
            await bench.done(1000)
        reason = "vendor_4xx" if status == 400 else "too_large"
        assert bench.store.outcomes() == {"delivered": 999, f"rejected{{{reason}}}": 1}
        assert len(bench.transport.requests) <= 22


async def test_a_split_that_spent_its_requests_leaves_the_rest_to_go_alone_at_once() -> None:
    async with Bench(batched(64, 60_000)) as bench:
        bench.transport.rule = lambda r: reply(200 if r.body.count(b"id") == 1 else 400)
        bench.transport.gate = asyncio.Event()
        await bench.put(*(event(n) for n in range(64)))
        bench.transport.gate.set()
        await bench.until(lambda: bool(bench.store.retries) or len(bench.store.endings) == 64)
        assert len(bench.transport.requests) >= 14
        assert all(state.alone and state.tries == 0 for state in bench.store.retries.values())
        await bench.done(64)
    assert bench.store.outcomes() == {"delivered": 64}


async def test_a_thousand_poison_events_in_a_row_are_all_rejected_and_the_lane_goes_on() -> None:
    async with Bench(batched(100)) as bench:
        bench.transport.rule = lambda r: reply(400 if b'"p-' in r.body else 200)
        await bench.put(*({**event(n), "id": f"p-{n}"} for n in range(1000)), event(1))
        await bench.done(1001)
    assert bench.store.outcomes() == {"delivered": 1, "rejected{vendor_4xx}": 1000}


class Buggy(Destination):
    """An adapter that raises for events whose id starts with p-, in the one method or the other."""

    where = "request"

    def request(self, batch: Batch, now: float) -> Request:
        if self.where == "request" and any(part.id.startswith("p-") for part in batch.parts):
            raise KeyError("price")
        return super().request(batch, now)

    def verdicts(self, reply: Reply, batch: Batch) -> list[Judgement]:
        if self.where == "verdicts" and any(part.id.startswith("p-") for part in batch.parts):
            raise IndexError("list index out of range")
        if self.where == "count":
            return []
        return list(super().verdicts(reply, batch))


@pytest.mark.parametrize("where", ["request", "verdicts"])
async def test_an_adapter_that_raises_spoils_its_event_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buggy, "where", where)
    async with Bench(batched(10), destination=Buggy) as bench:
        await bench.put(*({**event(n), "id": f"{'p' if n == 4 else 'e'}-{n}"} for n in range(10)))
        await bench.done(10)
    assert bench.store.outcomes() == {"delivered": 9, "rejected{mapping}": 1}
    assert bench.store.endings[5].outcome is Outcome.REJECTED


async def test_an_adapter_that_judges_too_few_spoils_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Buggy, "where", "count")
    async with Bench(destination=Buggy) as bench:
        await bench.put(event(1))
        await bench.done(1)
    assert bench.store.outcomes() == {"rejected{mapping}": 1}


async def test_a_request_that_cannot_be_sent_is_rejected() -> None:
    def refuse(_request: Request) -> Reply:
        raise ValueError("a header holds characters other than visible ASCII")

    async with Bench(batched(3)) as bench:
        bench.transport.rule = refuse
        await bench.put(event(1), event(2))
        await bench.done(2)
    assert bench.store.outcomes() == {"rejected{mapping}": 2}


async def test_a_stored_event_that_cannot_be_read_is_rejected() -> None:
    async with Bench() as bench:
        await bench.put({**event(1), "v": 99}, event(2))
        await bench.done(2)
    assert bench.store.outcomes() == {"rejected{mapping}": 1, "delivered": 1}


# --- retries


async def test_a_failure_that_passes_in_seconds_needs_no_row() -> None:
    async with Bench() as bench:
        bench.transport.script = [reply(503), Reply(0, error="connect", ms=3)]
        await bench.put(event(1))
        await bench.done(1)
    assert len(bench.transport.requests) == 3
    assert sum(bench.slept) <= 5.5


async def test_a_slow_failure_is_not_tried_again_at_once() -> None:
    async with Bench() as bench:
        bench.transport.script = [Reply(0, error="timeout", ms=10_000)]
        await bench.put(event(1))
        await bench.until(lambda: 1 in bench.store.retries)
        assert len(bench.transport.requests) == 1
        assert bench.store.retries[1].tries == 1
        assert bench.store.retries[1].why == Ending(Outcome.REJECTED, "timeout")


async def test_what_still_fails_becomes_a_row_and_is_delivered_later() -> None:
    async with Bench() as bench:
        bench.transport.script = [reply(503)] * 3
        await bench.put(event(1))
        await bench.until(lambda: 1 in bench.store.retries)
        state = bench.store.retries[1]
        assert (state.tries, state.parts) == (3, (0,))
        assert bench.clock.now() <= state.due <= bench.clock.now() + 8
        assert state.first_at == bench.clock.now()
        await bench.advance(8)
        await bench.done(1)
    assert bench.store.outcomes() == {"delivered": 1}


@pytest.mark.parametrize(("status", "asked", "waits"), [(429, "600", 600), (503, "7200", 3600), (503, "120", 120)])
async def test_retry_after_is_obeyed(status: int, asked: str, waits: float) -> None:
    async with Bench() as bench:
        bench.transport.script = [reply(status, retry_after=asked)] * 3
        await bench.put(event(1))
        await bench.until(lambda: 1 in bench.store.retries)
        due = bench.store.retries[1].due - bench.clock.now()
        assert waits <= due <= min(3600, 1.1 * waits + 0.5)


async def test_an_event_is_dead_after_ten_tries_and_three_days_and_not_before() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0) if len(bench.transport.requests) % 2 else reply(200)
        keys = [event(1)]
        await bench.put(*keys)
        bench.store.retries[1] = RetryState(NOW, tries=8, first_at=NOW - 80 * 3600)
        await bench.until(lambda: bench.store.retries.get(1, RetryState(0)).tries == 9)
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0)
        await bench.advance(600)
        await bench.done(1)
    assert bench.store.outcomes() == {"dead{vendor_5xx}": 1}


async def test_ten_tries_within_three_days_are_not_dead() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0)
        await bench.put(event(1))
        bench.store.retries[1] = RetryState(NOW, tries=40, first_at=NOW - 71 * 3600)
        await bench.until(lambda: bench.store.retries[1].tries == 41)
    assert bench.store.endings == {}


async def test_time_in_which_the_lane_could_not_try_does_not_count() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0)
        await bench.put(event(1))
        bench.store.retries[1] = RetryState(NOW - 50 * 3600, tries=40, first_at=NOW - 90 * 3600)
        await bench.until(lambda: bench.store.retries[1].tries == 41)
    assert bench.store.retries[1].first_at == NOW - 40 * 3600


async def test_no_request_ever_holds_an_event_over_age() -> None:
    limit = 7 * DAY
    ages: list[float] = []
    plan = FakePlan(batch=BatchLimits(max_events=50), limits=VendorLimits(max_age=limit))

    async with Bench(plan) as bench:
        times = {f"e-{n}": 1.0 + n * 3600 for n in range(192)}

        def note(request: Request) -> Reply:
            ages.extend(bench.clock.now() - NOW + times[one["id"]] for one in orjson.loads(request.body))
            return reply(500, retry_after="3000") if len(bench.transport.requests) % 3 else reply(200)

        bench.transport.rule = note
        await bench.put(*(event(n, age=times[f"e-{n}"]) for n in range(192)))
        while len(bench.store.endings) < 192:
            await bench.advance(3000)
    assert ages
    assert max(ages) < limit
    assert bench.store.outcomes()["expired{age}"] >= 24


async def test_max_age_off_lifts_the_vendors_limit() -> None:
    async with Bench(FakePlan(limits=VendorLimits(max_age=DAY)), limits={"max_age": "off"}) as bench:
        await bench.put(event(1, age=400 * DAY))
        await bench.done(1)
    assert bench.store.outcomes() == {"delivered": 1}


# --- parts


async def test_an_event_of_two_parts_is_settled_once_with_the_worst() -> None:
    async with Bench(batched(1, copies=2)) as bench:
        bench.transport.script = [reply(200), reply(400)]
        await bench.put(event(1))
        await bench.done(1)
    assert bench.transport.ids() == [["e-1"], ["e-1-2"]]
    assert bench.store.outcomes() == {"rejected{vendor_4xx}": 1}


async def test_a_part_that_waits_keeps_the_worst_of_its_siblings() -> None:
    async with Bench(batched(1, copies=3)) as bench:
        bench.transport.script = [reply(400), Reply(500, ms=6000.0), reply(200)]
        await bench.put(event(1))
        await bench.until(lambda: 1 in bench.store.retries)
        state = bench.store.retries[1]
        assert (state.parts, state.worst and str(state.worst)) == ((1,), "rejected{vendor_4xx}")
        await bench.advance(10)
        await bench.done(1)
    assert bench.transport.ids() == [["e-1"], ["e-1-2"], ["e-1-3"], ["e-1-2"]]
    assert bench.store.outcomes() == {"rejected{vendor_4xx}": 1}


async def test_a_part_that_the_mapping_no_longer_has_does_not_wait_for_ever() -> None:
    async with Bench(batched(1)) as bench:
        await bench.put(event(1))
        bench.store.retries[1] = RetryState(NOW, tries=1, parts=(4,), worst=Ending(Outcome.DELIVERED))
        await bench.done(1)
    assert bench.store.outcomes() == {"skipped{unmapped}": 1}


# --- refusals


async def test_a_dead_token_pauses_the_lane_and_keeps_every_event() -> None:
    """An hour of 401 at 50 a second: at most 15 requests, everything kept, all delivered after the reload."""
    async with Bench(batched(100)) as bench:
        bench.transport.rule = lambda _r: reply(401)
        for minute in range(60):
            await bench.put(*(event(minute * 100 + n) for n in range(100)))
            await bench.advance(60)
        assert bench.lane.state == "paused"
        assert "token expired" in bench.lane.status().reason
        assert len(bench.transport.requests) <= 15
        assert bench.store.endings == {}
        bench.transport.rule = lambda _r: reply(200)
        bench.lane.probe_now()
        await bench.until(lambda: bench.lane.state == "running")
        await bench.advance(3600)
        await bench.done(6000)
    assert bench.store.outcomes() == {"delivered": 6000}
    assert bench.meter.states == ["running", "paused", "running"]


async def test_a_pause_ends_with_the_first_probe_that_succeeds() -> None:
    async with Bench() as bench:
        bench.transport.script = [reply(403), reply(403), reply(403)]
        await bench.put(event(1), event(2))
        await bench.until(lambda: bench.lane.state == "paused")
        await bench.advance(299)
        assert len(bench.transport.requests) == 2
        await bench.advance(2)
        assert (len(bench.transport.requests), bench.lane.state) == (3, "paused")
        await bench.advance(301)
        assert bench.lane.state == "running"
        await bench.advance(300)
        await bench.done(2)
    assert bench.store.outcomes() == {"delivered": 2}


async def test_an_event_refused_alone_while_others_pass_is_rejected() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda r: reply(403 if b'"e-1"' in r.body else 200)
        await bench.put(event(1), *(event(n) for n in range(2, 20)))
        await bench.done(18)
        await bench.advance(10)
        await bench.done(19)
        assert bench.lane.state == "running"
    assert bench.store.outcomes() == {"delivered": 18, "rejected{auth}": 1}
    assert bench.store.endings[1].reason == "auth"


async def test_a_refused_batch_is_split_when_others_pass() -> None:
    async with Bench(batched(8)) as bench:
        bench.transport.rule = lambda r: reply(403 if b'"e-1"' in r.body else 200)
        await bench.put(*(event(n) for n in range(16)))
        await bench.done(8)
        await bench.advance(10)
        await bench.done(16)
    assert bench.store.outcomes() == {"delivered": 15, "rejected{auth}": 1}


# --- the breaker


async def test_an_outage_costs_few_requests_each_with_another_event() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(0, error="connect", ms=1.0)
        await bench.put(*(event(n) for n in range(500)))
        await bench.until(lambda: bench.lane.state == "open")
        await bench.quiet()
        before = len(bench.transport.requests)
        for _ in range(120):
            await bench.advance(5)
        probes = [ids[0] for ids in bench.transport.ids()[before:]]
        assert 15 <= len(probes) <= 25
        assert len(set(probes)) == len(probes)
        assert bench.store.endings == {}
        bench.transport.rule = lambda _r: reply(200)
        await bench.advance(31)
        assert bench.lane.state == "running"
        await bench.advance(3600)
        await bench.done(500)
    assert bench.store.outcomes() == {"delivered": 500}
    assert bench.meter.states == ["running", "open", "running"]


async def test_after_an_outage_requests_begin_one_by_one() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: reply(200)
        await bench.put(*(event(n) for n in range(200)))
        await bench.done(200)
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0)
        await bench.put(*(event(n) for n in range(200, 260)))
        await bench.until(lambda: bench.lane.state == "open")
        await bench.quiet()
        begun: list[int] = []

        def count(_request: Request) -> Reply:
            begun.append(bench.transport.in_flight)
            return reply(200)

        bench.transport.rule, bench.transport.delay = count, 0.002
        await bench.put(*(event(n) for n in range(300, 340)))
        await bench.advance(31)
        await bench.advance(3600)
        await bench.done(300)
    assert begun[:2] == [1, 1]
    assert max(begun[:8]) <= 4
    assert max(begun) <= 8


@pytest.mark.slow
async def test_a_hundred_thousand_due_at_once_are_at_most_ten_in_flight() -> None:
    async with Bench(batched(50)) as bench:
        bench.transport.delay = 0.001
        bench.store._fresh = 10**9
        await bench.put(*(event(n) for n in range(100_000)))
        bench.store.retries = {n: RetryState(NOW - 1, tries=1, first_at=NOW - 9) for n in range(1, 100_001)}
        bench.store._fresh = 10**9
        await bench.done(100_000, within=100)
    assert bench.transport.most <= 10


async def test_the_configured_rate_is_kept() -> None:
    async with Bench(limits={"rps": 20}) as bench:
        await bench.put(*(event(n) for n in range(100)))
        begun: list[tuple[float, int]] = []
        started = bench.clock.monotonic()
        while len(bench.transport.requests) < 100:
            bench.clock.advance(0.02)
            bench.lane.poke()
            await asyncio.sleep(0.001)
            begun.append((bench.clock.monotonic() - started, len(bench.transport.requests)))
    assert 4.5 <= begun[-1][0] <= 5.5
    assert all(count <= 20 * seconds + 3 for seconds, count in begun)


async def test_429_halves_what_is_in_flight() -> None:
    async with Bench() as bench:
        await bench.put(*(event(n) for n in range(60)))
        await bench.done(60)
        assert bench.lane.status().concurrency == 8
        bench.transport.script = [reply(429, retry_after="1")]
        await bench.put(event(60))
        await bench.until(lambda: 61 in bench.store.retries)
        assert bench.lane.status().concurrency == 4
        assert bench.store.retries[61].why == Ending(Outcome.REJECTED, "rate")


# --- consent taken back


async def _withdraw(bench: Bench, data: dict[str, Any]) -> None:
    people = subjects(MemoryStore.salt, "shop", data)
    await bench.store.withdraw([Withdrawal(one, frozenset({"ad_storage"}), bench.clock.now()) for one in people])


async def test_no_request_begins_after_consent_was_withdrawn() -> None:
    """The events are already mapped and batched, and wait behind a request that is under way."""
    ada = {"user": {"email": "ada@shop.example"}}
    async with Bench(batched(10), limits={"concurrency": 1}) as bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(event(0))
        await bench.until(lambda: bench.transport.in_flight == 1)
        await bench.put(event(1, **ada), event(2), event(3, **ada))
        await bench.until(lambda: len(bench.lane._held) == 4)
        await _withdraw(bench, ada)
        bench.transport.gate.set()
        await bench.done(4)
    assert bench.transport.ids() == [["e-0"], ["e-2"]]
    assert bench.store.outcomes() == {"delivered": 2, "withdrawn": 2}


async def test_a_quick_second_try_asks_again_for_consent() -> None:
    ada = {"user": {"email": "ada@shop.example"}}
    async with Bench() as bench:

        def fail(_request: Request) -> Reply:
            people = subjects(MemoryStore.salt, "shop", ada)
            bench.store.withdrawals = {one: {"ad_storage": (NOW, 0.0)} for one in people}
            return reply(503)

        bench.transport.rule = fail
        await bench.put(event(1, **ada))
        await bench.done(1)
    assert len(bench.transport.requests) == 1
    assert bench.store.outcomes() == {"withdrawn": 1}


async def test_a_withdrawal_of_another_purpose_changes_nothing() -> None:
    ada = {"user": {"email": "ada@shop.example"}}
    async with Bench(need=Need(requires=("analytics_storage",))) as bench:
        await _withdraw(bench, ada)
        await bench.put(event(1, **ada))
        await bench.done(1)
    assert bench.store.outcomes() == {"delivered": 1}


# --- stopping, failing stores, logs


async def test_stopping_lets_requests_in_flight_finish() -> None:
    bench = Bench()
    async with bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(*(event(n) for n in range(5)))
        await bench.until(lambda: bench.transport.in_flight == 1)
        stopping = asyncio.create_task(bench.lane.stop(5.0))
        await asyncio.sleep(0.01)
        bench.transport.gate.set()
        await stopping
    assert bench.store.outcomes() == {"delivered": 1}
    assert len(bench.transport.requests) == 1
    assert bench.store.flying == set()


async def test_a_request_that_hangs_is_cut_off_after_the_grace_and_sent_again_after_a_restart() -> None:
    bench = Bench()
    async with bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(*(event(n) for n in range(5)))
        await bench.until(lambda: bench.transport.in_flight == 1)
        await bench.lane.stop(0.02)
    assert bench.store.endings == {}
    assert bench.store.flying == set()
    bench.transport.gate = None
    async with bench:
        await bench.done(5)
    assert bench.store.outcomes() == {"delivered": 5}


async def test_an_outcome_that_cannot_be_stored_is_kept_and_stored_later() -> None:
    async with Bench() as bench:
        bench.store.failures = 3
        await bench.put(event(1))
        await bench.done(1)
    assert len(bench.transport.requests) == 1
    assert bench.store.outcomes() == {"delivered": 1}


async def test_events_that_got_their_outcome_elsewhere_count_as_late() -> None:
    async with Bench() as bench:
        bench.transport.gate = asyncio.Event()
        await bench.put(event(1))
        await bench.until(lambda: bench.transport.in_flight == 1)
        bench.store.endings[1] = Ending(Outcome.ERASED)
        bench.transport.gate.set()
        await bench.until(lambda: not bench.lane._held)
        assert bench.lane.status().totals["late"] == 1
    assert bench.store.outcomes() == {"erased": 1}


async def test_each_change_of_state_is_logged_once_and_without_personal_data(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.deliver")
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(0, error="connect", ms=1.0)
        await bench.put(*(event(n, user={"email": "ada@shop.example"}) for n in range(100)))
        await bench.until(lambda: bench.lane.state == "open")
        for _ in range(10):
            await bench.advance(31)
        bench.transport.rule = lambda _r: reply(200)
        await bench.advance(31)
    words = [record.getMessage() for record in caplog.records]
    assert words == ["Lane opened its breaker", "Lane resumed"]
    assert "ada@" not in "".join(str(vars(record)) for record in caplog.records)


async def test_the_status_says_in_words_what_is_wrong() -> None:
    async with Bench() as bench:
        bench.transport.rule = lambda _r: Reply(500, ms=6000.0)
        await bench.put(*(event(n) for n in range(10)))
        await bench.until(lambda: bench.lane.state == "open")
        shown = bench.lane.status().to_json()
    assert shown["reason"] == "5 requests in a row failed: HTTP 500"
    assert (shown["breaker"], shown["last_failure"], shown["last_delivery"]) == ("open", "HTTP 500", None)
    orjson.dumps(shown)


async def test_validation_is_sampled_counted_and_never_affects_an_outcome(caplog: pytest.LogCaptureFixture) -> None:
    async with Bench(FakePlan(sample=3)) as bench:
        bench.transport.rule = lambda r: Reply(500, body=b'["unknown field"]') if "debug" in r.url else reply(200)
        await bench.put(*(event(n) for n in range(6)))
        await bench.done(6)
        await bench.until(lambda: bench.meter.messages == [1])
    assert bench.store.outcomes() == {"delivered": 6}
    assert [record.getMessage() for record in caplog.records] == ["Vendor's validation complained"]


async def test_a_step_of_the_clock_spreads_what_it_made_due_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """100 events wait up to an hour when the clock is set a day forward: they keep their waits."""
    async with Bench(clock=SteppingClock(NOW)) as bench:
        await bench.advance(1)
        bench.clock.step_wall(DAY)
        await bench.quiet()
        bench.store.retries = {n: RetryState(NOW + 36 * n, tries=1, first_at=NOW) for n in range(1, 101)}
        await bench.put(*(event(n) for n in range(1, 101)))
        await bench.until(lambda: all(state.due > bench.clock.now() for state in bench.store.retries.values()))
        assert bench.transport.requests == []
        await bench.advance(1800)
        assert 40 <= len(bench.transport.requests) <= 50
        await bench.advance(2400)
        await bench.done(100)
    assert [record.getMessage() for record in caplog.records] == ["Wall clock stepped"]


async def test_an_idle_lane_is_one_task() -> None:
    async with Bench():
        await asyncio.sleep(0.01)
        names = {task.get_name() for task in asyncio.all_tasks() if "acme" in task.get_name()}
        assert names == {"feed-acme"}


async def test_a_lane_that_fails_can_be_run_again() -> None:
    bench = Bench()
    broken = bench.store.take
    bench.store.take = lambda lane, limit: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await bench.lane.run()
    bench.store.take = broken
    async with bench:
        await bench.put(event(1))
        await bench.done(1)
    assert bench.store.outcomes() == {"delivered": 1}


async def test_a_lane_stopped_before_it_ran_does_not_begin() -> None:
    bench = Bench()
    await bench.put(event(1))
    for lane in (bench.lane, ParkedLane("acme", bench.store, Meter())):
        await lane.stop(1.0)
        await lane.run()
    assert bench.store.endings == {}
    assert bench.transport.requests == []
