"""Who is it: the visitor of a browser's hit, known again by cookies that only the gateway sets and reads (design §2, §3).

    _tw_id      1.<id>.<created>.<renewed>.<who>[.s].<mac>   the visitor's id: `user.anonymous_id` where the event has none
    _tw_sid     <start>.<number>.<last>.<mac>                the session, where neither the event nor `_ga_<ID>` has one
    _tw_click   1|<name>:<value>:<time>|….<mac>              click ids of earlier pages (gateway/enrich/clicks.py)

All are HttpOnly and signed; of duplicates the first that is ours counts.

- **Consent first.** They are read and set only where the event's consent grants `ad_storage` or `analytics_storage`, click ids
  only with `ad_storage`. Where it denies both they are deleted, and nothing of them gets into the event.
- **First party only.** A hit of a page of the same site, by `Sec-Fetch-Site`, else by Origin or Referer. Never a server's, a
  shop's or an e-mail's.
- **Little traffic.** The id slides and is set once a day, the session once a minute, click ids when there are new ones.
- **Event, cookie, none.** What the event says stays. `_fbp` is never made; `fbc` keeps the time at which its click was first
  seen.
- **Vendors' cookies are set again**, since Safari forgets those of scripts after a week: `_ga`, `_fbp` and `_fbc`, as they came
  (gateway/enrich/renewal.py).
- **It says what it did**: `raw["tagway.visitor"]` holds `<what>:<from where>` of each thing that was filled in (`id:cookie
  session:new gclid:cookie`), so that a story can tell it later (gateway/origins.py).
- **Two people, one device.** When the user id changes, all of it begins anew: id, session and clicks of the one before are
  nobody else's. From then on (`s`) click ids in vendors' cookies count only where we saw the click ourselves since.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from secrets import token_urlsafe
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gateway.clock import iso, parse_instant
from gateway.config.addresses import is_loopback
from gateway.config.identity import Identity
from gateway.config.suffixes import registrable
from gateway.enrich import ANONYMOUS, clicks, linker, renewal, urls, vendor_cookies
from gateway.enrich.renewal import Line
from gateway.enrich.signed import Place, Signer
from gateway.receive.hit import Hit
from gateway.receive.sources import host_name

SESSION, CLICKS = "_tw_sid", "_tw_click"
DAY = 86400
IDLE = 1800
"""Seconds without a hit after which a session is over."""
SESSION_EVERY = 60
BUCKET = 10
"""The first hits of a page come together: their sessions start at the same ten seconds."""
TOLD = "tagway.visitor"
"""The key in `raw` under which an event says what was filled in, and from where."""
NOT_A_VISIT = frozenset({"email", "click", "shopify", "woocommerce", "stripe"})
"""Dialects whose hits are no visit of a page."""
_SITES = ("same-origin", "same-site")
_ID = re.compile(r"1\.([A-Za-z0-9_-]{22})\.(\d{9,11})\.(\d{9,11})\.([A-Za-z0-9_-]{0,8})(\.s)?", re.ASCII)
_SID = re.compile(r"(\d{9,11})\.(\d{1,9})\.(\d{9,11})", re.ASCII)


class Visit(NamedTuple):
    """A session: when it started, the how manieth it is, and its last hit."""

    start: int
    number: int
    last: int


class Visitors:
    """The visitors of one source. `secret` signs where the source has no key of its own; `make` makes ids (tests)."""

    def __init__(self, rules: Identity, secret: bytes, make: Callable[[], str] = lambda: token_urlsafe(16)) -> None:
        self.rules = rules
        self.make = make
        self.signer = Signer(rules.key.get_secret_value().encode() if rules.key else secret)
        self.kinds = {rules.cookie: "id", SESSION: "sid", CLICKS: "click"}
        self.renews = rules.domain is not None and registrable(rules.domain) == rules.domain

    def of(self, hit: Hit) -> Visitor | None:
        """The visitor of a hit; None where it is no page of this site that sent it."""
        if hit.server or not hit.browser or not self.rules.days or not self._first_party(hit):
            return None
        return Visitor(self, hit)

    def id_of(self, header: str) -> str | None:
        """The id in a Cookie header, by which a visitor's choice is known."""
        if self.rules.cookie not in header:
            return None
        match = _ID.fullmatch(self.signer.found(self.kinds, header).get("id", ""))
        return match[1] if match else None

    def forget(self, hit: Hit) -> bytes:
        """The Set-Cookie lines that delete what a browser keeps of ours."""
        return b"".join(self.place(hit).line(name, "", 0) for name in self.kept(hit))

    def refused(self, hit: Hit, denied: Collection[str]) -> bytes:
        """The Set-Cookie lines for a browser whose visitor denied these purposes."""
        if {"ad_storage", "analytics_storage"} <= set(denied):
            return self.forget(hit)
        if "ad_storage" in denied and CLICKS in self.kept(hit):
            return self.place(hit).line(CLICKS, "", 0)
        return b""

    def place(self, hit: Hit) -> Place:
        """Where cookies for this hit's browser live."""
        host = host_name(hit.host)
        domain = self.rules.domain
        inside = domain is not None and (host == domain or host.endswith(f".{domain}"))
        return Place(domain if inside else None, secure=not is_loopback(host))

    def kept(self, hit: Hit) -> list[str]:
        """The names of our cookies that a browser sent, theirs or not."""
        header = hit.headers.get("cookie", "")
        return [name for name in self.kinds if f"{name}=" in header]

    def _first_party(self, hit: Hit) -> bool:
        headers = hit.headers
        if ANONYMOUS in headers:
            return False
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in _SITES
        try:
            page = urlsplit(headers.get("origin") or headers.get("referer") or "").hostname
        except ValueError:
            return False
        return bool(page) and self._related(str(page), host_name(hit.host))

    def _related(self, page: str, host: str) -> bool:
        domain = self.rules.domain
        if domain:
            return page == domain or page.endswith(f".{domain}")
        return page == host or (registrable(page) or page) == registrable(host)


