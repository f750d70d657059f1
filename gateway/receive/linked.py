"""Links in e-mails at the door: whose they are, where they lead, and who fetches several of them at once.

A redirect is answered to every valid token, whatever becomes of its event; without a valid token, or to a host that the
source's `links.hosts` no longer names, there is a static page and 404.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.config.models import Source
from gateway.errors import QueueFull, Refused
from gateway.links import BadLink, BadToken, Kind, Link, click_id, read, target, with_click_id
from gateway.links import key_id as id_of
from gateway.receive.hit import Taken
from gateway.receive.replies import Reply

HASTE = 3.0
"""Seconds within which nobody reads a mail and follows two of its links; scanners do."""
MOST_COPIES = 10_000
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>This link does not work</title><h1>This link does not work</h1>
<p>It is incomplete, or it has expired. Please go back to the message and open the link there.</p></html>
"""
_GONE = Reply(
    404, _PAGE, {**_HEADERS, "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'"}
)


class Nowhere:
    """What is told to whoever comes with a token that is none of ours."""

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return _GONE

    def refused(self, refusal: Refused) -> Reply:
        return _GONE

    def full(self, full: QueueFull) -> Reply:
        return _GONE


class Redirect:
    """302 to where a valid link leads, whatever became of the click."""

    def __init__(self, link: Link, payload: bytes) -> None:
        self._reply = Reply(302, headers={"Location": with_click_id(link.to, click_id(payload)), **_HEADERS})

    def accepted(self, results: Sequence[Taken | Refused]) -> Reply:
        return self._reply

    def refused(self, refusal: Refused) -> Reply:
        return self._reply

    def full(self, full: QueueFull) -> Reply:
        return self._reply


class MailLinks:
    """The keys and hosts of all sources, and which copies of e-mails were asked for just now."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._keys = {name: {id_of(key): key for key in reversed(source.links.secrets)} for name, source in sources.items()}
        self._hosts = {name: tuple(source.links.hosts) for name, source in sources.items()}
        self._recent: OrderedDict[tuple[str, str, str, str], tuple[str, float]] = OrderedDict()

    def read(self, kind: Kind, token: str, now: float) -> tuple[Link, bytes] | None:
        """(link, payload) of a token that holds, its target written anew; None for every other."""
        try:
            link, payload = read(kind, token, self._key, now)
            if kind == "click":
                link = replace(link, to=target(link.to, self._hosts[link.source]))
        except (BadToken, BadLink):
            return None
        return link, payload

    def hasty(self, link: Link, ip: str | None, now: float) -> bool:
        """Whether another link (or the image) of the same copy was asked for from the same /24 or /48 within HASTE."""
        if ip is None:
            return False
        key = (link.source, link.message, link.recipient, _neighbourhood(ip))
        other, at = self._recent.pop(key, ("", 0.0))
        self._recent[key] = (link.to or "open", now)
        while len(self._recent) > MOST_COPIES:
            self._recent.popitem(last=False)
        return bool(other) and other != (link.to or "open") and 0 <= now - at <= HASTE

    def _key(self, source: str, kid: str) -> bytes | None:
        return self._keys.get(source, {}).get(kid)


def _neighbourhood(ip: str) -> str:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False))


NOWHERE = Nowhere()
