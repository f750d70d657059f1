"""A real Prometheus scrapes what we expose, and its answers are the counts of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.clock import Clock
from gateway.observe.metrics import PrometheusMeter
from tests.alerts_kit import prometheus_of
from tests.needs import program
from tests.test_metrics import FakeStore, config, prepared

CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: tagway
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

pytestmark = pytest.mark.slow


class Scraped:
    """A /metrics server and a Prometheus that scrapes it."""

    def __init__(self, meter: PrometheusMeter, store: FakeStore, base: str) -> None:
        self.meter, self.store, self._base = meter, store, base

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression."""
        return list((await self._get("/api/v1/query", query=expression))["data"]["result"])

    async def until(self, expression: str, value: float) -> None:
        """Wait for a single series with this value; fails after ten seconds."""
        async with asyncio.timeout(10):
            while True:
                found = await self.query(expression)
                if len(found) == 1 and float(found[0]["value"][1]) == value:
                    return
                await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Wait until it answers queries."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.query("up")
                    return
                except (aiohttp.ClientError, ValueError):
                    await asyncio.sleep(0.1)

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(self._base + path, params=query) as response:
            response.raise_for_status()
            return dict(await response.json())


@pytest.fixture
async def scraped(tmp_path: Path) -> AsyncIterator[Scraped]:
    meter, store = PrometheusMeter(Clock()), FakeStore({("shop", "meta", "purchase", "delivered", ""): 5})
    meter.attach(store, config("meta", "ga4"), prepared())  # type: ignore[arg-type]
    app = web.Application()
    app.add_routes([web.get("/metrics", meter.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=runner.addresses[0][1]))
    try:
        async with prometheus_of(tmp_path) as url:
            running = Scraped(meter, store, url)
            await running.ready()
            yield running
    finally:
        await runner.cleanup()


async def test_prometheus_reads_the_stored_counters_the_meter_and_the_sizes(scraped: Scraped) -> None:
    await scraped.until("up", 1)
    await scraped.until('tagway_outcomes_total{destination="meta",outcome="delivered"}', 5)
    scraped.store.counted[("shop", "meta", "page_view", "delivered", "")] = 2
    scraped.store.counted[("shop", "", "purchase", "duplicate", "same")] = 3
    scraped.meter.request("/v1/events", 200, 0.004)
    await scraped.until('tagway_outcomes_total{destination="meta",outcome="delivered"}', 7)
    await scraped.until('tagway_outcomes_total{destination="",outcome="duplicate",reason="same"}', 3)
    await scraped.until('tagway_queue_depth{destination="meta"}', 3)
    await scraped.until('tagway_http_requests_total{route="/v1/events",status="200"}', 1)
    await scraped.until("histogram_quantile(0.5, tagway_http_request_duration_seconds_bucket) < bool 0.005", 1)
    assert [row["metric"]["hash"] for row in await scraped.query("tagway_config_info")] == ["abc123"]
    types = (await scraped._get("/api/v1/metadata"))["data"]
    assert types["tagway_outcomes"][0]["type"] == "counter"
    assert types["tagway_queue_depth"][0]["type"] == "gauge"
    assert types["tagway_commit_duration_seconds"][0]["type"] == "histogram"


async def test_promtool_finds_nothing_to_complain_about() -> None:
    meter = PrometheusMeter(Clock())
    meter.attach(FakeStore({("shop", "meta", "x", "delivered", ""): 1}), config("meta"), prepared())  # type: ignore[arg-type]
    meter.request("/v1/events", 200, 0.004)
    meter.delivery("meta", 0.1)
    process = await asyncio.create_subprocess_exec(
        program("promtool", "prometheus"),
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(meter.render()[0])
    assert (process.returncode, output) == (0, b"")
