"""What each stage costs one event, measured alone: CPU microseconds, best of several rounds of a tight loop."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from gateway.clock import Clock
from gateway.config.load import load
from gateway.config.models import SourceConsent, Window
from gateway.consent.decide import Decider, decide
from gateway.destination import Batch
from gateway.enrich import enrich
from gateway.errors import Refused
from gateway.event import load as load_event
from gateway.event import uuid7
from gateway.normalise import normalise
from gateway.outcomes import Ending, Outcome
from gateway.plans import prepare
from gateway.queue.base import NewEvent, Settlement
from gateway.queue.sqlite import SqliteStore
from gateway.receive.hit import Hit
from gateway.receive.json import decode
from tests.load.driver import purchase
from tests.load.gateways import write_config

HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
    "host": "t.shop.example",
}


def best(work: Callable[[], object], times: int = 2000, rounds: int = 5) -> float:
    """Microseconds of CPU per call."""
    figures = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            work()
        figures.append((time.process_time() - started) / times * 1e6)
    return min(figures)


def pure_stages() -> dict[str, float]:
    """Decode to consent, on the 850-byte purchase."""
    now = time.time()
    hit = Hit("POST", "/v1/events", "", HEADERS, orjson.dumps(purchase(1)), "shop", now, ip="203.0.113.7")
    raw = decode(hit)[0]
    if isinstance(raw, Refused):
        raise SystemExit(f"the sample was refused: {raw}")
    normal = normalise(raw, hit, now)
    if isinstance(normal, Refused):
        raise SystemExit(f"the sample was refused: {normal}")
    decider, rules = Decider(SourceConsent()), SourceConsent()
    rich = enrich(normal.data, hit)
    return {
        "decode": best(lambda: decode(hit)),
        "normalise": best(lambda: normalise(raw, hit, now)),
        "enrich": best(lambda: enrich(dict(normal.data), hit)),
        "consent": best(lambda: decider(rich, hit)),
        "consent, not seen before": best(lambda: decide(rich, hit, rules)),
        "dumps": best(lambda: orjson.dumps(rich)),
    }


def mappings(folder: Path) -> dict[str, float]:
    """One purchase to the ready bytes of each vendor, envelope and request included."""
    ready = prepare(load(write_config(folder, 9, ("meta", "ga4", "tiktok"))))
    now = time.time()
    hit = Hit("POST", "/v1/events", "", HEADERS, orjson.dumps(purchase(1)), "shop", now, ip="203.0.113.7")
    raw = decode(hit)[0]
    assert not isinstance(raw, Refused)
    normal = normalise(raw, hit, now)
    assert not isinstance(normal, Refused)
    data = enrich(normal.data, hit)
    event = load_event(orjson.dumps({**data, "consent": decide(data, hit, SourceConsent())}))
    found = {"load": best(lambda: load_event(orjson.dumps(event.data)))}
    for name, one in ready.items():
        parts = one.plan.parts(event, now)
        if not isinstance(parts, list):
            raise SystemExit(f"{name} does not take the sample: {parts}")
        found[f"mapping {name}"] = best(lambda plan=one.plan: plan.parts(event, now))  # type: ignore[misc]
        batch = Batch(parts[0].envelope, tuple(parts))
        found[f"request {name}"] = best(lambda plan=one.plan, batch=batch: plan.assemble(batch, now))  # type: ignore[misc]
    return found


async def store_costs(folder: Path, group: int = 32, rounds: int = 60) -> dict[str, float]:
    """Append with de-duplication and counters, take and settle, in groups of 32, three lanes."""
    store = SqliteStore(
        folder, clock=Clock(), retention=Window(), firings=Window(), personal=72 * 3600.0, ack="durable", ballast=0
    )
    await store.open()
    lanes = ("a", "b", "c")
    for lane in lanes:
        await store.open_lane(lane, ["shop"])
    body = orjson.dumps(purchase(1))

    def events() -> list[NewEvent]:
        now = time.time()
        return [NewEvent("shop", "purchase", "purchase", uuid7(), body, now, True, b"12345678") for _ in range(group)]

    spent = {"append": 0.0, "take": 0.0, "settle": 0.0}
    for _ in range(rounds):
        batch = events()
        started = time.process_time()
        await asyncio.gather(*(store.append([event]) for event in batch))
        spent["append"] += time.process_time() - started
        started = time.process_time()
        taken = {lane: store.take(lane, group) for lane in lanes}
        spent["take"] += time.process_time() - started
        started = time.process_time()
        done = Ending(Outcome.DELIVERED)
        await asyncio.gather(
            *(store.settle(lane, [Settlement(one, "x", done) for one in some]) for lane, some in taken.items())
        )
        spent["settle"] += time.process_time() - started
    await store.close()
    return {f"store {word}": seconds / (group * rounds) * 1e6 for word, seconds in spent.items()}


def all_stages() -> dict[str, float]:
    """Every stage's figure by name."""
    with tempfile.TemporaryDirectory() as folder:
        figures = pure_stages() | mappings(Path(folder) / "config")
        return figures | asyncio.run(store_costs(Path(folder) / "store"))
