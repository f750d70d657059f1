"""The lab: emulators of vendors' APIs behind one loopback listener, with an inbox and a switch for each.

    lab = await start_lab("127.0.0.1", 0)
    endpoint = lab.url("meta")                 # a destination's `endpoint:` (webhook: its setting `url`)
    lab.inbox("meta")[-1].accepted             # what the platform would have made of it, with the reason
    lab.down("meta", "500")                    # 500 429 hang reset 401, None: up again
    await lab.close()

| route | |
|---|---|
| `/<vendor>/…` | the vendor's own API |
| `GET /inbox`, `GET /inbox/<vendor>` | events that arrived, oldest first; `?limit=` gives the newest |
| `POST /switch/<vendor>` `{"mode": "500"}` | take a vendor down, `{"mode": null}` brings it back; `GET /switch` shows all |
| `POST /clear` | forget what arrived |
| `GET /stream` | each event as it arrives (server-sent events) |

Nothing here is for production: it listens on loopback and holds what it got in memory, the last 1,000 per vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import orjson
from aiohttp import web

from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.lab.ga4 import Ga4
from gateway.lab.inbox import KEPT_BODY, Entry, Inbox, Seen
from gateway.lab.meta import Meta
from gateway.lab.tiktok import TikTok
from gateway.lab.vendor import Answer, Call, Mode, Vendor
from gateway.lab.webhook import WEBHOOK_SECRET, Webhook

HANG_SECONDS = 60.0
MAX_BODY = 4 * 2**20
HEARTBEAT = 15.0
_LOOPBACK = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")


class Lab:
    """A running lab; `vendors` are the names it knows."""

    def __init__(self, vendors: tuple[Vendor, ...], clock: Clock) -> None:
        self._vendors = {vendor.name: vendor for vendor in vendors}
        self._clock = clock
        self._inbox = Inbox(tuple(self._vendors))
        self._modes: dict[str, Mode | None] = dict.fromkeys(self._vendors)
        self._released = {name: asyncio.Event() for name in self._vendors}
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._base = ""

    @property
    def vendors(self) -> tuple[str, ...]:
        """Names, in the order of the inbox."""
        return tuple(self._vendors)

    def url(self, vendor: str = "") -> str:
        """The base to use as `endpoint:`; for the webhook the whole URL. Without a vendor: the lab's own."""
        path = {"": "", "webhook": "/webhook/hits"}.get(vendor, f"/{vendor}")
        return self._base + path

    def inbox(self, vendor: str) -> list[Entry]:
        """Events that arrived, oldest first."""
        return list(self._inbox.entries[vendor])

    def requests(self, vendor: str) -> list[Seen]:
        """Requests that arrived, oldest first."""
        return list(self._inbox.requests[vendor])

    def clear(self) -> None:
        """Forget what arrived; ids are remembered for de-duplication all the same."""
        self._inbox.clear()

    def down(self, vendor: str, mode: Mode | None = "500") -> None:
        """Take a vendor down, or bring it back with None; requests left hanging are then let go."""
        self._modes[vendor] = mode
        self._released[vendor].set()
        self._released[vendor] = asyncio.Event()

    def mode(self, vendor: str) -> Mode | None:
        """How a vendor is down; None while it is up."""
        return self._modes[vendor]

    async def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        for vendor in self._vendors:
            self.down(vendor, None)
        if self._runner:
            await self._runner.cleanup()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises GatewayError when the address is taken."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_for_local_pages])
        app.on_response_prepare.append(_allow_origin)
        app.add_routes(
            [
                web.get("/inbox", self._show),
                web.get("/inbox/{vendor}", self._show),
                web.get("/switch", self._switches),
                web.post("/switch/{vendor}", self._switch),
                web.post("/clear", self._clear),
                web.get("/stream", self._stream),
                web.route("*", "/{vendor}", self._vendor),
                web.route("*", "/{vendor}/{path:.*}", self._vendor),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise GatewayError(f"the lab cannot listen on {host}:{port}: {error.strerror}") from error
        bound = self._runner.addresses[0]
        self._base = f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    async def _vendor(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["vendor"]
        vendor = self._vendors.get(name)
        if vendor is None:
            return _json({"error": f"there is no vendor {name!r}; there are {', '.join(self._vendors)}"}, 404)
        call = Call(
            request.method,
            f"/{request.match_info.get('path', '')}",
            dict(request.query),
            {key.lower(): value for key, value in request.headers.items()},
            await request.read(),
            self._clock.now(),
        )
        mode = self._modes[name]
        answer = vendor.answer(call) if mode is None else await self._outage(vendor, mode, request)
        self._note(name, call, answer)
        return web.Response(
            body=answer.body,
            status=answer.status or 500,
            content_type=answer.content_type if answer.body else None,
            headers=answer.headers,
        )

    async def _outage(self, vendor: Vendor, mode: Mode, request: web.Request) -> Answer:
        if mode == "reset":
            _cut(request)
            return Answer(0)
        if mode == "hang":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released[vendor.name].wait(), HANG_SECONDS)
            _cut(request)
            return Answer(0)
        return vendor.outage(mode)

    def _note(self, vendor: str, call: Call, answer: Answer) -> None:
        self._inbox.requests[vendor].append(
            Seen(
                call.now,
                call.method,
                call.path,
                call.query,
                call.headers,
                call.body[:KEPT_BODY],
                answer.status,
                len(answer.noted),
            )
        )
        for one in answer.noted:
            self._inbox.add(
                Entry(call.now, vendor, one.name, one.id, one.accepted, one.reason, one.payload, one.duplicate, one.notes)
            )

    async def _show(self, request: web.Request) -> web.Response:
        name = request.match_info.get("vendor")
        if name is not None and name not in self._vendors:
            return _json({"error": f"there is no vendor {name!r}"}, 404)
        limit = request.query.get("limit", "1000")
        if not limit.isdigit():
            return _json({"error": "limit takes a whole number"}, 400)
        shown = {
            vendor: [entry.to_json() for entry in entries[-int(limit) :] if int(limit)]
            for vendor in ([name] if name else self._vendors)
            for entries in (self.inbox(vendor),)
        }
        return _json(shown[name] if name else shown)

    async def _switches(self, _request: web.Request) -> web.Response:
        return _json(self._modes)

    async def _switch(self, request: web.Request) -> web.Response:
        name = request.match_info["vendor"]
        if name not in self._vendors:
            return _json({"error": f"there is no vendor {name!r}"}, 404)
        try:
            body = orjson.loads(await request.read())
            mode = body["mode"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _json({"error": 'the body must be {"mode": …}'}, 400)
        if mode not in (None, *get_args(Mode)):
            return _json({"error": f"mode must be null or one of {', '.join(get_args(Mode))}"}, 400)
        self.down(name, mode)
        return _json(self._modes)

    async def _clear(self, _request: web.Request) -> web.Response:
        self.clear()
        return _json({"cleared": True})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with self._inbox.reading() as reader:
            await response.write(b": the lab\n\n")
            while not self._closing.is_set():
                try:
                    entry = await asyncio.wait_for(self._next(reader), HEARTBEAT)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if entry is not None:
                    await response.write(b"data: " + orjson.dumps(entry.to_json()) + b"\n\n")
        return response

    async def _next(self, reader: asyncio.Queue[Entry]) -> Entry | None:
        """The next entry, or None when the lab closes."""
        waits = {asyncio.ensure_future(reader.get()), asyncio.ensure_future(self._closing.wait())}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            found = [one.result() for one in done]
        finally:
            for one in waits:
                one.cancel()
        return next((one for one in found if isinstance(one, Entry)), None)


async def start_lab(
    host: str = "127.0.0.1", port: int = 9100, clock: Clock | None = None, webhook_secret: str = WEBHOOK_SECRET
) -> Lab:
    """Start every emulator on one listener; port 0 takes a free one. Raises GatewayError when the address is taken."""
    lab = Lab((Meta(), Ga4(), TikTok(), Webhook(webhook_secret)), clock or Clock())
    await lab.start(host, port)
    return lab


def _cut(request: web.Request) -> None:
    """Reset the connection, as a crashed peer or a firewall would."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


@web.middleware
async def _for_local_pages(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Pages of this machine may read and switch; a page of the web may do neither."""
    origin = request.headers.get("Origin")
    if origin is not None and not origin.startswith(_LOOPBACK):
        return _json({"error": "pages of other sites are refused"}, 403)
    if request.method == "OPTIONS" and origin:
        return web.Response(status=204, headers={"Access-Control-Allow-Headers": "content-type"})
    return await handler(request)


async def _allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    origin = request.headers.get("Origin", "")
    if origin.startswith(_LOOPBACK):
        response.headers["Access-Control-Allow-Origin"] = origin
