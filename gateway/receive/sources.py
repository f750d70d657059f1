"""Who is speaking: the source of a hit, by its key or by the Host it was sent to (design §3).

A write key is public: it stands in page source and only names the source. A server key is secret: whoever has it may
also say the IP address and user agent of somebody else. Both come by Basic auth (with or without the colon), `?k=`,
`?writeKey=`, `X-Write-Key`, `Authorization: Bearer`, or `writeKey` in a JSON body. A key that nobody has is refused even
where the Host is known; a key and a Host of two sources are refused as cross_source.

A GA4 hit also says its measurement id. One that a source lists (`ga4_ids`) names it like a write key; a source that lists
any takes no hit of another one.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import orjson

from gateway.config.models import Source
from gateway.errors import ConfigErrors, Problem, Refused, RefusedReason

MAX_REMEMBERED = 1024
"""Host headers whose reading is remembered."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The source that a hit belongs to; `server` when a secret key proved it."""

    source: str
    server: bool = False


class Speakers:
    """Keys and hosts of all sources. Raises ConfigErrors where two sources claim the same one."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        # Secrets are looked up by a keyed digest: how long a look-up takes then tells nothing about a secret.
        self._pepper = os.urandom(32)
        self._hosts: dict[str, str] = {}
        self._by_host: dict[str, Speaker | None] = {}
        self._keys: dict[str, Speaker] = {}
        self._secrets: dict[bytes, Speaker] = {}
        self._streams: dict[str, Speaker] = {}
        self._listing = frozenset(name for name, source in sources.items() if source.ga4_ids)
        problems: list[Problem] = []
        for name, source in sources.items():
            for host in source.hosts:
                _claim(self._hosts, host_name(host), name, f"the host {host}", problems)
            for key in source.write_keys:
                _claim(self._keys, key, Speaker(name), "a write key", problems)
            for stream in source.ga4_ids:
                _claim(self._streams, stream, Speaker(name), f"the measurement id {stream}", problems)
            for secret in source.server_keys:
                _claim(self._secrets, self._digest(secret.get_secret_value()), Speaker(name, True), "a server key", problems)
        if problems:
            raise ConfigErrors(problems)

    def of_host(self, host: str) -> str | None:
        """The source that a Host header names."""
        found = self._speaker_of_host(host)
        return found.source if found else None

    def of_write_key(self, key: str) -> str | None:
        """The source of a public key."""
        found = self._keys.get(key)
        return found.source if found else None

    def knows(self, key: str) -> bool:
        """Whether a key is one of a source."""
        return key in self._keys or self._digest(key) in self._secrets

    def speaker(self, key: str | None, host: str, stream: str | None = None) -> Speaker:
        """Who speaks with this key (None: without one) to this host, about this measurement id (None: none).

        Raises Refused (unknown_key, cross_source).
        """
        of_host, of_stream = self._speaker_of_host(host), self._streams.get(stream) if stream else None
        found = self._speaker_of_key(key) if key is not None else of_stream or of_host
        if found is None:
            raise Refused("no write key, and the Host is not one of a source", reason=RefusedReason.UNKNOWN_KEY, status=401)
        for other in (of_host, of_stream):
            if other is not None and other.source != found.source:
                raise Refused("the key and the Host are of two sources", reason=RefusedReason.CROSS_SOURCE, status=403)
        if stream and of_stream is None and found.source in self._listing:
            raise Refused("the measurement id is not one of the source", reason=RefusedReason.UNKNOWN_KEY, status=401)
        return found

    def _speaker_of_key(self, key: str) -> Speaker:
        found = self._keys.get(key) or self._secrets.get(self._digest(key))
        if found is None:
            raise Refused("the key is not one of a source", reason=RefusedReason.UNKNOWN_KEY, status=401)
        return found

    def _speaker_of_host(self, host: str) -> Speaker | None:
        try:
            return self._by_host[host]
        except KeyError:
            source = self._hosts.get(host_name(host))
            if len(self._by_host) >= MAX_REMEMBERED:
                self._by_host.clear()
            found = self._by_host[host] = Speaker(source) if source else None
            return found

    def _digest(self, secret: str) -> bytes:
        return hmac.digest(self._pepper, secret.encode("utf-8", "replace"), hashlib.sha256)


def _claim(table: dict[Any, Any], key: Any, owner: Any, what: str, problems: list[Problem]) -> None:
    other = table.setdefault(key, owner)
    if other != owner:
        names = [getattr(one, "source", one) for one in (other, owner)]
        problems.append(Problem(f"sources.{names[1]}: {what} belongs to {names[0]} already"))


def host_name(host: str) -> str:
    """A Host without its port and final dot, lower case; an IPv6 literal keeps its brackets."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":") and (name.startswith("[") == name.endswith("]")):
        host = name
    return host.removesuffix(".")


def key_of(headers: Mapping[str, str], query: str) -> str | None:
    """The key outside the body: Basic auth, `?k=`, `?writeKey=`, `X-Write-Key`; None when there is none."""
    authorization = headers.get("authorization")
    if authorization and authorization[:5].lower() == "basic":
        return _basic_user(authorization[5:])
    if query and ("k=" in query or "writeKey=" in query):
        key = query_value(query, "k") or query_value(query, "writeKey")
        if key:
            return key
    return headers.get("x-write-key") or None


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer`, which is a key only where the body names none."""
    authorization = headers.get("authorization", "")
    return authorization[7:].strip() or None if authorization[:7].lower() == "bearer " else None


def body_key(body: bytes) -> str | None:
    """`writeKey` at the top of a JSON body; a body that is no JSON has none (its decoder will say so)."""
    if b'"writeKey"' not in body:
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    key = value.get("writeKey") if isinstance(value, dict) else None
    return key if isinstance(key, str) and key else None


def data_key(query: str) -> str | None:
    """`writeKey` in the JSON that an image's `?data=` holds as base64."""
    text = (query_value(query, "data") or "").replace(" ", "+").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return body_key(b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return None


def query_value(query: str, name: str) -> str | None:
    """The first value of a name in a raw query string."""
    start = f"{name}="
    for pair in query.split("&"):
        if pair.startswith(start):
            value = pair[len(start) :]
            return unquote_plus(value) if "%" in value or "+" in value else value
    return None


def _basic_user(text: str) -> str:
    """The user name of Basic credentials; what cannot be read is a key that nobody has."""
    text = text.strip()
    try:
        decoded = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(b":")[0].decode("utf-8", "replace")
