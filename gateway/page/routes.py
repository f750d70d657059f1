"""Routes of the page: itself and its files, the log-in, the live feed, recent events, stories.

| route | |
|---|---|
| `GET /`, `/static/…` | the page; no data in it, so no token |
| `POST /login` `{"token"}`, `POST /logout` | set and take back the cookie, which scripts cannot read |
| `GET /stream` | what changes, as server-sent events (feed.py) |
| `GET /overview` | the equation per destination, lanes, sources, notices |
| `GET /recent?limit=&destination=&outcome=&reason=&name=` | the newest events that match, at most 500 |
| `GET /story/{id}` | everything of an event; of an order: `/orders/{order}` (gateway/admin.py) |

All of it is masked. The answers carry headers that let the page load its own files alone and nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.page.brief import Replies, brief
from gateway.page.feed import Feed
from gateway.page.overview import Overview
from gateway.page.story import MOST_NEIGHBOURS, Found, Teller
from gateway.queue.base import Firing
from gateway.queue.lookup import Finder
from gateway.queue.recent import Logged, Number, Window

if TYPE_CHECKING:
    from gateway.app import Tagway

log = logging.getLogger(__name__)

COOKIE = "tagway_admin"
COOKIE_SECONDS = 12 * 3600
HEARTBEAT = 15.0
MOST_RECENT = 500
MOST_SCANNED = 20_000
"""Events that a filter looks through."""
MOST_STORIES = 20
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def cookie_value(token: str) -> str:
    """What the cookie holds: made from the token, and of no use to find it."""
    return hmac.new(token.encode(), b"tagway page", hashlib.sha256).hexdigest()


def is_open(request: web.Request) -> bool:
    """Whether a request needs no token: the page's own files, which hold no data, and the log-in."""
    return request.path in ("/", "/login", "/favicon.ico") or request.path.startswith("/static/")


