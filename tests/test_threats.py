"""Every threat of docs/threats.md has a test that exists, and those that none of the other files holds are here."""

from __future__ import annotations

import ast
import asyncio
import re
import statistics
import time
from functools import cache
from pathlib import Path

import orjson
import pytest

from gateway.config.load import load
from gateway.errors import ConfigErrors
from gateway.outcomes import Receipt
from gateway.queue.base import DeadFilter
from tests.door_kit import house, request
from tests.faults.oracle import p99
from tests.gateway_kit import purchase, running, write_files
from tests.store_kit import deliver_all, event, events, opened
from tests.vendor import Play, Vendor

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "threats.md").read_text(), re.M)
NOT_YET: set[int] = set()
"""Threats of which a part has no test, each with its reason in the document."""


@cache
def names(file: str) -> frozenset[str]:
    """The tests in a file: `test_x` and `TestY::test_x`."""
    found = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{of.name}" for of in node.body if isinstance(of, (ast.FunctionDef, ast.AsyncFunctionDef))}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
    return frozenset(found)


def test_every_threat_is_listed_once_and_in_order() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 49))


@pytest.mark.parametrize("row", ROWS, ids=[f"{number} {threat}" for number, threat, *_ in ROWS])
def test_the_tests_of_a_threat_exist(row: tuple[str, str, str, str]) -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::([\w:]+)(?:\[(\w+)\])?)?`", row[3])
    assert tests
    for file, name, case in tests:
        assert (ROOT / file).is_file(), file
        assert not name or name in names(file), f"{file} has no {name}"
        assert not case or f"async def {case}(" in _measures(), f"nothing measures {case}"


@cache
def _measures() -> str:
    return "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("bars_*.py"))


def test_what_is_not_held_yet_is_known() -> None:
    assert {int(number) for number, *_, tests in ROWS if "not yet" in tests} == NOT_YET


# what no other file holds


async def test_2_a_wide_body_does_not_hold_up_the_others() -> None:
    body = orjson.dumps({"name": "x", "props": {f"k{n}": n for n in range(30_000)}})
    assert 400_000 < len(body) < 512 * 1024
    longest = [0.0]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest[-1] = max(longest[-1], time.perf_counter() - before)

    async with house() as at:
        ticking = asyncio.create_task(tick())
        for _ in range(7):
            answer = await at.ask("POST", "/v1/events?k=wk_shop", body)
            assert answer.status in (400, 413)
            longest.append(0.0)
        ticking.cancel()
    assert statistics.median(longest) < 0.05


async def _write_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


async def test_4_a_reply_that_is_never_read_is_cut_off() -> None:
    async with house(header_seconds=0.3, idle_seconds=0.3) as at:
        reader, writer = await asyncio.open_connection(at.host, at.port, limit=1)
        asks = request("GET", "/tag.js", headers={"Origin": "https://shop.example"}) * 2000
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                await _write_for_ever(writer, asks)
        writer.close()
        del reader
        assert (await at.ask("GET", "/healthz")).status == 200


@pytest.mark.slow
async def test_14_ten_thousand_events_replayed_after_a_restart_are_not_delivered_again(tmp_path: Path) -> None:
    sent = events(10_000)
    async with opened(tmp_path) as store:
        await store.open_lane("meta", ["shop"])
        for at in range(0, len(sent), 500):
            await store.append(sent[at : at + 500])
        assert await deliver_all(store, "meta") == 10_000
    async with opened(tmp_path) as store:
        await store.open_lane("meta", ["shop"])
        receipts = [receipt for at in range(0, len(sent), 500) for receipt in await store.append(sent[at : at + 500])]
        assert set(receipts) == {Receipt.SAME}
        assert await deliver_all(store, "meta") == 0


@pytest.mark.slow
async def test_15_every_conflicting_event_is_listed_and_can_be_replayed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.open_lane("meta", ["shop"])
        await store.append(events(1000))
        conflicts = [event(f"e-{n:06d}", body=b'{"v":1,"other":%d}' % n) for n in range(1000)]
        assert set(await store.append(conflicts)) == {Receipt.CONFLICT}
        letters = await store.dead(DeadFilter(outcome="duplicate", limit=2000))
        assert {letter.event_id for letter in letters} == {one.id for one in conflicts}
        assert await deliver_all(store, "meta") == 1000
        assert await store.replay_dead(DeadFilter(outcome="duplicate", limit=2000)) == 1000
        assert await deliver_all(store, "meta") == 1000


TENANTS = (
    "  loud:\n    write_keys: [wk_loud]\n    limits:\n      rps: 20\n      burst: 20\n  quiet:\n    write_keys: [wk_quiet]\n"
)


@pytest.mark.slow
async def test_16_a_tenant_over_its_rate_costs_another_nothing(tmp_path: Path, vendor: Vendor) -> None:
    """One sends at twenty times its quota: it is told so with Retry-After, and the other is served as before."""
    vendor.always(Play(200))
    hook = f"type: webhook\nsources: [loud, quiet]\nsettings:\n  url: {vendor.url('/hook')}\n"
    async with running(tmp_path, {"hook": hook}, sources=TENANTS) as gateway:
        refused = []

        async def flood() -> None:
            for n in range(800):
                url = f"{gateway.url}/v1/events?k=wk_loud"
                async with gateway.client.post(url, json=purchase(f"loud-{n}")) as answer:
                    if answer.status != 200:
                        refused.append((answer.status, answer.headers.get("Retry-After")))
                await asyncio.sleep(1 / 400)

        async def quiet(name: str) -> float:
            took = []
            for n in range(60):
                started = time.monotonic()
                await gateway.send(purchase(f"{name}-{n}"), key="wk_quiet")
                took.append(time.monotonic() - started)
                await asyncio.sleep(0.02)
            return p99(took)

        alone = await quiet("alone")
        flooding = asyncio.create_task(flood())
        beside = await quiet("beside")
        await flooding
        await gateway.idle()
        assert len(refused) > 600
        assert {status for status, _ in refused} == {429}
        assert all(int(wait or 0) >= 1 for _, wait in refused)
        assert beside < max(1.2 * alone, alone + 0.1)
        ended = {row.source: sum(row.outcomes.values()) for row in (await gateway.app.store.audit()).lanes}
        assert ended["quiet"] == 120


ADMIN_PATHS = (
    "/ /ledger /lanes /dlq /dlq/replay /dlq/drop /replay /erase /reload /drain /events/e-1 /orders/o-1 /metrics /page "
    "/recent /overview /stream /login /static/page.js /static/../admin //ledger /%2e/ledger /./ledger /LEDGER /admin /debug "
    "/debug/pprof /.env /config /server-status"
).split()


async def test_21_no_admin_path_answers_on_the_public_port(tmp_path: Path) -> None:
    assert len(ADMIN_PATHS) == 30
    async with running(tmp_path, {}) as gateway:
        for path in ADMIN_PATHS:
            for method in ("GET", "POST"):
                async with gateway.client.request(method, gateway.url + path, json={}) as answer:
                    assert answer.status == 404, (method, path)


def test_21_an_open_admin_listener_without_a_token_does_not_start(tmp_path: Path) -> None:
    path = write_files(tmp_path, {})
    path.write_text(path.read_text().replace("admin:\n  listen: 127.0.0.1:0", "admin:\n  listen: 0.0.0.0:0"))
    with pytest.raises(ConfigErrors, match="token"):
        load(path)
