"""The promises that need processes of their own: no silent loss, synced before the reply. The bars: tests/test_faults.py."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

from tests.faults import bars_process
from tests.faults.process import GatewayProcess

pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
async def test_twenty_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    assert (await bars_process.kills(tmp_path)).problems == []


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
