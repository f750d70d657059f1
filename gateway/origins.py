"""Where the values of an event came from, for its story: which cookie, which address, which header gave which field.

Two stages take values from outside the event. What *enrich* took is found by running its readers again, on each cookie alone
and on each address. What the *visitor* stage took the event says itself, as the hit that held the cookies is gone by then
(`raw["tagway.visitor"]`, gateway/enrich/visitor.py). Nothing here changes an event.

Cookies of ours in a file are opened by the secret that signed them where it can be had: the source's `identity.key`, else the
store's. Without either they are taken at their word, and the story says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.models import Gateway
from gateway.enrich import urls, vendor_cookies
from gateway.enrich.bots import WORDS
from gateway.enrich.signed import Signer
from gateway.enrich.visitor import CLICKS, SESSION, TOLD, Visitors
from gateway.receive.cookies import cookies
from gateway.receive.hit import Hit

_ENRICHED = {
    "device.ip": "the request's address",
    "device.user_agent": "the request's User-Agent",
    "device.language": "the request's Accept-Language",
    "device.type": "device.user_agent",
    "device.os": "device.user_agent",
    "device.browser": "device.user_agent",
    "geo.country": "the proxy's country header",
    "geo.region": "the proxy's region header",
    "geo.city": "the proxy's city header",
}
_IDS = {"cookie": "the id cookie", "other_user": "a new one, as another user was known on this device"}
_LINK = "the link of a page of the company's (_gl)"
_LEFT = "left_out"
_FBC = "the time at which the click was first seen"


class _AtItsWord(Signer):
    """Opens every cookie of our form, and tells no two users apart: the secret is not at hand."""

    def opened(self, kind: str, text: str) -> str | None:
        return text.rpartition(".")[0] or None

    def who(self, user_id: str) -> str:
        return ""


def visitors_of(config: Gateway, source: str, secret: bytes | None) -> tuple[Visitors, bool]:
    """The visitors of a source, and whether signatures are checked; `secret` is the store's, where there is one."""
    rules = config.sources[source].identity
    known = rules.key is not None and not rules.key.get_secret_value().startswith("${")
    visitors = Visitors(rules, secret or b"")
    if not known and (rules.key is not None or secret is None):
        visitors.signer = _AtItsWord(b"")
        return visitors, False
    return visitors, True


def of_enriched(data: Mapping[str, Any], hit: Hit) -> dict[str, str]:
    """Of an enriched event: the path of each value that may have come from outside it → from where."""
    page = data.get("page", {})
    found = {f"ids.{name}": f"cookie {cookie}" for cookie, name in _by_cookie(data, hit)}
    found |= dict(_rest_by_cookie(hit))
    url, referrer = page.get("url", ""), page.get("referrer", "")
    if urls.same_site(url, referrer):
        found |= {f"ids.{name}": "page.referrer" for name in urls.read(referrer)[0]}
    ids, campaign = urls.read(url)
    found |= {f"ids.{name}": "page.url" for name in ids}
    found |= {f"campaign.{name}": "page.url" for name in campaign}
    if "ids.fbclid" in found and "ids.fbc" not in found:
        found["ids.fbc"] = f"made of the fbclid of {found['ids.fbclid']}"
    return {**_ENRICHED, **dict(_place(data, hit)), **found}


def _place(data: Mapping[str, Any], hit: Hit) -> Iterator[tuple[str, str]]:
    """What did not come from the proxy's headers came from the database."""
    geo = data.get("geo", {})
    for name in ("country", "region", "city"):
        said = {"country": hit.country, "region": hit.region, "city": hit.city}[name]
        if geo.get(name) not in (None, said):
            yield f"geo.{name}", "the geo database"


def _by_cookie(data: Mapping[str, Any], hit: Hit) -> Iterator[tuple[str, str]]:
    """(cookie, name of the id) of each vendor's cookie whose value the event has."""
    ids = data.get("ids", {})
    for name, value in cookies(hit.headers.get("cookie", "")):
        for key, held in vendor_cookies.read(f"{name}={value}").ids.items():
            if ids.get(key) == held:
                yield name, key


def _rest_by_cookie(hit: Hit) -> Iterator[tuple[str, str]]:
    """What cookies say beside ids: a session, and an anonymous id."""
    for name, value in cookies(hit.headers.get("cookie", "")):
        found = vendor_cookies.read(f"{name}={value}")
        if found.session:
            yield from ((path, f"cookie {name}") for path in ("session.id", "session.number", "ids.ga_session_id"))
        if found.anonymous_id:
            yield "user.anonymous_id", f"cookie {name}"


def of_visitor(data: Mapping[str, Any]) -> dict[str, str]:
    """Of an event that went through the visitor stage: the path of each value that it filled in → from where."""
    found: dict[str, str] = {}
    for word in str(data.get("raw", {}).get(TOLD, "")).split():
        what, _, origin = word.partition(":")
        if origin == _LEFT:
            continue
        if what == "id":
            found["user.anonymous_id"] = _IDS.get(origin, "a new one, as no cookie held any")
        elif what == "session":
            words = {"cookie": f"cookie {SESSION}", "link": _LINK}.get(origin, "the visit that begins here")
            found |= dict.fromkeys(("session.id", "session.number", "session.started"), words)
        elif what == "fbc":
            found["ids.fbc"] = _FBC
        else:
            found[f"ids.{what}"] = _LINK if origin == "link" else f"cookie {CLICKS}"
    return found


def left_out(data: Mapping[str, Any]) -> list[str]:
    """The ids of vendors' cookies that were not taken, as an earlier user of the device may have clicked there."""
    words = [word.partition(":") for word in str(data.get("raw", {}).get(TOLD, "")).split()]
    return [f"ids.{what}" for what, _, origin in words if origin == _LEFT]


def suspicions(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The reasons of a bot score in words; one sentence where there is none."""
    reasons = data.get("bot", {}).get("reasons", ())
    return tuple(WORDS.get(str(one), str(one)) for one in reasons) or ("nothing speaks against a person",)
