"""The demo's own listener: the shop's page and files, the order numbers of its checkout, the switches, and the board's stream.

| route | |
|---|---|
| `GET /`, `GET /static/<file>` | the page; nothing is loaded from anywhere else |
| `GET /api/stream` | the board (server-sent events) |
| `POST /api/orders` | `{"event", "total", "consent"}` → `{"order": "1001"}`: the checkout of the shop's back end |
| `POST /api/vendors/<vendor>` | `{"mode": "500"}` takes a vendor down, `{"mode": null}` brings it back |
| `POST /api/gateway/kill`, `POST /api/gateway/start` | kill -9, and do not wait until it comes back by itself |

Only this machine's browser may use it: the Host must be a loopback name with this port, and whatever changes something must
be JSON from the page's own origin. A page of the web can neither read nor press anything, DNS rebinding included.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import aiohttp
import orjson
from aiohttp import web

from gateway.demo.board import TIMEOUT, Board, Order
from gateway.demo.child import GatewayProcess
from gateway.demo.configuration import WRITE_KEY
from gateway.demo.ports import HOST, Ports
from gateway.errors import GatewayError
from gateway.lab import Lab, Mode

STATIC = Path(__file__).parent / "static"
FILES = {
    "shop.css": "text/css",
    "page.js": "text/javascript",
    "shop.js": "text/javascript",
    "board.js": "text/javascript",
    "tracking.js": "text/javascript",
}
HEARTBEAT = 15.0
MAX_BODY = 16 * 1024
FIRST_ORDER = 1001
CONSENTS = ("all", "statistics", "necessary", "unasked")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Shop:
    """The listener. `folder` keeps the last order number, so that a kept store sees none twice."""

    def __init__(self, ports: Ports, board: Board, lab: Lab, gateway: GatewayProcess, folder: Path) -> None:
        self._ports, self._board, self._lab, self._gateway = ports, board, lab, gateway
        self._numbers = folder / "last-order"
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises GatewayError when the port is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/static/{name}", self._file),
                web.get("/api/stream", self._stream),
                web.post("/api/orders", self._checkout),
                web.post("/api/vendors/{vendor}", self._switch),
                web.post("/api/gateway/kill", self._kill),
                web.post("/api/gateway/start", self._start_gateway),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._ports.shop).start()
        except OSError as error:
            raise GatewayError(f"the shop cannot listen on {HOST}:{self._ports.shop}: {error.strerror}") from error

    async def close(self) -> None:
        """Stop listening and end the streams."""
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if refusal := refused(request, self._ports.shop):
            return _json({"error": refusal}, 403)
        return await handler(request)

    async def _page(self, _request: web.Request) -> web.Response:
        text = (STATIC / "index.html").read_text()
        text = text.replace("{gateway}", str(self._ports.gateway)).replace("{key}", WRITE_KEY)
        return web.Response(text=text, content_type="text/html", headers=self._headers())

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in FILES:
            raise web.HTTPNotFound
        return web.Response(text=(STATIC / name).read_text(), content_type=FILES[name], headers=self._headers())

    def _headers(self) -> dict[str, str]:
        gateways = f"http://{HOST}:{self._ports.gateway} http://localhost:{self._ports.gateway}"
        rules = (
            "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'",
            f"frame-ancestors 'none'; connect-src 'self' {gateways}; img-src 'self' data: {gateways}",
        )
        return {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "; ".join(rules),
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def _checkout(self, request: web.Request) -> web.Response:
        body = await _body(request)
        event, total, consent = body.get("event"), body.get("total"), body.get("consent")
        if not isinstance(event, str) or not isinstance(total, int | float) or consent not in CONSENTS or len(event) > 64:
            return _json({"error": f"send event, total and consent (one of {', '.join(CONSENTS)})"}, 400)
        number = self._next_number()
        self._board.add_order(Order(number, event, float(total), consent))
        return _json({"order": number})

    def _next_number(self) -> str:
        last = int(self._numbers.read_text()) if self._numbers.is_file() else FIRST_ORDER - 1
        self._numbers.write_text(str(last + 1))
        return str(last + 1)

    async def _switch(self, request: web.Request) -> web.Response:
        vendor, mode = request.match_info["vendor"], (await _body(request)).get("mode")
        if vendor not in self._lab.vendors or mode not in (None, *get_args(Mode)):
            return _json({"error": f"vendors: {', '.join(self._lab.vendors)}; modes: null, {', '.join(get_args(Mode))}"}, 400)
        self._lab.down(vendor, mode)
        if mode is None:
            await self._try_again()
        return _json({"mode": mode})

    async def _try_again(self) -> None:
        """`tagway reload`, as one does after mending a token: lanes that wait for a probe try at once."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as client,
                client.post(f"http://{HOST}:{self._ports.admin}/reload", json={}) as answer,
            ):
                await answer.read()

    async def _kill(self, _request: web.Request) -> web.Response:
        return _json({"killed": self._gateway.kill()})

    async def _start_gateway(self, _request: web.Request) -> web.Response:
        self._gateway.start_now()
        return _json({"starting": True})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        ended = asyncio.ensure_future(self._closing.wait())
        values = self._board.watch()
        try:
            await self._pump(response, values, ended)
        except ConnectionError:
            pass  # the page was closed
        finally:
            ended.cancel()
            await values.aclose()
        return response

    async def _pump(
        self, response: web.StreamResponse, values: AsyncGenerator[bytes, None], ended: asyncio.Future[Any]
    ) -> None:
        """Write each value as it comes, and a comment when none comes for long; until the demo ends."""
        coming: asyncio.Future[bytes] = asyncio.ensure_future(anext(values))
        try:
            while not ended.done():
                await asyncio.wait({coming, ended}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    await response.write(b"data: " + coming.result() + b"\n\n")
                    coming = asyncio.ensure_future(anext(values))
                else:
                    await response.write(b": still here\n\n")
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def refused(request: web.Request, port: int) -> str:
    """Why a request is not one of the demo's own page; empty when it is."""
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    if request.host not in hosts:
        return "the demo answers to this machine only"
    if request.method in ("GET", "HEAD"):
        return ""
    if request.headers.get("Origin") != f"http://{request.host}":
        return "only the demo's own page may press its buttons"
    return "" if request.content_type == "application/json" else "send application/json"


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest
    return body


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
