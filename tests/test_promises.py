"""The promises that need processes of their own: no silent loss, synced before the reply, no vendor hurts another."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

from gateway.lab.server import Lab
from tests.faults.crash import crash_run
from tests.faults.process import GatewayProcess
from tests.gateway_kit import LAB, lab_files, purchase, running
from tests.vendor import Play, Vendor

pytestmark = pytest.mark.slow
EVENTS, KILLS = 5000, 3


@pytest.mark.timeout(300)
async def test_three_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert await crash_run(tmp_path, EVENTS, KILLS) == []


def test_the_commit_is_synced_before_the_reply_is_sent(tmp_path: Path) -> None:
    """As the system calls of the running process tell it: fdatasync of the log, then the 200."""
    if not shutil.which("strace"):
        pytest.fail("strace is missing: apt-get install strace")
    gateway = GatewayProcess(tmp_path, {})
    gateway.start()
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-s", "40", "-e", "trace=fsync,fdatasync,sendto,write,writev,sendmsg", "-o", str(trace)]
    tracer = subprocess.Popen([*command, "-p", str(gateway.pid)])
    try:
        time.sleep(1.0)
        answers = [asyncio.run(_post(gateway.url, f"e-{n}")) for n in range(5)]
        time.sleep(0.3)
    finally:
        tracer.terminate()
        tracer.wait()
        gateway.stop()
    assert answers == [200] * 5
    calls = re.findall(r"(fdatasync|fsync)\(|(HTTP/1\.1 200 OK)", trace.read_text())
    marks = "".join("s" if sync else "r" for sync, _ in calls)
    assert marks.count("r") >= 5
    assert re.fullmatch(r"(s+r)*s*", marks), f"a reply without a sync of its own before it: {marks}"


async def _post(url: str, event_id: str) -> int:
    event = {"name": "purchase", "id": event_id}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/events?k=wk_test", json=event) as answer:
        return answer.status


@pytest.mark.timeout(180)
async def test_a_hung_vendor_changes_nothing_for_the_others(tmp_path: Path, lab: Lab, vendor: Vendor) -> None:
    """Interleaved: the same load with the third vendor well and hung; medians of the rounds are compared.

    What is held is the promise, with room for a noisy machine; the measured ratios stand in docs/reliability.md.
    """
    vendor.always(Play(200))
    files = {**lab_files(lab, ["meta", "tiktok"]), "hung": LAB["webhook"].format(base=vendor.url("/hook"))}
    async with running(tmp_path, files) as gateway:
        rounds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(6):
            hung = bool(turn % 2)
            vendor.always(Play(fault="hang") if hung else Play(200))
            rounds[hung].append(await _delay_of_meta(gateway, lab, turn))
        vendor.always(Play(200))
        well, ill = statistics.median(rounds[False]), statistics.median(rounds[True])
        assert ill <= max(1.2 * well, well + 0.05), f"p99 of deliveries: {well:.3f} s well, {ill:.3f} s with a hung vendor"
        await gateway.idle(60)
        assert (await gateway.outcomes("meta")) == {"delivered": 6 * 60}


async def _delay_of_meta(gateway: object, lab: Lab, turn: int) -> float:
    """Send 60 events; the p99 of the time from the send to the vendor's inbox, in seconds."""
    sent: dict[str, float] = {}
    for n in range(60):
        event_id = f"{turn}-{n}"
        sent[event_id] = time.time()
        await gateway.send(purchase(event_id))  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        arrived = {entry.id: entry.at for entry in lab.inbox("meta") if entry.id in sent}
        if len(arrived) == len(sent):
            delays = sorted(arrived[one] - sent[one] for one in sent)
            return float(delays[int(0.99 * (len(delays) - 1))])
        await asyncio.sleep(0.01)
    raise AssertionError("meta did not get everything while another vendor hung")
