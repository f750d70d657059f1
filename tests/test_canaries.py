"""A whole gateway at work, with a marked value in every field and secret: none of them is in a log, a metric or a reply.

The vendors are down in every way they know, and hits are refused for every reason.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import Tagway
from gateway.config.load import load
from gateway.lab import Lab, start_lab
from gateway.lab.vendor import MODES
from gateway.observe.log import JsonHandler, secrets_of

pytestmark = pytest.mark.slow

MARK = "kanari"
SECRETS = {
    "META_TOKEN": f"EAAB{MARK}meta",
    "GA4_SECRET": f"{MARK}-ga4-secret",
    "TIKTOK_TOKEN": f"{MARK}tiktoktoken",
    "HOOK_SECRET": f"{MARK}-hook-secret",
    "SERVER_KEY": f"sk_{MARK}_server",
    "ADMIN_TOKEN": f"{MARK}-admin-token",
}
GATEWAY = """
listen: 127.0.0.1:0
admin:
  listen: 127.0.0.1:0
  token: ${ADMIN_TOKEN}
metrics:
  listen: 127.0.0.1:0
queue:
  path: ../data
sources:
  shop:
    hosts:
      - 127.0.0.1
    origins:
      - https://shop.example
    write_keys:
      - wk_shop_open
    server_keys:
      - ${SERVER_KEY}
