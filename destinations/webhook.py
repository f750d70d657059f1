"""Webhook: each request names what it carries, so that a receiver can drop what it has already seen.

`X-Event-Id` is the event's id (of a batch: all ids, as far as they fit a header), `Idempotency-Key` the same id, of a batch
the SHA-256 of its ids. Both stay the same when a request is repeated. They are not part of the signature, which covers the
body.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from urllib.parse import quote

from gateway.destination import Batch, Destination, Request

MAX_IDS = 900
"""Characters of ids in one header; a longer list is cut at an id, the body has them all."""


class Webhook(Destination):
    """Adds the two headers to what the manifest makes."""

    def request(self, batch: Batch, now: float) -> Request:
        """The request that carries a batch."""
        made = super().request(batch, now)
        ids = [quote(part.id, safe=" !#$&'()*+-./:;<=>?@[]^_`{|}~") for part in batch.parts]
        key = ids[0] if len(ids) == 1 and len(ids[0]) <= 255 else _digest(batch)
        return replace(made, headers={**made.headers, "X-Event-Id": _listed(ids), "Idempotency-Key": key})


def _digest(batch: Batch) -> str:
    return hashlib.sha256("\n".join(part.id for part in batch.parts).encode()).hexdigest()


def _listed(ids: list[str]) -> str:
    listed = ids[0][:MAX_IDS]
    for one in ids[1:]:
        if len(listed) + len(one) + 2 > MAX_IDS:
            break
        listed += f", {one}"
    return listed
