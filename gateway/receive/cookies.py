"""The Cookie header as pairs, in the order the browser sent them (most specific path, then oldest first).

Written by hand because the standard parser gives up on headers that real sites send. A name may come several times:
readers take the first value that passes their own check. At most 200 pairs are looked at.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

MAX_COOKIES = 200
MAX_VALUE = 4096


@lru_cache(maxsize=8)
def cookies(header: str) -> tuple[tuple[str, str], ...]:
    """(name, value) pairs with values as sent but for quotes around them; longer values than 4 KiB are left out.

    The newest headers are remembered: two to ten readers look at the cookies of one hit.
    """
    pairs = []
    for pair in header.split(";", MAX_COOKIES)[:MAX_COOKIES]:
        name, separator, value = pair.partition("=")
        value = value.strip()
        if separator and len(value) <= MAX_VALUE:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            pairs.append((name.strip(), value))
    return tuple(pairs)


def decoded(value: str) -> str:
    """A cookie's value with its %-sequences decoded once; as it is where it has none."""
    return unquote(value) if "%" in value else value
