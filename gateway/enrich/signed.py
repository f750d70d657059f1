"""Cookies that only we can make: a value, a dot and its MAC; and how a cookie is written on the wire.

The MAC is over the kind of the cookie and its value, keyed by a secret of the store (or of the source's `identity.key`), so a
value of one cookie is none of another, and one that a page or another subdomain made up is no value at all.
"""

from __future__ import annotations

import hmac
from binascii import b2a_base64
from collections.abc import Mapping
from hashlib import blake2b

from gateway.receive.cookies import cookies, decoded

_MAC_BYTES = 12
_WHO_BYTES = 6
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Signer:
    """Signs and opens values with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, person=b"tagway cookies", digest_size=32).digest()

    def sealed(self, kind: str, value: str) -> str:
        """The value with its MAC."""
        return f"{value}.{self._mac(kind, value)}"

    def opened(self, kind: str, text: str) -> str | None:
        """The value of a sealed text; None for one that is not ours."""
        value, _, mac = text.rpartition(".")
        return value if value and hmac.compare_digest(mac.encode("utf-8", "replace"), self._mac(kind, value).encode()) else None

    def found(self, kinds: Mapping[str, str], header: str) -> dict[str, str]:
        """Of each cookie's name in `kinds` (name → kind) the value of the first one that is ours."""
        values: dict[str, str] = {}
        for name, text in cookies(header):
            kind = kinds.get(name)
            if kind is not None and kind not in values and (value := self.opened(kind, decoded(text))) is not None:
                values[kind] = value
        return values

    def who(self, user_id: str) -> str:
        """A short keyed name for a user id: tells two users of one device apart, and nothing else."""
        return _text(blake2b(user_id.encode("utf-8", "replace"), key=self._key, digest_size=_WHO_BYTES).digest())

    def _mac(self, kind: str, value: str) -> str:
        text = f"{kind}\0{value}".encode("utf-8", "replace")
        return _text(blake2b(text, key=self._key, digest_size=_MAC_BYTES).digest())


def _text(digest: bytes) -> str:
    """Digests are a multiple of three bytes long: there is no padding."""
    return b2a_base64(digest, newline=False).translate(_URL_SAFE).decode("ascii")


class Place:
    """Where the cookies of a reply live: the domain (None: this host alone), and whether only https may carry them."""

    __slots__ = ("_ending",)

    def __init__(self, domain: str | None, *, secure: bool) -> None:
        self._ending = f"; Path=/{f'; Domain={domain}' if domain else ''}{'; Secure' if secure else ''}; SameSite=Lax"

    def line(self, name: str, value: str, max_age: int, *, hidden: bool = True) -> bytes:
        """A Set-Cookie line; `hidden` keeps it from scripts. `max_age` 0 deletes."""
        http_only = "; HttpOnly" if hidden else ""
        return f"Set-Cookie: {name}={value}; Max-Age={max_age}{self._ending}{http_only}\r\n".encode("ascii", "ignore")
