"""Keys: `wk_<source>_<random>` are public and name a source, `sk_<source>_<random>` are secret (160 random bits)."""

from __future__ import annotations

import re
import secrets

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without the letters and digits that people mistake for one another."""
PUBLIC_LENGTH = 10
SECRET_LENGTH = 33


def write_key(source: str) -> str:
    """A public key: unguessable enough that nobody's tag names a source by accident."""
    return f"wk_{source}_{_random(PUBLIC_LENGTH)}"


def server_key(source: str) -> str:
    """A secret key."""
    return f"sk_{source}_{_random(SECRET_LENGTH)}"


def masked_key(key: str) -> str:
    """A key as a list may show it: `wk_shop_7f…`. A reference to the environment is no secret and stays."""
    if key.startswith("${"):
        return f"{key} (not set here)"
    head, _, tail = key.rpartition("_")
    return f"{head}_{tail[:2]}…" if head and len(tail) > 6 else "***"


def variable_of(*words: str) -> str:
    """The environment variable for a secret: `shop`, `server_key` → `SHOP_SERVER_KEY`."""
    return re.sub("[^A-Z0-9]+", "_", "_".join(words).upper()).strip("_")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
