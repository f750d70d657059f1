"""A page that Chromium renders before anybody asked for it: nothing of it is a visit until it is shown.

The browser runs by itself: as soon as a debugger is attached (Playwright is one) it renders nothing ahead.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from tests.browser_kit import AGENT, Site, site
from tests.demo_kit import ARGS, CHROMIUM, INSTALL
from tests.gateway_kit import LAB, Running, running
from tests.needs import missing

pytestmark = pytest.mark.slow

HOOK = {"webhook": LAB["webhook"].format(base="http://127.0.0.1:9") + "mode: dry_run\n"}
GRANTED = (
    "<script>window.tagway = function () { (tagway.q = tagway.q || []).push(arguments) }; tagway('consent', 'granted')</script>"
)
AHEAD = (
    '<script type="speculationrules">{"prerender": [{"source": "list", "urls": ["/next"], "eagerness": "immediate"}]}</script>'
)
SECONDS_AHEAD = 2.5
"""The page has this long to be rendered ahead; then the visitor goes there."""


@asynccontextmanager
async def browsing(url: str, profile: Path) -> AsyncIterator[None]:
    """Chromium on a page, on its own."""
    if not CHROMIUM.exists():
        missing(INSTALL)
    options = (*ARGS, "--headless=new", f"--user-data-dir={profile}", f"--user-agent={AGENT}")
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(str(CHROMIUM), *options, url, stdout=nowhere, stderr=nowhere)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def stored(up: Running) -> list[tuple[str, str]]:
    """(name, path of the page) of every view and image, as committed."""
    connection = sqlite3.connect(f"file:{up.folder / 'data' / 'tagway.db'}?mode=ro", uri=True)
    try:
        events = [orjson.loads(body) for (body,) in connection.execute("select body from log order by id")]
    finally:
        connection.close()
    paths = ((event["name"], urlsplit(event["page"]["url"]).path) for event in events)
    return sorted(pair for pair in paths if pair[0] in ("page_view", "image"))


async def test_a_prerendered_page_is_a_visit_once_it_is_shown(tmp_path: Path) -> None:
    async with site() as one:
        sources = f"  shop:\n    write_keys: [wk_shop]\n    origins: ['http://localhost:{one.port}']\n"
        async with running(tmp_path, HOOK, sources=sources) as up:
            _pages(one, up.url.replace("127.0.0.1", "localhost"))
            async with browsing(f"http://localhost:{one.port}/first", tmp_path / "profile"):
                for _ in range(300):
                    if ("page_view", "/next") in stored(up):
                        break
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.5)
            assert stored(up) == [("page_view", "/first"), ("page_view", "/next")]
            assert 'tagway_ignored_total{reason="prefetch",route="/p.gif",source="shop"} 1.0' in await up.metrics()


def _pages(one: Site, gateway: str) -> None:
    """Our tag on both pages; on the second an image too, which does not wait."""
    tag = f'<!doctype html><title>Shop</title>{GRANTED}<script src="{gateway}/tag.js?k=wk_shop"></script>'
    goes = f"<script>setTimeout(() => location.assign('/next'), {int(SECONDS_AHEAD * 1000)})</script>"
    one.pages["/first"] = f"{tag}{AHEAD}{goes}"
    one.pages["/next"] = f'{tag}<img src="{gateway}/p.gif?k=wk_shop&e=image" alt="">'
