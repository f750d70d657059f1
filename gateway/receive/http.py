"""The front door: every request of the public listener passes here (design §3).

    door = Door(config, intake, consents, meter, clock)
    listener = Listener(door, config.listen)        # gateway/receive/listener.py

What it promises:

- A hit is answered as accepted only after `intake.accept` returned, that is, after its commit.
- Bad input is the client's: 4xx or the dialect's usual answer, one counted reason, never a 5xx, never a quoted byte. Only
  an exception that nobody foresaw is a 500; it is counted and logged by type and place, without its words.
- Checks cost what the request itself costs: announced sizes before reading, keys and rates before parsing, depth before
  walking.

There is no middleware and no router: a dictionary finds the row (gateway/receive/routes.py), and replies are bytes made
ahead (gateway/receive/replies.py).

`meter.request` and `meter.refused` are reported here; `meter.received` by the intake, which knows what was decoded.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from gateway.clock import Clock
from gateway.config.models import Gateway
from gateway.errors import QueueFull, Refused, RefusedReason
from gateway.meter import Meter
from gateway.receive.choice import Consents, read_choice
from gateway.receive.clean import clean_headers, clean_query
from gateway.receive.connection import OTHER
from gateway.receive.cors import ANY_ORIGIN, FORBIDDEN
from gateway.receive.forms import is_prefetch
from gateway.receive.hit import Intake
from gateway.receive.reading import BODY_SECONDS, BadFraming, TooSlow, check_version
from gateway.receive.replies import NATIVE, Answers, Reply, json_reply, without_event
from gateway.receive.request import Request
from gateway.receive.routes import DIALECTS, READ, Dialect, Row, Service
from gateway.receive.rules import Rules
from gateway.receive.services import discard, health, sdk_settings, source_config
from gateway.receive.sources import body_key, key_of
from gateway.receive.tag import tag
from gateway.receive.visit import Visit

log = logging.getLogger(__name__)

BEHIND_PROXY = (
    "behind_proxy_suspected: a private address that trusted_proxies does not name forwards for others; "
    "until it does, hits through it carry no IP address"
)
UNFORESEEN = json_reply(500, {"error": "internal", "reason": "this should not have happened; it was logged"}).closing()
MISSING = json_reply(404, {"error": "not_found", "reason": "there is no such route"})
CHOSEN = json_reply(200, {"ok": True})


class Door:
    """Answers the requests of the public listener. Raises ConfigErrors for a configuration it cannot serve.

    `ready` says what /readyz answers: an object whose `reasons` are empty while hits can be taken. `body_seconds` is
    how long a body may take to arrive.
    """

    def __init__(
        self,
        config: Gateway,
        intake: Intake,
        consents: Consents,
        meter: Meter,
        clock: Clock,
        *,
        ready: Callable[[], Mapping[str, Any]] | None = None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self.meter = meter
        self.draining = False
        self._intake = intake
        self._consents = consents
        self._clock = clock
        self._body_seconds = body_seconds
        self._behind_proxy = False
        self._services = (
            Service(path="/v1/consent", methods=("POST",), answer=self._consent),
            Service(path="/v1/projects/{key}/settings", methods=READ, answer=self._settings, public=True),
            Service(path="/sourceConfig", methods=READ, answer=self._source_config, public=True),
            Service(path="/v1/m", methods=("POST",), answer=discard),
            Service(path="/tag.js", methods=READ, alias="tag", answer=self._tag, public=True),
            *health(ready or self._ready),
        )
        self.reconfigure(config)

    def reconfigure(self, config: Gateway) -> None:
        """Use a new configuration from the next request on. Raises ConfigErrors, and then nothing has changed."""
        self._rules = Rules(config, self._services)
        self._behind_proxy = False

    def notes(self) -> list[str]:
        """What an operator should look at, in sentences; nothing of it stops the gateway."""
        return [BEHIND_PROXY] if self._behind_proxy else []

    def paths(self) -> set[str]:
        """The path of every row: what a request's metric label can be, beside `other`."""
        return {row.path for row in (*DIALECTS, *self._services)}

    def is_visitor(self, peer: str) -> bool:
        """Whether a socket address is a visitor's own: a public one, of no trusted proxy."""
        return self._rules.proxies.is_visitor(peer)

    async def handle(self, request: Request) -> tuple[Reply, bytes]:
        """Answer one request: the reply, and the header lines of this request alone."""
        started = self._clock.monotonic()
        rules = self._rules
        row, segment, query = rules.table.find(request.target)
        label, cors = (row.path, b"") if row else (OTHER, b"")
        try:
            if row is None:
                reply = MISSING
            elif request.method not in row.methods:
                reply, cors = self._other_method(rules, request, row, query)
            else:
                visit = self._visit(rules, request, row, segment, query, started)
                reply = await (self._hit(rules, visit, row) if isinstance(row, Dialect) else row.answer(visit))
                cors = visit.cors + visit.lines
        except Exception as error:  # noqa: BLE001  (boundary: whatever one request does, the listener goes on)
            reply = UNFORESEEN
            log.error("request failed", extra={"route": label, "error": type(error).__name__, "at": places(error)})
        self.meter.request(label, reply.status, self._clock.monotonic() - started)
        return reply.closing() if self.draining else reply, cors

    def _visit(self, rules: Rules, request: Request, row: Row, segment: str, query: str, started: float) -> Visit:
        client = rules.proxies.client(request.remote, request.headers)
        if client.suspect and not self._behind_proxy:
            self._behind_proxy = True
            log.warning("behind a proxy?", extra={"hint": BEHIND_PROXY})
        headers = clean_headers(request.headers)
        query = clean_query(query) if query else ""
        return Visit(request, row, segment, query, headers, client, started, self._clock.now())

    async def _hit(self, rules: Rules, visit: Visit, row: Dialect) -> Reply:
        answers = rules.answers(visit, row)
        if visit.request.method == "HEAD":
            return answers.accepted(())
        events = 1
        try:
            check_version(visit.request)
            hit = await rules.identify_hit(visit, self._body_seconds, row)
            if row.is_ahead(hit):
                self.meter.ignored(hit.source, row.path, "prefetch")
                return without_event(answers)
            raws = row.decode(hit)
            events = len(raws)
            if not raws:
                self.meter.ignored(hit.source, row.path, "prefetch" if is_prefetch(hit) else "no_event")
            taking = self._intake.accept(hit, raws) if raws else None
            del raws  # what was decoded is large, and nobody needs it while the disk is waited for
            results = await taking if taking else []
        except (Refused, QueueFull) as error:
            return self._not_taken(visit, answers, error, events)
        except Exception as error:  # boundary: a reader who follows a signed link is led on whatever happens
            if visit.link is None:
                raise
            log.error("request failed", extra={"route": row.path, "error": type(error).__name__, "at": places(error)})
            return self._not_taken(visit, answers, QueueFull("the event could not be stored"))
        if visit.client.bad:
            self.meter.dropped(hit.source, "device.ip")
        for result in results:
            if isinstance(result, Refused):
                self.meter.refused(row.path, result.reason)
            elif result.cookies:
                visit.lines += result.cookies
        return answers.accepted(results)

    def _not_taken(self, visit: Visit, answers: Answers, error: Refused | QueueFull, events: int = 1) -> Reply:
        reason = RefusedReason.FULL if isinstance(error, QueueFull) else error.reason
        self.meter.refused(visit.route.path, reason, events)
        reply = answers.full(error) if isinstance(error, QueueFull) else answers.refused(error)
        whole = visit.request.whole and not isinstance(error, (BadFraming, TooSlow))
        return reply if whole else reply.closing()

    def _other_method(self, rules: Rules, request: Request, row: Row, query: str) -> tuple[Reply, bytes]:
        if request.method != "OPTIONS":
            return _wrong_method(row.methods), b""
        host = rules.proxies.client(request.remote, request.headers).host
        reply, cors = rules.preflight(row, request.headers, host, query)
        if reply is FORBIDDEN:
            self.meter.refused(row.path, RefusedReason.ORIGIN)
        return reply, cors

    async def _consent(self, visit: Visit) -> Reply:
        try:
            check_version(visit.request)
            hit = await self._rules.identify(visit, self._body_seconds, inner_key=lambda body, _query: body_key(body))
            user, ids, consent = read_choice(hit)
            visit.lines += await self._consents.choose(hit, user, ids, consent) or b""
        except (Refused, QueueFull) as error:
            return self._not_taken(visit, NATIVE, error)
        return CHOSEN

    async def _settings(self, visit: Visit) -> Reply:
        rules = self._rules
        visit.cors = ANY_ORIGIN
        try:
            return sdk_settings(rules.config, rules.speakers, visit.segment, visit.client.host)
        except Refused as refusal:
            return self._not_taken(visit, NATIVE, refusal)

    async def _source_config(self, visit: Visit) -> Reply:
        visit.cors = ANY_ORIGIN
        try:
            return source_config(self._rules.speakers, key_of(visit.headers, visit.query))
        except Refused as refusal:
            return self._not_taken(visit, NATIVE, refusal)

    async def _tag(self, visit: Visit) -> Reply:
        visit.cors = ANY_ORIGIN
        return tag(self._rules.config, self._rules.speakers, visit)

    def _ready(self) -> dict[str, Any]:
        return {"ready": not self.draining, "reasons": ["stopping"] if self.draining else [], "notes": self.notes()}


def _wrong_method(methods: tuple[str, ...]) -> Reply:
    allow = {"Allow": ", ".join((*methods, "OPTIONS")), "Cache-Control": "no-store"}
    return json_reply(405, {"error": "method", "reason": "the route does not take this method"}, allow)


def places(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last, without its words: those may quote the input."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
