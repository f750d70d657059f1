"""Enrich: what the request itself says, added to what the event left open (design §3). Pure; never overrides the event.

- **Address and agent** are the visitor's. A browser hit has the request's own, whatever its body says; a body's count only
  where `Hit.trusts_body`. A server key speaks for others, so its own address and agent are nobody's and are not used.
- **Geo** is the trusted proxy's word about the request's address, so it goes with that address: not for server keys, and
  not where the body named another one. A body's geo counts where its address would. `XX`, `T1` and `ZZ` are no country.
- **Geo of a database** (lookups.py) is asked for the address that the event ends up with, and for no other: where the proxy
  said no country, or to add region and city to the same one. Of the request's own address it outweighs a body's country;
  of one that the body named it only fills what the body left open.
- **Ids**: the event's own, then click ids of `page.url`, then of a referrer of the same site, then vendors' cookies.
- **fbc** is made only out of a `fbclid`, as `fb.1.<event time in ms>.<fbclid>`, and only where the event brought none and the
  cookie holds none of that click.
- **`SP-Anonymous`** on a Snowplow hit: neither its address nor its cookies are used.
- **Opens of e-mails**: no cookies, since proxies and mail programs share them; and where anybody else than the reader's own
  program fetched the image, nothing of the request at all.
- **Campaign**: each UTM value that the event did not say, from `page.url`.

`describe` then says what the agent is: class, system and browser of the device (agent.py), and a bot score with reasons where
there is one (bots.py).
"""

from __future__ import annotations

from typing import Any

from gateway.clock import parse_instant
from gateway.enrich import agent, bots, urls, vendor_cookies
from gateway.enrich.lookups import NOTHING, Lookups
from gateway.receive.hit import Hit

ANONYMOUS = "sp-anonymous"
_NO_COUNTRY = ("XX", "T1", "ZZ", "")
_COUNTRY_SPELLINGS = {"UK": "GB", "EL": "GR"}
_MAX_AGENT = 2000


def enrich(data: dict[str, Any], hit: Hit, known: Lookups = NOTHING) -> dict[str, Any]:
    """A new event with more in `device`, `geo`, `ids`, `session`, `campaign` and `user`; the given one is not changed.

    `known` is what the operator's files say of addresses.
    """
    event = dict(data)
    _enrich(event, hit, known)
    return event


def describe(data: dict[str, Any], hit: Hit, suspicions: tuple[str, ...] = (), known: Lookups = NOTHING) -> dict[str, Any]:
    """A new event with what the agent says in `device`, and with `bot`; `enrich` comes before.

    `suspicions` are reasons against the client that no single hit can show (bots.REASONS: `rate`).
    """
    event = dict(data)
    if "device" in event:
        event["device"] = dict(event["device"])
    _describe(event, hit, suspicions, known)
    return event


def complete(event: dict[str, Any], hit: Hit, suspicions: tuple[str, ...] = (), known: Lookups = NOTHING) -> None:
    """`enrich` and `describe` on the event itself, for whom the map belongs to; its sections are not changed."""
    _enrich(event, hit, known)
    _describe(event, hit, suspicions, known)


def _enrich(event: dict[str, Any], hit: Hit, known: Lookups) -> None:
    dialect = event.get("dialect")
    if dialect == "snowplow" and ANONYMOUS in hit.headers:
        hit = hit._replace(ip=None, headers={name: value for name, value in hit.headers.items() if name != "cookie"})
    elif dialect == "email":
        hit = _of_open(event, hit)
    foreign = _device(event, hit)
    if hit.country or "geo" in event or known is not NOTHING:
        _geo(event, hit, known, foreign=foreign)
    _identify(event, hit)


def _describe(event: dict[str, Any], hit: Hit, suspicions: tuple[str, ...], known: Lookups) -> None:
    """The device's map is changed."""
    if "device" in event:
        agent.add_to(event["device"])
    bot = bots.judge(event, hit, suspicions, known)
    if bot:
        event["bot"] = bot
    elif "bot" in event:
        del event["bot"]


def _of_open(data: dict[str, Any], hit: Hit) -> Hit:
    """The request as far as it is the reader's own."""
    if data.get("props", {}).get("open_kind") != "human":
        return hit._replace(ip=None, country=None, region=None, city=None, headers={})
    return hit._replace(headers={name: value for name, value in hit.headers.items() if name != "cookie"})


