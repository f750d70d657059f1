"""The fake vendor: a real server on port 0 that records requests and plays scripted answers.

>>> vendor.answers(Play(500), Play(200))       # one request each, in this order
>>> vendor.always(Play(200))                   # everything else; may be a function of the request
A request that no script foresees is answered 500 and fails the test in the fixture's teardown.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

ENDLESS_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the vendor saw it, path and query as they came; `peer` tells connections apart."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int] | None = None

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Play:
    """How a request is answered. `fault`: hang, reset (after reading), reset_unread, cut, drip or endless."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    fault: str = ""


class Vendor:
    """See the module."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.unexpected: list[Seen] = []
        self.sent = 0
        self._script: deque[Play] = deque()
        self._rule: Callable[[Seen], Play] | None = None
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self.port = 0
        self.scheme = "http"

    async def start(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Vendor:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, 0, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.scheme = "https" if tls else "http"
        return self

    async def stop(self) -> None:
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    def url(self, path: str = "/events", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answers(self, *plays: Play) -> None:
        self._script.extend(plays)

    def always(self, rule: Play | Callable[[Seen], Play]) -> None:
        self._rule = rule if callable(rule) else lambda _seen: rule

    def check(self) -> None:
        """Raises AssertionError for a request that nobody expected."""
        assert not self.unexpected, f"unexpected requests: {[(s.method, s.path, s.body[:200]) for s in self.unexpected]}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self._script[0].fault if self._script else ""
        body = b"" if fault == "reset_unread" else await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        path, _, query = request.raw_path.partition("?")
        seen = Seen(request.method, path, query, dict(request.headers), body, peer and peer[:2])
        self.seen.append(seen)
        play = self._next(seen)
        if play.delay:
            await asyncio.sleep(play.delay)
        if play.fault:
            return await self._misbehave(request, play)
        return web.Response(status=play.status, body=play.body, headers=play.headers)

    def _next(self, seen: Seen) -> Play:
        if self._script:
            return self._script.popleft()
        if self._rule:
            return self._rule(seen)
        self.unexpected.append(seen)
        return Play(500, b"unexpected request")

    async def _misbehave(self, request: web.Request, play: Play) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        if play.fault == "hang":
            await self._closing.wait()
        if play.fault in ("reset", "reset_unread", "hang"):
            transport.abort()
            return web.Response()
        response = web.StreamResponse(status=play.status, headers=play.headers)
        if play.fault == "cut":
            response.content_length = len(play.body) + 100
        await response.prepare(request)
        await self._stream(response, play)
        if play.fault == "cut":
            transport.abort()
        return response

    async def _stream(self, response: web.StreamResponse, play: Play) -> None:
        try:
            if play.fault == "endless":
                while self.sent < ENDLESS_BYTES and not self._closing.is_set():
                    await response.write(b"x" * 65536)
                    self.sent += 65536
            elif play.fault == "drip":
                while not self._closing.is_set():
                    await response.write(b"x")
                    await asyncio.sleep(0.02)
            else:
                await response.write(play.body)
        except ConnectionError:
            return
