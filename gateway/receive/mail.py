"""E-mails: `GET /o/<token>.gif` is an open, `GET /c/<token>` a click. The hit's body is the token's payload, verified before.

An image is fetched by many who are not the reader, and a reader's own fetch often comes through a proxy. So opens have their
own classification, before and in place of the general bot filter (first match):

    prefetch       the request says so
    apple_mpp      Apple's Mail Privacy Protection: `Mozilla/5.0` and nothing else; fetches all mail, read or not
    machine        Gmail's proxy within two seconds of sending
    gmail_proxy    Gmail's proxy: a person opened, address and agent are Google's
    yahoo_proxy    the same of Yahoo
    scanner        a known scanner, crawler or script; or it asked for another link of this copy within three seconds
    human          everything else

The first, second, third and sixth are machines (`props.open_machine`). Only `human` says anything of a device; see
gateway/enrich. An open's id is made of message and recipient, so that a repeat is a duplicate; machines have ids of their own,
or a scanner's visit would hide the reader's.

A click is the reader's browser, judged like any page's. Scanners follow links too: `props.click_machine`. A prefetch is no
click. `HEAD` never is an event (gateway/receive/http.py).
"""

from __future__ import annotations

import re
from typing import Any

from gateway.clock import iso
from gateway.enrich.bots import agent_reason
from gateway.errors import Malformed, Refused
from gateway.links import BadToken, Kind, Link, click_id, consent_choices, of_payload, open_id
from gateway.receive.forms import is_prefetch
from gateway.receive.hit import Hit, RawEvent

MACHINES = frozenset({"prefetch", "apple_mpp", "machine", "scanner"})
DELIVERY = 2.0
"""Seconds after sending within which nobody has opened anything."""
UPSTREAM_BOT = 50
"""A trusted proxy's bot score above which a fetch is a scanner's."""
_SCANNER = re.compile(
    r"proofpoint|mimecast|barracuda|ironport|trend ?micro|fortimail|forcepoint|symantec|messagelabs|sophos|fireeye|trellix"
    r"|safelinks|urldefense|mailscanner|mailguard|avanan|area1",
    re.IGNORECASE,
)
_MAIL_READER = re.compile(
    r"ms-office|msoffice|Microsoft Outlook|Outlook-|Thunderbird|AppleMail|Mail/\d|Airmail|Spark/|Evolution|Lotus-Notes"
    r"|eM ?Client|Superhuman|K-9 Mail|KMail|The Bat!|Postbox|SeaMonkey",
    re.IGNORECASE,
)
"""Programs that people read mail with: general lists of crawlers take some for scripts."""


def decode_open(hit: Hit) -> list[RawEvent | Refused]:
    """The one event of a fetched image. Raises Malformed for a body that is no payload."""
    link = _link("open", hit)
    kind = open_kind(hit, link.sent)
    machine = kind in MACHINES
    data = _data(link, {"open_kind": kind, "open_machine": machine})
    return [RawEvent("email", "email_open", data, id=open_id(link, machine=machine))]


def decode_click(hit: Hit) -> list[RawEvent | Refused]:
    """The one event of a link that was followed; none where it was only fetched ahead. Raises Malformed likewise."""
    if is_prefetch(hit):
        return []
    link = _link("click", hit)
    data = _data(link, {"click_machine": _is_scanner(hit)})
    data["page"] = {"url": link.to}
    data["ids"] = {"tw_c": click_id(hit.body)}
    return [RawEvent("click", "email_click", data)]


def open_kind(hit: Hit, sent: float) -> str:
    """Who fetched the image, by the table above."""
    agent = hit.headers.get("user-agent", "").strip()
    if is_prefetch(hit):
        return "prefetch"
    if agent == "Mozilla/5.0":
        return "apple_mpp"
    if "GoogleImageProxy" in agent:
        return "machine" if 0 <= hit.received - sent <= DELIVERY else "gmail_proxy"
    if "YahooMailProxy" in agent:
        return "yahoo_proxy"
    return "scanner" if _is_scanner(hit) else "human"


def _link(kind: Kind, hit: Hit) -> Link:
    try:
        return of_payload(kind, hit.body)
    except BadToken as error:
        raise Malformed(str(error)) from None


def _is_scanner(hit: Hit) -> bool:
    agent = hit.headers.get("user-agent", "").strip()
    if hit.hasty or hit.bot_score > UPSTREAM_BOT or not agent or _SCANNER.search(agent):
        return True
    return not _MAIL_READER.search(agent) and bool(agent_reason(agent[:512]))


def _data(link: Link, props: dict[str, Any]) -> dict[str, Any]:
    """What both kinds know. A hashed recipient is nobody's user id."""
    who = "anonymous_id" if link.recipient.startswith("h.") else "id"
    data: dict[str, Any] = {
        "user": {who: link.recipient},
        "props": {"message_id": link.message, "sent": iso(float(link.sent)), **props},
    }
    if link.campaign:
        data["campaign"] = {"name": link.campaign}
    if link.consent:
        data["consent"] = consent_choices(link.consent)
    return data
