"""The pixel dialect: `GET /p.gif`, an event in short query keys for images, noscript and AMP.

    e      event name (required)            eid    event id: the de-duplication key
    t      time, epoch milliseconds         k      write key (read at the door)
    u      page URL, else the Referer       r      referrer
    v      value                            c      currency
    oid    order: props.transaction_id      cd.X, p.X   props.X (p is a synonym; cd wins)
    uid    user.id                          aid    user.anonymous_id (cid is AMP's synonym)
    em     user.email, only as the 64 hex characters of its SHA-256: URLs end up in logs
    consent.X   consent.X (ad_storage, …, sale_opt_out, explicit), as a native event writes it
    gdpr gdpr_consent gpp gpp_sid us_privacy   consent macros of ad servers
    noscript    1 where the image stood in <noscript>
    _      cache buster, ignored like every key not named here

Of a repeated key the first wins. A macro that nobody replaced (`${GDPR_CONSENT_755}`, `{{id}}`, `CANONICAL_URL`) counts as
absent, and the Referer of a page out of an AMP cache is nobody's page. `+` is a space; broken %-sequences stay as typed and
bytes that are not UTF-8 become U+FFFD.

A HEAD request is nobody's visit: no event.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.errors import Refused, TooLarge
from gateway.receive.body import MAX_EVENT_BYTES, event_name
from gateway.receive.forms import fields
from gateway.receive.hit import Hit, RawEvent

_PLACES = {
    "u": ("page", "url"),
    "r": ("page", "referrer"),
    "v": ("props", "value"),
    "c": ("props", "currency"),
    "oid": ("props", "transaction_id"),
    "uid": ("user", "id"),
    "aid": ("user", "anonymous_id"),
    "gdpr": ("raw", "gdpr"),
    "gdpr_consent": ("raw", "gdpr_consent"),
    "gpp": ("raw", "gpp"),
    "gpp_sid": ("raw", "gpp_sid"),
    "us_privacy": ("raw", "us_privacy"),
    "noscript": ("raw", "noscript"),
}
_PREFIXES = {"consent.": "consent", "cd.": "props", "p.": "props"}

_MACRO = re.compile(
    r"\$\{[^}]*\}|\{\{[^}]*\}\}|%%[^%]*%%|\[[A-Z][A-Z0-9_]*\]"
    r"|(?:AMPDOC|CANONICAL|SOURCE)_(?:URL|HOST|HOSTNAME|PATH)|DOCUMENT_REFERRER|EXTERNAL_REFERRER|TITLE|RANDOM|TIMESTAMP"
    r"|PAGE_VIEW_ID(?:_64)?|TIMEZONE(?:_CODE)?|USER_AGENT|BROWSER_LANGUAGE|AMP_VERSION|VIEWER|COUNTER|AMP_GEO"
    r"|(?:AVAILABLE_)?(?:SCREEN|VIEWPORT)_(?:WIDTH|HEIGHT)"
    r"|(?:CLIENT_ID|QUERY_PARAM|LINKER_PARAM|AMP_GEO)(?:\([^)]*\))?"
)
_CACHE = re.compile(r"https://[^/?#]+\.(?:cdn\.ampproject\.org|bing-amp\.com)(?:[/?#].*)?", re.IGNORECASE)
"""A page out of an AMP cache: its address is not the site's."""
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """The hit's one event; none for HEAD. Raises Malformed or TooLarge."""
    if hit.method == "HEAD":
        return []
    if len(hit.query) > MAX_EVENT_BYTES:
        raise TooLarge("the query is over 64 KiB")
    given = parameters(hit.query)
    data = _sections(given)
    referer = hit.headers.get("referer", "")
    if referer and "url" not in data.get("page", {}) and not _CACHE.fullmatch(referer):
        data.setdefault("page", {})["url"] = referer
    return [RawEvent("pixel", event_name(given.get("e", "")), data, id=given.get("eid"), time=given.get("t"))]


def parameters(query: str) -> dict[str, str]:
    """Query keys and values, decoded; the first of a repeated key; nothing for empty values and unreplaced macros."""
    return fields(query, absent=lambda text: _MACRO.fullmatch(text.strip()))


def _sections(given: dict[str, str]) -> dict[str, Any]:
    data: dict[str, dict[str, Any]] = {}
    for key, (section, field) in _PLACES.items():
        if key in given:
            data.setdefault(section, {})[field] = given[key]
    for key, value in given.items():
        for prefix, section in _PREFIXES.items():
            if key.startswith(prefix) and len(key) > len(prefix):
                data.setdefault(section, {}).setdefault(key[len(prefix) :], value)
    user = data.setdefault("user", {})
    if "cid" in given:
        user.setdefault("anonymous_id", given["cid"])
    if _HASH.fullmatch(given.get("em", "")):
        user["email"] = given["em"]
    return {section: fields for section, fields in data.items() if fields}
