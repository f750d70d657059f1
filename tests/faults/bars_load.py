"""Bars of load and of neighbours: throughput, a hung vendor, a backlog, bombs, slow clients, a withdrawal.

Each takes an empty folder and returns what it measured; `size.pick` says how large a run is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gateway.deliver.direct import DirectTransport
from gateway.destination import Reply, Request
from gateway.plans import Ready
from tests.faults.bars_process import LANES, RATE, at_rest, standing
from tests.faults.inject import mood
from tests.faults.measured import Measured
from tests.faults.oracle import Load, Oracle, Vendors, p99, until
from tests.faults.process import ROOT, GatewayProcess, free_port
from tests.faults.size import FULL, pick, rate
from tests.gateway_kit import running
from tests.load.gateways import get_json, write_config
from tests.test_encoding import bomb
from tests.vendor import Play

PEAK = rate(400, 2000)
ROOM = 1.0
"""Seconds by which a short run may be slower: make test runs on machines that do other work. A full run has no such room."""
VENDORS = ("meta", "ga4", "tiktok")
CODINGS = ("gzip", "deflate", "br", "zstd")


async def throughput(folder: Path) -> Measured:
    """A steady rate and a peak through the whole pipeline, synced before each answer, to three vendors."""
    figures, problems = [], []
    for name, pace, seconds in (("steady", RATE, pick(4, 600)), ("peak", PEAK, pick(3, 60))):
        report, sent, counted = await asyncio.to_thread(_drive, folder / name, pace, seconds)
        others = {status: n for status, n in report["answers"].items() if status != "200"}
        if others or any(n != sent for n in counted.values()):
            problems.append(f"{name}: {sent} sent, answers {report['answers']}, vendors got {counted}")
        figures.append(f"{pace}/s for {seconds} s: p50 {report['p50_ms']:.0f} ms, p99 {report['p99_ms']:.0f} ms")
        if FULL and name == "steady" and report["p99_ms"] > 100:
            problems.append(f"p99 {report['p99_ms']:.0f} ms is over 100 ms by {report['p99_ms'] - 100:.0f}")
    return Measured("; ".join(figures) + f"; {len(problems)} problems", problems)


def _drive(folder: Path, pace: int, seconds: int) -> tuple[dict[str, Any], int, dict[str, int]]:
    """The benchmark's driver and sink against a gateway: the driver's report, hits sent, events each vendor counted."""
    sink, public = free_port(), free_port()
    config = write_config(folder, sink, VENDORS, public)
    with contextlib.ExitStack() as stack:
        for module, *arguments in (("tests.load.sink", str(sink)), ("gateway", "serve", "-c", str(config), "--drain", "0")):
            process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
        _await(f"http://127.0.0.1:{public}/readyz")
        url = f"http://127.0.0.1:{public}/v1/events"
        options = ["--requests", str(pace * seconds), "--rate", str(pace)]
        command = [sys.executable, "-m", "tests.load.driver", url, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        deadline, counted = time.monotonic() + 60, {}
        while time.monotonic() < deadline:
            counted = {name: n for name, n in get_json(f"http://127.0.0.1:{sink}/count").items() if name in VENDORS}
            if set(counted.values()) == {pace * seconds}:
                break
            time.sleep(0.2)
        return report, pace * seconds, counted


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            get_json(url)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


async def isolation(folder: Path) -> Measured:
    """One vendor never answers: what the others get, and the door, are as fast as before.

    Turns with the vendor well and hung alternate, and the best of each are compared: other work of the machine only adds.
    """
    oracle, seconds = Oracle(), pick(2, 30)
    healthy: dict[bool, list[float]] = {False: [], True: []}
    ingest: dict[bool, list[float]] = {False: [], True: []}
    async with standing(folder, oracle) as (gateway, vendors):
        await _usual(gateway, oracle)
        for turn in range(pick(12, 20)):
            ill = bool(turn % 2)
            with mood(vendors, "three", Play(fault="hang") if ill else Play(200)):
                oracle.delays.clear()
                async with Load(gateway.url, oracle, RATE) as load:
                    await asyncio.sleep(seconds)
                await oracle.settled(LANES[:2], 20)
                healthy[ill].append(p99([*oracle.delays["one"], *oracle.delays["two"]]))
                ingest[ill].append(p99(load.latencies))
            if not FULL and turn % 2 and turn > 3 and min(healthy[True]) <= 1.2 * min(healthy[False]):
                break
    ratio, door = (min(of[True]) / min(of[False]) for of in (healthy, ingest))
    figure = f"{turn + 1} turns of {seconds} s at {RATE}/s: healthy p99 {ratio:.2f} x, ingest p99 {door:.2f} x"
    missing = [f"{lane}: {len(lost)} missing" for lane in LANES[:2] if (lost := oracle.missing(lane))]
    slower = min(healthy[True]) - min(healthy[False])
    return Measured(figure, missing).held_to(("healthy p99 x", ratio, 1.2 if FULL or slower > ROOM else ratio))


async def backlog(folder: Path) -> Measured:
    """An outage of every vendor leaves a backlog; it is drained while hits go on coming in."""
    oracle, count, batch = Oracle(), pick(6_000, 900_000), 50
    async with standing(folder, oracle) as (gateway, vendors):
        for lane in LANES:
            vendors.mood[lane] = Play(503)
        async with Load(gateway.url, oracle, 40 if FULL else 100, batch=batch, padding=1100) as load:
            await until(lambda: len(oracle.acknowledged) >= count, 1200, "the backlog is stored")
            await load.stop()
        queued, began = len(oracle.acknowledged), gateway.rss() / 1e6
        vendors.mood.clear()
        await asyncio.to_thread(gateway.reload)
        started, largest = time.monotonic(), began
        async with Load(gateway.url, oracle, RATE) as load:
            while any(len(oracle.accepted.get(lane, ())) < queued for lane in LANES):
                largest = max(largest, gateway.rss() / 1e6)
                await asyncio.sleep(0.1)
                if time.monotonic() > started + 900:
                    break
            seconds = time.monotonic() - started
            drained = min(len(oracle.accepted.get(lane, ())) for lane in LANES)
            coming = load.statuses[200] / seconds
        problems = await at_rest(gateway, oracle, vendors, duplicates=len(oracle.issued))
    pace = drained / seconds
    figure = f"{queued} queued x 3: {pace:.0f}/s drained with {coming:.0f}/s coming in, RSS {largest:.0f} MB"
    return Measured(figure, problems).held_to(("RSS MB", largest, 400), ("2 x input / drain", 2 * coming / pace, 1.0))


async def bombs(folder: Path) -> Measured:
    """Bodies of a few hundred kilobytes that unfold to hundreds of megabytes, 50 of each coding at once."""
    oracle, each, problems = Oracle(), 50, []
    streams = {coding: bomb(coding, 2**29 if coding in ("gzip", "deflate") else 2**30) for coding in CODINGS}
    async with standing(folder, oracle, ["one"]) as (gateway, vendors):
        before = gateway.rss()
        started = time.monotonic()
        jobs = [_bombard(gateway, coding, stream) for coding, stream in streams.items() for _ in range(each)]
        answers = await asyncio.gather(*jobs)
        seconds = time.monotonic() - started
        grown = (gateway.rss() - before) / 1e6
        if set(answers) != {413}:
            problems.append(f"answers were {sorted(set(answers))}")
        problems += await at_rest(gateway, oracle, vendors)
    figure = f"4 codings x {each} at once: RSS +{grown:.0f} MB, all 413 within {seconds:.2f} s"
    return Measured(figure, problems).held_to(("RSS MB", grown, 100), ("s", seconds, 1.0 if FULL else 5.0))


async def _bombard(gateway: GatewayProcess, coding: str, stream: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.public)
    head = f"POST /v1/events?k=wk_test HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\n"
    head += f"Content-Length: {len(stream)}\r\n\r\n"
    try:
        writer.write(head.encode() + stream)
        return int((await asyncio.wait_for(reader.readline(), 20)).split()[1])
    finally:
        writer.close()


async def slow_clients(folder: Path) -> Measured:
    """2,000 connections stop inside their header or body: closed on time, and others hardly notice.

    A full run takes three turns and compares the best, as other work of the machine only adds.
    """
    oracle, count = Oracle(), 2000
    normal: list[float] = []
    meanwhile: list[float] = []
    closing: list[float] = []
    closed: list[float] = []
    async with standing(folder, oracle, ["one"]) as (gateway, vendors):
        for _ in range(3 if FULL else 1):
            normal.append(await _usual(gateway, oracle))
            lines = await _stopping_short(gateway, count)
            opened = time.monotonic()
            async with Load(gateway.url, oracle, RATE) as load:
                ends = asyncio.gather(*(_closed(reader) for reader, _ in lines))
                await asyncio.sleep(9)
                usual = len(load.latencies)
                closed.append(max(await ends) - opened)
            meanwhile.append(p99(load.latencies))
            closing.append(p99(load.latencies[usual:]))
            for _, writer in lines:
                writer.close()
        problems = await at_rest(gateway, oracle, vendors)
    ratio = min(meanwhile) / min(normal)
    figure = f"{count} connections: all closed {max(closed):.1f} s after the last one opened, others' p99 "
    figure += f"{min(normal) * 1000:.0f} ms before, {min(meanwhile) * 1000:.0f} ms meanwhile, "
    figure += f"{min(closing) * 1000:.0f} ms as they are closed"
    most = 2.0 if FULL or min(meanwhile) - min(normal) > ROOM else ratio
    return Measured(figure, problems).held_to(("closed s", max(closed), 12.0), ("p99 x", ratio, most))


async def _usual(gateway: GatewayProcess, oracle: Oracle) -> float:
    """The p99 of hits with nothing else going on, once everything is warm; in seconds."""
    async with Load(gateway.url, oracle, RATE) as load:
        await asyncio.sleep(1)
        load.latencies.clear()
        await asyncio.sleep(3)
        return p99(load.latencies)


async def _stopping_short(gateway: GatewayProcess, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    lines = []
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.public)
        body = b"Content-Length: 100\r\nX-Write-Key: wk_test\r\n\r\n{" if number % 2 else b"X-Half: "
        writer.write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\n" + body)
        lines.append((reader, writer))
    return lines


async def _closed(reader: asyncio.StreamReader) -> float:
    """When the other side closed."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            while await reader.read(65536):
                pass
    return time.monotonic()


