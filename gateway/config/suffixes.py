"""Which part of a host name somebody can register: `shop.co.uk` of `t.shop.co.uk`, nothing of `co.uk`.

By the Public Suffix List (https://publicsuffix.org), as the package `publicsuffixlist` carries it; nothing is downloaded.
Its private part counts too, as in browsers: of `shop.github.io` all of it, of `github.io` nothing. The list is read on first
use (30 ms).
"""

from __future__ import annotations

import ipaddress
from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=4096)
def registrable(host: str) -> str | None:
    """The registrable domain of a host name; None for a suffix, an address, or a name without dots.

    >>> registrable("t.shop.co.uk"), registrable("co.uk"), registrable("127.0.0.1")
    ('shop.co.uk', None, None)
    """
    name = host.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _list().privatesuffix(name) or None
    return None


@cache
def _list() -> PublicSuffixList:
    return PublicSuffixList()
