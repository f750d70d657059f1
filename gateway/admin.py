"""The admin listener: the ledger, dead letters, replay, erase, reload and links for e-mails as JSON; the page is gateway/page.

Answers are masked. `raw=1` gives an event as it is stored, to programs alone: not to a browser, and not by cookie; it is
logged that somebody looked.

Bound to loopback it needs no token; anywhere else the configuration refuses to load without one. A browser of another
site cannot use it either way: a foreign Host or Origin is refused, and every change needs a JSON body.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.clock import iso, parse_instant
from gateway.config.models import duration
from gateway.errors import ConfigErrors, GatewayError
from gateway.links import BadLink
from gateway.observe.ledger import ledger, reason_sentence, reason_words
from gateway.page.brief import known_of, parsed
from gateway.page.mask import Mask
from gateway.page.overview import lane_row
from gateway.page.routes import COOKIE, PageRoutes, cookie_value, event_id, is_open
from gateway.queue.base import DeadFilter, DeadLetter
from gateway.queue.recent import Logged
from gateway.setup.mail_links import made

if TYPE_CHECKING:
    from gateway.app import Tagway

log = logging.getLogger(__name__)

_FREE = frozenset({"/healthz", "/readyz", "/robots.txt"})
_NO_TOKEN = "the admin token is missing or wrong: send Authorization: Bearer <token>"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class BadQuery(GatewayError):
    """A parameter that cannot be used; the message says which and what it takes."""


class AdminApi:
    """Routes of the admin listener over a running gateway."""

    def __init__(self, gateway: Tagway, store_file: Path) -> None:
        self._gateway = gateway
        self._page = PageRoutes(gateway, store_file)

    def application(self) -> web.Application:
        """The aiohttp application, guarded."""
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/ledger", self.ledger),
                web.get("/lanes", self.lanes),
                web.get("/dlq", self.dead_letters),
                web.post("/dlq/replay", self.replay_dead),
                web.post("/dlq/drop", self.drop_dead),
                web.post("/replay", self.replay),
                web.post("/erase", self.erase),
                web.post("/reload", self.reload),
                web.post("/drain", self.drain),
                web.post("/links", self.links),
                web.get("/events/{id}", self.event),
                web.get("/orders/{order}", self.order),
                *health_routes(self._gateway.ready),
            ]
        )
        self._page.install(app)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path in _FREE:
            return await handler(request)
        refusal = self._refusal(request)
        if refusal:
            return answer({"error": refusal}, 401 if refusal == _NO_TOKEN else 403)
        try:
            return await handler(request)
        except (BadQuery, BadLink, ConfigErrors) as error:
            return answer({"error": str(error)}, 400)
        except web.HTTPException:
            raise
        except Exception:  # boundary: a bug of one admin route must be seen and must not look like a network fault
            log.exception("an admin route failed", extra={"route": request.path})
            return answer({"error": "this should not have happened; it was logged"}, 500)

    def _refusal(self, request: web.Request) -> str | None:
        token = self._gateway.config.admin.token.get_secret_value()
        if token and not is_open(request):
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(given, token.encode()) and not self._has_cookie(request, token):
                return _NO_TOKEN
        elif not token and _host_name(request.host) not in _LOOPBACK_NAMES:
            return "without a token the admin listener answers only to localhost"
        origin = request.headers.get("Origin")
        if origin and origin.split("://", 1)[-1] != request.host:
            return "requests of another site are refused"
        if request.path != "/" and request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return "requests of another site are refused"
        if request.method == "POST" and request.content_type != "application/json":
            return "changes need Content-Type: application/json"
        return None

    @staticmethod
    def _has_cookie(request: web.Request, token: str) -> bool:
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), cookie_value(token).encode())

    async def ledger(self, _request: web.Request) -> web.Response:
        """The equation per source and destination, and per event name; `notes` say what explains a row."""
        store = self._gateway.store
        view = ledger(await store.audit(), store.counters(), self._gateway.unconfirmed())
        return answer({**view, "notes": dict(self._gateway.consent_watch.notes())})

    async def lanes(self, _request: web.Request) -> web.Response:
        """State, depth and age of every lane."""
        return answer({"lanes": [lane_row(lane, self._page.overview.mask) for lane in self._gateway.lane_report()]})

    async def dead_letters(self, request: web.Request) -> web.Response:
        """Kept events, newest first."""
        letters = await self._gateway.store.dead(dead_filter(request.query))
        return answer({"dead": [dead_json(letter, self._page.overview.mask) for letter in letters]})

    async def replay_dead(self, request: web.Request) -> web.Response:
        """Queue dead letters again."""
        return answer({"replayed": await self._gateway.store.replay_dead(dead_filter(await _json(request)))})

    async def drop_dead(self, request: web.Request) -> web.Response:
        """Delete the kept copies."""
        return answer({"dropped": await self._gateway.store.drop_dead(dead_filter(await _json(request)))})

    async def replay(self, request: web.Request) -> web.StreamResponse:
        """Back-fill a lane; the answer is one JSON line per step of progress."""
        body = await _json(request)
        lane, since = str(body.get("to", "")), instant(body.get("since"), self._gateway.clock.now())
        if lane not in self._gateway.config.destinations:
            raise BadQuery(f"there is no destination {lane!r}; there are {', '.join(self._gateway.config.destinations)}")
        if since is None:
            raise BadQuery("since is missing: a duration such as 3d or a time such as 2026-11-24T00:00:00Z")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for progress in self._gateway.store.replay(lane, since):
            await response.write(
                orjson.dumps({"done": progress.done, "total": progress.total, "queued": progress.queued}) + b"\n"
            )
        await response.write_eof()
        return response

    async def erase(self, request: web.Request) -> web.Response:
        """Remove a person by `user.id`, `user.anonymous_id`, `user.email` or an id of `ids`."""
        body = await _json(request)
        matches = [
            (section, key, str(value))
            for section in ("user", "ids")
            for key, value in (body.get(section) or {}).items()
            if value
        ]
        if not matches:
            raise BadQuery('name the person: {"user": {"email": "…"}} or {"ids": {"ga_client_id": "…"}}')
        return answer({"erased": await self._gateway.store.erase(frozenset(), matches)})

    async def reload(self, _request: web.Request) -> web.Response:
        """Read the configuration again; a bad one changes nothing."""
        await self._gateway.reload()
        return answer({"reloaded": True, "hash": self._gateway.config.hash})

    async def drain(self, request: web.Request) -> web.Response:
        """Turn /readyz false so that a balancer sends no more, or true again; deliveries go on either way."""
        self._gateway.draining = bool((await _json(request)).get("on", True))
        return answer({"draining": self._gateway.draining})

    async def links(self, request: web.Request) -> web.Response:
        """Signed links for e-mails: one, or those of a list (gateway/setup/mail_links.py)."""
        return answer(made(self._gateway.config, await _json(request), self._gateway.clock.now()))

    async def event(self, request: web.Request) -> web.Response:
        """All that is known of one event by its id."""
        event_id = request.match_info["id"]
        return await self._events(request, await self._gateway.store.find(event_id))

    async def order(self, request: web.Request) -> web.Response:
        """The same of an order's events, newest first, with their stories."""
        order = request.match_info["order"]
        rows = await self._page.find_order(order)
        return await self._events(request, [(row.source, row.seq, row.body, row.received) for row in rows], order)

    async def _events(
        self, request: web.Request, found: Sequence[tuple[str, int, bytes, float]], order: str | None = None
    ) -> web.Response:
        raw = wants_raw(request)
        rows = [Logged(source, number, "", event_id(body), at, body) for source, number, body, at in found]
        firings = [one for id_ in dict.fromkeys(row.event_id for row in rows) for one in await self._firings(id_)]
        stories = await self._page.stories(rows)
        for story in stories:
            story["order"] = story["order"] or order  # one that is known by its mark alone
        events = [
            {
                "source": row.source,
                "seq": row.seq,
                "received": iso(row.received),
                "event": orjson.loads(row.body) if raw else story["event"],
            }
            for row, story in zip(rows, stories, strict=True)
        ]
        answers = [one for story in stories for end in story["destinations"] for one in end["answers"]]
        return answer({"events": events, "firings": firings if raw else answers, "stories": stories})

    async def _firings(self, event_id: str) -> list[dict[str, Any]]:
        return [
            {"destination": f.lane, "at": iso(f.at), "status": f.status, "ms": f.ms, "request": f.request,
             "answer": f.answer, "error": f.error}
            for f in await self._gateway.store.firings(None, event_id, 50)
        ]  # fmt: skip


