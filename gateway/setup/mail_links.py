"""Signed links for e-mails out of what somebody asked for, as the command line and `POST /links` do.

    {"kind": "click", "message": "spring-sale", "recipient": "U-7", "to": "https://shop.example/sale"}
    → {"url": "https://t.shop.example/c/<token>", "token": "<token>", "source": "shop", "recipient": "U-7"}

    kind         open or click
    source       may be left out while one source alone has links.keys
    message      the mailing; opens count once per message and recipient
    recipient    an id of the reader; or
    email        their address, of which the link gets a keyed hash
    to           of a click: where it leads
    campaign     its name, as campaign.name of the event
    consent      {"analytics_storage": "granted"}: what the reader allowed, as you know it when you send
    sent         when the mail goes out; now
    expires      until when a click leads on; always

Times are epoch seconds or RFC 3339. `{"links": [...]}` makes up to 1,000 at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.clock import parse_instant
from gateway.config.models import Gateway
from gateway.config.words import hint
from gateway.links import BadLink, Kind, Link, consent_letters, hashed_recipient, sign, target

MOST = 1000
FIELDS = ("kind", "source", "message", "recipient", "email", "to", "campaign", "consent", "sent", "expires")


def made(config: Gateway, wanted: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The answer of `POST /links`. Raises BadLink."""
    if "links" not in wanted:
        return one(config, wanted, now)
    several = wanted["links"]
    if not isinstance(several, list) or len(several) > MOST or not all(isinstance(each, dict) for each in several):
        raise BadLink(f"links must be a list of at most {MOST} objects")
    found = []
    for number, each in enumerate(several):
        try:
            found.append(one(config, each, now))
        except BadLink as error:
            raise BadLink(f"links[{number}]: {error}") from None
    return {"links": found}


def one(config: Gateway, wanted: Mapping[str, Any], now: float) -> dict[str, Any]:
    """One link: its URL, token, source and recipient. Raises BadLink."""
    for field in wanted:
        if field not in FIELDS:
            raise BadLink(f"{field} is not known{hint(str(field), FIELDS)}")
    kind = _kind(wanted.get("kind"))
    source = _source(config, wanted.get("source"))
    key = config.sources[source].links.secrets[0]
    link = Link(
        kind=kind,
        source=source,
        message=_word(wanted, "message"),
        recipient=_recipient(wanted, key),
        sent=_instant(wanted, "sent") or int(now),
        campaign=_word(wanted, "campaign"),
        consent=_consent(wanted.get("consent")),
        to=target(_word(wanted, "to"), config.sources[source].links.hosts) if kind == "click" else _word(wanted, "to"),
        expires=_instant(wanted, "expires"),
    )
    token = sign(link, key)
    return {"url": _url(config, link, token), "token": token, "source": source, "recipient": link.recipient}


def _kind(value: Any) -> Kind:
    if value == "open":
        return "open"
    if value == "click":
        return "click"
    raise BadLink("kind must be open or click")


def _source(config: Gateway, name: Any) -> str:
    able = [source for source, one in config.sources.items() if one.links.keys]
    if not able:
        raise BadLink("no source has links.keys; docs/email.md says how to make one")
    if name is None and len(able) == 1:
        return able[0]
    if name not in able:
        raise BadLink(f"name a source that has links.keys: {', '.join(able)}")
    return str(name)


def _word(wanted: Mapping[str, Any], name: str) -> str:
    value = wanted.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadLink(f"{name} must be text")
    return value.strip()


def _recipient(wanted: Mapping[str, Any], key: bytes) -> str:
    recipient, email = _word(wanted, "recipient"), _word(wanted, "email")
    if bool(recipient) is bool(email):
        raise BadLink("name the reader by recipient (an id) or by email (an address, which is hashed)")
    return recipient or hashed_recipient(email, key)


def _consent(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise BadLink('consent must look like {"analytics_storage": "granted"}')
    return consent_letters(value)


def _instant(wanted: Mapping[str, Any], name: str) -> int | None:
    value = wanted.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**40:
        return int(value)
    try:
        return int(parse_instant(str(value)))
    except ValueError:
        raise BadLink(f"{name} must be epoch seconds or a time such as 2026-11-24T10:00:00Z") from None


def _url(config: Gateway, link: Link, token: str) -> str:
    """The address on the source's first host; a path alone where it has none."""
    hosts = config.sources[link.source].hosts
    prefix = config.paths.prefix.strip("/")
    path = "/".join(part for part in (prefix, "o" if link.kind == "open" else "c", token) if part)
    return f"{f'https://{hosts[0]}' if hosts else ''}/{path}{'.gif' if link.kind == 'open' else ''}"
