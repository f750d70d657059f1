"""What a configuration says about receiving, compiled; the door swaps it whole on a reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config.hooks import Hook
from gateway.config.models import Gateway
from gateway.errors import Refused, RefusedReason
from gateway.receive.client import Proxies
from gateway.receive.cors import ANY_ORIGIN, Origins, granted
from gateway.receive.hit import Hit
from gateway.receive.limits import Rates, check_depth
from gateway.receive.linked import MailLinks, Redirect
from gateway.receive.reading import body_at_hand, check_announced, read_body
from gateway.receive.replies import Answers, Reply
from gateway.receive.routes import DIALECTS, Dialect, InnerKey, NamedBy, Row, Service, Table
from gateway.receive.signatures import Check
from gateway.receive.sources import Speaker, Speakers, bearer_of, key_of, query_value
from gateway.receive.visit import Visit


def hook_of(config: Gateway, source: str, shop: str) -> Hook:
    """What a source says of a shop's webhooks. Raises Refused 404."""
    found = config.sources[source].hooks.of(shop) if source in config.sources else None
    if found is None:
        raise Refused(f"no such source, or it has no hooks.{shop}", reason=RefusedReason.UNKNOWN_KEY, status=404)
    return found


class Rules:
    """Routes, keys, origins, proxies and rates of one configuration. Raises ConfigErrors."""

    def __init__(self, config: Gateway, services: Sequence[Service]) -> None:
        self.config = config
        paths = [config.paths, *(source.paths for source in config.sources.values() if source.paths)]
        self.table = Table([*DIALECTS, *services], paths)
        self.speakers = Speakers(config.sources)
        self.origins = Origins(config.sources)
        self.proxies = Proxies(config.trusted_proxies, config.geo, Path(config.file).parent)
        self.rates = Rates(config.sources)
        self.links = MailLinks(config.sources)

    async def identify_hit(self, visit: Visit, seconds: float, row: Dialect) -> Hit:
        """The hit of a dialect's row. Raises Refused."""
        if row.link is not None:
            return self._linked_hit(visit)
        if row.signed is not None:
            return await self._signed_hit(visit, seconds, row.shop, row.signed)
        return await self.identify(
            visit, seconds, json=row.json, inner_key=row.inner_key, named_by=row.named_by, loose=row.loose
        )

    async def identify(
        self,
        visit: Visit,
        seconds: float,
        *,
        json: bool = True,
        inner_key: InnerKey | None = None,
        named_by: NamedBy | None = None,
        loose: bool = False,
    ) -> Hit:
        """The hit, once it is known who speaks and that they may. Raises Refused.

        What can be refused by the headers is, before the body is read; a body that may name its own source is read first.
        """
        check_announced(visit.headers)
        key = key_of(visit.headers, visit.query)
        body = None
        maybe, stream = named_by(visit.query) if named_by else (None, None)
        if key is None and maybe and self.speakers.knows(maybe):
            key = maybe
        if key is None and inner_key is not None:
            body = body_at_hand(visit.request, visit.headers)
            if body is None:
                body = await read_body(visit.request, visit.headers, seconds)
            key = inner_key(body, visit.query) or self._bearer(visit)
            if loose and key is not None and not self.speakers.knows(key):
                key = None
        speaker = self.speakers.speaker(key, visit.client.host, stream)
        self._admit(visit, speaker)
        if body is None:
            body = body_at_hand(visit.request, visit.headers)
            if body is None:
                body = await read_body(visit.request, visit.headers, seconds)
        if json:
            check_depth(body)
        return visit.hit(speaker, body)

    async def _signed_hit(self, visit: Visit, seconds: float, shop: str, check: Check) -> Hit:
        """The hit of a shop's webhook: its path names the source, its signature proves it. Raises Refused.

        Only what was signed counts towards the source's rate.
        """
        check_announced(visit.headers)
        hook = hook_of(self.config, visit.segment, shop)
        body = body_at_hand(visit.request, visit.headers)
        if body is None:
            body = await read_body(visit.request, visit.headers, seconds)
        check(body, visit.headers, hook.keys, visit.received)
        self.rates.check(visit.segment, None, visit.started)
        check_depth(body)
        return visit.hit(Speaker(visit.segment, server=True), body)

    def answers(self, visit: Visit, row: Dialect) -> Answers:
        """What the client of a request is told. For a link in an e-mail its token is read here, and decides."""
        answers = row.answers_to(visit.request.method)
        if row.link is None:
            return answers
        visit.link = self.links.read(row.link, visit.segment, visit.received)
        if visit.link is None or row.link == "open":
            return answers
        return Redirect(*visit.link)

    def _linked_hit(self, visit: Visit) -> Hit:
        """The hit of a link in an e-mail: its token names the source. Raises Refused."""
        if visit.link is None:
            raise Refused("the link is not one of ours", reason=RefusedReason.SIGNATURE, status=404)
        link, payload = visit.link
        self.rates.check(link.source, None, visit.started)
        return visit.hit(Speaker(link.source), payload, hasty=self.links.hasty(link, visit.client.ip, visit.received))

    def preflight(self, row: Row, headers: Mapping[str, str], host: str, query: str) -> tuple[Reply, bytes]:
        """The answer to OPTIONS on a row, with its CORS lines."""
        origin, asked = headers.get("origin"), headers.get("access-control-request-headers", "").strip()
        methods = ", ".join((*row.methods, "OPTIONS"))
        if isinstance(row, Service) and row.public:
            return granted(methods, asked), ANY_ORIGIN
        key = query_value(query, "k") or query_value(query, "writeKey")
        source = self.speakers.of_write_key(key) if key else self.speakers.of_host(host)
        return self.origins.preflight(origin, source, methods, asked)

    def _bearer(self, visit: Visit) -> str | None:
        """A Bearer token that is a key of ours; any other is an SDK's OAuth token, which names nobody."""
        token = bearer_of(visit.headers)
        return token if token and self.speakers.knows(token) else None

    def _admit(self, visit: Visit, speaker: Speaker) -> None:
        origin = visit.headers.get("origin")
        if origin is not None:
            lines = self.origins.lines(origin, speaker.source)
            if lines is None:
                raise Refused("the Origin is not one of the source", reason=RefusedReason.ORIGIN, status=403)
            visit.cors = lines
        self.rates.check(speaker.source, visit.client.ip, visit.started)
