"""Links in e-mails: the tokens of opens and clicks, who may be redirected where, and nothing else. Pure.

    token    = base64url(payload) . base64url(HMAC-SHA256(key, kind NUL payload)[:16])      both without padding
    payload  = JSON with v (1), k (which key), s (source), m (message), r (recipient), t (sent, epoch seconds), and where
               they are known c (campaign), g (consent: g, d or u for each of four purposes); of a click also d (where it
               leads) and x (until when it holds, epoch seconds)

What is promised:

- A token holds a recipient's id, never an address: what looks like one is refused.
- The signature covers all of it, so a redirect goes nowhere that we did not sign. A token has one spelling.
- Keys are told apart by `key_id`: a few letters of a hash of the key. The first key of a source signs, all of them verify:
  a new one is put before the old one, and the old one stays for as long as mail is read.
- Whatever a target says, it is parsed once and written anew: https, a DNS name in ASCII, no user name, no IP address, no
  backslash, blank or control character.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import orjson

from gateway.errors import GatewayError

Kind = Literal["open", "click"]
KeyOf = Callable[[str, str], bytes | None]
"""(source, key id) → the key, or None where the source has no such key."""
CLICK_PARAMETER = "_tw_c"
"""The one thing that a redirect adds to its target: the id that joins the click with the page it led to."""
PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage")
"""The purposes of `consent`, in the order of its letters."""
MAX_TARGET = 4096
MAX_TOKEN = 8192
MAX_WORD = 200
_MAC_BYTES = 16
_HOST = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!0x)[a-z0-9-]*[a-z][a-z0-9-]*(?<!-)", re.ASCII)
"""A DNS name whose last label is no number: browsers take a host that ends in one for an IP address."""
_TOKEN = re.compile(r"([A-Za-z0-9_-]{16,8192})\.([A-Za-z0-9_-]{22})", re.ASCII)
_CONSENT = re.compile(r"[gdu]{4}", re.ASCII)
_KEPT = "/%:@!$&'()*+,;=-._~"
"""What is not escaped in a path; a query and a fragment may also hold `?`."""


class BadLink(GatewayError):
    """What was asked for cannot be made a link; the message says what is wrong, for whoever makes it."""


class BadToken(GatewayError):
    """Not a token of ours, or one that no longer holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a token says. `sent` and `expires` are epoch seconds; `consent` is four letters of g, d and u, or nothing."""

    kind: Kind
    source: str
    message: str
    recipient: str
    sent: int
    campaign: str = ""
    consent: str = ""
    to: str = ""
    expires: int | None = None


def key_id(key: bytes) -> str:
    """Which key signed, in four letters; it says nothing of the key."""
    return _text(hashlib.sha256(b"tagway link key\0" + key).digest()[:3])


def sign(link: Link, key: bytes) -> str:
    """The token of a link. Raises BadLink for fields that cannot be in one; the target must be `target()`'s."""
    _check(link)
    body = payload(link, key_id(key))
    token = f"{_text(body)}.{_mac(link.kind, body, key)}"
    if len(token) > MAX_TOKEN:
        raise BadLink(f"the link would be over {MAX_TOKEN} characters")
    return token


def payload(link: Link, kid: str) -> bytes:
    """What of a token is signed."""
    said: dict[str, Any] = {"v": 1, "k": kid, "s": link.source, "m": link.message, "r": link.recipient, "t": link.sent}
    more = {"c": link.campaign, "g": link.consent, "d": link.to, "x": link.expires}
    return orjson.dumps({**said, **{key: value for key, value in more.items() if value}})


def read(kind: Kind, token: str, key_of: KeyOf, now: float) -> tuple[Link, bytes]:
    """(link, payload) of a token that one of the source's keys signed. Raises BadToken."""
    body, mac = _parts(token)
    link, kid = _read(kind, body)
    key = key_of(link.source, kid)
    if key is None or not hmac.compare_digest(_mac(kind, body, key), mac):
        raise BadToken("the link is not signed by a key of its source")
    if link.expires is not None and now > link.expires:
        raise BadToken("the link has expired")
    return link, body


def unverified(kind: Kind, token: str) -> tuple[Link, bytes]:
    """What a token says, whoever made it: for showing, never for redirecting. Raises BadToken."""
    body, _ = _parts(token)
    return _read(kind, body)[0], body


def of_payload(kind: Kind, body: bytes) -> Link:
    """The link of a payload that was read before. Raises BadToken."""
    return _read(kind, body)[0]


def open_id(link: Link, *, machine: bool) -> str:
    """The event id of an open: of message and recipient, so that only the first counts; machines and people apart."""
    digest = hashlib.sha256("\0".join((link.source, link.message, link.recipient)).encode()).digest()
    return f"open-{_text(digest[:_MAC_BYTES])}{'-machine' if machine else ''}"


def click_id(body: bytes) -> str:
    """What a redirect adds to its target: the same for the same link of the same message to the same recipient."""
    return _text(hashlib.sha256(b"tagway click\0" + body).digest()[:_MAC_BYTES])


def hashed_recipient(address: str, key: bytes) -> str:
    """An id of an address that says nothing of it to anyone without the key: for senders who know no other id."""
    digest = hmac.digest(key, b"recipient\0" + address.strip().lower().encode(), hashlib.sha256)
    return f"h.{_text(digest[:_MAC_BYTES])}"