def _device(event: dict[str, Any], hit: Hit) -> bool:
    """Set address, agent and language; returns whether the address is another than the request's."""
    given, trusted = event.get("device"), hit.trusts_body
    device = dict(given) if given else {}
    stated = device.get("ip")
    if not trusted:
        device.pop("ip", None)
        device.pop("user_agent", None)
    if not hit.server:
        if hit.ip and "ip" not in device:
            device["ip"] = hit.ip
        headers = hit.headers
        own = headers.get("user-agent")
        if own and "user_agent" not in device:
            device["user_agent"] = own[:_MAX_AGENT]
        language = headers.get("accept-language")
        if language and "language" not in device:
            first = language.split(",", 1)[0].split(";", 1)[0].strip()
            if first and first != "*" and len(first) <= 35:
                device["language"] = first
    if device:
        event["device"] = device
    elif given is not None:
        del event["device"]
    return hit.server or (trusted and stated is not None and stated != hit.ip)


def _geo(event: dict[str, Any], hit: Hit, known: Lookups, *, foreign: bool) -> None:
    geo = dict(event.get("geo", ())) if hit.trusts_body else {}
    ip = event["device"].get("ip") if known is not NOTHING and "device" in event else None
    place = known.place(ip) if ip else None
    stated = None if foreign else _country(hit.country)
    country = stated or (place.country if place and not (foreign and "country" in geo) else None)
    if country:
        if geo.get("country", country) != country:
            geo = {}
        geo["country"] = country
        if stated and hit.region:
            geo.setdefault("region", hit.region)
        if stated and hit.city:
            geo.setdefault("city", hit.city)
    if "country" in geo:
        geo["country"] = geo["country"].upper()
        if place and place.country == geo["country"]:
            if place.region:
                geo.setdefault("region", place.region)
            if place.city:
                geo.setdefault("city", place.city)
    if geo:
        event["geo"] = geo
    else:
        event.pop("geo", None)


def _country(given: str | None) -> str | None:
    country = (given or "").strip().upper()
    country = _COUNTRY_SPELLINGS.get(country, country)
    return None if country in _NO_COUNTRY or len(country) != 2 or not country.isalpha() else country


_URL_FIRST = ("ttclid",)
"""Click ids of which the one in the page's address counts, whatever the hit says beside it (TikTok)."""


def _identify(event: dict[str, Any], hit: Hit) -> None:
    page = event.get("page")
    ids, campaign = _from_urls(page.get("url", ""), page.get("referrer", "")) if page else ({}, {})
    own = event.get("ids", {})
    cookie = hit.headers.get("cookie")
    found = vendor_cookies.read(cookie) if cookie else None
    clicked = own.get("fbclid") or ids.get("fbclid") if "fbc" not in own else None
    clicked_now = {key: ids[key] for key in _URL_FIRST if key in ids} if ids else {}
    if clicked:
        _set_fbc(ids, clicked, found.ids.get("fbc") if found else None, event["time"])
    if found:
        ids = {**found.ids, **ids}
        if found.session:
            ids.setdefault("ga_session_id", str(found.session["id"]))
            event.setdefault("session", found.session)
        if found.anonymous_id and "anonymous_id" not in event.get("user", {}):
            event["user"] = {**event.get("user", {}), "anonymous_id": found.anonymous_id}
    if ids:
        event["ids"] = {**ids, **own, **clicked_now}
    if campaign:
        event["campaign"] = {**campaign, **event.get("campaign", {})}


def _from_urls(url: str, referrer: str) -> tuple[dict[str, str], dict[str, str]]:
    """Click ids of both, UTM values of the page's own URL."""
    ids, campaign = urls.read(url) if "?" in url else ({}, {})
    if "?" in referrer and urls.same_site(url, referrer):
        ids = {**urls.read(referrer)[0], **ids}
    return ids, campaign


def _set_fbc(ids: dict[str, str], clicked: str, stored: str | None, time: str) -> None:
    """The cookie's value while it is of the same click, else a new one."""
    if stored and stored.split(".")[3] == clicked:
        ids["fbc"] = stored
    else:
        ids["fbc"] = f"fb.1.{round(parse_instant(time) * 1000)}.{clicked}"
