"""A whole gateway in the test's own process: real listeners on port 0, a real store, and the books checked at the end.

    async with running(tmp_path, {"meta": META.format(base=lab.url("meta"))}) as gateway:
        await gateway.send({"name": "purchase", …})
        await gateway.idle()

Leaving the block checks the books of the store against themselves and against /metrics: every end-to-end test keeps the
equation (`balanced = False` where it breaks it on purpose).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from gateway.app import Tagway
from gateway.clock import Clock
from gateway.config.load import load
from gateway.lanes import TransportFactory
from gateway.queue.recent import Window
from tests.faults.books import disagreements

GRANTED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted")
DENIED = dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "denied")
SOURCES = "  shop:\n    write_keys: [wk_shop]\n    server_keys: [sk_shop]\n"

LAB: dict[str, str] = {
    "meta": "type: meta\nendpoint: {base}\nsettings:\n  pixel_id: '1234567890'\n  access_token: T\n",
    "ga4": "type: ga4\nendpoint: {base}\nsettings:\n  measurement_id: G-TEST12345\n  api_secret: S\n",
    "tiktok": "type: tiktok\nendpoint: {base}\nsettings:\n  pixel_id: C4A\n  access_token: T\n",
    "webhook": "type: webhook\nsettings:\n  url: {base}\n  secret: tagway-lab-webhook-secret\n",
}
"""Destination files with `{base}` for the vendor's address."""


def purchase(event_id: str = "e-1", **changes: Any) -> dict[str, Any]:
    """A purchase that every destination takes."""
    event = {
        "name": "purchase",
        "id": event_id,
        "user": {"id": "u-1", "email": "jane@example.com"},
        "ids": {"ga_client_id": "123.456", "ga_session_id": "1795500000"},
        "device": {"ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0"},
        "page": {"url": "https://shop.example/thanks"},
        "props": {"transaction_id": f"o-{event_id}", "value": 42.5, "currency": "EUR"},
        "items": [{"id": "sku-1", "name": "Cup", "price": 42.5, "quantity": 1}],
        "consent": GRANTED,
    }
    return {**event, **changes}


class Running:
    """A gateway that is up, and a client of it."""

    def __init__(self, app: Tagway, folder: Path, client: aiohttp.ClientSession) -> None:
        self.app, self.folder, self.client = app, folder, client
        self.balanced = True

    @property
    def url(self) -> str:
        """Base of the public listener."""
        return f"http://{self.app.addresses['public']}"

    async def send(self, events: Any, key: str = "wk_shop", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """POST to /v1/events; the parsed answer of a 200."""
        sent = {"X-Write-Key": key, **(headers or {})}
        async with self.client.post(f"{self.url}/v1/events", json=events, headers=sent) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the admin listener."""
        url = f"http://{self.app.addresses['admin']}{path}"
        async with self.client.request(method, url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def metrics(self) -> str:
        """The text of /metrics."""
        async with self.client.get(f"http://{self.app.addresses['metrics']}/metrics") as answer:
            return await answer.text()

    async def disagreements(self) -> list[str]:
        """What does not add up in the books, or is not the same on /metrics, at a moment when nothing moves."""
        for _ in range(50):
            audit, metrics, again = await self.app.store.audit(), await self.metrics(), await self.app.store.audit()
            if audit == again:
                return disagreements(audit, metrics)
            await asyncio.sleep(0.05)
        raise AssertionError(f"the books never came to rest: {self.app.lane_report()}")

    def newest(self) -> dict[str, Any]:
        """The event that was stored last."""
        with Window(self.app._store_file) as window:
            [row] = window.newest(1)
        event: dict[str, Any] = orjson.loads(row.body)
        return event

    async def idle(self, timeout: float = 20.0) -> None:
        """Wait until nothing is queued."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if all(self.app.store.depth(lane).queued == 0 for lane in self.app.store.lanes()):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"still queued: {self.app.lane_report()}")

    async def outcomes(self, lane: str) -> Counter[str]:
        """`{"delivered": 3, "skipped{consent}": 1}` of a lane, over all sources."""
        found: Counter[str] = Counter()
        for row in (await self.app.store.audit()).lanes:
            if row.lane == lane:
                for (outcome, reason), n in row.outcomes.items():
                    found[f"{outcome}{{{reason}}}" if reason else str(outcome)] += n
        return found


def write_files(
    folder: Path, destinations: Mapping[str, str], sources: str = SOURCES, gateway: str = "", listen: str = "127.0.0.1:0"
) -> Path:
    """A gateway.yaml with its destinations; the only source may be left out of a destination."""
    (folder / "destinations").mkdir(parents=True, exist_ok=True)
    for name, text in destinations.items():
        (folder / "destinations" / f"{name}.yaml").write_text(text)
    path = folder / "gateway.yaml"
    path.write_text(
        f"lab: true\nlisten: {listen}\nadmin:\n  listen: 127.0.0.1:0\nmetrics:\n  listen: 127.0.0.1:0\n"
        f"{gateway}queue:\n  path: data\n  ballast: 1MB\nsources:\n{sources}destinations: destinations/\n"
    )
    return path


@asynccontextmanager
async def running(
    folder: Path,
    destinations: Mapping[str, str],
    *,
    sources: str = SOURCES,
    gateway: str = "",
    clock: Clock | None = None,
    transport: TransportFactory | None = None,
    listen: str = "127.0.0.1:0",
) -> AsyncIterator[Running]:
    """See the module."""
    app = Tagway(load(write_files(folder, destinations, sources, gateway, listen)), clock=clock, transport=transport, drain=0.0)
    await app.start()
    async with aiohttp.ClientSession() as client:
        up = Running(app, folder, client)
        try:
            yield up
            found = await up.disagreements()
            assert (not found) is up.balanced, found
        finally:
            await app.stop()


def lab_files(lab: Any, vendors: Sequence[str] = tuple(LAB)) -> dict[str, str]:
    """Destination files that point at a running lab."""
    return {vendor: LAB[vendor].format(base=lab.url(vendor)) for vendor in vendors}
