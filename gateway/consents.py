"""A visitor's choice that arrives on its own (`POST /v1/consent`): what is denied is withdrawn, what is granted lifts that.

A withdrawal holds for every event of the subject that was received up to the moment a later grant arrives here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.consent.withdrawal import subjects
from gateway.enrich.visitor import Visitors
from gateway.queue.base import Store, Withdrawal
from gateway.receive.hit import Hit


class StoredConsents:
    """The `Consents` of the running gateway: keeps choices in the store as salted subject hashes.

    `visitors` knows of a source which cookies a browser has of us.
    """

    def __init__(self, store: Store, visitors: Callable[[str], Visitors]) -> None:
        self._store = store
        self._visitors = visitors

    async def choose(self, hit: Hit, user: Mapping[str, Any], ids: Mapping[str, Any], consent: Mapping[str, Any]) -> bytes:
        """Make a choice hold; when this returns, no request that begins later breaks it. A refusal deletes cookies."""
        people = subjects(self._store.salt, hit.source, {"user": user, "ids": ids})
        denied = frozenset(purpose for purpose, choice in consent.items() if choice == "denied")
        granted = frozenset(purpose for purpose, choice in consent.items() if choice == "granted")
        if denied:
            await self._store.withdraw([Withdrawal(subject, denied, hit.received) for subject in people])
        if granted:
            await self._store.lift(people, granted, hit.received)
        return self._visitors(hit.source).refused(hit, denied) if denied and hit.browser else b""
