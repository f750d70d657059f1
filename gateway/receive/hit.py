"""What passes between the front door, the decoders and the intake: Hit, RawEvent, and the Intake that takes them.

A decoder is a pure function `decode(hit) -> list[RawEvent | Refused]`: one entry per event of the hit, in its order. It
raises Refused where nothing of the hit can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.errors import Refused
from gateway.outcomes import Receipt


class Hit(NamedTuple):
    """One HTTP request after the door's checks.

    `headers` has lower-case names (repeated ones joined by `, `, cookies by `; `), control characters removed; `query` is
    the raw query string; `body` is decoded (gzip and friends) bytes; `ip` is the client address as far as proxies are
    trusted, None when unknown; `browser` tells that the request carries Origin, Referer, Cookie or Sec-Fetch-*;
    `server` that a secret server key spoke; `trusts_body` is then true, or where no browser header came: IP and user
    agent in the body count. `bot_score` is a trusted proxy's word (0 to 100). `hasty` tells that somebody nearby asked for
    another link of the same copy of an e-mail a moment ago. `host` is the name that the client asked for, as far as proxies
    are trusted.
    """

    method: str
    route: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    source: str
    received: float
    ip: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    browser: bool = False
    server: bool = False
    bot_score: int = 0
    hasty: bool = False
    host: str = ""

    @property
    def trusts_body(self) -> bool:
        """Whether IP address and user agent written in the body count (design §3)."""
        return self.server or not self.browser


@dataclass(slots=True)
class RawEvent:
    """An event as its dialect said it, in the canonical shape but not yet checked.

    `data` uses the keys of the event schema (user, page, props, items, consent …) with values as they came; `name` is the
    dialect's name for it; `id` the client's own, None when it gave none; `time` and `sent_at` anything that may be an
    instant (RFC 3339 text, epoch seconds or milliseconds); `historic` keeps an old time as it is.
    """

    dialect: str
    name: Any
    data: dict[str, Any] = field(default_factory=dict)
    id: Any = None
    time: Any = None
    sent_at: Any = None
    historic: bool = False


class Taken(NamedTuple):
    """An event that is on disk (or a duplicate of one that is).

    `cookies` are the Set-Cookie lines, complete with their line ends, that the browser of the hit shall get: what the last of
    a hit's events says, empty for all others.
    """

    id: str
    receipt: Receipt
    cookies: bytes = b""


class Intake(Protocol):
    """Normalise, enrich, decide consent, store. Answers in the order of `raws`, after the commit."""

    async def accept(self, hit: Hit, raws: Sequence[RawEvent | Refused]) -> list[Taken | Refused]:
        """Raises QueueFull when the store takes nothing."""
