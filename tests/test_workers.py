"""`workers: n`: receivers beside the owner, killed and started again, with nothing lost that was answered."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from gateway.lab.server import Lab
from tests.faults.process import GatewayProcess
from tests.gateway_kit import DENIED, Running, lab_files, purchase, running

pytestmark = pytest.mark.slow
TWO = "workers: 2\n"


async def test_receivers_do_what_one_process_does(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab), gateway=TWO) as gateway:
        assert gateway.app.receivers is not None
        assert len(gateway.app.receivers.pids) == 2
        answers = await asyncio.gather(*(gateway.send(purchase(f"e-{n}")) for n in range(20)))
        assert [answer["ids"] for answer in answers] == [[f"e-{n}"] for n in range(20)]
        await gateway.send([purchase("e-0"), purchase("no", consent=DENIED)])
        await gateway.idle()
        assert (await gateway.outcomes("meta")) == {"delivered": 20, "skipped{consent}": 1}
        [source] = (await gateway.app.store.audit()).sources
        assert (source.accepted, source.same) == (22, 1)
        await asyncio.sleep(0.8)
        assert 'tagway_events_received_total{dialect="json",source="shop"} 22.0' in await gateway.metrics()


async def test_a_choice_made_at_one_receiver_holds_at_all(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"]), gateway=TWO) as gateway:
        body = {"user": {"id": "u-1"}, "consent": {"ad_storage": "denied"}}
        async with gateway.client.post(f"{gateway.url}/v1/consent?k=wk_shop", json=body) as answer:
            assert answer.status == 200, await answer.text()
        for n in range(8):
            async with aiohttp.ClientSession() as fresh:
                await fresh.post(f"{gateway.url}/v1/events?k=wk_shop", json=purchase(f"e-{n}"))
        await gateway.idle()
        assert lab.requests("meta") == []
        assert sum((await gateway.outcomes("meta")).values()) == 8


async def test_a_killed_receiver_comes_back_and_no_answered_event_is_lost(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"]), gateway=TWO) as gateway:
        assert gateway.app.receivers is not None
        sending = asyncio.create_task(_until_answered(gateway, 400))
        for _ in range(3):
            await asyncio.sleep(0.15)
            os.kill(gateway.app.receivers.pids[0], signal.SIGKILL)
            while len(gateway.app.receivers.pids) < 2:
                await asyncio.sleep(0.02)
        await sending
        await gateway.idle(60)
        assert gateway.app.receivers.restarts == 3
        [source] = (await gateway.app.store.audit()).sources
        assert source.logged == 400
        assert {entry.id for entry in lab.inbox("meta") if entry.accepted} == {f"e-{n}" for n in range(400)}


async def _until_answered(gateway: Running, count: int) -> None:
    """Send every event again until it is answered, as a client does; each on a connection of its own."""
    gate = asyncio.Semaphore(8)

    async def one(n: int) -> None:
        async with gate:
            while True:
                try:
                    async with aiohttp.ClientSession() as session:
                        url = f"{gateway.url}/v1/events?k=wk_shop"
                        async with session.post(url, json=purchase(f"e-{n}"), timeout=aiohttp.ClientTimeout(5)) as answer:
                            if answer.status == 200:
                                return
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.02)

    await asyncio.gather(*(one(n) for n in range(count)))


async def test_a_reload_reaches_the_receivers(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path, lab_files(lab, ["meta"]), gateway=TWO) as gateway:
        path = tmp_path / "gateway.yaml"
        path.write_text(path.read_text().replace("write_keys: [wk_shop]", "write_keys: [wk_new]"))
        await gateway.admin("POST", "/reload", {})
        deadline = asyncio.get_running_loop().time() + 10
        while True:
            async with aiohttp.ClientSession() as session:
                async with session.post(f"{gateway.url}/v1/events?k=wk_new", json=purchase()) as new:
                    taken = new.status
                async with session.post(f"{gateway.url}/v1/events?k=wk_shop", json=purchase()) as old:
                    refused = old.status
            if (taken, refused) == (200, 401):
                break
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        await gateway.idle()


def test_receivers_end_with_their_owner_and_the_store_is_free_again(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, {}, gateway=TWO)
    gateway.start()
    children = _children(gateway.pid)
    assert len(children) == 2
    gateway.kill()
    gateway.start()
    assert not any(_alive(pid) for pid in children)
    assert gateway.stop() == 0


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
