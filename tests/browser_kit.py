"""A site of a few pages, a gateway under a name of its own beside it, and Chromium in a thread of its own.

    async with shop_and_gateway(tmp_path, lab) as site:
        await chromium_thread(visit, site)        # `visit(browser, site)` plays, by Playwright's blocking calls

The pages are at http://shop.example, the gateway at http://t.shop.example (the same site) and http://localhost (another site,
to which third-party cookies could go): all are this machine, by Chromium's own table of names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from aiohttp import web
from playwright.sync_api import Browser

from gateway.lab.server import Lab
from tests.demo_kit import chromium
from tests.faults.process import free_port
from tests.gateway_kit import Running, lab_files, running

NAMES = "--host-resolver-rules=MAP *.example 127.0.0.1"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
"""A person's browser: the headless one says that it is one, and is scored as a bot. The whole browser is told, as what a page
sends while it goes does not carry the name that its context was given."""
P = ParamSpec("P")
T = TypeVar("T")


class BrowserThread:
    """Plays in the thread that owns the browser, so that the gateway in the test's own loop can answer meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._stack = ExitStack()
        self._browser = self._thread.submit(
            lambda: self._stack.enter_context(chromium(NAMES, f"--user-agent={AGENT}"))
        ).result()

    async def __call__(self, play: Callable[Concatenate[Browser, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: play(self._browser, *args, **kwargs))

    def close(self) -> None:
        self._thread.submit(self._stack.close).result()
        self._thread.shutdown()


@contextmanager
def browser_thread() -> Iterator[BrowserThread]:
    """One browser for a module of tests."""
    thread = BrowserThread()
    try:
        yield thread
    finally:
        thread.close()


class Site:
    """Serves `pages` (path → HTML or JavaScript) and what a gateway is told about them."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.port = 0
        self.gateway_port = free_port()
        self.gateway: Running | None = None

    @property
    def url(self) -> str:
        return f"http://shop.example:{self.port}"

    @property
    def tag_host(self) -> str:
        """The gateway, of the same site."""
        return f"http://t.shop.example:{self.gateway_port}"

    @property
    def foreign_host(self) -> str:
        """The gateway under a name of another site."""
        return f"http://localhost:{self.gateway_port}"

    def sources(self, more: str = "") -> str:
        """The source of these pages."""
        return (
            f"  shop:\n    hosts: [t.shop.example]\n    origins: ['{self.url}']\n    write_keys: [wk_shop]\n"
            f"    ga4_ids: [G-TEST12345]\n{more}"
        )

    async def answer(self, request: web.Request) -> web.Response:
        """A page; anything unknown is 404, so that a test sees what was asked for in vain."""
        page = self.pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound
        kind = "text/javascript" if request.path.endswith(".js") else "text/html"
        return web.Response(text=page, content_type=kind, headers=self.headers)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """The pages alone."""
    one = Site()
    application = web.Application()
    application.router.add_get("/{any:.*}", one.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    socket = web.TCPSite(runner, "127.0.0.1", 0)
    await socket.start()
    one.port = runner.addresses[0][1]
    try:
        yield one
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateway_of(
    one: Site, folder: Path, destinations: Mapping[str, str], *, source: str = "", gateway: str = ""
) -> AsyncIterator[Running]:
    """The site's gateway, at the address that its pages know; it may come and go over the same folder."""
    async with running(
        folder, destinations, sources=one.sources(source), gateway=gateway, listen=f"127.0.0.1:{one.gateway_port}"
    ) as up:
        one.gateway = up
        yield up


@asynccontextmanager
async def shop_and_gateway(
    folder: Path, lab: Lab, *, source: str = "", gateway: str = "", webhook: str = ""
) -> AsyncIterator[Site]:
    """Pages, and a gateway that sends to a lab's four vendors; `webhook` are more lines of that destination's file."""
    files = lab_files(lab)
    files["webhook"] += webhook
    async with site() as one, gateway_of(one, folder, files, source=source, gateway=gateway):
        yield one


def arrived(lab: Lab) -> list[dict[str, Any]]:
    """The canonical events that the webhook got, as they happened."""
    assert all(entry.accepted for entry in lab.inbox("webhook"))
    return sorted((entry.payload for entry in lab.inbox("webhook")), key=lambda event: (event["time"], event["id"]))
