"""No silent loss: thousands of events, vendors that misbehave by event id, three SIGKILLs; then the books must balance.

`make crash-test` runs it and prints the equation. The vendors' answer is a function of the event id, so that a restart
changes nothing: poison ids are refused with 400 for ever, others get one 500, 429 with Retry-After, a reset or a hang before
their 200. The oracle knows every id that was answered with 200 and every id that a vendor accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.event import uuid7
from gateway.queue.audit import audit_readonly
from tests.faults.process import GatewayProcess

LANES = {"single": 1, "batched": 50}
"""Destination → events per request."""
UNSETTLED = 64
"""Requests per lane that may be on the way, or answered and not yet committed, at the moment of a kill."""
SHARES = {"poison": 10, "500": 20, "429": 15, "reset": 10, "hang": 2}
"""Per thousand ids."""


def fate(event_id: str) -> str:
    """What a vendor does with an id at first: the same in every run of the process."""
    number = zlib.crc32(event_id.encode()) % 1000
    for word, share in SHARES.items():
        if number < share:
            return word
        number -= share
    return "good"


@dataclass
class Vendor:
    """A webhook receiver whose mood depends on the ids in the request."""

    accepted: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer by the worst fate among the request's ids; each mood but poison passes after one time."""
        self.requests += 1
        body = await request.json()
        ids = [event["id"] for event in (body if isinstance(body, list) else [body])]
        first = {one for one in ids if not self.seen[one]}
        self.seen.update(ids)
        moods = {fate(one) for one in ids if fate(one) == "poison" or one in first}
        if "poison" in moods:
            return web.Response(status=400, text="this event is refused")
        if "hang" in moods:
            await asyncio.sleep(30)
            return web.Response(status=504)
        if "reset" in moods and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if "500" in moods:
            return web.Response(status=500)
        if "429" in moods:
            return web.Response(status=429, headers={"Retry-After": "1"})
        self.accepted.update(ids)
        return web.Response(status=200)


@dataclass
class Oracle:
    """What was promised: ids answered with 200."""

    acknowledged: set[str] = field(default_factory=set)
    repeats: int = 0


async def send(url: str, ids: list[str], oracle: Oracle) -> None:
    """Send every id until it is acknowledged, as a well-behaved client does: alone or in tens."""
    pending = [ids[n : n + size] for n, size in _slices(len(ids))]
    async with aiohttp.ClientSession(headers={"X-Write-Key": "wk_test"}) as session:
        gate = asyncio.Semaphore(16)

        async def one(group: list[str]) -> None:
            async with gate:
                events = [_event(event_id) for event_id in group]
                while not await _post(session, url, events):
                    oracle.repeats += 1
                    await asyncio.sleep(0.2)
                oracle.acknowledged.update(group)

        await asyncio.gather(*(one(group) for group in pending))


async def _post(session: aiohttp.ClientSession, url: str, events: list[dict[str, Any]]) -> bool:
    try:
        async with session.post(f"{url}/v1/events", json=events, timeout=aiohttp.ClientTimeout(10)) as answer:
            if answer.status == 200:
                return (await answer.json())["accepted"] == len(events)
            return False
    except (aiohttp.ClientError, TimeoutError):
        return False


def _event(event_id: str) -> dict[str, Any]:
    consent = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")
    return {"name": "purchase", "id": event_id, "consent": consent, "props": {"value": 1, "currency": "EUR"}}


def _slices(count: int) -> list[tuple[int, int]]:
    rng, at, found = random.Random(7), 0, []
    while at < count:
        size = rng.choice((1, 1, 1, 10))
        found.append((at, size))
        at += size
    return found


def destination(port: int, lane: str, size: int) -> str:
    """A webhook destination pointed at the vendor of a lane."""
    return (
        f"type: webhook\nsettings:\n  url: http://127.0.0.1:{port}/{lane}\nbatch:\n  max_events: {size}\n  wrap: $batch\n"
        "consent:\n  requires: [analytics_storage]\n"
    )


async def crash_run(folder: Path, events: int, kills: int, report: bool = False) -> list[str]:
    """The whole run; the list of what is wrong, empty when every promise was kept."""
    vendors = {lane: Vendor() for lane in LANES}
    runner, port = await _serve(vendors)
    gateway = GatewayProcess(folder, {lane: destination(port, lane, size) for lane, size in LANES.items()})
    oracle = Oracle()
    started = time.monotonic()
    try:
        gateway.start()
        ids = [uuid7() for _ in range(events)]
        step = -(-events // (kills + 1))
        for n in range(0, events, step):
            share = random.uniform(0.2, 0.8)
            sending = asyncio.create_task(send(gateway.url, ids[n : n + step], oracle))
            if n + step < events:
                await _until(oracle, n + step * share)
                gateway.kill()
                await asyncio.to_thread(gateway.start)
            await sending
        await gateway.until_idle(240)
        problems = await asyncio.to_thread(judge, gateway, oracle, vendors, events, kills)
        if report:
            print(f"{events} events, {kills} kills, {oracle.repeats} repeats by clients, {time.monotonic() - started:.0f} s")
            print(gateway.run("audit").stdout)
        gateway.stop()
        return problems
    finally:
        gateway.kill()
        await runner.cleanup()


async def _until(oracle: Oracle, acknowledged: float) -> None:
    while len(oracle.acknowledged) < acknowledged:
        await asyncio.sleep(0.002)


def judge(gateway: GatewayProcess, oracle: Oracle, vendors: dict[str, Vendor], events: int, kills: int) -> list[str]:
    """Compare what was promised with the store and with what the vendors counted."""
    problems = []
    if len(oracle.acknowledged) != events:
        problems.append(f"{events - len(oracle.acknowledged)} events were never acknowledged")
    audit = audit_readonly(gateway.folder / "data")
    problems += audit.problems
    if not audit.balanced:
        problems.append(f"the equation does not hold: {audit}")
    poison = {one for one in oracle.acknowledged if fate(one) == "poison"}
    for row in audit.lanes:
        counts = Counter({outcome: n for (outcome, _), n in row.outcomes.items()})
        if counts["delivered"] != events - len(poison) or counts["rejected"] != len(poison):
            problems.append(f"{row.lane}: {dict(counts)} but {len(poison)} of {events} are poison")
        accepted = set(vendors[row.lane].accepted)
        if accepted != oracle.acknowledged - poison:
            problems.append(f"{row.lane}: the vendor misses {len(oracle.acknowledged - poison - accepted)} delivered events")
        twice = sum(n - 1 for n in vendors[row.lane].accepted.values())
        bound = kills * UNSETTLED * LANES[row.lane]
        if twice > bound:
            problems.append(f"{row.lane}: {twice} repeats, more than {bound} could be in flight at the kills")
    return problems


async def _serve(vendors: dict[str, Vendor]) -> tuple[web.AppRunner, int]:
    application = web.Application(client_max_size=10 * 2**20)
    application.add_routes([web.post(f"/{lane}", vendor.handle) for lane, vendor in vendors.items()])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, int(runner.addresses[0][1])


def main() -> None:
    """Command line: prints the equation, exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tagway-crash-") as folder:
        problems = asyncio.run(crash_run(Path(folder), args.events, args.kills, report=True))
    print(json.dumps({"acknowledged": args.events, "problems": problems}))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