destinations: destinations/
"""
DESTINATIONS = {
    "meta": "type: meta\nendpoint: {lab}/meta\nsettings:\n  pixel_id: '1234'\n  access_token: ${{META_TOKEN}}\n",
    "ga4": "type: ga4\nendpoint: {lab}/ga4\nsettings:\n  measurement_id: G-1\n  api_secret: ${{GA4_SECRET}}\n",
    "tiktok": "type: tiktok\nendpoint: {lab}/tiktok\nsettings:\n  pixel_id: C1\n  access_token: ${{TIKTOK_TOKEN}}\n",
    "webhook": "type: webhook\nsettings:\n  url: {lab}/webhook\n  secret: ${{HOOK_SECRET}}\n",
}
EVENT: dict[str, Any] = {
    "name": "purchase",
    "user": {
        "id": f"{MARK}-user",
        "anonymous_id": f"{MARK}-anonymous",
        "email": f"jane.{MARK}@example.com",
        "phone": "+49 151 12345678",
        "first_name": f"Jane{MARK}",
        "last_name": f"Doe {MARK}",
        "street": f"{MARK}street 1",
        "city": f"{MARK}city",
        "zip": f"{MARK}zip",
        "traits": {"plan": MARK},
    },
    "page": {"url": f"https://shop.example/{MARK}?email={MARK}", "title": MARK, "referrer": f"https://r.example/?q={MARK}"},
    "ids": {"ga_client_id": f"{MARK}.1", "fbp": f"fb.1.1795514000000.{MARK}", "fbc": f"fb.1.1795514000000.{MARK}"},
    "device": {"user_agent": f"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0 {MARK}"},
    "props": {"value": 42.5, "currency": "EUR", "transaction_id": f"T-{MARK}", "coupon": MARK, f"own_{MARK}": MARK},
    "items": [{"id": f"sku-{MARK}", "name": MARK, "price": 42.5, "quantity": 1}],
    "consent": dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"), "granted"),
}


class Rig:
    """A gateway over the lab, its log, and everything that was answered."""

    def __init__(self, gateway: Tagway, lab: Lab, http: aiohttp.ClientSession, log: io.StringIO) -> None:
        self.gateway, self.lab, self.http, self.log = gateway, lab, http, log
        self.answers: list[str] = []

    async def call(self, method: str, where: str, path: str, **options: Any) -> str:
        url = f"http://{self.gateway.addresses[where]}{path}"
        async with self.http.request(method, url, **options) as response:
            text = f"{response.status} {dict(response.headers)} {await response.text(errors='replace')}"
        self.answers.append(text)
        return text

    def complains(self) -> bool:
        """Whether the log holds a warning or an error."""
        return any(json.loads(line)["level"] in ("warning", "error") for line in self.log.getvalue().splitlines())

    async def hit(self, **changes: Any) -> str:
        return await self.call("POST", "public", "/v1/events?k=wk_shop_open", json=EVENT | changes)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    lab = await start_lab("127.0.0.1", 0, webhook_secret=SECRETS["HOOK_SECRET"])
    folder = tmp_path / "configs" / "destinations"
    folder.mkdir(parents=True)
    (tmp_path / "configs" / "gateway.yaml").write_text(GATEWAY)
    for name, text in DESTINATIONS.items():
        (folder / f"{name}.yaml").write_text(text.format(lab=lab.url()))
    config = load(tmp_path / "configs" / "gateway.yaml", env=SECRETS)
    stream = io.StringIO()
    handler = JsonHandler(secrets_of(config), stream)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    gateway = Tagway(config, drain=0)
    await gateway.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            yield Rig(gateway, lab, http, stream)
    finally:
        await gateway.stop()
        await lab.close()
        root.handlers[:] = before
        root.setLevel(level)
        handler.stop()


async def bad_hits(rig: Rig) -> None:
    """Hits that are refused for every reason, each with marks where it can have some."""
    mark_json = {"Content-Type": "application/json"}
    for method, path, options in (
        ("POST", "/v1/events?k=wk_shop_open", {"data": f'{{"name": "{MARK}', "headers": mark_json}),
        ("POST", f"/v1/events?k={MARK}", {"json": EVENT}),
        ("POST", "/v1/events?k=wk_shop_open", {"json": EVENT, "headers": {"Origin": f"https://{MARK}.example"}}),
        ("POST", "/v1/events?k=wk_shop_open", {"json": EVENT | {"name": MARK * 100}}),
        ("POST", "/v1/events?k=wk_shop_open", {"data": MARK, "headers": mark_json | {"Content-Encoding": MARK}}),
        ("POST", "/v1/events?k=wk_shop_open", {"data": MARK * 100_000, "headers": mark_json}),
        ("POST", "/v1/events?k=wk_shop_open", {"json": [[MARK]]}),
        ("POST", "/v1/batch", {"json": {"batch": [{"type": MARK}]}, "headers": {"Authorization": f"Basic {MARK}"}}),
        ("POST", "/v1/track", {"json": {"event": MARK, "userId": MARK, "writeKey": MARK}}),
        ("POST", "/v1/consent", {"json": {"user": {"id": MARK}, "consent": {MARK: MARK}}}),
        ("GET", f"/p.gif?k=wk_shop_open&n={MARK}&em={MARK}@example.com&u=%ff%00", {}),
        ("GET", f"/{MARK}/nowhere?{MARK}={MARK}", {}),
        ("GET", "/v1/events", {"headers": {"Cookie": f"_fbp={MARK}; {MARK}={MARK}"}}),
    ):
        await rig.call(method, "public", path, **options)


async def test_nothing_personal_or_secret_leaves_by_a_log_a_metric_or_a_reply(rig: Rig) -> None:
    await rig.hit()
    await bad_hits(rig)
    for mode in MODES:
        for vendor in rig.lab.vendors:
            rig.lab.down(vendor, mode)
        for number in range(3):
            await rig.hit(id=f"e-{mode}-{number}")
        await asyncio.sleep(0.6)  # long enough for requests to fail on an idle machine; retries come later
        deadline = time.monotonic() + 3
        while not rig.complains() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for vendor in rig.lab.vendors:
            rig.lab.down(vendor, None)
    await asyncio.sleep(0.5)
    token = {"Authorization": f"Bearer {SECRETS['ADMIN_TOKEN']}"}
    for path in ("/ledger", "/lanes", "/dlq", "/readyz"):
        assert (await rig.call("GET", "admin", path, headers=token)).startswith("200 "), path
    assert (await rig.call("GET", "admin", "/ledger", headers={"Authorization": f"Bearer {MARK}"})).startswith("401 ")
    metrics = await rig.call("GET", "metrics", "/metrics")
    assert 'outcome="delivered"' in metrics, "nothing was sent, so nothing was tried"
    lines = rig.log.getvalue().splitlines()
    assert rig.complains(), "nothing went wrong, so nothing was tried"
    for line in [*lines, *rig.answers]:
        for mark in (MARK, "12345678", "jane."):
            assert mark not in line.lower()