def target(url: str, hosts: Sequence[str] = ()) -> str:
    """The address of a redirect, written anew. `hosts` narrow it to themselves and their subdomains. Raises BadLink."""
    if len(url) > MAX_TARGET:
        raise BadLink(f"the target is over {MAX_TARGET} characters")
    if any(character <= " " or character in "\\\x7f" or not character.isprintable() for character in url):
        raise BadLink("the target holds a blank, a backslash or a control character; escape it as %20")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadLink("the target is no URL") from None
    if parts.scheme.lower() != "https" or not parts.netloc:
        raise BadLink("the target must begin with https:// and a host")
    if "@" in parts.netloc:
        raise BadLink("the target's host must stand alone, without a user name")
    host = parts.netloc.lower().partition(":")[0]
    if not _HOST.fullmatch(host):
        raise BadLink("the target's host must be a DNS name such as shop.example, in ASCII (xn--…), and no IP address")
    if hosts and not any(host == one or host.endswith(f".{one}") for one in hosts):
        raise BadLink("the target's host is not one of the source's links.hosts")
    if port == 0:
        raise BadLink("the target's port is no port")
    return _written(host, port, parts.path, url)


def with_click_id(url: str, click: str) -> str:
    """A target of `target()` with the click's id as the last parameter of its query; order and fragment stay."""
    plain, hash_, fragment = url.partition("#")
    mark = "" if plain.endswith(("?", "&")) else "&" if "?" in plain else "?"
    return f"{plain}{mark}{CLICK_PARAMETER}={click}{hash_}{fragment}"


def consent_letters(choices: Mapping[str, str]) -> str:
    """`{"analytics_storage": "granted"}` → `uuug`. Raises BadLink for a purpose or choice that is none."""
    for purpose, choice in choices.items():
        if purpose not in PURPOSES or choice not in ("granted", "denied", "unknown"):
            raise BadLink(f"consent takes granted, denied or unknown for {', '.join(PURPOSES)}")
    return "".join(choices.get(purpose, "unknown")[0] for purpose in PURPOSES)


def consent_choices(letters: str) -> dict[str, str]:
    """The opposite of `consent_letters`; unknown is left out."""
    words = {"g": "granted", "d": "denied"}
    return {purpose: words[letter] for purpose, letter in zip(PURPOSES, letters, strict=False) if letter in words}


def _written(host: str, port: int | None, path: str, url: str) -> str:
    plain, hash_, fragment = url.partition("#")
    _, mark, query = plain.partition("?")
    where = host if port in (None, 443) else f"{host}:{port}"
    more = f"?{quote(query, safe=_KEPT + '?')}" if mark else ""
    end = f"#{quote(fragment, safe=_KEPT + '?')}" if hash_ else ""
    return f"https://{where}{quote(path or '/', safe=_KEPT)}{more}{end}"


def _check(link: Link) -> None:
    for name in ("source", "message", "recipient", "campaign"):
        word = getattr(link, name)
        if name != "campaign" and not word:
            raise BadLink(f"{name} is missing")
        if len(word) > MAX_WORD or not word.isprintable():
            raise BadLink(f"{name} must be at most {MAX_WORD} printable characters")
        if "@" in word:
            raise BadLink(f"{name} holds an address; a link holds ids only (an address may be given as email, and is hashed)")
    if not (0 <= link.sent < 2**40) or not (link.expires is None or 0 < link.expires < 2**40):
        raise BadLink("sent and expires are epoch seconds")
    if bool(link.to) is not (link.kind == "click"):
        raise BadLink("a click leads somewhere, and an open nowhere")


def _parts(token: str) -> tuple[bytes, str]:
    found = _TOKEN.fullmatch(token)
    if found is None or len(token) > MAX_TOKEN:
        raise BadToken("this is no link of ours")
    try:
        body = urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
    except (binascii.Error, ValueError):
        raise BadToken("this is no link of ours") from None
    if _text(body) != found[1]:
        raise BadToken("the link is not spelt as we spell it")
    return body, found[2]


def _read(kind: Kind, body: bytes) -> tuple[Link, str]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadToken("this is no link of ours") from None
    if not isinstance(said, dict) or said.get("v") != 1:
        raise BadToken("this is no link of this version")
    words = [said.get(key, "") for key in ("k", "s", "m", "r", "c", "g", "d")]
    sent, expires = said.get("t"), said.get("x")
    if not all(isinstance(word, str) for word in words) or type(sent) is not int or type(expires) not in (int, type(None)):
        raise BadToken("this is no link of ours")
    kid, source, message, recipient, campaign, consent, to = words
    if consent and not _CONSENT.fullmatch(consent):
        raise BadToken("this is no link of ours")
    link = Link(
        kind=kind, source=source, message=message, recipient=recipient, sent=sent, campaign=campaign, consent=consent,
        to=to, expires=expires,
    )  # fmt: skip
    return link, kid


def _mac(kind: Kind, body: bytes, key: bytes) -> str:
    return _text(hmac.digest(key, kind.encode() + b"\0" + body, hashlib.sha256)[:_MAC_BYTES])


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