class PageRoutes:
    """The page over a running gateway."""

    def __init__(self, gateway: Tagway, file: Path) -> None:
        self._gateway = gateway
        self._file = file
        self.overview = Overview(gateway)
        self.feed = Feed(file, self.overview, lambda: gateway.prepared, gateway.clock)
        self._files = {path.name: path.read_bytes() for path in _static() if path.suffix in _TYPES}

    def install(self, app: web.Application) -> None:
        """Add the routes, the headers of every answer, and the end of the streams when the listener closes."""
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/static/{name}", self.static),
                web.post("/login", self.login),
                web.post("/logout", self.logout),
                web.get("/stream", self.stream),
                web.get("/overview", self.top),
                web.get("/recent", self.recent),
                web.get("/story/{id}", self.story),
            ]
        )
        app.on_response_prepare.append(_strict)
        app.on_shutdown.append(self._close)

    async def _close(self, _app: web.Application) -> None:
        await self.feed.close()

    async def index(self, _request: web.Request) -> web.Response:
        """The page."""
        return self._file_answer("index.html")

    async def static(self, request: web.Request) -> web.Response:
        """Its files."""
        return self._file_answer(request.match_info["name"])

    def _file_answer(self, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound(text="there is no such file")
        return web.Response(body=self._files[name], content_type=_TYPES[Path(name).suffix], charset="utf-8")

    async def login(self, request: web.Request) -> web.Response:
        """Trade the token for a cookie."""
        token = self._gateway.config.admin.token.get_secret_value()
        given = str(parsed_body(await request.read()).get("token", ""))
        if not token or not hmac.compare_digest(given.encode(), token.encode()):
            log.warning("Somebody gave a wrong admin token on the page")
            return _json({"error": "this is not the admin token"}, 401)
        answer = _json({"ok": True})
        secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        answer.set_cookie(
            COOKIE, cookie_value(token), max_age=COOKIE_SECONDS, httponly=True, samesite="Strict", secure=secure, path="/"
        )
        return answer

    async def logout(self, _request: web.Request) -> web.Response:
        """Take the cookie back."""
        answer = _json({"ok": True})
        answer.del_cookie(COOKIE, path="/")
        return answer

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """What changes, for as long as somebody reads."""
        if self.feed.crowded:
            return _json({"error": "too many pages are open; close one"}, 503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        async with self.feed.looking() as messages:
            closing = asyncio.ensure_future(self.feed.closing.wait())
            try:
                await self._pump(response, messages, closing)
            except ConnectionResetError:
                log.debug("a looker has gone")
            finally:
                closing.cancel()
        return response

    async def _pump(
        self, response: web.StreamResponse, messages: asyncio.Queue[dict[str, Any]], closing: asyncio.Future[Any]
    ) -> None:
        while not closing.done():
            coming = asyncio.ensure_future(messages.get())
            try:
                await asyncio.wait({coming, closing}, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
                if coming.done():
                    await response.write(b"data: " + dumped(coming.result()) + b"\n\n")
                else:
                    await response.write(b": still here\n\n")
            finally:
                coming.cancel()

    async def top(self, _request: web.Request) -> web.Response:
        """The top of the page, once."""
        return _json(self.overview.to_json())

    async def recent(self, request: web.Request) -> web.Response:
        """The newest events that match."""
        wanted = {key: value for key, value in request.query.items() if value}
        unknown = set(wanted) - {"limit", "destination", "outcome", "reason", "name"}
        limit = wanted.get("limit", str(MOST_RECENT))
        if unknown or not limit.isdigit():
            return _json({"error": "there are the filters limit (a number), destination, outcome, reason and name"}, 400)
        rows, scanned = await asyncio.to_thread(self._matching, wanted, min(int(limit), MOST_RECENT))
        return _json({"events": rows, "scanned": scanned})

    def _matching(self, wanted: Mapping[str, str], limit: int) -> tuple[list[dict[str, Any]], int]:
        mask, scanned = self.overview.mask, 0
        found: list[dict[str, Any]] = []
        before: dict[str, int] = {}
        while len(found) < limit and scanned < MOST_SCANNED:
            with Window(self._file) as window:
                rows = window.newest(MOST_RECENT, before=before)
                replies = Replies()
                replies.add(window.firings(0, MOST_RECENT * 4) if not scanned else [])
                fates = window.fates(row.number for row in rows)
            shown = (brief(row, fates[row.number], replies, self._gateway.prepared, mask) for row in rows)
            found += [one for one in shown if matches(one, wanted)]
            scanned += len(rows)
            if len(rows) < MOST_RECENT:
                break
            for row in rows:
                before[row.source] = min(row.seq, before.get(row.source, row.seq))
        return found[:limit], scanned

    async def story(self, request: web.Request) -> web.Response:
        """Everything of an event."""
        found = await self._gateway.store.find(request.match_info["id"])
        stories = await self.stories([Logged(s, n, "", event_id(body), at, body) for s, n, body, at in found[:MOST_STORIES]])
        return _json({"stories": stories})

    async def find_order(self, order: str) -> list[Logged]:
        """The events of an order, newest first."""
        found = await asyncio.to_thread(self._orders, order)
        return [Logged(s, n, "", event_id(body), at, body) for s, n, body, at in found]

    def _orders(self, order: str) -> list[tuple[str, int, bytes, float]]:
        with Window(self._file) as window:
            names = dict(window.sources())
        return Finder(self._file, names).find_order(order, MOST_STORIES)

    async def stories(self, rows: Sequence[Logged]) -> list[dict[str, Any]]:
        """The stories of events, masked."""
        gateway = self._gateway
        teller = Teller(gateway.config, gateway.prepared, self.overview.mask)
        told = []
        for row in rows:
            firings = [
                firing
                for firing in await gateway.store.firings(None, row.event_id, 200)
                if any((source, number) == row.number for source, number, _ in firing.events)
            ]
            found = await asyncio.to_thread(self._found, row, firings)
            told.append(await asyncio.to_thread(teller.tell, found, gateway.clock.now()))
        return told

    def _found(self, row: Logged, firings: list[Firing]) -> Found:
        numbers: dict[Number, None] = {}
        for firing in firings:
            numbers.update(dict.fromkeys((source, number) for source, number, _ in firing.events[:MOST_NEIGHBOURS]))
        with Window(self._file) as window:
            fates = window.fates([row.number])[row.number]
            neighbours = [one.body for one in window.rows(numbers) if one.number != row.number]
            return Found(row, fates, firings, window.named_by_sender(row.source, row.event_id), neighbours)


def matches(row: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a row of the page is what a filter asks for; outcome and reason must be the same destination's."""
    if "name" in wanted and row["name"] != wanted["name"]:
        return False
    if not {"destination", "outcome", "reason"} & set(wanted):
        return True
    for lane, end in row["ends"].items():
        if wanted.get("destination") in (None, lane) and all(
            wanted.get(key) in (None, end[field]) for key, field in (("outcome", "state"), ("reason", "reason"))
        ):
            return True
    return False


def parsed_body(raw: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def event_id(body: bytes) -> str:
    """The id in a stored event; empty where it cannot be read."""
    return str(parsed_body(body).get("id", ""))


def _static() -> list[Path]:
    return [Path(str(path)) for path in resources.files("gateway.page").joinpath("static").iterdir()]


async def _strict(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def dumped(value: Any) -> bytes:
    """JSON; outcomes are words also as keys."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=dumped(value), status=status, content_type="application/json")
