"""Bars that need a process of its own: kills, SIGTERM, a full disk, reloads, and what is left afterwards.

Each takes an empty folder and returns what it measured; `size.pick` says how large a run is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import orjson

from gateway.queue.audit import audit_readonly
from tests.faults.books import disagreements
from tests.faults.crash import crash_run
from tests.faults.inject import damaged, dice, few_descriptors, flipped, full_disk, no_room, small_disk, terminated, torn
from tests.faults.measured import Measured
from tests.faults.oracle import Load, Oracle, Vendors, until, webhook
from tests.faults.process import GatewayProcess
from tests.faults.size import FULL, pick, rate

LANES = ["one", "two", "three"]
RATE = rate(100, 500)
PADDING = 1100
"""Makes an event 1.5 KB as stored."""


@asynccontextmanager
async def standing(
    folder: Path, oracle: Oracle, lanes: list[str] = LANES, **options: object
) -> AsyncIterator[tuple[GatewayProcess, Vendors]]:
    """A gateway with a fake vendor for each lane; ended without mercy."""
    async with Vendors(oracle, lanes) as vendors:
        gateway = GatewayProcess(folder, vendors.files(), **options)
        await asyncio.to_thread(gateway.start)
        try:
            yield gateway, vendors
        finally:
            gateway.kill()


async def books_of(gateway: GatewayProcess) -> list[str]:
    """What does not add up in a gateway that has come to rest."""
    for _ in range(20):
        before = await asyncio.to_thread(audit_readonly, gateway.folder / "data")
        metrics = await asyncio.to_thread(gateway.scrape)
        if before == await asyncio.to_thread(audit_readonly, gateway.folder / "data"):
            return disagreements(before, metrics)
        await asyncio.sleep(0.2)
    return ["the books never came to rest"]


async def at_rest(gateway: GatewayProcess, oracle: Oracle, vendors: Vendors, duplicates: int = 0) -> list[str]:
    """Faults are over: send a fresh event, let 60 s pass at most, and say what is wrong."""
    async with Load(gateway.url, oracle, 1):
        await asyncio.sleep(0.01)
    await oracle.settled(vendors.lanes, 60)
    try:
        await gateway.until_idle(60)
    except AssertionError as error:
        return [str(error)]
    return oracle.problems(vendors.lanes, duplicates) + await books_of(gateway)


async def kills(folder: Path) -> Measured:
    """kill -9 at random moments under a stream of hits, with vendors of every mood."""
    count = pick(20, 100)
    problems = await crash_run(folder, count * 200, count)
    return Measured(
        f"{count} kills, {count * 200} events to 2 vendors of every mood: {len(problems)} promises broken", problems
    )


class HalfSent:
    """A hit of which only a half is sent until `finish`."""

    def __init__(self, gateway: GatewayProcess, oracle: Oracle) -> None:
        self._gateway, self._oracle = gateway, oracle
        self._event = oracle.event()
        self.status = 0

    async def begin(self) -> None:
        """Send the first half."""
        self._body = orjson.dumps(self._event)
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Write-Key: wk_test\r\nContent-Length: {len(self._body)}\r\n\r\n"
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._gateway.public)
        self._writer.write(head.encode() + self._body[:20])
        await self._writer.drain()

    async def finish(self) -> None:
        """Send the second half and read the answer."""
        self._writer.write(self._body[20:])
        try:
            self.status = int((await asyncio.wait_for(self._reader.readline(), 10)).split()[1])
        except (OSError, IndexError, TimeoutError):
            self.status = 0
        self._writer.close()
        if self.status == 200:
            self._oracle.acknowledged.add(self._event["id"])


async def terminations(folder: Path) -> Measured:
    """SIGTERM under load, with a request half sent: it is answered, the process ends in time, nothing is lost."""
    rounds, drain = pick(3, 100), 5.0 if FULL else 0.5
    rng, oracle = dice("terminations"), Oracle()
    problems, longest = [], 0.0
    async with standing(folder, oracle, drain=drain) as (gateway, vendors):
        async with Load(gateway.url, oracle, RATE, padding=PADDING):
            for turn in range(rounds):
                await asyncio.sleep(rng.uniform(0.3, 1.0))
                half = HalfSent(gateway, oracle)
                await half.begin()
                async with terminated(gateway, meanwhile=half.finish) as ended:
                    longest = max(longest, ended.seconds)
                    if (half.status, ended.status) != (200, 0):
                        problems.append(f"run {turn}: the half-sent hit got {half.status}, exit status {ended.status}")
        problems += await at_rest(gateway, oracle, vendors)
    figure = f"{rounds} runs at {RATE}/s: {len(problems)} problems, longest exit {longest:.1f} s (drain {drain:g} s)"
    return Measured(figure, problems).held_to(("exit s", longest, 25.0))


async def disk_full(folder: Path) -> Measured:
    """The disk fills up under load: hits are refused at once, deliveries go on, all comes back by itself."""
    oracle, problems = Oracle(), []
    async with AsyncExitStack() as stack:
        mounted = stack.enter_context(small_disk(folder / "data", 50))
        queue = "  ballast: 4MB\n"
        gateway, vendors = await stack.enter_async_context(standing(folder, oracle, queue=queue))
        load = await stack.enter_async_context(Load(gateway.url, oracle, RATE, padding=2000))
        await until(lambda: len(oracle.acknowledged) > 3 * RATE, 30, "hits are taken")
        with ExitStack() as fault:
            fault.enter_context(no_room(folder / "data") if mounted else full_disk(gateway))
            await until(lambda: load.statuses[503] > 0, 60, "a hit is refused")
            load.slowest.clear()
            owed = set(oracle.acknowledged)
            await asyncio.sleep(3)
            behind = max(len(owed - oracle.accepted.get(lane, {}).keys()) for lane in LANES)
            if behind:
                problems.append(f"{behind} events that were taken before were not delivered while the disk was full")
        resumed = await until(_counting(load), 30, "hits are taken again")
        refusal = load.slowest.get(503, 0.0)
        await load.stop()
        problems += await at_rest(gateway, oracle, vendors)
    what = "a 50 MB file system" if mounted else "RLIMIT_FSIZE"
    figure = f"{what}: refused with 503 in {refusal * 1000:.0f} ms, taken again after {resumed:.1f} s, {len(problems)} problems"
    return Measured(figure, problems).held_to(("refusal s", refusal, 1.0), ("resumed s", resumed, 5.0))


def _counting(load: Load) -> Callable[[], bool]:
    before = load.statuses[200]
    return lambda: load.statuses[200] > before


async def reloads(folder: Path) -> Measured:
    """Reloads under load, a third of them with a broken file: nothing lost, no 5xx."""
    count, broken = pick(20, 100), pick(6, 30)
    rng, oracle, problems = dice("reloads"), Oracle(), []
    bad = set(rng.sample(range(count), broken))
    async with standing(folder, oracle) as (gateway, vendors):
        file = folder / "destinations" / "two.yaml"
        async with Load(gateway.url, oracle, RATE, padding=PADDING) as load:
            for turn in range(count):
                good = webhook(vendors.server.url("/two"), rng.randrange(1, 100))
                file.write_text("type: webhook\nsettngs: {}\n" if turn in bad else good)
                status = await asyncio.to_thread(gateway.reload)
                if status != (400 if turn in bad else 200):
                    problems.append(f"reload {turn} was answered {status}")
                await asyncio.sleep(rng.uniform(0, 0.2))
            file.write_text(webhook(vendors.server.url("/two")))
            await asyncio.to_thread(gateway.reload)
        if set(load.statuses) != {200}:
            problems.append(f"answers were {dict(load.statuses)}")
        problems += await at_rest(gateway, oracle, vendors)
    taken = len(oracle.acknowledged)
    return Measured(f"{count} reloads, {broken} broken, {taken} hits: {len(problems)} problems", problems)


async def power_cuts(folder: Path) -> Measured:
    """The write-ahead log is cut, then bits of the file flip, of a store that a gateway worked on.

    A file that SQLite cannot read at all keeps the gateway from starting, with a message; it is then put back.
    """
    rng, oracle, problems, refused = dice("power cuts"), Oracle(), [], 0
    rounds = pick(4, 100)
    async with standing(folder, oracle) as (gateway, _vendors):
        for turn in range(rounds):
            async with Load(gateway.url, oracle, RATE, padding=PADDING):
                await asyncio.sleep(0.3)
            if turn % 2:
                refused += await _flip(gateway, rng)
            else:
                async with damaged(gateway, torn(rng)):
                    pass
            async with Load(gateway.url, oracle, 20) as load:
                await asyncio.sleep(0.2)
            if set(load.statuses) != {200}:
                problems.append(f"round {turn}: after the damage hits were answered {dict(load.statuses)}")
    for lane in LANES:
        made_up, altered = oracle.accepted.get(lane, {}).keys() - oracle.issued, oracle.corrupted.get(lane, ())
        if made_up or altered:
            problems.append(f"{lane}: {len(made_up)} made up, {len(altered)} altered events delivered")
    figure = f"{rounds} damaged stores, {refused} refused at the start with a message: {len(problems)} problems"
    return Measured(figure, problems)


async def _flip(gateway: GatewayProcess, rng: random.Random) -> bool:
    """Start over a database with a flipped bit; True when that was refused (and then without)."""
    file = gateway.folder / "data" / "tagway.db"
    gateway.kill()
    clean = file.read_bytes()
    flipped(rng)(gateway.folder / "data")
    try:
        await asyncio.to_thread(gateway.start)
    except AssertionError:
        if "store cannot be opened" not in gateway.log():
            raise
        file.write_bytes(clean)
        await asyncio.to_thread(gateway.start)
        return True
    return False


async def descriptors(folder: Path) -> Measured:
    """No descriptor is left for a while: hits on open connections are taken, all others again afterwards."""
    oracle, problems = Oracle(), []
    async with standing(folder, oracle) as (gateway, vendors):
        async with Load(gateway.url, oracle, 50) as load:
            await until(lambda: load.statuses[200] > 20, 20, "hits are taken")
            with few_descriptors(gateway, 3):
                opened = [await asyncio.open_connection("127.0.0.1", gateway.public) for _ in range(40)]
                await asyncio.sleep(1.5)
            for _, writer in opened:
                writer.close()
            resumed = await until(_counting(load), 10, "hits are taken again")
        problems += await at_rest(gateway, oracle, vendors, duplicates=len(oracle.issued))
    return Measured(f"taken again after {resumed:.1f} s, {len(problems)} problems", problems).held_to(
        ("resumed s", resumed, 5.0)
    )