class Watched(DirectTransport):
    """A transport that notes when each request began."""

    began: list[float]

    async def send(self, request: Request) -> Reply:
        self.began.append(time.monotonic())
        return await super().send(request)


async def withdrawal(folder: Path) -> Measured:
    """A visitor withdraws while 10,000 of their events are queued and being sent: nothing begins after the answer."""
    oracle, count, began = Oracle(), 10_000, []

    def watched(one: Ready) -> Watched:
        transport = Watched(one.config)
        transport.began = began
        return transport

    async with Vendors(oracle, ["one"]) as vendors:
        vendors.mood["one"] = Play(503)
        files = vendors.files(batch=10, more="limits:\n  concurrency: 4\n")
        async with running(folder, files, transport=watched) as gateway:
            user = {"user": {"id": "u-1"}}
            for at in range(0, count, 500):
                await gateway.send([oracle.event(**user) for _ in range(at, at + 500)])
            vendors.mood["one"] = Play(200, delay=0.02)
            await gateway.admin("POST", "/reload", {})
            await until(lambda: len(oracle.accepted.get("one", ())) > 50, 30, "events are being sent")
            choice = {**user, "consent": {"analytics_storage": "denied"}}
            async with gateway.client.post(f"{gateway.url}/v1/consent?k=wk_shop", json=choice) as answer:
                assert answer.status == 200, await answer.text()
            held = time.monotonic()
            waiting = count - len(oracle.accepted["one"])
            await gateway.idle(120)
            late = sum(at > held for at in began)
            outcomes = await gateway.outcomes("one")
    sums = [] if outcomes.total() == count and set(outcomes) == {"delivered", "withdrawn"} else [f"outcomes {dict(outcomes)}"]
    figure = f"{waiting} queued: {late} requests began after the answer, {outcomes['withdrawn']} withdrawn"
    return Measured(figure, sums).held_to(("requests", late, 0))
