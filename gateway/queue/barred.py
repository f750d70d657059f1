"""Finding an order that no destination may have: its event is stored without its number, but for a keyed hash of it.

    raw: {reason: "ad_storage is denied (event)", order_mark: "5f0c…"}

Somebody who knows the number can ask for it; nobody reads it off the row. The key is the store's own secret, and the name of
the source goes in, so that two sources' marks have nothing to do with each other. The mark leaves with `queue.personal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

KEY = "order_mark"
_BYTES = 16


def mark(salt: bytes, source: str, order: str) -> str:
    """What an order of a source is found by."""
    return blake2b(f"{source}\0barred order\0{order}".encode("utf-8", "replace"), key=salt, digest_size=_BYTES).hexdigest()


def marked(salt: bytes, source: str, data: Mapping[str, Any]) -> dict[str, str]:
    """The entry of `raw` for an event's order; empty where it names none."""
    order = data.get("props", {}).get("transaction_id")
    return {KEY: mark(salt, source, str(order))} if order not in (None, "") else {}


def without(event: dict[str, Any]) -> None:
    """Take the mark out of an event."""
    raw = event.get("raw")
    if isinstance(raw, dict) and KEY in raw:
        event["raw"] = {key: value for key, value in raw.items() if key != KEY}
