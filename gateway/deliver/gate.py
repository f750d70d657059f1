"""Whether an event may go to a destination at all: the skips of design §7 in their fixed order, then age.

    disabled (of a source that the lane no longer reads; of a parked lane, parked.py)
    · bot · loop · consent (or withdrawn) · filter · share · mode · expired{age}

`unmapped` and `incomplete` follow in the mapping. Pure, but for the table of withdrawals that it reads.
"""

from __future__ import annotations

from hashlib import blake2b

from gateway.config.models import DestinationConfig
from gateway.consent.gate import Need, refuses
from gateway.consent.withdrawal import subjects, withdrawn
from gateway.deliver.limits import Bounds
from gateway.deliver.settle import Work
from gateway.destination import Plan
from gateway.event import Event
from gateway.outcomes import Ending, Outcome
from gateway.queue.base import Store
from gateway.receive.shop import DIALECTS as SHOPS

_DISABLED = Ending(Outcome.SKIPPED, "disabled", "the destination does not read this source any more")
_LOOP = Ending(Outcome.SKIPPED, "loop", "the page itself sent this event to the vendor")
ERASED = Ending(Outcome.ERASED)
DRY_RUN = Ending(Outcome.SKIPPED, "mode", "dry run: rendered, not sent")
_TEST_ORDER = Ending(Outcome.SKIPPED, "mode", "a test order of the shop: it goes only where mode is test")
_MODES = {"off": Ending(Outcome.SKIPPED, "mode", "mode is off"), "dry_run": DRY_RUN}


class Gate:
    """The decisions of one lane."""

    def __init__(self, config: DestinationConfig, plan: Plan, need: Need, bounds: Bounds, store: Store) -> None:
        self._config, self._plan, self._need, self._store = config, plan, need, store
        self._sources = frozenset(config.sources)
        self._max_age = bounds.max_age
        self._share = config.share / 100 * 2**64 if config.share < 100 else None

    def closed(self, work: Work, now: float) -> Ending | None:
        """Why this event is not sent; None when it may be. DRY_RUN itself, when it is to be rendered and not sent."""
        event, data = work.event, work.event.data
        if work.taken.source not in self._sources:
            return _DISABLED
        bot = data.get("bot")
        if bot and bot.get("score", 0) > self._config.bots.max_score:
            return Ending(Outcome.SKIPPED, "bot", f"bot score {bot['score']} is above {self._config.bots.max_score}")
        if self._plan.loops(event):
            return _LOOP
        refusal = refuses(data.get("consent", {}), self._need)
        if refusal:
            return Ending(Outcome.SKIPPED, "consent", refusal)
        return (
            self.withdrawn(work)
            or self._filtered(event, now)
            or self._unshared(event)
            or _MODES.get(self._config.mode)
            or self._test_order(event)
            or self.expired(work, now)
        )

    def withdrawn(self, work: Work) -> Ending | None:
        """Whether the visitor took consent back since; asked again just before each request."""
        table = self._store.withdrawals
        if not table:
            return None
        if work.people is None:
            work.people = subjects(self._store.salt, work.event.source, work.event.data)
        why = withdrawn(work.taken.received, work.people, self._need, table)
        return Ending(Outcome.WITHDRAWN, "", why) if why else None

    def overtaken(self, work: Work) -> Ending | None:
        """Whether the event was erased while the lane held it; asked just before each request."""
        return None if self._store.holds(self._config.name, work.taken) else ERASED

    def expired(self, work: Work, now: float) -> Ending | None:
        """Whether the event is older than the vendor takes; asked again just before each request."""
        if self._max_age is None or now - work.time <= self._max_age:
            return None
        return Ending(Outcome.EXPIRED, "age", f"older than {self._max_age / 3600:.4g} h")

    def _filtered(self, event: Event, now: float) -> Ending | None:
        why = self._plan.filtered(event, now)
        return None if why is None else Ending(Outcome.SKIPPED, "filter", why)

    def _test_order(self, event: Event) -> Ending | None:
        """Orders that a shop made to try itself out are nobody's purchases."""
        tried = event.data.get("dialect") in SHOPS and event.get("raw", "test") is True
        return _TEST_ORDER if tried and self._config.mode != "test" else None

    def _unshared(self, event: Event) -> Ending | None:
        if self._share is None or position(event) < self._share:
            return None
        return Ending(Outcome.SKIPPED, "share", f"outside the {self._config.share:g} percent of visitors")


def position(event: Event) -> int:
    """Where a visitor stands among all, 0 to 2^64: always the same, on every lane; an event without a visitor by its id."""
    visitor = event.get("user", "id") or event.get("user", "anonymous_id") or event.get("ids", "ga_client_id") or event.id
    return int.from_bytes(blake2b(f"{event.source}\0{visitor}".encode(), digest_size=8).digest(), "big")