class Visitor:
    """One hit's visitor. `fill` each event once its consent is decided; `cookies` then says what the reply sets."""

    def __init__(self, visitors: Visitors, hit: Hit) -> None:
        self._all = visitors
        self._hit = hit
        self._now = int(hit.received)
        self._kept = visitors.kept(hit)
        self._read = False
        self._storage: bool | None = None
        self._ads: bool | None = None
        self._id: str | None = None
        self._created = self._renewed = self._now
        self._who = ""
        self._shared = False
        self._sid: Visit | None = None
        self._clicks: tuple[clicks.Click, ...] = ()
        self._was: tuple[Visit | None, tuple[clicks.Click, ...]] = (None, ())
        self._ids: Mapping[str, Any] = {}
        self._viewed = False
        self._measured = False
        self._told: list[str] = []
        self._origin = "new"

    @property
    def subject(self) -> dict[str, Any]:
        """By what a withdrawal of this visitor would be known, in the shape of an event."""
        known = self._all.id_of(self._hit.headers.get("cookie", ""))
        return {"user": {"anonymous_id": known}} if known else {}

    def fill(self, data: dict[str, Any]) -> dict[str, Any]:
        """The event with what is known of its visitor, as far as its consent allows it; the given one is not changed."""
        if data["dialect"] in NOT_A_VISIT:
            return data
        consent = data["consent"]
        storage = {consent.get(purpose) for purpose in ("ad_storage", "analytics_storage")}
        ads = consent.get("ad_storage")
        if ads in ("granted", "denied"):
            self._ads = ads == "granted"
        if "granted" not in storage:
            self._storage = False if "denied" in storage else self._storage
            return data
        self._storage = True
        self._open()
        event = dict(data)
        self._told = []
        self._recognise(event)
        if self._shared and "ids" in event:
            event["ids"] = self._without_earlier_clicks(event["ids"], event.get("page", {}).get("url", ""))
        self._measured = consent.get("analytics_storage") == "granted"
        if self._measured:
            self._adopt_client(event)
            self._in_session(event)
        if ads == "granted":
            self._with_clicks(event)
        self._ids = event.get("ids", {})
        self._viewed = self._viewed or event.get("name") == "page_view"
        if self._told:
            event["raw"] = {**event.get("raw", {}), TOLD: " ".join(self._told)}
        return event

    def _open(self) -> None:
        """Read the cookies, once a hit and only with consent."""
        if self._read:
            return
        self._read = True
        if self._kept:
            found = self._all.signer.found(self._all.kinds, self._hit.headers.get("cookie", ""))
            if match := _ID.fullmatch(found.get("id", "")):
                self._id, self._created, self._renewed, self._who = match[1], int(match[2]), int(match[3]), match[4]
                self._origin, self._shared = "cookie", bool(match[5])
            if match := _SID.fullmatch(found.get("sid", "")):
                self._sid = Visit(int(match[1]), int(match[2]), int(match[3]))
            self._clicks = clicks.read(found.get("click"), self._now)
        self._was = (self._sid, self._clicks)

    def _recognise(self, event: dict[str, Any]) -> None:
        user = event.get("user", {})
        who = self._all.signer.who(user["id"]) if user.get("id") else ""
        if who and self._who and who != self._who:
            self._id, self._sid, self._clicks, self._origin = None, None, (), "other_user"
            self._shared = True
        if who and who != self._who:
            self._who, self._renewed = who, 0
        if self._id is None:
            self._id, self._created, self._renewed = self._all.make(), self._now, 0
        if "anonymous_id" not in user:
            event["user"] = {**user, "anonymous_id": self._id}
            self._told.append(f"id:{self._origin}")

    def _without_earlier_clicks(self, ids: dict[str, Any], url: str) -> dict[str, Any]:
        """The ids without clicks in vendors' cookies that may be those of an earlier user of the device."""
        held = vendor_cookies.read(self._hit.headers.get("cookie", "")).ids
        ours = {(click.name, click.value) for click in self._clicks} | set(urls.read(url)[0].items())
        kept = {name: value for name, value in ids.items() if held.get(name) != value or clicks.is_of(ours, name, value)}
        self._told += [f"{name}:left_out" for name in ids if name not in kept]
        return kept

    def _in_session(self, event: dict[str, Any]) -> None:
        if "session" in event or "ga_session_id" in event.get("ids", {}):
            return
        at, held = int(parse_instant(event["time"])), self._sid
        if held is None:
            held = Visit(at // BUCKET * BUCKET, 1, at)
        elif at > held.last + IDLE:
            held = Visit(at, held.number + 1, at)
        elif at < held.start:
            return  # older than the visit that is known
        self._sid = held = held._replace(last=max(at, held.last))
        event["session"] = {"id": str(held.start), "number": held.number, "started": iso(held.start)}
        was = self._was[0]
        self._told.append("session:cookie" if was and was.start == held.start else "session:new")

    def _adopt_client(self, event: dict[str, Any]) -> None:
        """What a link from another domain of the company hands over, where the event has no client of its own."""
        page, ids = event.get("page", {}), event.get("ids", {})
        if "ga_client_id" in ids or not self._all.rules.linked:
            return
        linked = linker.read(page.get("url", ""), page.get("referrer", ""), self._all.rules.linked, self._now)
        if linked is None or linked.client_id is None:
            return
        event["ids"] = {**ids, "ga_client_id": linked.client_id}
        self._told.append("ga_client_id:link")
        if linked.session and "session" not in event:
            event["session"] = dict(linked.session)
            self._told.append("session:link")
            event["ids"].setdefault("ga_session_id", str(linked.session["id"]))

    def _with_clicks(self, event: dict[str, Any]) -> None:
        page, ids = event.get("page", {}), event.get("ids", {})
        url = page.get("url", "")
        came = urls.read(url)[0] if "?" in url else {}
        linked = linker.read(url, page.get("referrer", ""), self._all.rules.linked, self._now)
        if linked:
            came = {**linked.clicks, **came}
        if not came and not self._clicks:
            return
        self._clicks = clicks.seen(self._clicks, came, self._now)
        kept = clicks.filling(self._clicks, ids)
        filled = {**kept, **ids}
        self._keep_fbc(filled, event["time"])
        if filled:
            event["ids"] = filled
        handed = linked.clicks if linked else {}
        self._told += [f"{name}:{'link' if name in handed else 'cookie'}" for name in kept if name not in ids]
        if filled.get("fbc") != ids.get("fbc"):
            self._told.append("fbc:click")

    def _keep_fbc(self, ids: dict[str, Any], time: str) -> None:
        """`fbc` of a click is made once: with the time at which the click was first seen."""
        first = next((click for click in self._clicks if click.name == "fbclid"), None)
        if first is None or ids.get("fbclid") != first.value:
            return
        if "fbc" not in ids:
            ids["fbc"] = f"fb.1.{first.at * 1000}.{first.value}"
            return
        made_now = f"fb.1.{round(parse_instant(time) * 1000)}.{first.value}"
        if ids["fbc"] == made_now:
            ids["fbc"] = f"fb.1.{first.at * 1000}.{first.value}"

    def cookies(self) -> bytes:
        """The Set-Cookie lines for the reply; empty for most hits."""
        if self._storage is None:
            return b""
        if not self._storage:
            return self._all.forget(self._hit) if self._kept else b""
        fresh = [*self._own(), *self._vendors()]
        if self._ads is False and CLICKS in self._kept:
            fresh.append((CLICKS, "", 0, True))
        if not fresh:
            return b""
        place = self._all.place(self._hit)
        return b"".join(place.line(name, value, age, hidden=hidden) for name, value, age, hidden in fresh)

    def _own(self) -> Iterator[Line]:
        """Our cookies that are due."""
        seal, lasting = self._all.signer.sealed, self._all.rules.days * DAY
        if self._due():
            value = f"1.{self._id}.{self._created}.{self._now}.{self._who}{'.s' if self._shared else ''}"
            yield self._all.rules.cookie, seal("id", value), lasting, True
        sid, was = self._sid, self._was[0]
        if sid and (was is None or sid.start != was.start or sid.last - was.last >= SESSION_EVERY):
            yield SESSION, seal("sid", f"{sid.start}.{sid.number}.{sid.last}"), lasting, True
        if self._ads and self._clicks != self._was[1]:
            value = seal("click", clicks.written(self._clicks)) if self._clicks else ""
            yield CLICKS, value, clicks.left(self._clicks, self._now), True

    def _due(self) -> bool:
        return self._now - self._renewed >= DAY

    def _vendors(self) -> Iterator[Line]:
        """Vendors' cookies of scripts, to be set again by a server (renewal.py)."""
        clicked = bool(self._ads) and self._clicks != self._was[1]
        if not self._all.renews or not (self._due() or clicked or (self._viewed and renewal.is_webkit(self._hit.headers))):
            return
        header = self._hit.headers.get("cookie", "")
        if self._measured:
            yield from renewal.of_analytics(header, self._ids, self._all.rules.days * DAY)
        if self._ads:
            yield from renewal.of_ads(header, self._ids)
