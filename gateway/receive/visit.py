"""One request at the door, with what is known of its sender."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.links import Link
from gateway.receive.client import Client
from gateway.receive.hit import Hit
from gateway.receive.request import Request
from gateway.receive.routes import Row
from gateway.receive.sources import Speaker

BROWSER = frozenset("origin referer cookie sec-fetch-site sec-fetch-dest sec-fetch-user sec-fetch-storage-access".split())
"""Headers that only browsers send. `Sec-Fetch-Mode` is not among them: Node's own fetch sends it, and it alone."""


@dataclass(slots=True)
class Visit:
    """A request on its way through the checks.

    `segment` is what the row's `{name}` stands for; `headers` and `query` are clean (gateway/receive/clean.py); `cors`
    are the header lines that let the page read the reply, empty until its origin was found on the list, `lines` those that
    set its cookies. `started` is monotonic, `received` wall time; `link` is what the token of an e-mail's link says, and its
    payload.
    """

    request: Request
    route: Row
    segment: str
    query: str
    headers: dict[str, str]
    client: Client
    started: float
    received: float
    cors: bytes = b""
    lines: bytes = b""
    link: tuple[Link, bytes] | None = None

    def hit(self, speaker: Speaker, body: bytes, *, hasty: bool = False) -> Hit:
        """The hit for a decoder, once it is known who speaks."""
        headers, client = self.headers, self.client
        return Hit(
            method=self.request.method,
            route=self.route.path,
            query=self.query,
            headers=headers,
            body=body,
            source=speaker.source,
            received=self.received,
            ip=client.ip,
            country=client.country,
            region=client.region,
            city=client.city,
            browser=not BROWSER.isdisjoint(headers),
            server=speaker.server,
            bot_score=client.bot_score,
            host=client.host,
            hasty=hasty,
        )