def wants_raw(request: web.Request) -> bool:
    """Whether a program asks for an event as it is stored. Raises BadQuery for a browser."""
    if request.query.get("raw") != "1":
        return False
    if request.headers.keys() & {"Origin", "Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Site"}:
        raise BadQuery("raw is for programs: the page shows masked events only")
    log.info("An event was read with its personal data", extra={"path": request.path})
    return True


def health_routes(ready: Callable[[], dict[str, Any]]) -> list[web.RouteDef]:
    """/healthz (the process), /readyz (`ready()` has no "reasons"), /robots.txt: on every listener, without a token."""

    async def healthz(_request: web.Request) -> web.Response:
        return answer({"ok": True})

    async def readyz(_request: web.Request) -> web.Response:
        state = ready()
        return answer(state, 200 if not state["reasons"] else 503)

    async def robots(_request: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /\n")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/robots.txt", robots)]


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer that nobody caches."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(
        body=orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def dead_filter(query: Mapping[str, Any]) -> DeadFilter:
    """A DeadFilter of query parameters or a JSON body. Raises BadQuery."""
    known = {"ids", "to", "source", "outcome", "reason", "event_id", "since", "until", "limit"}
    unknown = sorted(set(query) - known)
    if unknown:
        raise BadQuery(f"unknown filter {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    ids = query.get("ids", ())
    try:
        numbers = tuple(int(one) for one in (ids.split(",") if isinstance(ids, str) else ids) if one != "")
        limit = int(query.get("limit", 100))
    except (TypeError, ValueError):
        raise BadQuery("ids and limit take whole numbers") from None
    words = {key: str(query[key]) for key in ("source", "outcome", "reason", "event_id") if query.get(key)}
    since, until = instant(query.get("since")), instant(query.get("until"))
    return DeadFilter(ids=numbers, lane=query.get("to") or None, since=since, until=until, limit=limit, **words)


def dead_json(letter: DeadLetter, mask: Mask) -> dict[str, Any]:
    """One dead letter for people and programs, masked; the event itself is asked for by id."""
    outcome, reason = str(letter.ending.outcome), letter.ending.reason
    data = parsed(letter.body)
    order = data.get("props", {}).get("transaction_id")
    known = known_of(data)
    return {
        "id": letter.id,
        "destination": letter.lane,
        "source": letter.source,
        "event_id": letter.event_id,
        "name": mask.text(str(data.get("name", letter.label))),
        "order": None if order is None else mask.text(str(order), known),
        "outcome": outcome,
        "reason": reason,
        "words": reason_words(outcome, reason),
        "sentence": reason_sentence(outcome, reason),
        "detail": mask.text(letter.ending.detail, known),
        "tries": letter.tries,
        "first_error": iso(letter.first_at) if letter.first_at else None,
        "at": iso(letter.at),
    }


def instant(value: Any, now: float | None = None) -> float | None:
    """`3d` before now, or an RFC 3339 time; None for nothing. Raises BadQuery."""
    if value in (None, ""):
        return None
    try:
        if now is not None and str(value)[-1:].isalpha() and not str(value).endswith("Z"):
            return now - float(duration(str(value)))
        return parse_instant(str(value))
    except ValueError:
        raise BadQuery("a time must be a duration such as 3d or look like 2026-11-24T00:00:00Z") from None


async def _json(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        raise BadQuery("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadQuery("the body must be a JSON object")
    return body


def _host_name(host: str) -> str:
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 or host.startswith("[") else host
    name = name.strip("[]").lower()
    try:
        return "127.0.0.1" if ipaddress.ip_address(name).is_loopback else name
    except ValueError:
        return name
